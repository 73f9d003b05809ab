//! Releases and their guards as text.

use crate::cli::out::wrapped;
use crate::cli::paint::Paint;
use crate::cli::release_row::{GuardRow, ReleaseRow, Urgency};

/// Colours the words of a state.
pub fn coloured(urgency: Urgency, text: &str, paint: Paint) -> String {
    match urgency {
        Urgency::NoTarget => paint.bold(&paint.red(text)),
        Urgency::Stopped => paint.red(text),
        Urgency::Asked => paint.bold(&paint.yellow(text)),
        Urgency::Warned => paint.yellow(text),
        Urgency::Calm => paint.green(text),
    }
}

/// A row for each release, and two lines below those that need a person.
pub(super) fn listed(rows: &[ReleaseRow], columns: usize, paint: Paint) -> String {
    if rows.is_empty() {
        return "no rollout, and no guard watches a release: `[rollout.NAME]` makes one, `guard = \"warn\"` or \
                `[[route.guard]]` watches a static weight"
            .to_owned();
    }
    let width = |of: fn(&ReleaseRow) -> usize, title: &str| rows.iter().map(of).max().unwrap_or(0).max(title.len());
    let name = width(|row| row.name.chars().count(), "RELEASE");
    let state = width(|row| row.state.chars().count(), "STATE");
    let bars = |row: &ReleaseRow| row.closest.as_ref().map_or(1, |guard| guard.bar().chars().count());
    let bar = rows.iter().map(bars).max().unwrap_or(0).max("EVIDENCE".len());
    let title = format!("{:<name$}  {:<state$}  {:>6}  {:<bar$}  GUARD", "RELEASE", "STATE", "SET %", "EVIDENCE");
    let mut lines = vec![paint.dim(&title)];
    for row in rows {
        let (drawn, guard) =
            row.closest.as_ref().map_or_else(|| ("-".to_owned(), ""), |guard| (guard.bar(), guard.name.as_str()));
        let shown = coloured(row.urgency, &format!("{:<state$}", row.state), paint);
        let line = format!("{:<name$}  {shown}  {:>6}  {drawn:<bar$}  {guard}", row.name, row.weight);
        lines.push(line.trim_end().to_owned());
        if row.urgency != Urgency::Calm {
            let since = if row.since.is_empty() { String::new() } else { format!("since {}: ", row.since) };
            lines.extend(wrapped(&format!("  {since}{}", row.says), columns));
            let next = wrapped(&format!("  next: {}", row.unblock), columns);
            lines.extend(next.iter().map(|line| paint.dim(line)));
        }
    }
    lines.join("\n")
}

/// A release with all its guards.
pub(super) fn shown(row: &ReleaseRow, columns: usize, paint: Paint) -> String {
    let head = format!("{}  {}", paint.bold(&row.name), coloured(row.urgency, &row.state, paint));
    let mut lines = vec![head];
    let mut label = |label: &str, text: &str| {
        let mut parts = wrapped(text, columns.saturating_sub(10)).into_iter();
        let first = parts.next().unwrap_or_default();
        lines.push(format!("{}{first}", paint.dim(&format!("{label:<10}"))));
        lines.extend(parts.map(|part| format!("{:10}{}", "", part.trim_start())));
    };
    label("why", &row.says);
    if !row.unblock.is_empty() {
        label("next", &row.unblock);
    }
    if !row.since.is_empty() {
        let seq = row.seq.map(|seq| format!(", #{seq} of the journal")).unwrap_or_default();
        let forgotten = if row.is_forgotten { ", NOT RECORDED: a restart forgets it" } else { "" };
        label("since", &format!("{}{seq}{forgotten}", row.since));
    }
    label("revision", &row.revision);
    label("weight", &format!("{} %", row.weight));
    if !row.guards.is_empty() {
        lines.push(String::new());
        lines.extend(guards(&row.guards, columns, paint));
    }
    lines.join("\n")
}

