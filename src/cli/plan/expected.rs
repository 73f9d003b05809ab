//! Expected figures: the traffic, and how soon each guard would find a fault.

use super::markup::{PaddedTable, text};
use super::sheet::PlanSheet;
use super::stages::grouped;
use crate::release::span;

/// The weight, in millionths, from which on there is little control left.
const NEAR_FULL: u32 = 900_000;

/// The figures.
pub(super) fn expected(sheet: &PlanSheet<'_>) -> String {
    let head = "## Expected figures\n\n";
    match &sheet.traffic {
        Err(missing) => format!(
            "{head}**Missing**: {}. `--rate N` gives it, or a running proxy that has measured it.\n\n",
            text(&missing.to_string())
        ),
        Ok(known) => {
            let mut table = PaddedTable::new(&["route", "figure", "value", "from"]);
            for one in &known.figures {
                let from = text(&one.source.to_string());
                table.row([text(&one.route), one.what.to_owned(), text(&one.value), from]);
            }
            format!("{head}{}{}", table.markdown(), detection(sheet))
        }
    }
}

/// How soon each guard finds a fault.
fn detection(sheet: &PlanSheet<'_>) -> String {
    let head = "### How soon a fault is found\n\n";
    let mut table = PaddedTable::new(&[
        "stage",
        "fault of the canary",
        "guard",
        "found",
        "half within",
        "9 of 10 within",
        "requests hurt",
        "callers hurt",
    ]);
    for stage in &sheet.forecast {
        for one in &stage.guards {
            table.row([
                text(&stage.stage),
                text(&one.fault),
                text(&one.guard),
                format!("{} of {}", one.found, one.runs),
                within(one.median_ms),
                within(one.p90_ms),
                grouped(one.requests),
                grouped(one.callers),
            ]);
        }
    }
    if table.is_empty() {
        return format!("{head}No guard was played: no stage with a weight has one that counts requests.\n\n");
    }
    format!(
        "{head}Releases whose canary has a fault in this stage were played in virtual time, with the guards of the plan and the \
         traffic above. *Found*: in so many of them, within the time of the stage and within an hour. *Hurt*: half of them \
         more, half of them less, until it was found or the play was over.\n\n{}{}",
        table.markdown(),
        near_full(sheet)
    )
}

/// What is not found where the canary has nearly all callers.
fn near_full(sheet: &PlanSheet<'_>) -> String {
    let stages = &sheet.rollout.plan.stages;
    let Some(stage) = stages.iter().find(|stage| stage.weight >= NEAR_FULL) else { return String::new() };
    format!(
        "From stage {} on, at a weight of 90 % and more, there is little or nothing of stable to compare with: guards with an \
         absolute bound judge there, and **what has no such bound, such as slow responses, is not found**. A stage below 90 % \
         that is long enough finds it before.\n\n",
        text(&stage.name)
    )
}

fn within(ms: Option<u64>) -> String {
    ms.map_or_else(|| "-".to_owned(), span)
}
