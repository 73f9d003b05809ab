//! `compare`: the results of a dark launch so far, from a running proxy.

use std::borrow::Cow;
use std::fmt::Write as _;

use anyhow::bail;
use serde_json::Value;

use super::admin::{FetchOptions, Purpose};
use super::args::{CompareArguments, ReportFormat};
use super::paint::Paint;
use super::paint::Terminal;
use super::{Exit, out};
use crate::compare::escape_controls;

/// Fields that are listed, of each verdict.
const FIELDS_MAX: usize = 40;

/// Runs `compare`.
///
/// # Errors
/// When the proxy cannot be asked, or has no such route.
pub fn compare(arguments: &CompareArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let admin = arguments.admin.find(Purpose::Read)?;
    let mut page = admin.ask_blocking("/shadow", FetchOptions::get())?.page()?;
    if let (Some(wanted), Some(routes)) = (&arguments.route, page["routes"].as_array_mut()) {
        let known: Vec<String> = routes.iter().filter_map(|route| route["route"].as_str()).map(str::to_owned).collect();
        routes.retain(|route| route["route"] == wanted.as_str());
        if routes.is_empty() {
            bail!(unknown(wanted, &known));
        }
    }
    let format = if arguments.json { ReportFormat::Json } else { arguments.format };
    match format {
        ReportFormat::Json => out::print_json(&page)?,
        ReportFormat::Md => out::print(markdown(&page).trim_end())?,
        ReportFormat::Table => out::print(table(&page, terminal.stdout).trim_end())?,
    }
    Ok(Exit::Ok)
}

fn unknown(wanted: &str, known: &[String]) -> String {
    if known.is_empty() {
        return format!("route `{wanted}` has no shadow, and no other route has one");
    }
    escape_controls(&format!("route `{wanted}` has no shadow; these have one: {}", known.join(", "))).into_owned()
}

fn routes(page: &Value) -> impl Iterator<Item = &Value> {
    page["routes"].as_array().into_iter().flatten()
}

/// A text of the page, without control characters: parts of it come from upstreams.
fn text(value: &Value) -> Cow<'_, str> {
    escape_controls(value.as_str().unwrap_or(""))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// `timeout 3, reset 1`.
