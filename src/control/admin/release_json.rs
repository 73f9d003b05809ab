//! A release as JSON: its state with what would end it, and the evidence of each guard. `/v1/rollouts`, `/status` and
//! `/explain` show the same.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::release::{
    ArmCounts, GuardStanding, GuardState, HoldCause, ReleaseStanding, ReleaseState, Rollback, Warning,
};

/// The releases of a route, each in short.
pub(super) fn of_route(releases: &[ReleaseStanding], route: &str) -> Vec<Value> {
    releases.iter().filter(|one| one.route == route).map(release).collect()
}

/// The releases by route, each in short.
pub(super) fn by_route(releases: &[ReleaseStanding]) -> BTreeMap<&str, Vec<Value>> {
    let mut by_route: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for one in releases {
        by_route.entry(&one.route).or_default().push(release(one));
    }
    by_route
}

/// A release in short: with the guard that is closest to its threshold.
pub(super) fn release(standing: &ReleaseStanding) -> Value {
    let ReleaseStanding { route, variant, revision, weight, state, guards } = standing;
    let mut value = json!({
        "kind": "static",
        "name": standing.name(),
        "route": route,
        "variant": variant,
        "revision": revision,
        "weight": weight,
        "state": state.name(),
        "because": because(state),
        "by": null,
        "at": null,
        "seq": null,
        "durable": null,
        "says": says(standing),
        "unblock": unblock(standing),
        "closest": closest(guards).map(guard),
    });
    match state {
        ReleaseState::Watching | ReleaseState::Held(HoldCause::CanaryDown) => {}
        ReleaseState::Warned(warning) | ReleaseState::Held(HoldCause::NoRollbackTarget(warning)) => {
            value["by"] = json!(warning.guard);
            value["at"] = json!(warning.at);
            value["seq"] = json!(warning.seq);
        }
        ReleaseState::RolledBack(rollback) => {
            value["by"] = json!(rollback.by);
            value["at"] = json!(rollback.at);
            value["seq"] = json!(rollback.seq);
            value["durable"] = json!(rollback.durable);
        }
    }
    value
}

/// A release with all its guards.
pub(super) fn with_guards(standing: &ReleaseStanding) -> Value {
    let mut value = release(standing);
    value["guards"] = standing.guards.iter().map(guard).collect();
    value
}

/// Why it is held.
const fn because(state: &ReleaseState) -> Option<&'static str> {
    match state {
        ReleaseState::Held(cause) => Some(cause.name()),
        ReleaseState::Watching | ReleaseState::Warned(_) | ReleaseState::RolledBack(_) => None,
    }
}

/// The guard that is closest to its threshold; one that has tripped before the others.
pub(super) fn closest(guards: &[GuardStanding]) -> Option<&GuardStanding> {
    // One that has tripped comes before all others, one without callers after them. One without a threshold has no evidence.
    let nearness = |guard: &GuardStanding| {
        if guard.state == GuardState::Tripped {
            1e6
        } else if guard.tested.exposures == 0 && guard.threshold_log10 > 0.0 {
            -1e6 + guard.evidence_log10
        } else if guard.threshold_log10 > 0.0 {
            guard.evidence_log10 / guard.threshold_log10
        } else {
            f64::MIN
        }
    };
    guards
        .iter()
        .filter(|guard| guard.state.judges())
        .reduce(|best, next| if nearness(next) > nearness(best) { next } else { best })
}

/// The state and why, in one line.
pub(super) fn says(standing: &ReleaseStanding) -> String {
    match &standing.state {
        ReleaseState::Watching => match (closest(&standing.guards), standing.guards.is_empty()) {
            (Some(guard), _) => {
                let sentence = without_name(&guard.name, &guard.sentence);
                format!("no guard has tripped; the closest is {}: {sentence}", guard.name)
            }
            (None, false) => "no guard has tripped: there is no request yet".to_owned(),
            (None, true) => "no guard watches".to_owned(),
        },
        ReleaseState::Warned(Warning { guard, sentence, .. }) => {
            format!("guard {guard} warns: {}", without_name(guard, sentence))
        }
        ReleaseState::Held(HoldCause::CanaryDown) => {
            "held at 0: no endpoint could be reached at its last try".to_owned()
        }
        ReleaseState::Held(HoldCause::NoRollbackTarget(Warning { guard, sentence, .. })) => format!(
            "held at its weight: guard {guard} wants a rollback, and stable has no usable endpoint: {}",
            without_name(guard, sentence)
        ),
        ReleaseState::RolledBack(Rollback { by, sentence, .. }) => {
            format!("rolled back by {by}: {}", without_name(by, sentence))
        }
    }
}

