//! A rollout as JSON: where it is, what stands in its way, who is asked, and the evidence of each guard.

use std::time::Duration;

use serde_json::{Value, json};

use super::format::time;
use super::release_json::{closest, guard, rounded};
use crate::control::route_traffic::MeasuredTraffic;
use crate::release::{
    Approval, AwaitedRole, Block, HeldCause, RolloutPhase, RolloutStanding, StagePlace, StageStanding,
};

/// The words of what a rollout does while it runs.
pub(super) const RUNNING_WORDS: [&str; 5] = ["baking", "ramping", "gated", "frozen", "awaiting_approval"];

/// A rollout in short: with the guard that is closest to its threshold. `share` is the measured one, 0 to 1.
pub(super) fn rollout(standing: &RolloutStanding, share: Option<f64>) -> Value {
    let RolloutStanding { name, revision, variants, owner, ticket, phase, stage, stages, weight, .. } = standing;
    let (because, by) = cause(phase);
    json!({
        "kind": "rollout",
        "name": name,
        "revision": revision,
        "variants": variants,
        "owner": owner,
        "ticket": ticket,
        "stage": stage,
        "stages": stages.iter().map(one_stage).collect::<Vec<_>>(),
        "weight": weight,
        "max_weight": standing.max_weight,
        "share": share.map(|share| rounded(share * 100.0)),
        "state": phase.name(),
        "doing": doing(standing),
        "because": because,
        "by": by,
        "at": standing.at,
        "seq": standing.seq,
        "durable": standing.durable,
        "says": standing.says,
        "unblock": standing.unblock,
        "blocks": standing.blocks.iter().map(block).collect::<Vec<_>>(),
        "awaited": standing.awaited.iter().map(awaited).collect::<Vec<_>>(),
        "next": at(standing.next_ms),
        "expired": standing.expired,
        "edit": standing.edit,
        "needs_person": needs_person(standing),
        "closest": closest(&standing.guards).map(guard),
    })
}

/// A rollout with all its guards.
pub(super) fn with_guards(standing: &RolloutStanding, share: Option<f64>) -> Value {
    let mut value = rollout(standing, share);
    value["guards"] = standing.guards.iter().map(guard).collect();
    value
}

/// The traffic of a route of a rollout; `None`: it was not read yet.
pub(super) fn traffic(route: &str, traffic: Option<&MeasuredTraffic>) -> Value {
    let measured = traffic.cloned().unwrap_or_default();
    json!({
        "route": route,
        "rate": measured.rate().map(rounded),
        "requests": measured.requests,
        "over_ms": measured.over_ms,
        "stable_answers": measured.stable.requests,
        "stable_errors": measured.stable.failed,
        "error_ratio": measured.stable.rate(),
        "p99_ms": measured.p99.map(|p99| rounded(p99.as_secs_f64() * 1e3)),
        "callers": measured.callers.map(|callers| callers.count),
        "callers_since": measured.callers.map(|callers| time(callers.since)),
        "callers_over_ms": measured.callers.map(|callers| u64::try_from(callers.over.as_millis()).unwrap_or(u64::MAX)),
    })
}

/// What stands in the way of a rollout.
pub(super) fn block(block: &Block) -> Value {
    let Block { kind, says, unblock, until_ms } = block;
    json!({ "kind": kind.name(), "says": says, "unblock": unblock, "until": at(*until_ms) })
}

/// The word for the state with what the rollout does: `gated`, `held_guard`, `rolled_back`.
pub(super) fn state_word(standing: &RolloutStanding) -> String {
    match &standing.phase {
        RolloutPhase::Running => doing(standing).unwrap_or("baking").to_owned(),
        RolloutPhase::Held(held) => held_word(held.cause),
        RolloutPhase::Pending | RolloutPhase::Killed | RolloutPhase::RolledBack(_) | RolloutPhase::Complete => {
            standing.phase.name().to_owned()
        }
    }
}

