//! What was rehearsed, and the words for its figures.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::traffic::KnownTraffic;
use crate::rehearsal::{Rehearsal, RehearsalReport, RunQuantiles, Timeline, assumptions};
use crate::release::span;
use crate::route::Rollout;

/// What was rehearsed.
#[derive(Debug)]
pub(super) struct RehearsalPage<'a> {
    pub rehearsal: Rehearsal<'a>,
    pub known: &'a KnownTraffic,
    pub timeline: Timeline,
    pub report: RehearsalReport,
    pub took: Duration,
}

impl RehearsalPage<'_> {
    /// A moment in the zone of the rollout: `Tue 2026-12-01 09:00`.
    pub fn moment(&self, ms: u64) -> String {
        moment_in(&zone(self.rehearsal.scene.rollout), ms)
    }

    /// The probability of a false rollback that the guards promise; `None`: none compares with stable and rolls back.
    pub fn promise(&self) -> Option<f64> {
        self.rehearsal.scene.rollout.guards.promised_alpha()
    }

    /// What was assumed, in sentences.
    pub fn assumed(&self) -> Vec<String> {
        let scene = &self.rehearsal.scene;
        let plan = &scene.rollout.plan;
        let mut all = vec![
            "requests come evenly over the day, each from any of the callers; variants beside stable and the canary get none"
                .to_owned(),
            "callers are those of an hour, at most 500 000, however long a stage lasts".to_owned(),
            "a request counts when it is sent: the time until it fails or is slow comes in addition".to_owned(),
            "each endpoint is usable, the journal can be written, and no person acts".to_owned(),
        ];
        if plan.stages.iter().any(|stage| !stage.approve.is_empty()) {
            all.push(match scene.approval_delay_ms {
                0 => "people approve at once (--approval-delay)".to_owned(),
                delay => format!("people approve after {}", span(delay)),
            });
        }
        if plan.stages.iter().any(|stage| !stage.gates.is_empty()) {
            all.push("gates pass: webhooks and Prometheus are not asked".to_owned());
        }
        if !scene.rollout.queries.is_empty() {
            let names: Vec<&str> = scene.rollout.queries.iter().map(|guard| guard.name.as_str()).collect();
            all.push(format!("guards that ask Prometheus are not played: {}", names.join(", ")));
        }
        if !plan.requires.is_empty() {
            let names: Vec<&str> = plan.requires.iter().map(|one| one.rollout.as_str()).collect();
            all.push(format!("the rollouts that it requires have reached their stages: {}", names.join(", ")));
        }
        if plan.max_tenants.is_some() {
            all.push("tenants stay below max_tenants".to_owned());
        }
        if plan.stages.iter().any(|stage| stage.require.shadow_mismatch.is_some()) {
            all.push("copies of the shadows do not differ".to_owned());
        }
        all.extend(assumptions(scene));
        if let Some(fault) = self.rehearsal.fault {
            let unseen = fault.unseen(scene);
            if !unseen.is_empty() {
                all.push(format!("no guard of the rollout counts {}", unseen.join(", ")));
            }
        }
        all
    }
}

/// The zone of a rollout.
pub(super) fn zone(rollout: &Rollout) -> TimeZone {
    TimeZone::get(&rollout.about.zone).unwrap_or(TimeZone::UTC)
}

/// A moment in a zone.
pub(super) fn moment_in(zone: &TimeZone, ms: u64) -> String {
    let moment = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(String::new, |moment| moment.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M").to_string())
}

/// `1 234 567`.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A time to the tenth of a second below ten seconds.
pub(super) fn time(ms: u64) -> String {
    if (100..10_000).contains(&ms) { format!("{}.{} s", ms / 1_000, ms % 1_000 / 100) } else { span(ms) }
}

/// `median 3 s, p90 5 s, at most 9 s`; one word where they are the same.
pub(super) fn spread(of: &RunQuantiles, word: impl Fn(u64) -> String) -> String {
    let (Some(median), Some(p90), Some(max)) = (of.median, of.p90, of.max) else { return "none".to_owned() };
    let [median, p90, max] = [median, p90, max].map(word);
    if median == p90 && p90 == max { median } else { format!("median {median}, p90 {p90}, at most {max}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_units() {
        assert_eq!([0, 999, 1_000, 36_000, 1_234_567].map(grouped), ["0", "999", "1 000", "36 000", "1 234 567"]);
        assert_eq!([0, 50, 900, 3_450, 12_000].map(time), ["0 s", "50 ms", "0.9 s", "3.4 s", "12 s"]);
        let of = |values: &[u64]| spread(&RunQuantiles::of(values.iter().copied()), time);
        assert_eq!(of(&[1_000, 2_000, 60_000]), "median 2.0 s, p90 1 min, at most 1 min");
        assert_eq!([of(&[]), of(&[5_000])], ["none", "5.0 s"]);
        let zone = TimeZone::get("Europe/Paris").unwrap();
        assert_eq!(moment_in(&zone, 1_796_112_000_000), "Tue 2026-12-01 09:00");
    }
}