/// A sentence without the name of its guard, which stands before it.
fn without_name<'s>(guard: &str, sentence: &'s str) -> &'s str {
    let rest = sentence.strip_prefix(guard).and_then(|rest| rest.strip_prefix(':'));
    rest.map_or(sentence, str::trim_start)
}

/// What would end the state, in one line; nothing for a release that guards watch.
fn unblock(standing: &ReleaseStanding) -> Option<String> {
    let (name, upstream) = (standing.name(), standing.revision.split('=').next().unwrap_or_default());
    match &standing.state {
        ReleaseState::Watching => None,
        ReleaseState::Warned(_) => Some(format!(
            "no request moves: read the evidence; `pointsman kill --variant {name} --reason TEXT` stops it"
        )),
        ReleaseState::Held(HoldCause::CanaryDown) => {
            Some(format!("it ends by itself when an endpoint of {upstream} accepts connections"))
        }
        ReleaseState::Held(HoldCause::NoRollbackTarget(_)) => Some(format!(
            "it is rolled back as soon as stable has a usable endpoint; `pointsman kill --variant {name} --reason TEXT` \
             acts at once"
        )),
        ReleaseState::RolledBack(_) if standing.revision.contains('=') => Some(format!(
            "another `revision` of upstream {upstream}, or `pointsman rollout resume {name} --reason TEXT`"
        )),
        ReleaseState::RolledBack(_) => Some(format!(
            "`pointsman rollout resume {name} --reason TEXT`: upstream {upstream} has no `revision` by which another \
             deploy is known"
        )),
    }
}

pub(super) fn guard(standing: &GuardStanding) -> Value {
    json!({
        "name": standing.name,
        "test": standing.test,
        "act": standing.act.name(),
        "alpha": standing.alpha,
        "state": standing.state.label(),
        "evidence_log10": rounded(standing.evidence_log10),
        "threshold_log10": rounded(standing.threshold_log10),
        "tested": counts(standing.tested),
        "stable": counts(standing.stable),
        "ratio": standing.estimate.map(|estimate| json!({
            "estimate": rounded(estimate.theta),
            "lower": estimate.lower.map(rounded),
            "upper": estimate.upper.map(rounded),
        })),
        "slow_after_ms": standing.slow_after.map(|after| rounded(after.as_secs_f64() * 1e3)),
        "says": standing.sentence,
    })
}

fn counts(counts: ArmCounts) -> Value {
    let ArmCounts { exposures, events } = counts;
    #[expect(clippy::cast_precision_loss, reason = "a rate is for people")]
    let rate = (exposures > 0).then(|| events as f64 / exposures as f64);
    json!({ "exposures": exposures, "events": events, "rate": rate })
}

