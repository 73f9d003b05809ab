//! What an act on a rollout would do, in words, shown before the question. Pages of the proxy are untrusted: control
//! characters are escaped.

use serde_json::Value;

use super::rollout_order::PersonOrder;
use crate::cli::endpoint_row::UpstreamRow;
use crate::cli::release_row::ReleaseRow;
use crate::cli::rollout_row::RolloutRow;
use crate::compare::escape_controls;

/// What an act would do; `entry` is the page of the rollout or release, `status` that of the proxy.
pub(super) fn before(order: PersonOrder<'_>, entry: &Value, status: Option<&Value>) -> Vec<String> {
    if entry.is_null() {
        return Vec::new();
    }
    if !RolloutRow::is(entry) {
        let PersonOrder::Resume(_) = order else { return Vec::new() };
        return of_static(&ReleaseRow::read(entry));
    }
    let row = RolloutRow::read(entry);
    let mut lines = vec![row.sentence()];
    lines.extend(effect(order, &row));
    if let (PersonOrder::Rollback(_) | PersonOrder::Rehearse(_), Some(status)) = (order, status) {
        lines.extend(stables(&row.name, status));
    }
    lines
}

/// Why a release was rolled back, and what a resume does.
fn of_static(row: &ReleaseRow) -> Vec<String> {
    let weight = row.weight;
    vec![row.sentence(), format!("its {weight} % of the callers go to it again, and its guards begin without evidence")]
}

fn effect(order: PersonOrder<'_>, row: &RolloutRow) -> Vec<String> {
    let current = row.current().map_or(0.0, |stage| stage.weight);
    match order {
        PersonOrder::Approve(..) => {
            let next = row.find(&row.stage).and_then(|at| row.stages.get(at + 1));
            let next = next.map_or_else(
                || "this lets it become complete".to_owned(),
                |next| format!("this lets it go on to {}, {} %, when all roles have approved", next.name, next.weight),
            );
            let mut lines = vec![next];
            let given = row.current().map(|stage| stage.approved.join(", ")).unwrap_or_default();
            lines.extend((!given.is_empty()).then(|| format!("approved so far: {given}")));
            lines.extend((!row.awaited.is_empty()).then(|| format!("it waits for {}", row.awaited.join(", "))));
            lines
        }
        PersonOrder::Hold(_) => vec![format!("it keeps its {} % until `pointsman rollout resume`", row.weight)],
        PersonOrder::Resume(_) if row.phase == "rolled_back" => {
            vec![format!("its {current} % of the callers go to it again, and its guards begin without evidence")]
        }
        PersonOrder::Resume(_) => {
            vec![format!("it goes on in stage {}, with {current} % after the checks before a raise", row.stage)]
        }
        PersonOrder::Rollback(_) => {
            let measured = row.share.map(|share| format!(" ({share:.1} % of the requests now)")).unwrap_or_default();
            let variants = row.variants.join(", ");
            vec![format!("{} % of the callers{measured} go from {variants} to stable", row.weight)]
        }
        PersonOrder::Rehearse(_) => {
            let variants = row.variants.join(", ");
            let goes = format!("{} % of the callers go from {variants} to stable, as when a guard trips", row.weight);
            vec![goes, format!("they come back after `pointsman rollout resume {}`; the stage begins anew", row.name)]
        }
        PersonOrder::Goto(_, stage) => vec![moved(row, stage)],
        PersonOrder::Restart(_) => {
            let first = row.stages.first().map(|stage| format!("{}, {} %", stage.name, stage.weight));
            let first = first.unwrap_or_default();
            vec![format!("it begins at its first stage ({first}), without evidence and approvals")]
        }
    }
}

/// The way to a stage.
fn moved(row: &RolloutRow, stage: &str) -> String {
    let Some(to) = row.find(stage) else {
        let names: Vec<&str> = row.stages.iter().map(|stage| stage.name.as_str()).collect();
        return format!("it has no stage `{}`; its stages: {}", escape_controls(stage), names.join(", "));
    };
    let weight = row.stages[to].weight;
    let from = format!("from {} ({} %) to {} ({weight} %)", row.stage, row.weight, row.stages[to].name);
    if row.find(&row.stage).is_some_and(|now| to > now) {
        format!("{from}: the gates of {} and the checks before a raise are asked now", row.stage)
    } else {
        format!("{from}, at once")
    }
}

