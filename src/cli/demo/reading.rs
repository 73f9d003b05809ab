//! Readings of `/status`: the shares and errors of the last seconds, and what is new since the reading before.

use std::collections::VecDeque;

use serde_json::Value;

use super::brake::BrakeAct;
use super::dark_launch::PAGE_PATIENCE;
use super::live_figures::{LiveFigures, SetWeight};
use super::panel::Live;
use super::release::DemoRelease;
use super::service::DemoFault;
use crate::cli::admin::{AdminEndpoint, FetchOptions};
use crate::compare::escape_controls;

/// Readings that are kept: the window is one shorter, and in it every caller of the demo's traffic comes once.
const READINGS: usize = 6;

/// One look at `/status`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct StatusReading {
    generation: u64,
    weight: f64,
    pub(super) killed: bool,
    /// A guard or a person has rolled it back: the list of releases says so.
    pub(super) rolled_back: bool,
    /// Who killed it, and why, when it was by a call.
    pub(super) killed_by: Option<String>,
    stable: u64,
    canary: u64,
    errors: u64,
    reload: Option<Reload>,
}

/// What the last reload came to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reload {
    at: String,
    rejected: Option<String>,
    summary: Vec<String>,
}

/// The last readings.
#[derive(Debug, Default)]
pub(super) struct ReadingWindow(VecDeque<StatusReading>);

/// Looks at `/status` once.
pub(super) async fn read(admin: &AdminEndpoint) -> Option<(StatusReading, DemoRelease)> {
    let answer = admin.ask("/status", FetchOptions::within(PAGE_PATIENCE)).await.ok()?;
    let page = answer.json()?;
    let release = shop(&page).map_or_else(DemoRelease::default, |route| DemoRelease::parse(&route["releases"]));
    Some((StatusReading { rolled_back: release.is_rolled_back(), ..StatusReading::parse(&page)? }, release))
}

/// The route of the canary.
fn shop(status: &Value) -> Option<&Value> {
    status["routes"].as_array()?.iter().find(|route| route["name"] == "shop")
}

impl StatusReading {
    fn parse(status: &Value) -> Option<Self> {
        let route = shop(status);
        let variant = |name: &str| {
            let variants = route.and_then(|route| route["variants"].as_array());
            variants
                .and_then(|variants| variants.iter().find(|variant| variant["name"] == name))
                .unwrap_or(&Value::Null)
        };
        let (stable, canary) = (variant("stable"), variant("canary"));
        let requests = |variant: &Value| variant["requests"].as_u64().unwrap_or(0);
        let errors = |variant: &Value| variant["errors"].as_u64().unwrap_or(0);
        Some(Self {
            generation: status["generation"].as_u64()?,
            weight: canary["weight"].as_f64().unwrap_or(0.0),
            killed: canary["killed"].as_bool().unwrap_or(false),
            rolled_back: false,
            killed_by: killed_by(&status["kills"]),
            stable: requests(stable),
            canary: requests(canary),
            errors: errors(stable) + errors(canary),
            reload: Reload::parse(&status["last_reload"], &status["last_change"]),
        })
    }
}

/// The newest kill by a call, in words.
fn killed_by(kills: &Value) -> Option<String> {
    let is_of_canary =
        |scope: &Value| scope["all"] == true || scope["route"] == "shop" || scope["variant"] == "shop:canary";
    let calls = kills.as_array()?.iter().filter(|kill| kill["source"] == "call");
    let kill = calls.filter(|kill| is_of_canary(&kill["scope"])).max_by_key(|kill| kill["seq"].as_u64())?;
    let (who, reason) = (kill["who"]["name"].as_str().unwrap_or("?"), kill["reason"].as_str().unwrap_or_default());
    Some(escape_controls(&format!("canary killed by {who}: {reason}")).into_owned())
}

impl Reload {
    /// The last reload, and what the last one of those that changed anything has changed.
    fn parse(reload: &Value, change: &Value) -> Option<Self> {
        let texts = |value: &Value| {
            let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
            list.iter().filter_map(|text| text.as_str().map(|text| escape_controls(text).into_owned())).collect()
        };
        Some(Self {
            at: reload.get("at")?.to_string(),
            rejected: (reload["outcome"] == "rejected")
                .then(|| spelled_lines(reload["text"].as_str().unwrap_or("the file is rejected"))),
            summary: texts(&change["summary"]),
        })
    }
}

/// Lines without letters that steer a terminal.
fn spelled_lines(text: &str) -> String {
    text.trim_end().lines().map(escape_controls).collect::<Vec<_>>().join("\n")
}

impl ReadingWindow {
    /// Whether the proxy rejected the file as it is now.
    pub(super) fn is_rejected(&self) -> bool {
        self.0.back().and_then(|last| last.reload.as_ref()).is_some_and(|reload| reload.rejected.is_some())
    }

