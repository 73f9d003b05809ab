//! `compare`: what a dark launch has shown so far, asked of a running proxy.

use std::fmt::Write as _;

use anyhow::{Context, bail};
use http::{StatusCode, Uri};
use serde_json::Value;

use super::args::{CompareArguments, CompareFormat};
use super::entry::Terminal;
use super::paint::Paint;
use super::{Exit, fetch, out};

/// Fields that are listed, of each verdict.
const FIELDS_MAX: usize = 40;

/// Runs `compare`.
///
/// # Errors
/// When the proxy cannot be asked, or has no such route.
pub fn compare(arguments: &CompareArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let admin = &arguments.admin;
    let base = if admin.contains("://") { admin.clone() } else { format!("http://{admin}") };
    let uri: Uri =
        format!("{}/shadow", base.trim_end_matches('/')).parse().with_context(|| format!("`{admin}` is no URL"))?;
    let answer = fetch::get_blocking(&uri)?;
    if answer.status != StatusCode::OK {
        bail!("{admin} answers {}: is this the admin listener?", answer.status);
    }
    let mut page: Value = serde_json::from_slice(&answer.body).context("what came is no report")?;
    if let (Some(wanted), Some(routes)) = (&arguments.route, page["routes"].as_array_mut()) {
        let known: Vec<String> = routes.iter().filter_map(|route| route["route"].as_str()).map(str::to_owned).collect();
        routes.retain(|route| route["route"] == wanted.as_str());
        if routes.is_empty() {
            bail!("no route `{wanted}` has a shadow; these have one: {}", known.join(", "));
        }
    }
    match arguments.format {
        CompareFormat::Json => out::say_json(&page)?,
        CompareFormat::Md => out::say(markdown(&page).trim_end())?,
        CompareFormat::Table => out::say(table(&page, terminal.stdout).trim_end())?,
    }
    Ok(Exit::Ok)
}

fn routes(page: &Value) -> impl Iterator<Item = &Value> {
    page["routes"].as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// `timeout 3, reset 1`.
fn counts(value: &Value) -> String {
    let all = value.as_object().into_iter().flatten();
    all.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
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
    format!("p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms", at("p50"), at("p90"), at("p99"))
}

/// What is said of a route's copies, line by line.
fn facts(route: &Value) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("share", format!("{} % of the requests", route["weight"])),
        ("sampled", number(&route["sampled"]).to_string()),
        ("sent", format!("{} ({})", number(&route["sent"]), counts(&route["completed"]))),
    ];
    if !counts(&route["dropped"]).is_empty() {
        facts.push(("dropped", counts(&route["dropped"])));
    }
    let comparison = &route["comparison"];
    if comparison.is_null() {
        facts.push((
            "compared",
            "nothing yet: `[route.shadow.compare]` is not there, or no copy was compared".to_owned(),
        ));
        return facts;
    }
    facts.push(("since", text(&comparison["since"]).to_owned()));
    facts.push(("compared", format!("{}, {} equal", number(&comparison["compared"]), number(&comparison["equal"]))));
    facts.push((
        "controls",
        format!("{}, {} of them differed", number(&comparison["with_control"]), number(&comparison["noisy_controls"])),
    ));
    if !counts(&route["not_compared"]).is_empty() {
        facts.push(("left out", counts(&route["not_compared"])));
    }
    let net = comparison["net_mismatch"].as_f64().unwrap_or(0.0);
    let upper = comparison["net_mismatch_upper"].as_f64().unwrap_or(1.0);
    facts.push((
        "mismatch",
        format!("{} beyond the noise, below {} with 99 % confidence", percent(net), percent(upper)),
    ));
    facts.push(("requests", milliseconds(&comparison["latency_seconds"]["primary"])));
    facts.push(("copies", milliseconds(&comparison["latency_seconds"]["candidate"])));
    facts
}

fn fields<'v>(route: &'v Value, verdict: &'v str) -> impl Iterator<Item = &'v Value> {
    let all = route["comparison"]["fields"].as_array().into_iter().flatten();
    all.filter(move |field| field["verdict"] == verdict).take(FIELDS_MAX)
}

const VERDICTS: [(&str, &str); 3] = [
    ("confirmed", "really differ"),
    ("noisy", "differ between two answers of the old version, too"),
    ("unknown", "too little was seen to say"),
];

fn table(page: &Value, paint: Paint) -> String {
    let mut page_text = String::new();
    let out = &mut page_text;
    // Writing to a string cannot fail.
    for route in routes(page) {
        let _ = writeln!(out, "{}  → {}", paint.bold(text(&route["route"])), text(&route["upstream"]));
        for (name, fact) in facts(route) {
            let _ = writeln!(out, "  {name:<10}{fact}");
        }
        for (verdict, meaning) in VERDICTS {
            let mut all = fields(route, verdict).peekable();
            if all.peek().is_none() {
                continue;
            }
            let title = format!("{verdict}: {meaning}");
            let title = if verdict == "confirmed" { paint.red(&title) } else { paint.dim(&title) };
            let _ = writeln!(out, "  {title}");
            for field in all {
                let _ = writeln!(
                    out,
                    "    {:<32}{:<9}copies {:<22}controls {}",
                    text(&field["path"]),
                    text(&field["kind"]),
                    rate(&field["candidate"]),
                    rate(&field["control"]),
                );
                if let Some(sample) = field["samples"].as_array().and_then(|samples| samples.last()) {
                    let _ = writeln!(out, "      {}  →  {}", text(&sample["primary"]), text(&sample["candidate"]));
                }
                if verdict != "unknown" {
                    let _ = writeln!(out, "      {}", paint.dim(text(&field["ignore"])));
                }
            }
        }
        out.push('\n');
    }
    if page_text.is_empty() { "no route has a shadow\n".to_owned() } else { page_text }
}

/// A cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

fn markdown(page: &Value) -> String {
    let mut report = "# Dark launches\n".to_owned();
    for route in routes(page) {
        let _ = writeln!(report, "\n## {} → {}\n", text(&route["route"]), text(&route["upstream"]));
        for (name, fact) in facts(route) {
            let _ = writeln!(report, "* {name}: {fact}");
        }
        if route["comparison"].is_null() {
            continue;
        }
        report.push_str(
            "\n| field | kind | verdict | copies | controls | request | copy |\n|---|---|---|---|---|---|---|\n",
        );
        for field in VERDICTS.iter().flat_map(|(verdict, _)| fields(route, verdict)) {
            let sample = field["samples"].as_array().and_then(|samples| samples.last());
            let side = |name: &str| sample.map_or(String::new(), |sample| format!("`{}`", cell(text(&sample[name]))));
            let _ = writeln!(
                report,
                "| `{}` | {} | {} | {} | {} | {} | {} |",
                cell(text(&field["path"])),
                text(&field["kind"]),
                text(&field["verdict"]),
                rate(&field["candidate"]),
                rate(&field["control"]),
                side("primary"),
                side("candidate"),
            );
        }
    }
    report
}
