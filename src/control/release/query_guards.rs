//! The guards that ask Prometheus: how long each has been above its bound, and whether it has tripped.

use std::collections::BTreeMap;

use serde_json::json;

use crate::control::gate::{QuestionId, Replied, Reply};
use crate::release::{ArmCounts, GuardStanding, GuardState, RolloutTrip, TripAct};
use crate::route::{QueryGuard, Rollout};

/// A value that was not read for so many intervals says nothing.
const STALE_INTERVALS: u64 = 3;

/// The guards that ask Prometheus.
#[derive(Debug, Default)]
pub(in crate::control) struct QueryGuards {
    /// By rollout and guard.
    watched: BTreeMap<(String, String), QueryWatch>,
}

/// What is known about one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct QueryWatch {
    /// Above its bound since this time, in milliseconds since the process started.
    above_ms: Option<u64>,
    is_tripped: bool,
}

impl QueryGuards {
    /// The guards of a rollout that have tripped now, each once until its value is below the bound again.
    pub fn judge(
        &mut self,
        rollout: &Rollout,
        answers: &BTreeMap<QuestionId, Replied>,
        now_ms: u64,
    ) -> Vec<RolloutTrip> {
        let mut trips = Vec::new();
        for guard in &rollout.queries {
            let key = (rollout.name.clone(), guard.name.clone());
            let watch = self.watched.entry(key).or_default();
            match value(rollout, guard, answers, now_ms) {
                Some((value, asked_ms)) if value > guard.above => {
                    let since = *watch.above_ms.get_or_insert(asked_ms);
                    let is_due = u128::from(asked_ms.saturating_sub(since)) >= guard.hold_for.as_millis();
                    if is_due && !std::mem::replace(&mut watch.is_tripped, true) {
                        trips.push(trip(guard, value));
                    }
                }
                Some(_) => *watch = QueryWatch::default(),
                // Without a value the time above the bound begins anew.
                None => watch.above_ms = None,
            }
        }
        trips
    }

    /// The guards of a rollout begin anew.
    pub fn begin_anew(&mut self, rollout: &str) {
        self.watched.retain(|(of, _), _| of != rollout);
    }

    /// How the guards of a rollout stand.
    pub fn standings(
        &self,
        rollout: &Rollout,
        answers: &BTreeMap<QuestionId, Replied>,
        now_ms: u64,
    ) -> Vec<GuardStanding> {
        let one = |guard: &QueryGuard| {
            let key = (rollout.name.clone(), guard.name.clone());
            let is_tripped = self.watched.get(&key).is_some_and(|watch| watch.is_tripped);
            let reply = answers.get(&question(rollout, guard)).map(|replied| &replied.reply);
            let read = value(rollout, guard, answers, now_ms);
            let state = match (is_tripped, read) {
                (true, _) => GuardState::Tripped,
                (false, Some(_)) => GuardState::Watching,
                (false, None) => GuardState::NoData,
            };
            let sentence = match (read, reply) {
                (Some((value, _)), _) => format!("{}: {value}, at most {}", guard.name, guard.above),
                (None, Some(Reply::Failed(why))) => format!("{}: no value: {why}", guard.name),
                (None, Some(Reply::Value(_) | Reply::Webhook { .. }) | None) => {
                    format!("{}: Prometheus has not answered", guard.name)
                }
            };
            GuardStanding {
                name: guard.name.clone(),
                test: format!("{} at most {} for {} s", guard.query, guard.above, guard.hold_for.as_secs()),
                act: guard.act,
                alpha: None,
                state,
                evidence_log10: 0.0,
                threshold_log10: 0.0,
                tested: ArmCounts::default(),
                stable: ArmCounts::default(),
                estimate: None,
                slow_after: None,
                sentence,
            }
        };
        rollout.queries.iter().map(one).collect()
    }
}

/// The question of a guard.
pub(super) fn question(rollout: &Rollout, guard: &QueryGuard) -> QuestionId {
    QuestionId::Guard { rollout: rollout.name.clone(), guard: guard.name.clone() }
}

/// The last value, with the time when it was asked for; `None` when there is none, or only an old one.
fn value(
    rollout: &Rollout,
    guard: &QueryGuard,
    answers: &BTreeMap<QuestionId, Replied>,
    now_ms: u64,
) -> Option<(f64, u64)> {
    let replied = answers.get(&question(rollout, guard))?;
    let Reply::Value(value) = replied.reply else { return None };
    let age = u128::from(now_ms.saturating_sub(replied.asked_ms));
    let is_fresh = age <= guard.every.as_millis() * u128::from(STALE_INTERVALS);
    is_fresh.then_some((value, replied.asked_ms))
}

fn trip(guard: &QueryGuard, value: f64) -> RolloutTrip {
    let for_s = guard.hold_for.as_secs();
    let sentence = format!(
        "`{}` is {value}, above {} for {for_s} s; this guard has no stated rate of false alarms",
        guard.query, guard.above
    );
    RolloutTrip {
        guard: guard.name.clone(),
        route: None,
        act: TripAct::from(guard.act),
        counts_errors: false,
        evidence: json!({ "test": "prometheus", "query": guard.query, "value": value, "above": guard.above, "sentence": sentence }),
        sentence,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::control::release::rollout_tests::rollout;
    use crate::route::GuardAct;

    fn guard() -> QueryGuard {
        QueryGuard {
            name: "queue".to_owned(),
            place: crate::route::SourceLocation::default(),
            query: "queue_depth".to_owned(),
            above: 1000.0,
            hold_for: Duration::from_mins(1),
            every: Duration::from_secs(10),
            act: GuardAct::Hold,
        }
    }

    fn answered(reply: Reply, asked_ms: u64) -> BTreeMap<QuestionId, Replied> {
        let rollout = Rollout { queries: vec![guard()], ..rollout() };
        let id = question(&rollout, &guard());
        [(id.clone(), Replied { id, reply, asked_ms })].into()
    }

    #[test]
    fn it_trips_once_when_the_value_was_above_for_its_time() {
        let rollout = Rollout { queries: vec![guard()], ..rollout() };
        let mut guards = QueryGuards::default();
        let mut at = |seconds: u64, reply: Reply| {
            let now_ms = seconds * 1000;
            guards.judge(&rollout, &answered(reply, now_ms), now_ms).len()
        };
        assert_eq!((0..6).map(|n| at(n * 10, Reply::Value(1500.0))).sum::<usize>(), 0);
        assert_eq!(at(60, Reply::Value(1500.0)), 1);
        assert_eq!(at(70, Reply::Value(1500.0)), 0, "once");
        assert_eq!(at(80, Reply::Value(10.0)), 0);
        assert_eq!((9..15).map(|n| at(n * 10, Reply::Value(1001.0))).sum::<usize>(), 0);
        assert_eq!(at(145, Reply::Failed("no answer".to_owned())), 0, "the time begins anew");
        assert_eq!(at(150, Reply::Value(1001.0)), 0);
        assert_eq!(at(210, Reply::Value(1001.0)), 1);
    }

    #[test]
    fn an_old_value_says_nothing() {
        let rollout = Rollout { queries: vec![guard()], ..rollout() };
        let guards = QueryGuards::default();
        let fresh = guards.standings(&rollout, &answered(Reply::Value(5.0), 0), 30_000);
        assert_eq!((fresh[0].state, fresh[0].alpha), (GuardState::Watching, None));
        let old = guards.standings(&rollout, &answered(Reply::Value(5.0), 0), 30_001);
        assert_eq!(old[0].state, GuardState::NoData);
    }
}