    /// Whether the canary is killed.
    pub(super) fn is_killed(&self) -> bool {
        self.0.back().is_some_and(|last| last.killed)
    }

    /// The demo itself has done this: it is no news of the next reading.
    pub(super) fn set_killed(&mut self, act: BrakeAct) {
        self.begin_anew(|last| {
            last.killed = act == BrakeAct::Kill;
            last.killed_by = None;
        });
    }

    /// Changes the last reading. Earlier figures do not describe what follows.
    pub(super) fn begin_anew(&mut self, change: impl FnOnce(&mut StatusReading)) {
        if let Some(mut last) = self.0.pop_back() {
            change(&mut last);
            self.0.clear();
            self.0.push_back(last);
        }
    }

    /// Takes a reading, and returns what is new since the previous one.
    pub(super) fn push(&mut self, reading: StatusReading) -> Vec<String> {
        let killed = self.0.back().and_then(|last| match (last.killed, reading.killed) {
            (false, true) => Some(reading.killed_by.clone().unwrap_or_else(|| "canary killed by the file".to_owned())),
            (true, false) => Some("canary revived".to_owned()),
            (true, true) | (false, false) => None,
        });
        let news = self.0.back().and_then(|last| {
            let reload = reading.reload.as_ref().filter(|reload| last.reload.as_ref() != Some(reload))?;
            match &reload.rejected {
                Some(text) => Some(format!("{text}\nrejected: generation {} stays in effect", reading.generation)),
                None if reading.generation == last.generation => None,
                None => Some(generations(last.generation, reading.generation, &reload.summary.join("; "))),
            }
        });
        // Figures from before an edit or a kill do not describe the shares after it.
        let is_other = |last: &StatusReading| {
            (last.generation, last.killed, last.rolled_back, last.weight.to_bits())
                != (reading.generation, reading.killed, reading.rolled_back, reading.weight.to_bits())
        };
        if self.0.back().is_some_and(is_other) {
            self.0.clear();
        }
        self.0.push_back(reading);
        if self.0.len() > READINGS {
            self.0.pop_front();
        }
        news.into_iter().chain(killed).collect()
    }

    /// Takes a reading, and returns what its reload says.
    pub(super) fn push_quietly(&mut self, reading: StatusReading) -> Vec<String> {
        let is_killed = reading.killed;
        if let Some(last) = self.0.back_mut() {
            last.killed = is_killed;
        }
        self.push(reading)
    }

    /// What the live line shows.
    #[expect(clippy::cast_precision_loss, reason = "shares of a few seconds, for people")]
    pub(super) fn live(&self, fault: DemoFault) -> Live {
        let (Some(first), Some(last)) = (self.0.front(), self.0.back()) else { return Live::None };
        if self.0.len() < 2 {
            return Live::Measuring;
        }
        let seconds = (self.0.len() - 1) as f64;
        let stable = last.stable.saturating_sub(first.stable);
        let canary = last.canary.saturating_sub(first.canary);
        let all = stable + canary;
        Live::Figures(LiveFigures {
            share: if all == 0 { 0.0 } else { canary as f64 / all as f64 },
            set: match (last.killed, last.rolled_back) {
                (true, _) => SetWeight::Killed,
                (false, true) => SetWeight::RolledBack,
                (false, false) => SetWeight::Percent(last.weight),
            },
            requests: all as f64 / seconds,
            errors: last.errors.saturating_sub(first.errors) as f64 / seconds,
            generation: last.generation,
            fault,
        })
    }
}