/// All words of [`state_word`], sorted.
pub(super) fn state_words() -> Vec<String> {
    let others = ["pending", "killed", "rolled_back", "complete"].map(str::to_owned);
    let held = HeldCause::ALL.map(held_word);
    let mut all: Vec<String> = RUNNING_WORDS.map(str::to_owned).into_iter().chain(held).chain(others).collect();
    all.sort_unstable();
    all
}

fn held_word(cause: HeldCause) -> String {
    format!("held_{}", cause.name().replace(' ', "_"))
}

/// Whether it does not go on before a person acts.
fn needs_person(standing: &RolloutStanding) -> bool {
    match &standing.phase {
        RolloutPhase::RolledBack(_) => true,
        // Callers get errors now, whatever it waits for.
        RolloutPhase::Held(held) => !held.cause.ends_by_itself() || held.cause == HeldCause::NoRollbackTarget,
        RolloutPhase::Running => standing.expired || !standing.awaited.is_empty(),
        RolloutPhase::Pending => standing.expired,
        RolloutPhase::Killed | RolloutPhase::Complete => false,
    }
}

fn doing(standing: &RolloutStanding) -> Option<&'static str> {
    Some(standing.doing).filter(|doing| !doing.is_empty() && standing.phase == RolloutPhase::Running)
}

/// Why it is held, and who has stopped it.
fn cause(phase: &RolloutPhase) -> (Option<&'static str>, Option<&str>) {
    match phase {
        RolloutPhase::Held(held) => (Some(held.cause.name()), Some(&held.by)),
        RolloutPhase::RolledBack(rolled_back) => (None, Some(&rolled_back.by)),
        RolloutPhase::Pending | RolloutPhase::Running | RolloutPhase::Killed | RolloutPhase::Complete => (None, None),
    }
}

fn one_stage(stage: &StageStanding) -> Value {
    let StageStanding { name, weight, place, run_ms, min_duration_ms, approved, approve } = stage;
    json!({
        "name": name,
        "weight": weight,
        "place": place.name(),
        "run_ms": run_ms.filter(|_| *place == StagePlace::Current),
        "min_duration_ms": min_duration_ms,
        "approve": approve,
        "approved": approved.iter().map(approval).collect::<Vec<_>>(),
    })
}

fn approval(approval: &Approval) -> Value {
    let Approval { role, by, at, .. } = approval;
    json!({ "role": role, "by": by, "at": at })
}

fn awaited(awaited: &AwaitedRole) -> Value {
    json!({ "role": awaited.role, "people": awaited.people })
}