/// Whether the callers find a stable that works: a line for each upstream.
fn stables(rollout: &str, status: &Value) -> Vec<String> {
    let list = |key: &str| status[key].as_array().into_iter().flatten();
    let mut names: Vec<&str> = list("routes")
        .filter(|route| route["rollout"] == rollout)
        .flat_map(|route| route["variants"].as_array().into_iter().flatten())
        .filter(|variant| variant["name"] == "stable")
        .filter_map(|variant| variant["upstream"].as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    let upstream = |name: &str| list("upstreams").find(|upstream| upstream["name"] == name).map(UpstreamRow::read);
    let line = |row: UpstreamRow| match row.usable {
        Some(0) => {
            format!("NO USABLE ENDPOINT OF STABLE: {}, 0 of {} usable; the callers get errors", row.name, row.total)
        }
        Some(usable) => {
            let trouble = row.trouble().map(|trouble| format!("; {trouble}")).unwrap_or_default();
            format!("stable is {}: {usable} of {} endpoints usable{trouble}", row.name, row.total)
        }
        None => format!("stable is {}", row.name),
    };
    names.into_iter().filter_map(upstream).map(line).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::args::{AdminArguments, RolloutActArguments};
    use crate::cli::rollout_row::tests::{in_beta, in_state};

    fn typed() -> RolloutActArguments {
        let (admin, name) = (AdminArguments::default(), "checkout-v2".to_owned());
        RolloutActArguments { admin, name, reason: None, yes: false, json: false }
    }

    #[test]
    fn each_act_says_what_it_does() {
        let typed = typed();
        let waiting = in_state(
            "checkout-v2",
            "running",
            &json!({ "doing": "awaiting_approval", "awaited": [{ "role": "tech-lead", "people": ["ana"] }] }),
        );
        let back = in_state("checkout-v2", "rolled_back", &json!({ "weight": 0.0, "says": "rolled back by errors" }));
        for (order, entry, lines) in [
            (
                PersonOrder::Approve(&typed, None),
                &waiting,
                "this lets it go on to full, 100 %, when all roles have approved\napproved so far: product by dee\n\
                 it waits for tech-lead (ana)",
            ),
            (PersonOrder::Hold(&typed), &waiting, "it keeps its 10 % until `pointsman rollout resume`"),
            (
                PersonOrder::Resume(&typed),
                &back,
                "its 10 % of the callers go to it again, and its guards begin without evidence",
            ),
            (
                PersonOrder::Rollback(&typed),
                &waiting,
                "10 % of the callers (9.8 % of the requests now) go from checkout:canary to stable",
            ),
            (PersonOrder::Goto(&typed, "internal"), &waiting, "from beta (10 %) to internal (1 %), at once"),
            (
                PersonOrder::Goto(&typed, "full"),
                &waiting,
                "from beta (10 %) to full (100 %): the gates of beta and the checks before a raise are asked now",
            ),
            (
                PersonOrder::Goto(&typed, "ful\u{1b}"),
                &waiting,
                "it has no stage `ful\\u{1b}`; its stages: dark, internal, beta, full",
            ),
            (
                PersonOrder::Restart(&typed),
                &waiting,
                "it begins at its first stage (dark, 0 %), without evidence and approvals",
            ),
        ] {
            let found = before(order, entry, None);
            assert!(found[0].starts_with("checkout-v2 in beta, since 2026-11-29 14:03:10Z: "), "{found:?}");
            assert_eq!(found[1..].join("\n"), lines, "{order:?}");
        }
        assert!(before(PersonOrder::Hold(&typed), &Value::Null, None).is_empty());
        let plain = json!({ "kind": "static", "name": "shop:canary", "state": "rolled_back", "weight": 5.0 });
        assert!(before(PersonOrder::Resume(&typed), &plain, None)[1].starts_with("its 5 % of the callers"));
    }

    #[test]
    fn a_rollback_shows_what_stable_looks_like() {
        let typed = typed();
        let stable = json!({ "name": "stable", "upstream": "checkout-v1" });
        let mut status = json!({
            "routes": [{ "rollout": "checkout-v2", "variants": [stable] }, { "rollout": null, "variants": [stable] }],
            "upstreams": [{ "name": "checkout-v1", "usable": 2, "total": 2, "endpoints": [] }],
        });
        let lines = |status: &Value| before(PersonOrder::Rollback(&typed), &in_beta(), Some(status));
        assert_eq!(lines(&status)[2], "stable is checkout-v1: 2 of 2 endpoints usable");
        status["upstreams"][0]["usable"] = json!(0);
        assert_eq!(
            lines(&status)[2],
            "NO USABLE ENDPOINT OF STABLE: checkout-v1, 0 of 2 usable; the callers get errors"
        );
    }
}