/// Two or more lines for each guard.
pub(super) fn guards(all: &[GuardRow], columns: usize, paint: Paint) -> Vec<String> {
    let width = |of: fn(&GuardRow) -> usize, title: &str| all.iter().map(of).max().unwrap_or(0).max(title.len());
    let name = width(|guard| guard.name.chars().count(), "GUARD");
    let bar = width(|guard| guard.bar().chars().count(), "EVIDENCE");
    let act = "rollback".len();
    let mut lines =
        vec![paint.dim(&format!("{:<name$}  {:<act$}  {:<bar$}  STATE", "GUARD", "ACT", "EVIDENCE (LOG10)"))];
    for guard in all {
        let drawn = format!("{:<bar$}", guard.bar());
        let (drawn, state) = match guard.state.as_str() {
            "tripped" => (paint.red(&drawn), paint.red(&guard.state)),
            "no memory" => (drawn, paint.red(&guard.state)),
            "watching" => (drawn, paint.green(&guard.state)),
            // It says nothing yet: that is no good news.
            _ => (drawn, paint.yellow(&guard.state)),
        };
        lines.push(format!("{:<name$}  {:<act$}  {drawn}  {state}", guard.name, guard.act));
        lines.extend(wrapped(&format!("  {}", guard.says), columns));
        let alpha =
            guard.alpha.map_or_else(|| "no stated rate of false alarms".to_owned(), |alpha| format!("alpha {alpha}"));
        let slow = guard.slow_after_ms.map(|ms| format!("; slow from {ms} ms")).unwrap_or_default();
        let ratio = if guard.ratio.is_empty() { String::new() } else { format!("; ratio {}", guard.ratio) };
        let tests = wrapped(&format!("  tests {}; {alpha}{ratio}{slow}", guard.test), columns);
        lines.extend(tests.iter().map(|line| paint.dim(line)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rolled_back() -> ReleaseRow {
        let guard = json!({
            "name": "errors", "test": "errors: at most 1.1 × stable", "act": "rollback", "alpha": 0.003,
            "state": "tripped", "evidence_log10": 2.9, "threshold_log10": 2.5229,
            "ratio": { "estimate": 3.1, "lower": 1.9, "upper": 5.2 }, "slow_after_ms": null,
            "says": "errors 3.1 × stable (1.9 to 5.2): 14 of 4210 callers, 20 of 80100 on stable",
        });
        let mut waiting = guard.clone();
        waiting["name"] = json!("latency");
        waiting["state"] = json!("waits_for_threshold");
        waiting["evidence_log10"] = json!(0.0);
        waiting["ratio"] = json!(null);
        waiting["says"] = json!("waits for a threshold: 310 of 1000 responses of stable");
        ReleaseRow::read(&json!({
            "name": "checkout:canary", "state": "rolled_back", "because": null, "revision": "checkout-v2=1.4.2",
            "weight": 5.0, "at": "2026-11-29T14:03:10.123Z", "seq": 12, "durable": true,
            "says": "rolled back by errors: errors 3.1 × stable (1.9 to 5.2): 14 of 4210 callers, 20 of 80100 on stable",
            "unblock": "another `revision` of upstream checkout-v2, or `pointsman rollout resume checkout:canary --reason TEXT`",
            "closest": guard, "guards": [guard, waiting],
        }))
    }

    #[test]
    fn a_list_shows_what_to_do_next() {
        let calm =
            ReleaseRow { name: "a:b".to_owned(), state: "watching".to_owned(), weight: 1.0, ..ReleaseRow::default() };
        let text = listed(&[rolled_back(), calm], 80, Paint::Plain);
        let expected = "\
RELEASE          STATE         SET %  EVIDENCE               GUARD
checkout:canary  rolled back       5  ██████████ 2.9 of 2.5  errors
  since 2026-11-29 14:03:10Z: rolled back by errors: errors 3.1 × stable (1.9 to
      5.2): 14 of 4210 callers, 20 of 80100 on stable
  next: another `revision` of upstream checkout-v2, or `pointsman rollout resume
      checkout:canary --reason TEXT`
a:b              watching          1  -";
        assert_eq!(text, expected, "{text}");
        assert!(listed(&[], 80, Paint::Plain).contains("no guard watches a release"));
    }

    #[test]
    fn a_release_shows_each_guard() {
        let text = shown(&rolled_back(), 80, Paint::Plain);
        for part in [
            "checkout:canary  rolled back\n",
            "\nsince     2026-11-29 14:03:10Z, #12 of the journal\n",
            "\nerrors   rollback  ██████████ 2.9 of 2.5  tripped\n",
            "\nlatency  rollback  ░░░░░░░░░░ 0.0 of 2.5  waits for threshold\n",
            "\n  tests errors: at most 1.1 × stable; alpha 0.003; ratio 3.1 × (1.9 to 5.2)\n",
        ] {
            assert!(text.contains(part), "`{part}` is missing in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