fn counts(value: &Value) -> String {
    let all = value.as_object().into_iter().flatten();
    all.map(|(name, count)| escape_controls(&format!("{name} {count}")).into_owned()).collect::<Vec<_>>().join(", ")
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

fn rate(of: &Value) -> String {
    let (different, all) = (number(&of["different"]), number(&of["of"]));
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let share = if all == 0 { 0.0 } else { different as f64 / all as f64 };
    format!("{different} of {all} ({})", percent(share))
}

fn milliseconds(quantiles: &Value) -> String {
    let at = |name: &str| quantiles[name].as_f64().unwrap_or(0.0) * 1e3;
    if at("p99") == 0.0 {
        return "no responses".to_owned();
    }
    format!("p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms", at("p50"), at("p90"), at("p99"))
}

/// The share in the file, and the one in effect.
fn share(page: &Value, route: &Value) -> String {
    let set = route["weight"].as_f64().unwrap_or(0.0);
    let now = route["weight_actual"].as_f64().unwrap_or(set);
    if page["kill_all"] == true {
        format!("{set} % of the requests set, none now: `kill.all` is set")
    } else if route["killed_by"].is_string() {
        format!("{set} % of the requests set, none now: the shadow is killed")
    } else if now < set {
        format!("{set} % of the requests set, {now} % now: reduced, since copies failed or were dropped")
    } else {
        format!("{set} % of the requests")
    }
}

/// The lines about a route's copies: name and value.
fn facts(page: &Value, route: &Value) -> Vec<(&'static str, String)> {
    let sent = match counts(&route["completed"]) {
        none if none.is_empty() => number(&route["sent"]).to_string(),
        classes => format!("{} ({classes})", number(&route["sent"])),
    };
    let mut facts = vec![
        ("share", share(page, route)),
        ("sampled", format!("{}, since {}", number(&route["sampled"]), text(&route["since"]))),
        ("sent", sent),
    ];
    if number(&route["in_flight"]) > 0 {
        facts.push(("in flight", number(&route["in_flight"]).to_string()));
    }
    for (name, what) in [("dropped", "dropped"), ("left out", "not_compared")] {
        if !counts(&route[what]).is_empty() {
            facts.push((name, counts(&route[what])));
        }
    }
    if !route["comparison"].is_null() {
        compared(route, &mut facts);
    } else if route["compares"] == false {
        facts.push(("compared", "none: the route has no `[route.shadow.compare]`".to_owned()));
    } else {
        facts.push(("compared", "none yet".to_owned()));
    }
    facts
}

fn compared(route: &Value, facts: &mut Vec<(&'static str, String)>) {
    let comparison = &route["comparison"];
    let (compared, equal) = (number(&comparison["compared"]), number(&comparison["equal"]));
    facts.push(("compared", format!("{compared}, {equal} equal, since {}", text(&comparison["since"]))));
    let (controls, noisy) = (number(&comparison["with_control"]), number(&comparison["noisy_controls"]));
    let mut line = format!("{controls}, {noisy} of them differed");
    for (what, words) in [("failed", "failed"), ("no_place", "had no free slot")] {
        if number(&route["controls"][what]) > 0 {
            let _ = write!(line, "; {} more {words}", number(&route["controls"][what]));
        }
    }
    facts.push(("controls", line));
    for (name, what, meaning) in [
        ("early", "ended_early", "copies failed or have another status, so headers and body were not compared"),
        ("early", "controls_ended_early", "controls failed or have another status"),
        ("unread", "unread", "copies have bodies that cannot be compared"),
        ("cut short", "truncated", "comparisons found more fields than are listed"),
        ("evicted", "evicted", "fields were evicted from the table, which has 1024 rows"),
    ] {
        if number(&comparison[what]) > 0 {
            facts.push((name, format!("{} {meaning}", number(&comparison[what]))));
        }
    }
    facts.push(("mismatch", mismatch(comparison)));
    facts.push(("requests", milliseconds(&comparison["latency_seconds"]["primary"])));
    facts.push(("copies", milliseconds(&comparison["latency_seconds"]["candidate"])));
}

/// The headline: how many answers differ for another reason than noise, or why that is unknown.
fn mismatch(comparison: &Value) -> String {
    let (controls, early) = (number(&comparison["with_control"]), number(&comparison["controls_ended_early"]));
    let Some(net) = comparison["net_mismatch"].as_f64() else {
        let why = match controls {
            0 => "no control was compared yet, so the noise is unknown",
            _ if controls == early => "all controls failed or have another status, so the noise is unknown",
            _ => "every control also differs; ignore the fields in which they differ",
        };
        return format!("unknown: {why}");
    };
    if number(&comparison["compared"]) == 0 {
        return "unknown: nothing could be compared yet".to_owned();
    }
    let upper = comparison["net_mismatch_upper"].as_f64().unwrap_or(1.0);
    let line = format!("{} beyond the noise, below {} with 99 % confidence", percent(net), percent(upper));
    let mut verdicts = comparison["fields"].as_array().into_iter().flatten().map(|field| &field["verdict"]);
    let is_confirmed = verdicts.any(|verdict| verdict == "confirmed");
    if net > 0.0 && !is_confirmed { format!("{line}; no field is confirmed yet") } else { line }
}

/// The fields with a verdict that are listed, and how many more there are.
fn fields<'v>(route: &'v Value, verdict: &str) -> (Vec<&'v Value>, usize) {
    let all = route["comparison"]["fields"].as_array().into_iter().flatten();
    let mut fields: Vec<&Value> = all.filter(|field| field["verdict"] == verdict).collect();
    let more = fields.len().saturating_sub(FIELDS_MAX);
    fields.truncate(FIELDS_MAX);
    (fields, more)
}

fn more_of(verdict: &str, more: usize) -> String {
    format!("and {more} more {verdict}: `--format json` lists them all")
}

const VERDICTS: [(&str, &str); 3] = [
    ("confirmed", "really differ"),
    ("noisy", "also differ between two responses of the old version"),
    ("unknown", "not enough data"),
];

fn table(page: &Value, paint: Paint) -> String {
    let mut page_text = String::new();
    let out = &mut page_text;
    // Writing to a string cannot fail.
    for route in routes(page) {
        let _ = writeln!(out, "{}  → {}", paint.bold(&text(&route["route"])), text(&route["upstream"]));
        for (name, fact) in facts(page, route) {
            let _ = writeln!(out, "  {name:<10}{fact}");
        }
        for (verdict, meaning) in VERDICTS {
            let (all, more) = fields(route, verdict);
            if all.is_empty() {
                continue;
            }
            let title = format!("{verdict}: {meaning}");
            let title = if verdict == "confirmed" { paint.red(&title) } else { paint.dim(&title) };
            let _ = writeln!(out, "  {title}");
            for field in all {
                out.push_str(&row(field, verdict, paint));
            }
            if more > 0 {
                let _ = writeln!(out, "    {}", paint.dim(&more_of(verdict, more)));
            }
        }
        out.push('\n');
    }
    for line in failures(page) {
        let _ = writeln!(out, "{line}");
    }
    if page_text.is_empty() {
        "no route has a shadow: add `[route.shadow]` to one, see docs/dark-launch.md\n".to_owned()
    } else {
        page_text
    }
}

/// What was compared to no end, of all routes together.
fn failures(page: &Value) -> Vec<String> {
    let all = [
        ("failed", "comparisons failed: this is a defect"),
        ("refused", "were refused: evidence is kept for at most 256 routes"),
    ];
    let counted = all.map(|(what, words)| (number(&page["comparing"][what]), words));
    counted.iter().filter(|(count, _)| *count > 0).map(|(count, words)| format!("{count} {words}")).collect()
}

/// The lines of a field.
fn row(field: &Value, verdict: &str, paint: Paint) -> String {
    let (candidate, control) = (rate(&field["candidate"]), rate(&field["control"]));
    let (path, kind) = (text(&field["path"]), text(&field["kind"]));
    let mut row = format!("    {path:<31} {kind:<8} copies {candidate:<24} controls {control}\n");
    if let Some(sample) = field["samples"].as_array().and_then(|samples| samples.last()) {
        let _ = writeln!(row, "      {}  →  {}", text(&sample["primary"]), text(&sample["candidate"]));
    }
    if !field["note"].is_null() {
        let _ = writeln!(row, "      {}", paint.dim(&text(&field["note"])));
    }
    if verdict != "unknown" {
        let _ = writeln!(row, "      {}", paint.dim(&text(&field["ignore"])));
    }
    row
}

/// Code in a cell of a Markdown table, fenced by more backticks than it has in a row.
fn code(text: &str) -> String {
    let longest = text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let room = if text.is_empty() || text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) { " " } else { "" };
    format!("{fence}{room}{}{room}{fence}", text.replace('|', "\\|"))
}

