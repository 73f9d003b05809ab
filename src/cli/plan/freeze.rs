//! Freeze windows, and those of them that fall in the time of the plan.

use super::markup::{PaddedTable, text};
use super::sheet::PlanSheet;
use crate::release::span;
use crate::route::Freeze;

/// Windows that are listed.
const LISTED_MAX: usize = 40;

/// A window that falls in the time of the plan.
struct Met<'a> {
    freeze: &'a Freeze,
    from_ms: u64,
    to_ms: u64,
}

/// The windows.
pub(super) fn freeze(sheet: &PlanSheet<'_>) -> String {
    let own = sheet.rollout.freeze.iter().map(|one| (one, "this rollout"));
    let all: Vec<_> = own.chain(sheet.rules.freeze.iter().map(|one| (one, "all rollouts"))).collect();
    let mut text_of =
        "## Freeze windows\n\nNothing is raised while a window is in force: the weight stays, time in the stage \
        does not count, and guards still act.\n\n"
            .to_owned();
    if all.is_empty() {
        text_of.push_str("The plan has none.\n\n");
        return text_of;
    }
    let mut table = PaddedTable::new(&["window", "zone", "holds for"]);
    for (one, whose) in &all {
        table.row([text(&one.text), text(one.zone.iana_name().unwrap_or("UTC")), (*whose).to_owned()]);
    }
    text_of.push_str(&table.markdown());
    let windows: Vec<&Freeze> = all.iter().map(|(one, _)| *one).collect();
    let (from_ms, to_ms) = (sheet.timeline.begins_ms, sheet.ends_ms());
    let met = met(&windows, from_ms, to_ms);
    let time = format!("between {} and {}", sheet.date(from_ms), sheet.date(to_ms));
    if met.is_empty() {
        text_of.push_str(&format_none(&time));
        return text_of;
    }
    let mut table = PaddedTable::new(&["from", "to", "lasts", "window"]);
    for one in met.iter().take(LISTED_MAX) {
        let lasts = span(one.to_ms.saturating_sub(one.from_ms));
        table.row([sheet.date(one.from_ms), sheet.date(one.to_ms), lasts, text(&one.freeze.text)]);
    }
    let more = met.len().saturating_sub(LISTED_MAX);
    let more = if more > 0 { format!("and {more} more\n\n") } else { String::new() };
    format!("{text_of}In force {time}:\n\n{}{more}", table.markdown())
}

fn format_none(time: &str) -> String {
    format!("None is in force {time}.\n\n")
}

/// The windows that are in force at some moment of this time, by their begin.
fn met<'a>(windows: &[&'a Freeze], from_ms: u64, to_ms: u64) -> Vec<Met<'a>> {
    let mut met = Vec::new();
    for freeze in windows {
        let mut at = from_ms;
        if let Some(until) = freeze.until(at) {
            met.push(Met { freeze, from_ms: at, to_ms: until });
        }
        // A plan of years has thousands of windows: one more than is listed is enough of each.
        for _ in 0..=LISTED_MAX {
            let Some(next) = freeze.next(at).filter(|next| *next < to_ms) else { break };
            at = next;
            let until = freeze.until(at).unwrap_or(at);
            met.push(Met { freeze, from_ms: at, to_ms: until });
        }
    }
    met.sort_by_key(|one| one.from_ms);
    met
}

#[cfg(test)]
mod tests {
    use jiff::civil::time;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::route::FreezeSpan;

    #[test]
    fn windows_of_the_plan_are_listed_by_their_begin() {
        const HOUR: u64 = 3_600_000;
        let daily = |from: i8, to: i8| Freeze {
            text: format!("daily {from}"),
            zone: TimeZone::UTC,
            span: FreezeSpan::Daily { from: time(from, 0, 0, 0), to: time(to, 0, 0, 0) },
        };
        let (noon, night) = (daily(12, 14), daily(22, 6));
        // From midnight of a day on, for two days.
        let begin = 20_000 * 24 * HOUR;
        let found = met(&[&noon, &night], begin, begin + 48 * HOUR);
        let hours: Vec<_> =
            found.iter().map(|one| ((one.from_ms - begin) / HOUR, (one.to_ms - begin) / HOUR)).collect();
        assert_eq!(hours, [(0, 6), (12, 14), (22, 30), (36, 38), (46, 54)]);
        assert!(met(&[&noon], begin, begin + HOUR).is_empty());
        assert!(met(&[&noon], begin, u64::MAX).len() <= LISTED_MAX + 1);
    }
}