/// To four decimals.
pub(super) fn rounded(figure: f64) -> f64 {
    (figure * 1e4).round() / 1e4
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::route::GuardAct;
    use crate::stats::Estimate;

    pub(in crate::control::admin) fn standing_of(name: &str, evidence_log10: f64, state: GuardState) -> GuardStanding {
        GuardStanding {
            name: name.to_owned(),
            test: "errors: at most 1.1 × stable".to_owned(),
            act: GuardAct::Rollback,
            alpha: Some(0.003),
            state,
            evidence_log10,
            threshold_log10: 2.522_878_7,
            tested: ArmCounts { exposures: 200, events: 5 },
            stable: ArmCounts::default(),
            estimate: Some(Estimate { theta: 3.1, lower: Some(1.9), upper: None }),
            slow_after: Some(Duration::from_micros(1_500)),
            sentence: format!("{name} says"),
        }
    }

    fn release_in(state: ReleaseState) -> ReleaseStanding {
        let guards = vec![
            standing_of("quiet", 9.0, GuardState::NoData),
            standing_of("errors", 0.5, GuardState::Watching),
            standing_of("latency", 0.75, GuardState::Watching),
        ];
        let [route, variant, revision] = ["shop", "canary", "shop-v2=1.4"].map(str::to_owned);
        ReleaseStanding { route, variant, revision, weight: 5.0, state, guards }
    }

    fn warning() -> Warning {
        let [guard, sentence, at] = ["errors", "it saw much", "2026-11-29T14:03:10.000Z"].map(str::to_owned);
        Warning { guard, sentence, at, seq: Some(7) }
    }

    fn rollback() -> Rollback {
        let Warning { guard: by, sentence, at, seq } = warning();
        Rollback { by, sentence, at, seq, durable: true }
    }

    #[test]
    fn each_state_says_why_and_what_would_end_it() {
        for (state, says, unblock) in [
            (ReleaseState::Watching, "no guard has tripped; the closest is latency: latency says", None),
            (ReleaseState::Warned(warning()), "guard errors warns: it saw much", Some("no request moves")),
            (ReleaseState::Held(HoldCause::CanaryDown), "held at 0", Some("an endpoint of shop-v2 accepts")),
            (ReleaseState::Held(HoldCause::NoRollbackTarget(warning())), "held at its weight", Some("usable endpoint")),
            (ReleaseState::RolledBack(rollback()), "rolled back by errors: it saw much", Some("another `revision`")),
        ] {
            let value = release(&release_in(state));
            assert!(value["says"].as_str().is_some_and(|text| text.contains(says)), "{value:#}");
            assert_eq!(value["unblock"].is_string(), unblock.is_some(), "{value:#}");
            assert!(value["unblock"].as_str().unwrap_or_default().contains(unblock.unwrap_or_default()), "{value:#}");
        }
        let plain =
            ReleaseStanding { revision: "shop-v2".to_owned(), ..release_in(ReleaseState::RolledBack(rollback())) };
        assert!(super::unblock(&plain).is_some_and(|text| text.starts_with("`pointsman rollout resume shop:canary")));
    }

    #[test]
    fn the_name_of_a_guard_stands_once() {
        for (sentence, rest) in [("errors: 14 of 20", "14 of 20"), ("errors 3 × stable", "errors 3 × stable"), ("", "")]
        {
            assert_eq!(without_name("errors", sentence), rest);
        }
    }

    #[test]
    fn a_guard_has_its_evidence_and_the_counts_of_both_arms() {
        let value = with_guards(&release_in(ReleaseState::RolledBack(rollback())));
        assert_eq!((&value["by"], &value["seq"], &value["durable"]), (&json!("errors"), &json!(7), &json!(true)));
        let guard = &value["guards"][1];
        assert_eq!(guard["threshold_log10"], 2.5229);
        assert_eq!(guard["tested"], json!({ "exposures": 200, "events": 5, "rate": 0.025 }));
        assert_eq!(guard["stable"]["rate"], Value::Null);
        assert_eq!(guard["ratio"], json!({ "estimate": 3.1, "lower": 1.9, "upper": null }));
        assert_eq!((&guard["slow_after_ms"], &guard["state"]), (&json!(1.5), &json!("watching")));
    }

    #[test]
    fn the_closest_guard_is_the_one_that_has_tripped() {
        let tripped = standing_of("ratio", 0.1, GuardState::Tripped);
        let guards = [standing_of("errors", 2.0, GuardState::Watching), tripped];
        assert_eq!(closest(&guards).map(|guard| guard.name.as_str()), Some("ratio"));
        assert_eq!(closest(&guards[..1]).map(|guard| guard.name.as_str()), Some("errors"));
        assert!(closest(&[standing_of("errors", 0.0, GuardState::NoData)]).is_none());
        let query = GuardStanding { threshold_log10: 0.0, ..standing_of("queue", 0.0, GuardState::Watching) };
        let guards = [query, standing_of("errors", -1.0, GuardState::Watching)];
        assert_eq!(closest(&guards).map(|guard| guard.name.as_str()), Some("errors"));
    }
}
