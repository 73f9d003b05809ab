//! What is wrong with the canary in a rehearsal: `errors=3x,slow=p99*2,from=stage:beta`.

use std::ops::Range;

use super::fault_words::{FaultAmount, Slowness, amount, duration_ms, share, slowness};
use super::scene::Scene;
use crate::route::Signal;

/// What is wrong with the canary in a rehearsal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReleaseFault {
    /// As it is written, such as `errors=3x,from=stage:beta`.
    pub text: String,
    /// What it does to requests; at least one thing.
    pub effects: Vec<FaultEffect>,
    /// The part of the callers that it hits, 0 to 1.
    pub callers: f64,
    /// The route that it hits; `None`: all of them.
    pub route: Option<String>,
    /// When it begins.
    pub from: FaultStart,
}

/// What a fault does to requests.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultEffect {
    /// They fail.
    Errors(FaultAmount),
    /// They take longer.
    Slow(Slowness),
    /// They have an event of this name.
    Event(String, FaultAmount),
    /// They have this status.
    Status(u16, FaultAmount),
}

/// When a fault begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FaultStart {
    /// With the first stage that has a weight.
    #[default]
    FirstWeight,
    /// When this stage is entered.
    Stage(String),
    /// After so much running time since the release began, in milliseconds.
    After(u64),
}

/// What is wrong in the text of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultError {
    /// What, in one sentence.
    pub message: String,
    /// What to write.
    pub help: String,
    /// Where it is in the text, in bytes.
    pub at: Range<usize>,
}

const FORMS: &str = "errors=3x, errors=5%, slow=p99*2, slow=20%, event:NAME=3x, status:404=5%, \
    and in addition callers=10%, route=NAME, from=stage:NAME or from=2h";

impl ReleaseFault {
    /// Reads a fault.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, FaultError> {
        let mut fault = Self { text: text.to_owned(), callers: 1.0, ..Self::default() };
        let mut begin = 0;
        for part in text.split(',') {
            let at = begin..begin + part.len();
            begin = at.end + 1;
            fault.read(part.trim()).map_err(|(message, help)| FaultError { message, help, at })?;
        }
        if fault.effects.is_empty() {
            let message = "the fault does nothing to requests".to_owned();
            return Err(FaultError { message, help: format!("write {FORMS}"), at: 0..text.len() });
        }
        Ok(fault)
    }

    fn read(&mut self, part: &str) -> Result<(), (String, String)> {
        let unknown = || (format!("`{part}` is no fault"), format!("write {FORMS}"));
        let (key, value) = part.split_once('=').ok_or_else(unknown)?;
        let (key, value) = (key.trim(), value.trim());
        let wrong = |help: &str| (format!("`{value}` is no value of `{key}`"), format!("write {help}"));
        let amount = |help: &str| amount(value).ok_or_else(|| wrong(help));
        match key {
            "errors" => self.effects.push(FaultEffect::Errors(amount("errors=3x or errors=5%")?)),
            "slow" => {
                let slowness = slowness(value).ok_or_else(|| wrong("slow=p99*2, slow=2x or slow=20%"))?;
                self.effects.push(FaultEffect::Slow(slowness));
            }
            "callers" => {
                let part = share(value).filter(|part| *part >= 0.001);
                self.callers = part.ok_or_else(|| wrong("callers=10%, at least 0.1%"))?;
            }
            "route" if !value.is_empty() => self.route = Some(value.to_owned()),
            "from" => {
                self.from = match value.strip_prefix("stage:") {
                    Some(stage) if !stage.is_empty() => FaultStart::Stage(stage.to_owned()),
                    Some(_) | None => {
                        let after = duration_ms(value).ok_or_else(|| wrong("from=stage:NAME or from=2h"))?;
                        FaultStart::After(after)
                    }
                };
            }
            _ => match key.split_once(':') {
                Some(("event", name)) if !name.is_empty() => {
                    let amount = amount("event:NAME=3x or event:NAME=5%")?;
                    self.effects.push(FaultEffect::Event(name.to_owned(), amount));
                }
                Some(("status", code)) => {
                    let status = code.parse().ok().filter(|code| (100..600).contains(code));
                    let status =
                        status.ok_or_else(|| (format!("`{code}` is no status"), "write status:404=5%".to_owned()))?;
                    self.effects.push(FaultEffect::Status(status, amount("status:404=3x or status:404=5%")?));
                }
                Some(_) | None => return Err(unknown()),
            },
        }
        Ok(())
    }

    /// Whether it can be played in a scene.
    ///
    /// # Errors
    /// A stage or a route that is not there, and a number of times of nothing.
    pub fn check(&self, scene: &Scene<'_>) -> Result<(), FaultError> {
        let fail = |word: &str, message: String, help: String| {
            let begin = self.text.find(word).unwrap_or(0);
            let at = begin..begin + word.len().min(self.text.len());
            Err(FaultError { message, help, at })
        };
        let plan = &scene.rollout.plan;
        if let FaultStart::Stage(stage) = &self.from
            && plan.find(stage).is_none()
        {
            let names: Vec<&str> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
            let message = format!("the rollout {} has no stage `{stage}`", scene.rollout.name);
            return fail(stage, message, format!("its stages are {}", names.join(", ")));
        }
        let routes = scene.routes();
        if let Some(route) = self.route.as_deref().filter(|route| !routes.contains(route)) {
            let message = format!("the rollout {} has no route `{route}`", scene.rollout.name);
            return fail(route, message, format!("its routes are {}", routes.join(", ")));
        }
        let errors = scene.errors();
        for effect in &self.effects {
            let (word, amount) = match effect {
                FaultEffect::Errors(amount) => ("errors", *amount),
                FaultEffect::Event(name, amount) => (name.as_str(), *amount),
                FaultEffect::Status(_, amount) => ("status", *amount),
                FaultEffect::Slow(_) => continue,
            };
            match amount {
                FaultAmount::Times(_) if errors <= 0.0 => {
                    let message = "stable has no errors: so many times of none is none".to_owned();
                    return fail(word, message, format!("write a share, such as `{word}=1%`, or give --errors 0.1%"));
                }
                FaultAmount::Share(share) if share <= errors => {
                    let message = format!("stable has {:.3} % already: that is no fault", errors * 100.0);
                    return fail(word, message, "write a larger share".to_owned());
                }
                FaultAmount::Times(_) | FaultAmount::Share(_) => {}
            }
        }
        Ok(())
    }

    /// The effects that no guard of the rollout counts, as they are written.
    #[must_use]
    pub fn unseen(&self, scene: &Scene<'_>) -> Vec<String> {
        let signals = &scene.rollout.guards.signals;
        let is_unseen = |effect: &&FaultEffect| !signals.iter().any(|signal| effect.shows_in(signal));
        self.effects.iter().filter(is_unseen).map(FaultEffect::name).collect()
    }
}

