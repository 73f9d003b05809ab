//! Rollouts as text: a row for each, and one with its stages.

use super::rollout_text::{coloured, guards};
use crate::cli::out::wrapped;
use crate::cli::paint::Paint;
use crate::cli::release_row::Urgency;
use crate::cli::rollout_row::{RolloutRow, StageRow};

/// The length of the bar of a stage, in letters.
const BAR: usize = 10;

/// A row for each rollout, and lines below those that do not go on.
pub(super) fn staged_listed(rows: &[RolloutRow], columns: usize, paint: Paint) -> String {
    let width = |of: fn(&RolloutRow) -> usize, title: &str| rows.iter().map(of).max().unwrap_or(0).max(title.len());
    let name = width(|row| row.name.chars().count(), "ROLLOUT");
    let state = width(|row| row.state.chars().count() + 2, "STATE");
    let fixed = name + state + 2 * 6 + 8;
    let drawn = width(|row| row.drawn().chars().count(), "STAGES");
    // Where one does not fit beside its weight, all stand on a line of their own.
    let is_beside = fixed + drawn <= columns;
    let end = if is_beside { "  STAGES" } else { "" };
    let title = format!("{:<name$}  {:<state$}  {:>6}  {:>6}{end}", "ROLLOUT", "STATE", "SET %", "SEEN %");
    let mut lines = vec![paint.dim(&title)];
    for row in rows {
        let word = format!("{} {}", row.shape, row.state);
        let shown = coloured(row.urgency, &format!("{word:<state$}"), paint);
        let seen = row.share.map_or_else(|| "-".to_owned(), |share| format!("{share:.1}"));
        let line = format!("{:<name$}  {shown}  {:>6}  {seen:>6}", row.name, row.weight);
        if is_beside {
            lines.push(format!("{line}  {}", row.drawn()));
        } else {
            lines.push(line);
            lines.extend(wrapped(&format!("  {}", row.drawn()), columns));
        }
        lines.extend(below(row, columns, paint));
    }
    lines.join("\n")
}

/// Why a rollout does not go on, and what would let it.
fn below(row: &RolloutRow, columns: usize, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    let first = row.blocks.first();
    if row.urgency != Urgency::Calm {
        let since = if row.since.is_empty() { String::new() } else { format!("since {}: ", row.since) };
        lines.extend(wrapped(&format!("  {since}{}", row.says), columns));
    } else if let Some(block) = first {
        let more = match row.blocks.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        lines.extend(wrapped(&format!("  {}: {}{more}", block.kind, block.says), columns));
    }
    if !row.awaited.is_empty() {
        lines.extend(wrapped(&format!("  waits for {}", row.awaited.join(", ")), columns));
    }
    let at = if row.next.is_empty() { String::new() } else { format!(", by itself at {}", row.next) };
    if !row.unblock.is_empty() {
        let next = wrapped(&format!("  next: {}{at}", row.unblock), columns);
        lines.extend(next.iter().map(|line| paint.dim(line)));
    }
    if !row.edit.is_empty() {
        let edit = wrapped(&format!("  edit of the file: {}", row.edit.join("; ")), columns);
        lines.extend(edit.iter().map(|line| paint.dim(line)));
    }
    lines
}

/// A rollout with its stages and guards.
pub(super) fn staged_shown(row: &RolloutRow, columns: usize, paint: Paint) -> String {
    let state = coloured(row.urgency, &format!("{} {}", row.shape, row.state), paint);
    let mut lines = vec![format!("{}  {state}", paint.bold(&row.name))];
    let mut label = |label: &str, text: &str| {
        if text.is_empty() {
            return;
        }
        let mut parts = wrapped(text, columns.saturating_sub(10)).into_iter();
        let first = parts.next().unwrap_or_default();
        lines.push(format!("{}{first}", paint.dim(&format!("{label:<10}"))));
        lines.extend(parts.map(|part| format!("{:10}{}", "", part.trim_start())));
    };
    label("why", &row.says);
    label("next", &row.unblock);
    label("by itself", &row.next);
    let seq = row.seq.map(|seq| format!(", #{seq} of the journal")).unwrap_or_default();
    let forgotten = if row.is_forgotten { ", NOT RECORDED: a restart forgets it" } else { "" };
    label("since", &format!("{}{seq}{forgotten}", row.since));
    label("revision", &row.revision);
    label("weight", &format!("{}, at most {} %", row.shares(), row.max_weight));
    label("moves", &row.variants.join(", "));
    label("owner", &row.owner);
    label(
        "expired",
        if row.is_expired { "its `expires` has passed: it raises no weight until an edit of the file" } else { "" },
    );
    lines.push(String::new());
    lines.extend(stages(row, paint));
    if !row.blocks.is_empty() {
        lines.extend([String::new(), paint.dim("IN THE WAY")]);
        // Approvals are asked when all else is there: before that, the command would be refused.
        let is_asked = |at: usize, kind: &str| at == 0 || kind != "approval";
        for (_, block) in row.blocks.iter().enumerate().filter(|(at, block)| is_asked(*at, &block.kind)) {
            let until = if block.until.is_empty() { String::new() } else { format!(", at {}", block.until) };
            lines.extend(wrapped(&format!("{}: {}", block.kind, block.says), columns));
            let unblock = wrapped(&format!("  {}{until}", block.unblock), columns);
            lines.extend(unblock.iter().map(|line| paint.dim(line)));
        }
    }
    if !row.awaited.is_empty() {
        lines.extend([String::new(), paint.dim("WAITS FOR")]);
        lines.extend(row.awaited.iter().flat_map(|role| wrapped(&format!("  {role}"), columns)));
    }
    if !row.edit.is_empty() {
        lines.extend([String::new(), paint.dim("EDIT OF THE FILE")]);
        lines.extend(row.edit.iter().map(|line| format!("  {line}")));
    }
    if !row.guards.is_empty() {
        lines.push(String::new());
        lines.extend(guards(&row.guards, columns, paint));
    }
    lines.join("\n")
}