fn markdown(page: &Value) -> String {
    let mut report = "# Dark launches\n".to_owned();
    for route in routes(page) {
        let _ = writeln!(report, "\n## {} → {}\n", text(&route["route"]), text(&route["upstream"]));
        for (name, fact) in facts(page, route) {
            let _ = writeln!(report, "* {name}: {fact}");
        }
        if route["comparison"].is_null() {
            continue;
        }
        report.push_str(
            "\n| field | kind | verdict | copies | controls | request | copy |\n|---|---|---|---|---|---|---|\n",
        );
        let all = VERDICTS.map(|(verdict, _)| (verdict, fields(route, verdict)));
        for field in all.iter().flat_map(|(_, (fields, _))| fields) {
            let sample = field["samples"].as_array().and_then(|samples| samples.last());
            let side = |name: &str| sample.map_or(String::new(), |sample| code(&text(&sample[name])));
            let _ = writeln!(
                report,
                "| {} | {} | {} | {} | {} | {} | {} |",
                code(&text(&field["path"])),
                text(&field["kind"]),
                text(&field["verdict"]),
                rate(&field["candidate"]),
                rate(&field["control"]),
                side("primary"),
                side("candidate"),
            );
        }
        for (verdict, (_, more)) in all.into_iter().filter(|(_, (_, more))| *more > 0) {
            let _ = writeln!(report, "\n{}", more_of(verdict, more));
        }
    }
    for line in failures(page) {
        let _ = writeln!(report, "\n{line}");
    }
    report
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A page of one route, with some of it replaced.
    fn page(route: &Value) -> Value {
        let mut page = json!({ "kill_all": false, "routes": [{
            "route": "shop", "upstream": "v2", "weight": 100.0, "weight_actual": 100.0, "compares": true,
            "since": "2026-11-21T14:00:00.000Z", "sampled": 9, "in_flight": 0, "sent": 7, "completed": { "2xx": 7 }, "dropped": { "timeout": 2 },
            "not_compared": {}, "comparison": null,
        }] });
        let merged = page["routes"][0].as_object_mut().unwrap();
        merged.extend(route.as_object().unwrap().clone());
        page
    }

    fn compared(fields: &[Value]) -> Value {
        page(&json!({ "comparison": {
            "since": "2026-11-21T14:04:42.290Z", "compared": 7, "equal": 0, "with_control": 7, "noisy_controls": 0,
            "unread": 0, "truncated": 0, "evicted": 0, "net_mismatch": 1.0, "net_mismatch_upper": 1.0, "fields": fields,
        } }))
    }

    fn field(path: &str) -> Value {
        json!({
            "path": path, "kind": "value", "verdict": "confirmed", "candidate": { "different": 2204, "of": 2204 },
            "control": { "different": 0, "of": 441 }, "ignore": format!("ignore = [\"{path}\"]"), "note": null,
            "samples": [{ "primary": "1", "candidate": "2" }],
        })
    }

    fn check_contains(page: &Value, words: &str) {
        for output in [table(page, Paint::Plain), markdown(page)] {
            assert!(output.contains(words), "{words} is not in {output}");
        }
    }

    #[test]
    fn a_reduced_share_is_shown() {
        check_contains(&page(&json!({})), "100 % of the requests\n");
        check_contains(&page(&json!({ "weight_actual": 50.5 })), "100 % of the requests set, 50.5 % now: ");
        let mut killed = page(&json!({ "weight_actual": 0.0 }));
        killed["kill_all"] = json!(true);
        check_contains(&killed, "100 % of the requests set, none now: `kill.all` is set");
        let shadow = page(&json!({ "weight_actual": 0.0, "killed_by": "shadow" }));
        check_contains(&shadow, "100 % of the requests set, none now: the shadow is killed");
    }

    #[test]
    fn nothing_compared_says_why() {
        let left_out = page(&json!({ "not_compared": { "too_large": 7 } }));
        check_contains(&left_out, "too_large 7");
        check_contains(&left_out, "none yet");
        check_contains(&page(&json!({ "compares": false })), "no `[route.shadow.compare]`");
        let nothing = page(&json!({ "sent": 0, "completed": {}, "in_flight": 7, "dropped": {} }));
        let output = table(&nothing, Paint::Plain);
        assert!(output.contains("  sent      0\n  in flight 7\n") && !output.contains("dropped"), "{output}");
    }

    #[test]
    fn omissions_are_shown() {
        let many: Vec<_> = (0..43).map(|at| field(&format!("$.a{at}"))).collect();
        let mut page = compared(&many);
        check_contains(&page, "and 3 more confirmed: `--format json` lists them all");
        page["routes"][0]["comparison"]["unread"] = json!(5);
        page["routes"][0]["comparison"]["truncated"] = json!(6);
        page["comparing"] = json!({ "routes": 1, "failed": 8, "refused": 0 });
        check_contains(&page, "8 comparisons failed: this is a defect\n");
        page["routes"][0]["comparison"]["ended_early"] = json!(4);
        check_contains(&page, "4 copies failed or have another status");
        page["routes"][0]["controls"] = json!({ "answered": 7, "failed": 3, "no_place": 2 });
        check_contains(&page, "7, 0 of them differed; 3 more failed; 2 more had no free slot\n");
        check_contains(&page, "5 copies have bodies that cannot be compared");
        check_contains(&page, "6 comparisons found more fields than are listed");
        let mut opaque = field("body");
        opaque["note"] = json!("larger than 256 KiB");
        let output = table(&compared(&[opaque]), Paint::Plain);
        assert!(output.contains("      larger than 256 KiB\n") && !output.contains(" more "), "{output}");
    }

    /// A page with this headline of 98 comparisons and their controls.
    fn headline(counts: &Value, fields: &[Value]) -> Value {
        let mut page = page(&json!({ "comparison": {
            "since": "2026-11-21T14:04:42.290Z", "compared": 98, "equal": 0, "with_control": 49, "noisy_controls": 49,
            "net_mismatch": 0.3333, "net_mismatch_upper": 0.5, "fields": fields,
        } }));
        page["routes"][0]["sampled"] = json!(200);
        page["routes"][0]["comparison"].as_object_mut().unwrap().extend(counts.as_object().unwrap().clone());
        page
    }

    /// Every headline that there is, with the fields below it.
    fn headlines() -> String {
        let of = |path: &str, verdict: &str, (different, controls): (u64, u64)| {
            let mut field = field(path);
            field["verdict"] = json!(verdict);
            field["candidate"] = json!({ "different": different, "of": 98 });
            field["control"] = json!({ "different": controls, "of": 49 });
            field
        };
        let (noise, price) = (of("$.request", "noisy", (98, 49)), |verdict| of("$.price", verdict, (33, 0)));
        let mut all = String::new();
        for (what, counts, fields) in [
            (
                "noise in each answer, and a field that really differs",
                json!({}),
                vec![price("confirmed"), noise.clone()],
            ),
            ("not confirmed yet", json!({}), vec![price("unknown"), noise.clone()]),
            ("bodies that cannot be compared field by field", json!({}), vec![of("body", "unknown", (33, 0))]),
            ("noise alone", json!({ "net_mismatch": 0.0, "net_mismatch_upper": 0.1 }), vec![noise.clone()]),
            ("every control differs", json!({ "net_mismatch": null }), vec![of("$.both", "confirmed", (98, 49))]),
            (
                "no control",
                json!({ "net_mismatch": null, "with_control": 0, "noisy_controls": 0 }),
                vec![price("unknown")],
            ),
            ("controls that fail", json!({ "net_mismatch": null, "controls_ended_early": 49 }), vec![price("unknown")]),
            ("nothing could be compared", json!({ "compared": 0, "unread": 98, "net_mismatch": 0.0 }), vec![]),
        ] {
            let _ = write!(all, "# {what}\n{}", table(&headline(&counts, &fields), Paint::Plain));
        }
        all
    }

    #[test]
    fn headlines_are_as_in_the_golden_file() {
        let output = headlines();
        if std::env::var_os("BLESS").is_some() {
            std::fs::write("src/cli/compare/golden.txt", &output).unwrap();
        }
        assert_eq!(
            output,
            std::fs::read_to_string("src/cli/compare/golden.txt").unwrap_or_default(),
            "BLESS=1 rewrites it"
        );
    }

    #[test]
    fn columns_do_not_run_together() {
        let output = table(&compared(&[field(&"$.price".repeat(9))]), Paint::Plain);
        assert!(
            output.contains("$.price value    copies 2204 of 2204 (100.00 %)  controls 0 of 441 (0.00 %)"),
            "{output}"
        );
    }

    #[test]
    fn text_of_upstreams_is_escaped_for_terminal_and_table() {
        let mut odd = field("$[\"\u{1b}]0;pwned\u{7}k\"]");
        odd["samples"] = json!([{ "primary": "\u{9b}2J | `x` ``", "candidate": "a\nb\u{202e}" }]);
        let page = compared(&[odd]);
        for output in [table(&page, Paint::Plain), markdown(&page)] {
            let is_control = |letter: char| letter != '\n' && letter.is_control() || letter == '\u{202e}';
            assert!(!output.contains(is_control), "{output:?}");
        }
        let output = markdown(&page);
        let row = output.lines().find(|line| line.contains("pwned")).unwrap();
        assert!(row.contains("| ``` \\u{9b}2J \\| `x` `` ``` | `a\\u{a}b\\u{202e}` |"), "{row}");
        assert_eq!(row.replace("\\|", "").matches('|').count(), 8, "{row}");
    }

    #[test]
    fn a_missing_route_is_reported() {
        assert_eq!(unknown("a", &[]), "route `a` has no shadow, and no other route has one");
        assert!(unknown("a", &["b".to_owned(), "c".to_owned()]).ends_with("these have one: b, c"));
    }
}