impl FaultEffect {
    /// Whether a signal counts it. An error is a response with status 500, in gRPC `INTERNAL`.
    pub(super) fn shows_in(&self, signal: &Signal) -> bool {
        let has = |ranges: &[crate::route::StatusRange], code: u16| ranges.iter().any(|range| range.contains(code));
        match (self, signal) {
            (Self::Errors(_), Signal::Error) | (Self::Slow(_), Signal::SlowerThan(_)) => true,
            (Self::Errors(_), Signal::Status(ranges)) => has(ranges, 500),
            (Self::Errors(_), Signal::Grpc(codes)) => codes >> 13 & 1 == 1,
            (Self::Status(code, _), Signal::Status(ranges)) => has(ranges, *code),
            (Self::Status(code, _), Signal::Error) => *code >= 500,
            (Self::Event(name, _), Signal::Event(counted)) => name == counted,
            (Self::Errors(_) | Self::Slow(_) | Self::Event(..) | Self::Status(..), _) => false,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Errors(_) => "errors".to_owned(),
            Self::Slow(_) => "slow".to_owned(),
            Self::Event(name, _) => format!("event:{name}"),
            Self::Status(code, _) => format!("status:{code}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_written() {
        let text = "errors=3x, slow=p99*2,event:payment_failed=5%,status:404=*4,callers=10%,route=pay,from=stage:beta";
        let fault = ReleaseFault::parse(text).unwrap();
        assert_eq!(
            fault,
            ReleaseFault {
                text: text.to_owned(),
                effects: vec![
                    FaultEffect::Errors(FaultAmount::Times(3.0)),
                    FaultEffect::Slow(Slowness::Times(2.0)),
                    FaultEffect::Event("payment_failed".to_owned(), FaultAmount::Share(0.05)),
                    FaultEffect::Status(404, FaultAmount::Times(4.0)),
                ],
                callers: 0.1,
                route: Some("pay".to_owned()),
                from: FaultStart::Stage("beta".to_owned()),
            }
        );
        assert_eq!(ReleaseFault::parse("errors=100%,from=1h30m").unwrap().from, FaultStart::After(5_400_000));
        assert_eq!(ReleaseFault::parse("slow=20%").unwrap().effects, [FaultEffect::Slow(Slowness::Share(0.2))]);
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, at, says) in [
            ("", 0..0, "`` is no fault"),
            ("errors", 0..6, "`errors` is no fault"),
            ("errors=3x,speed=2", 10..17, "`speed=2` is no fault"),
            ("errors=1x", 0..9, "`1x` is no value of `errors`"),
            ("errors=0%", 0..9, "`0%` is no value of `errors`"),
            ("errors=101%", 0..11, "`101%` is no value"),
            ("errors=nanx", 0..11, "`nanx` is no value"),
            ("slow=p99", 0..8, "`p99` is no value of `slow`"),
            ("errors=3x,callers=0.01%", 10..23, "`0.01%` is no value of `callers`"),
            ("errors=3x,from=stage:", 10..21, "`stage:` is no value of `from`"),
            ("status:999=5%", 0..13, "`999` is no status"),
            ("event:=5%", 0..9, "is no fault"),
            ("from=2h", 0..7, "the fault does nothing"),
        ] {
            let error = ReleaseFault::parse(text).unwrap_err();
            assert_eq!(error.at, at, "{text}: {error:?}");
            assert!(error.message.contains(says) && error.help.starts_with("write "), "{text}: {error:?}");
        }
    }
}