/// A row for each stage.
fn stages(row: &RolloutRow, paint: Paint) -> Vec<String> {
    let name = row.stages.iter().map(|stage| stage.name.chars().count()).max().unwrap_or(0).max("STAGE".len());
    let mut lines = vec![paint.dim(&format!("  {:<name$}  {:>8}  TIME", "STAGE", "WEIGHT"))];
    for stage in &row.stages {
        let weight = format!("{} %", stage.weight);
        let line = format!("{} {:<name$}  {weight:>8}  {}", stage.shape(row), stage.name, stage_time(stage));
        let line = format!("{}{}", line.trim_end(), approvals(stage));
        lines.push(if stage.place == "current" { paint.bold(&line) } else { line });
    }
    lines
}

/// The time in a stage: a bar of the least one where it is, else the least one.
pub fn stage_time(stage: &StageRow) -> String {
    match (stage.run_ms, stage.min_ms) {
        (None, 0) => String::new(),
        (None, min) => format!("{} at least", duration(min)),
        (Some(run), 0) => duration(run),
        (Some(run), min) => {
            let filled = usize::try_from(run.min(min).saturating_mul(BAR as u64) / min).unwrap_or(BAR).min(BAR);
            let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR - filled));
            format!("{bar} {} of {}", duration(run), duration(min))
        }
    }
}

fn approvals(stage: &StageRow) -> String {
    let mut words = Vec::new();
    if !stage.approved.is_empty() {
        words.push(format!("approved: {}", stage.approved.join(", ")));
    }
    let given = |role: &String| stage.approved.iter().any(|one| one.starts_with(&format!("{role} by ")));
    let missing: Vec<&str> = stage.approve.iter().filter(|role| !given(role)).map(String::as_str).collect();
    if !missing.is_empty() {
        words.push(format!("asks {}", missing.join(", ")));
    }
    if words.is_empty() { String::new() } else { format!("  {}", words.join("; ")) }
}