/// RFC 3339 of milliseconds since the Unix epoch.
fn at(ms: Option<u64>) -> Value {
    ms.map_or(Value::Null, |ms| time(Duration::from_millis(ms)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::control::admin::release_json::tests::standing_of;
    use crate::release::{BlockKind, GuardState, Held, RolledBack};

    /// A rollout in its stage `beta`, of three.
    pub(in crate::control::admin) fn in_beta(phase: RolloutPhase) -> RolloutStanding {
        let stage = |name: &str, weight, place| StageStanding {
            name: name.to_owned(),
            weight,
            place,
            run_ms: (place == StagePlace::Current).then_some(720_000),
            min_duration_ms: 7_200_000,
            approved: Vec::new(),
            approve: Vec::new(),
        };
        let [name, revision, variant, owner, says, stage_name, at] = [
            "checkout-v2",
            "checkout-v2=1.4",
            "checkout:canary",
            "team-payments",
            "in stage beta",
            "beta",
            "2026-11-29T14:03:10.000Z",
        ]
        .map(str::to_owned);
        let mut beta = stage("beta", 10.0, StagePlace::Current);
        beta.approve = vec!["tech-lead".to_owned(), "product".to_owned()];
        let [role, by, given, plan] = ["product", "dee", "2026-11-29T15:00:00.000Z", "x"].map(str::to_owned);
        beta.approved = vec![Approval { stage: "beta".to_owned(), role, by, at: given, plan }];
        RolloutStanding {
            name,
            revision,
            variants: vec![variant],
            owner: Some(owner),
            ticket: None,
            phase,
            doing: "gated",
            says,
            unblock: Some("108 min more".to_owned()),
            blocks: vec![Block {
                kind: BlockKind::Duration,
                says: "12 min of 2 h".to_owned(),
                unblock: "108 min more".to_owned(),
                until_ms: Some(1_796_050_990_000),
            }],
            stage: stage_name,
            stages: vec![stage("internal", 1.0, StagePlace::Done), beta, stage("full", 100.0, StagePlace::Ahead)],
            weight: 10.0,
            max_weight: 100.0,
            next_ms: Some(1_796_050_990_000),
            awaited: Vec::new(),
            guards: vec![standing_of("errors", 0.5, GuardState::Watching)],
            at,
            seq: Some(7),
            durable: true,
            expired: false,
            edit: Vec::new(),
        }
    }

    fn held(cause: HeldCause) -> RolloutPhase {
        let [sentence, by] = ["look first", "bo"].map(str::to_owned);
        let (was_complete, passed_over, by_person, before) = (false, false, false, None);
        RolloutPhase::Held(Held { cause, sentence, by, was_complete, for_ms: 0, passed_over, by_person, before })
    }

    #[test]
    fn a_rollout_has_its_stages_and_what_stands_in_its_way() {
        let value = with_guards(&in_beta(RolloutPhase::Running), Some(0.0981));
        for (member, expected) in [
            ("kind", json!("rollout")),
            ("state", json!("running")),
            ("doing", json!("gated")),
            ("share", json!(9.81)),
            ("because", Value::Null),
            ("ticket", Value::Null),
            ("needs_person", json!(false)),
        ] {
            assert_eq!(value[member], expected, "{member}: {value:#}");
        }
        assert_eq!(value["blocks"][0]["kind"], "duration");
        assert_eq!(value["blocks"][0]["until"], value["next"]);
        assert!(value["next"].as_str().is_some_and(|at| at.starts_with("2026-11-30T")), "{value:#}");
        assert_eq!((&value["stages"][0]["place"], &value["stages"][0]["run_ms"]), (&json!("done"), &Value::Null));
        assert_eq!(
            (&value["stages"][1]["run_ms"], &value["stages"][1]["approved"][0]["by"]),
            (&json!(720_000), &json!("dee"))
        );
        assert_eq!((&value["guards"][0]["name"], &value["closest"]["name"]), (&json!("errors"), &json!("errors")));
    }

    #[test]
    fn states_have_words_and_say_whether_a_person_is_needed() {
        let back = RolloutPhase::RolledBack(RolledBack { by: "errors".to_owned(), sentence: String::new() });
        for (phase, word, needs) in [
            (RolloutPhase::Pending, "pending", false),
            (RolloutPhase::Running, "gated", false),
            (held(HeldCause::Person), "held_person", true),
            (held(HeldCause::CanaryDown), "held_canary_down", false),
            (held(HeldCause::NoRollbackTarget), "held_no_rollback_target", true),
            (back, "rolled_back", true),
            (RolloutPhase::Killed, "killed", false),
            (RolloutPhase::Complete, "complete", false),
        ] {
            let standing = in_beta(phase);
            assert!(state_words().iter().any(|known| known == word), "{word}");
            assert_eq!((state_word(&standing).as_str(), needs_person(&standing)), (word, needs));
        }
        let person = rollout(&in_beta(held(HeldCause::Person)), None);
        assert_eq!(
            (&person["because"], &person["by"], &person["doing"]),
            (&json!("person"), &json!("bo"), &Value::Null)
        );
        let mut asked = in_beta(RolloutPhase::Running);
        asked.awaited = vec![AwaitedRole { role: "tech-lead".to_owned(), people: vec!["ana".to_owned()] }];
        let asked = rollout(&asked, None);
        assert_eq!((&asked["needs_person"], &asked["awaited"][0]["people"][0]), (&json!(true), &json!("ana")));
    }
}