/// What the last of the reloads since `before` has changed. `/status` keeps no other.
fn generations(before: u64, now: u64, summary: &str) -> String {
    if now == before + 1 {
        return format!("generation {now}: {summary}");
    }
    format!("generations {} to {now}, within a second; the last: {summary}", before + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::admin::{AdminPlace, Credentials};
    use crate::cli::paint::Paint;

    fn reading(generation: u64, stable: u64, canary: u64) -> StatusReading {
        StatusReading { generation, weight: 10.0, stable, canary, ..StatusReading::default() }
    }

    fn line(window: &ReadingWindow, fault: DemoFault) -> String {
        match window.live(fault) {
            Live::Figures(gauge) => gauge.line(200, Paint::Plain),
            other @ (Live::None | Live::Measuring | Live::Stages(_)) => format!("{other:?}"),
        }
    }

    #[test]
    fn a_share_is_that_of_the_window() {
        let mut window = ReadingWindow::default();
        for second in 0..20 {
            assert!(window.push(reading(1, 45 * second, 5 * second)).is_empty());
        }
        let shown = line(&window, DemoFault::Off);
        assert!(shown.contains("canary  10.0 % (set 10)  50 req/s  0 errors/s  generation 1"), "{shown}");
        assert!(!shown.contains("fault"), "{shown}");
        assert!(line(&window, DemoFault::Slow).contains("fault: slow"));
    }

    #[test]
    fn no_requests_is_no_division() {
        let mut window = ReadingWindow::default();
        assert_eq!(window.live(DemoFault::Off), Live::None);
        window.push(reading(1, 0, 0));
        assert_eq!(window.live(DemoFault::Off), Live::Measuring);
        window.push(reading(1, 0, 0));
        assert!(line(&window, DemoFault::Off).contains("canary   0.0 %"));
    }

    #[test]
    fn an_edit_restarts_the_figures() {
        let mut window = ReadingWindow::default();
        for now in [reading(1, 0, 0), reading(1, 1000, 0), reading(2, 1000, 0), reading(2, 1000, 50)] {
            window.push(now);
        }
        assert!(line(&window, DemoFault::Off).contains("canary 100.0 %"));
    }

    #[test]
    fn no_generation_is_passed_over() {
        assert_eq!(generations(1, 2, "a"), "generation 2: a");
        assert_eq!(generations(1, 3, "a"), "generations 2 to 3, within a second; the last: a");
        assert_eq!(generations(1, 5, "a"), "generations 2 to 5, within a second; the last: a");
    }

    #[test]
    fn reloads_are_news_once() {
        let reload = |at: &str, rejected: Option<&str>| {
            let summary = vec!["shop canary 10 → 50".to_owned()];
            Some(Reload { at: at.to_owned(), rejected: rejected.map(str::to_owned), summary })
        };
        let mut window = ReadingWindow::default();
        assert!(window.push(StatusReading { reload: reload("1", None), ..reading(1, 0, 0) }).is_empty());
        let news = window.push(StatusReading { reload: reload("2", None), ..reading(2, 0, 0) });
        assert_eq!(news, ["generation 2: shop canary 10 → 50"]);
        assert!(window.push(StatusReading { reload: reload("2", None), ..reading(2, 0, 0) }).is_empty());
        let news = window.push(StatusReading { reload: reload("3", Some("error: no")), ..reading(2, 0, 0) });
        assert_eq!(news, ["error: no\nrejected: generation 2 stays in effect"]);
        assert!(window.is_rejected(), "keys do not edit the file");
        window.push(StatusReading { reload: reload("4", None), ..reading(3, 0, 0) });
        assert!(!window.is_rejected());
    }

    #[test]
    fn a_kill_by_another_terminal_is_news_and_restarts_the_figures() {
        let mut window = ReadingWindow::default();
        let killed = |killed_by: Option<&str>| StatusReading {
            killed: true,
            killed_by: killed_by.map(str::to_owned),
            ..reading(1, 1000, 100)
        };
        window.push(reading(1, 0, 0));
        window.push(reading(1, 1000, 100));
        assert_eq!(window.push(killed(Some("canary killed by ana: errors"))), ["canary killed by ana: errors"]);
        assert!(window.is_killed() && window.live(DemoFault::Off) == Live::Measuring);
        assert_eq!(window.push(reading(1, 1000, 100)), ["canary revived"]);
        window.set_killed(BrakeAct::Kill);
        assert!(window.push(killed(None)).is_empty(), "the key has said it");
        let kills = serde_json::json!([
            { "source": "file", "place": "routes.toml:1" },
            { "source": "call", "scope": { "all": true }, "seq": 2, "who": { "name": "a\u{1b}" }, "reason": "errors" },
            { "source": "call", "scope": { "route": "shop" }, "seq": 1, "who": { "name": "bo" }, "reason": "older" },
            { "source": "call", "scope": { "shadow": "api" }, "seq": 3, "who": { "name": "bo" }, "reason": "other" },
        ]);
        assert_eq!(killed_by(&kills).unwrap(), "canary killed by a\\u{1b}: errors");
        assert_eq!(killed_by(&Value::Null), None);
    }

    #[test]
    fn foreign_text_does_not_steer_the_terminal() {
        let applied = serde_json::json!({ "at": "1", "outcome": "applied", "summary": ["a\u{1b}[2J → b"] });
        assert_eq!(Reload::parse(&applied, &applied).unwrap().summary, ["a\\u{1b}[2J → b"]);
        let rejected =
            serde_json::json!({ "at": "1", "outcome": "rejected", "text": "error: \u{1b}c\n | a\u{202e}b\n" });
        assert_eq!(
            Reload::parse(&rejected, &Value::Null).unwrap().rejected.unwrap(),
            "error: \\u{1b}c\n | a\\u{202e}b"
        );
    }

    #[tokio::test]
    async fn a_page_that_is_not_answered_is_given_up_within_a_second() {
        assert!(PAGE_PATIENCE * 2 < Duration::from_secs(1), "two pages a second");
        // It is connected to, and never answers.
        let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let place = AdminPlace::named(&silent.local_addr().unwrap().to_string()).unwrap();
        assert_eq!(read(&AdminEndpoint::at(place, Credentials::default())).await, None);
    }
}
