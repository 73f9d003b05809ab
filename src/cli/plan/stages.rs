//! Stages with their dates, and what each of them gets.

use super::markup::{PaddedTable, text};
use super::sheet::PlanSheet;
use crate::rehearsal::StageTimes;
use crate::release::{percent, span};
use crate::route::Stage;

/// The stages with their dates.
pub(super) fn stages(sheet: &PlanSheet<'_>) -> String {
    let mut table = PaddedTable::new(&[
        "stage",
        "weight",
        "begins",
        "ends",
        "takes",
        "frozen for",
        "canary requests",
        "canary callers so far",
    ]);
    for stage in &sheet.rollout.plan.stages {
        let times = sheet.timeline.stages.iter().find(|one| one.name == stage.name);
        let known = |of: &dyn Fn(&StageTimes) -> Option<String>| times.and_then(of).unwrap_or_else(|| "?".to_owned());
        let is_rated = sheet.traffic.is_ok();
        table.row([
            text(&stage.name),
            weight(sheet, stage),
            known(&|times| Some(sheet.date(times.enters_ms))),
            known(&|times| times.leaves_ms.map(|ms| sheet.date(ms))),
            known(&|times| times.leaves_ms.map(|ms| span(ms.saturating_sub(times.enters_ms)))),
            known(&|times| Some(if times.frozen_ms > 0 { span(times.frozen_ms) } else { "-".to_owned() })),
            known(&|times| is_rated.then(|| grouped(times.requests))),
            known(&|times| is_rated.then(|| grouped(times.callers))),
        ]);
    }
    let mut text = format!("## Stages\n\n{}{}\n", table.markdown(), end(sheet));
    if let Some(ramped) = ramps(sheet) {
        text.push_str(&ramped);
    }
    text.push('\n');
    text
}

/// The weight, with what stays on stable.
fn weight(sheet: &PlanSheet<'_>, stage: &Stage) -> String {
    let plan = &sheet.rollout.plan;
    let mut words = percent(stage.weight.min(plan.max_weight));
    if stage.weight > plan.max_weight {
        words.push_str(" (max_weight)");
    }
    if stage.control > 0 {
        words = format!("{words}, {} stay on stable", percent(stage.control));
    }
    words
}

/// When it is complete, or why that is not known.
fn end(sheet: &PlanSheet<'_>) -> String {
    let timeline = &sheet.timeline;
    match (timeline.complete_ms, &timeline.stuck) {
        (Some(ms), _) => format!(
            "A healthy release that begins on {} is complete on {}, after {}. Approvals take {} after they are asked for.",
            sheet.date(timeline.begins_ms),
            sheet.date(ms),
            span(ms.saturating_sub(timeline.begins_ms)),
            if sheet.approval_delay_ms == 0 { "no time".to_owned() } else { span(sheet.approval_delay_ms) }
        ),
        (None, _) if sheet.traffic.is_err() => {
            "**Dates and figures are missing**: the rate of requests is not known, and a \
            stage waits for requests. `--rate N` gives it, or a running proxy that has measured it."
                .to_owned()
        }
        (None, Some(why)) => format!("**The plan does not come to its end**: {}.", text(&why.replace('`', ""))),
        (None, None) => "**The plan does not come to its end.**".to_owned(),
    }
}

/// The ramps in words.
fn ramps(sheet: &PlanSheet<'_>) -> Option<String> {
    let of = |stage: &Stage| {
        (stage.ramp_ms > 0).then(|| {
            let times = sheet.timeline.stages.iter().find(|one| one.name == stage.name);
            let ends = times.and_then(|times| times.ramp_ends_ms).map(|ms| format!(", on {}", sheet.date(ms)));
            let (name, over) = (text(&stage.name), span(stage.ramp_ms));
            format!(
                "Stage {name} rises to its weight over {over}{}; its conditions count from there on.\n",
                ends.unwrap_or_default()
            )
        })
    };
    let all: Vec<String> = sheet.rollout.plan.stages.iter().filter_map(of).collect();
    (!all.is_empty()).then(|| all.concat())
}

/// A count with blanks between thousands.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
