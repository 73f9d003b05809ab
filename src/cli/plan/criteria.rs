//! Go: what each stage needs before it is left, in words.

use super::markup::{bullets, code, text};
use super::sheet::PlanSheet;
use super::stages::grouped;
use crate::release::{percent, span};
use crate::route::{Gate, OverdueAct, Stage};

/// What each stage needs.
pub(super) fn go_criteria(sheet: &PlanSheet<'_>) -> String {
    let plan = &sheet.rollout.plan;
    let mut all = "## Go\n\nA stage is left when **all** of its points hold; people are asked last.\n\n".to_owned();
    let after = plan.stages.iter().skip(1).map(Some).chain([None]);
    for (stage, next) in plan.stages.iter().zip(after) {
        let goal = match next {
            Some(next) => format!("before stage {} at {}", text(&next.name), percent(next.weight.min(plan.max_weight))),
            None => "before the rollout is complete".to_owned(),
        };
        all.push_str(&format_stage(&text(&stage.name), &goal));
        all.push_str(&bullets(&needs(sheet, stage, next)));
    }
    all.push_str("### Before each raise of the weight\n\n");
    all.push_str(&bullets(&before_each_raise(sheet)));
    all
}

fn format_stage(name: &str, goal: &str) -> String {
    format!("### Stage {name}: {goal}\n\n")
}

/// The points of a stage.
fn needs(sheet: &PlanSheet<'_>, stage: &Stage, next: Option<&Stage>) -> Vec<String> {
    let mut points = Vec::new();
    if stage.min_duration_ms > 0 {
        points.push(format!("**time**: {} of running time in the stage", span(stage.min_duration_ms)));
    }
    let names_rate = stage.require.non_inferior.is_some() || stage.require.or_rate_below.is_some();
    let is_rated = names_rate && stage.weight > 0;
    match stage.min_requests {
        Some(0) => {}
        Some(count) => points.push(format!("**requests**: {} answered by the canary", grouped(count))),
        None if is_rated => points.push(
            "**requests**: so many answered by the canary that 5 errors are expected at stable's rate, at most 5 000"
                .to_owned(),
        ),
        None => {}
    }
    match stage.min_keys.or(is_rated.then_some(100)) {
        Some(0) | None => {}
        Some(count) => points.push(format!("**callers**: {} distinct ones of the canary", grouped(count))),
    }
    points.extend(evidence(stage));
    points.extend(stage.gates.iter().map(gate));
    if !stage.approve.is_empty() {
        let role = |role: &String| format!("{} ({})", text(role), super::markup::any_of(sheet.people(role)));
        let roles: Vec<String> = stage.approve.iter().map(role).collect();
        let same = if sheet.rollout.plan.same_person { "" } else { "; one person fills one role" };
        points.push(format!("**approval** of {}{same}", roles.join(", and of ")));
    }
    if let Some(ms) = next.and_then(|next| next.not_before_ms) {
        points.push(format!("**date**: not before {}", sheet.date(ms)));
    }
    if points.is_empty() {
        points.push("nothing: it goes on at once when the checks below hold".to_owned());
    }
    points
}

fn evidence(stage: &Stage) -> Vec<String> {
    let require = &stage.require;
    let mut points = Vec::new();
    let ratio =
        require.non_inferior.map(|ratio| format!("that the canary's rate of errors is below {ratio} × stable's"));
    let rate = require.or_rate_below.map(|rate| format!("that its rate of errors is below {} %", short(rate * 100.0)));
    let either: Vec<String> = ratio.into_iter().chain(rate).collect();
    if !either.is_empty() {
        points.push(format!("**evidence** at the level of 95 % {}", either.join(", or ")));
    }
    if let Some(share) = require.shadow_mismatch {
        points.push(format!("**copies**: at most {} % of the compared responses differ", short(share * 100.0)));
    }
    points
}

fn gate(gate: &Gate) -> String {
    match gate {
        Gate::Webhook { url, every_ms, .. } => {
            format!("**gate**: the webhook {} answers that it passes, asked every {}", code(url), span(*every_ms))
        }
        Gate::Prometheus { query, max, min, every_ms } => {
            let bounds = [min.map(|min| format!("at least {min}")), max.map(|max| format!("at most {max}"))];
            let bounds: Vec<String> = bounds.into_iter().flatten().collect();
            format!("**gate**: the query {} is {}, asked every {}", code(query), bounds.join(" and "), span(*every_ms))
        }
    }
}

fn before_each_raise(sheet: &PlanSheet<'_>) -> Vec<String> {
    let plan = &sheet.rollout.plan;
    let mut points = vec![
        "no freeze window is in force, and the plan has not expired".to_owned(),
        "the canary has usable endpoints, none of them ejected or failing, and stable is not in trouble".to_owned(),
        "no edit of the file waits that was rejected, and the journal can be written".to_owned(),
    ];
    if let Some(tenants) = plan.max_tenants {
        points.push(format!("fewer than {} distinct tenants are exposed (an estimate)", grouped(tenants)));
    }
    for one in &plan.requires {
        points.push(format!("rollout {} has reached its stage {}", text(&one.rollout), text(&one.stage)));
    }
    let act = |act: OverdueAct| match act {
        OverdueAct::Hold => "held at its weight until a person resumes it",
        OverdueAct::Rollback => "rolled back",
    };
    if let Some(overdue) = plan.on_inconclusive {
        let after = span(overdue.after_ms);
        points.push(format!(
            "requests or evidence that are still too few after {after} in a stage: it is {}",
            act(overdue.act)
        ));
    }
    if let Some(overdue) = plan.on_no_traffic {
        points.push(format!("no request for {} in a stage: it is {}", span(overdue.after_ms), act(overdue.act)));
    }
    points
}

/// A number without trailing zeros.
pub(super) fn short(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