/// Milliseconds as `12 min`, `1 h 48 min`, `30 s`; the two largest units.
fn duration(ms: u64) -> String {
    let mut left = ms / 1_000;
    let mut words = Vec::new();
    for (size, unit) in [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")] {
        let count = left / size;
        left %= size;
        if count > 0 {
            words.push(format!("{count} {unit}"));
        }
    }
    words.truncate(2);
    if words.is_empty() { "0 s".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::rollout_row::tests::{in_beta, in_state};

    fn rows() -> Vec<RolloutRow> {
        let all = [
            in_beta(),
            in_state(
                "cart-v2",
                "running",
                &json!({ "doing": "awaiting_approval", "needs_person": true, "says": "all but approvals is there",
                    "unblock": "`pointsman rollout approve cart-v2`", "blocks": [], "next": null,
                    "awaited": [{ "role": "tech-lead", "people": ["ana", "bo"] }] }),
            ),
            in_state(
                "search-v2",
                "rolled_back",
                &json!({ "needs_person": true, "weight": 0.0, "share": null, "blocks": [], "next": null,
                    "says": "rolled back by errors: 14 of 20 callers",
                    "unblock": "another `revision`, or `pointsman rollout resume search-v2 --reason TEXT`" }),
            ),
        ];
        RolloutRow::sorted(all.iter())
    }

    #[test]
    fn a_list_shows_stages_and_what_to_do_next() {
        let text = staged_listed(&rows(), 100, Paint::Plain);
        let expected = "\
ROLLOUT      STATE                 SET %  SEEN %  STAGES
search-v2    ✖ rolled back             0       -  dark ● internal ● beta ◐ full ○
  since 2026-11-29 14:03:10Z: rolled back by errors: 14 of 20 callers
  next: another `revision`, or `pointsman rollout resume search-v2 --reason TEXT`
cart-v2      ◆ awaiting approval      10     9.8  dark ● internal ● beta ◐ full ○
  since 2026-11-29 14:03:10Z: all but approvals is there
  waits for tech-lead (ana, bo)
  next: `pointsman rollout approve cart-v2`
checkout-v2  ◐ gated                  10     9.8  dark ● internal ● beta ◐ full ○
  duration: 12 min of 2 h
  next: 1 h 48 min more in this stage, by itself at 2026-11-29 16:03:10Z";
        assert_eq!(text, expected, "{text}");
    }

    #[test]
    fn a_narrow_list_has_the_stages_below() {
        let text = staged_listed(&rows()[2..], 60, Paint::Plain);
        let expected = "\
ROLLOUT      STATE     SET %  SEEN %
checkout-v2  ◐ gated      10     9.8
  dark ● internal ● beta ◐ full ○
  duration: 12 min of 2 h
  next: 1 h 48 min more in this stage, by itself at
      2026-11-29 16:03:10Z";
        assert_eq!(text, expected, "{text}");
    }

    #[test]
    fn a_rollout_shows_its_stages_and_what_stands_in_its_way() {
        let text = staged_shown(&RolloutRow::read(&in_beta()), 80, Paint::Plain);
        let expected = "\
checkout-v2  ◐ gated
why       in stage beta: 12 min of 2 h
next      1 h 48 min more in this stage
by itself 2026-11-29 16:03:10Z
since     2026-11-29 14:03:10Z, #12 of the journal
revision  checkout-v2=1.4
weight    10 % set, 9.8 % measured, at most 100 %
moves     checkout:canary
owner     team-payments, CHG-4711

  STAGE       WEIGHT  TIME
● dark           0 %  30 min at least
● internal       1 %  30 min at least
◐ beta          10 %  █░░░░░░░░░ 12 min of 2 h  approved: product by dee; asks tech-lead
○ full         100 %  30 min at least

IN THE WAY
duration: 12 min of 2 h
  1 h 48 min more in this stage, at 2026-11-29 16:03:10Z

GUARD   ACT       EVIDENCE (LOG10)       STATE
errors  rollback  ███░░░░░░░ 0.9 of 2.5  watching
  errors 1.1 × stable (0.60 to 2.1): 14 of 4210 callers, 120 of 40100 on stable
  tests errors: at most 1.1 × stable; alpha 0.003; ratio 1.1 × (0.60 to 2.1)";
        assert_eq!(text, expected, "{text}");
    }

    #[test]
    fn approvals_stand_in_the_way_when_they_are_asked() {
        let block = |kind: &str, says: &str| json!({ "kind": kind, "says": says, "unblock": "…", "until": null });
        let approval = block("approval", "it awaits the approval of tech-lead");
        let shown = |blocks: &serde_json::Value| {
            let page = in_state("cart-v2", "running", &json!({ "blocks": blocks, "next": null, "guards": [] }));
            staged_shown(&RolloutRow::read(&page), 80, Paint::Plain)
        };
        let early = shown(&json!([block("duration", "12 min of 2 h"), approval]));
        assert!(early.contains("duration: 12 min") && !early.contains("approval: "), "{early}");
        let asked = shown(&json!([approval]));
        assert!(asked.contains("\napproval: it awaits the approval of tech-lead\n"), "{asked}");
    }

    #[test]
    fn a_complete_rollout_shows_the_edit() {
        let more = json!({ "stage": "full", "blocks": [], "unblock": null, "next": null, "guards": [],
            "edit": ["stable = \"checkout-v2\"", "remove `canary` and [rollout.checkout-v2]"] });
        let row = RolloutRow::read(&in_state("checkout-v2", "complete", &more));
        let text = staged_shown(&row, 80, Paint::Plain);
        assert!(text.starts_with("checkout-v2  ✔ complete\n"), "{text}");
        assert!(
            text.ends_with(
                "\n\nEDIT OF THE FILE\n  stable = \"checkout-v2\"\n  remove `canary` and [rollout.checkout-v2]"
            ),
            "{text}"
        );
        assert!(
            staged_listed(&[row], 100, Paint::Plain).contains("\n  edit of the file: stable = \"checkout-v2\"; remove")
        );
    }

    #[test]
    fn durations_have_two_units() {
        for (ms, text) in
            [(0, "0 s"), (999, "0 s"), (90_000, "1 min 30 s"), (7_200_000, "2 h"), (90_061_000, "1 d 1 h")]
        {
            assert_eq!(duration(ms), text);
        }
    }
}
