//! No-go: what stops the release, and how often it would stop a healthy one.

use super::criteria::short;
use super::markup::{PaddedTable, bullets, code, text};
use super::sheet::PlanSheet;
use crate::release::span;
use crate::route::{Guard, GuardAct, GuardTest, Rollout};

/// What stops the release.
pub(super) fn no_go_criteria(sheet: &PlanSheet<'_>) -> String {
    let rollout = sheet.rollout;
    let mut table = PaddedTable::new(&["guard", "counts", "trips on evidence that", "alpha", "then"]);
    for (at, guard) in rollout.guards.all.iter().enumerate() {
        let scope = if rollout.by_route.contains(&at) { ", each route alone" } else { "" };
        table.row([
            text(&guard.name),
            format!("{}{scope}", text(&rollout.guards.metric(guard))),
            test(guard),
            alpha(rollout, guard),
            act(guard.act).to_owned(),
        ]);
    }
    for query in &rollout.queries {
        let trips = format!("it is above {} for {}", query.above, span(ms(query.hold_for)));
        table.row([
            text(&query.name),
            "a query, see below".to_owned(),
            trips,
            "none".to_owned(),
            act(query.act).to_owned(),
        ]);
    }
    let mut all = format!(
        "## No-go\n\nGuards watch in every stage, also while the rollout is held or frozen.\n\n{}",
        table.markdown()
    );
    let mut points = vec![
        "**error**: the first try ends with 5xx, a reset, a timeout or no connection; of gRPC with a status that blames the server"
            .to_owned(),
        "a caller counts once: one that fails a thousand times is one".to_owned(),
        "**in a row**: 20 failures of the canary in a row, from at least 5 callers, trip the guard of errors at once".to_owned(),
        "**canary down**: no endpoint accepts connections: the weight is 0 at once; after 10 s it is rolled back where the \
         guard of errors does so"
            .to_owned(),
        "a rollback needs a stable with a usable endpoint; without one the rollout is held at its weight, with an alarm".to_owned(),
    ];
    for query in &rollout.queries {
        let every = span(ms(query.every));
        points.push(format!("query of {}, asked every {every}: {}", text(&query.name), code(&query.query)));
    }
    all.push_str(&bullets(&points));
    all.push_str(&false_rollbacks(sheet));
    all
}

fn ms(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn test(guard: &Guard) -> String {
    let near = if guard.near_full { ", from a weight of 90 on" } else { "" };
    let words = match guard.test {
        GuardTest::WorseThanStable(ratio) => format!("its rate is above {ratio} × stable's"),
        GuardTest::Above(Some(rate)) => format!("its rate is above {} %", short(rate * 100.0)),
        GuardTest::Above(None) => "its rate is above 3 × stable's, and above 1 %".to_owned(),
        GuardTest::SampleRatio => "the shares are not those of the weights".to_owned(),
    };
    format!("{words}{near}")
}

const fn act(act: GuardAct) -> &'static str {
    match act {
        GuardAct::Rollback => "rollback",
        GuardAct::Hold => "hold",
        GuardAct::Warn => "warning",
    }
}

/// The probability of a false alarm; a guard with an absolute bound promises none.
fn alpha(rollout: &Rollout, guard: &Guard) -> String {
    if matches!(guard.test, GuardTest::Above(_)) {
        return "-".to_owned();
    }
    let routes = rollout.members.len();
    let is_divided = rollout
        .guards
        .all
        .iter()
        .position(|one| one.name == guard.name)
        .is_some_and(|at| rollout.by_route.contains(&at));
    let divided = if is_divided && routes > 1 { format!(", divided by {routes}") } else { String::new() };
    format!("{}{divided}", short(guard.alpha))
}

fn false_rollbacks(sheet: &PlanSheet<'_>) -> String {
    let own = sheet.rollout.guards.promised_alpha().unwrap_or(0.0);
    let terms: Vec<String> = (sheet.rollout.guards.all.iter())
        .filter(|guard| guard.is_promised())
        .map(|guard| format!("{} {}", short(guard.alpha), text(&guard.name)))
        .collect();
    let mut points = Vec::new();
    if terms.is_empty() {
        points.push("no guard that compares with stable rolls back".to_owned());
    } else {
        let sum = short(own * 100.0);
        points.push(format!(
            "a healthy revision is rolled back with a probability of **at most {sum} %**: {}",
            terms.join(" + ")
        ));
    }
    points.push("a resume after a rollback spends it once more".to_owned());
    let others: Vec<&Rollout> = sheet.rules.rollouts.iter().filter(|one| one.name != sheet.rollout.name).collect();
    if !others.is_empty() {
        let all: f64 = own + others.iter().map(|one| one.guards.promised_alpha().unwrap_or(0.0)).sum::<f64>();
        let all = short(all * 100.0);
        points.push(format!(
            "with the other {} of the file together: at most {all} %",
            crate::cli::out::count(others.len(), "rollout")
        ));
    }
    points.push(
        "outside of it: guards with an absolute bound, queries, failures in a row, and a canary that is down"
            .to_owned(),
    );
    format!("### How often a healthy release is stopped\n\n{}", bullets(&points))
}
