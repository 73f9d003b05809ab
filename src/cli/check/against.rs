//! `check --against`: a running proxy checks the file, and says what it would change there. Nothing is applied.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::format::CheckFormat;
use crate::cli::admin::{AdminPlace, FetchOptions, ProblemDocument, Purpose, Sent};
use crate::cli::args::{AdminArguments, CheckArguments};
use crate::cli::paint::{Paint, Terminal};
use crate::cli::{Exit, diagnostic_text, out};
use crate::compare::escape_controls;

/// Many routes take seconds.
const PATIENCE: Duration = Duration::from_mins(1);
/// The proxy reads no larger file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Has the proxy at `place`, else the one that is found, check the file.
///
/// # Errors
/// The file cannot be read, or no proxy answers.
pub(super) fn against(
    place: Option<&AdminPlace>,
    arguments: &CheckArguments,
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    let json = match arguments.format() {
        CheckFormat::Text => false,
        CheckFormat::Json => true,
        CheckFormat::Github | CheckFormat::Sarif => {
            out::print_error("--against prints text or --json: leave --format away");
            return Ok(Exit::Usage);
        }
    };
    let text = read(&arguments.file)?;
    let admin = AdminArguments { admin: place.cloned(), credentials: arguments.credentials.clone() };
    let admin = admin.find(Purpose::Read)?;
    let answer = admin.ask_blocking("/v1/config/check", FetchOptions::post(Sent::Toml(text.into()), PATIENCE))?;
    if let Some(problem) = ProblemDocument::read(&answer) {
        out::print_error(&format!("{}: {}", terminal.stderr.red("refused"), problem.text()));
        return Ok(if problem.status.is_server_error() { Exit::Failed } else { Exit::Refused });
    }
    let page = answer.page()?;
    let Some(is_valid) = page["valid"].as_bool() else {
        bail!("{} answers something else: is this the admin listener?", answer.place);
    };
    // What depends on the date is an error of a check alone: the proxy would apply the file.
    let is_refused = |one: &Value| one["severity"] == "error";
    let refuses = !is_valid || page["diagnostics"].as_array().is_some_and(|all| all.iter().any(is_refused));
    let exit = if refuses { Exit::BadFile } else { Exit::Ok };
    if json {
        out::print_json(&page)?;
        return Ok(exit);
    }
    let diagnostics = page["text"].as_str().filter(|text| !text.trim().is_empty());
    if let Some(diagnostics) = diagnostics {
        out::print_error(&diagnostic_text::coloured(diagnostics, terminal.stderr));
    }
    let generation = page["generation"].as_u64().unwrap_or(0);
    let place = &answer.place;
    if is_valid {
        let heading = format!("against generation {generation} of {place}:");
        out::print(&format!("{}\n{}", terminal.stdout.dim(&heading), what_if(&page, terminal.stdout)))?;
    } else {
        out::print_error(&terminal.stderr.red(&format!("{place} would reject it: generation {generation} would stay")));
    }
    Ok(exit)
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = file.display();
    let mut text = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_end(&mut text)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text))
    };
    read.with_context(|| format!("cannot read {shown}"))?;
    let is_small = u64::try_from(text.len()).is_ok_and(|length| length <= FILE_BYTES_MAX);
    ensure!(is_small, "{shown} is larger than 1 MiB: the proxy checks no larger file by a call");
    Ok(text)
}

/// What the file would change, in words. The answer is untrusted: control characters are escaped.
fn what_if(page: &Value, paint: Paint) -> String {
    let found = &page["what_if"];
    let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut lines = String::new();
    for (key, word) in [("added", paint.green("added  ")), ("removed", paint.red("removed"))] {
        for name in items(&found[key]) {
            let _ = writeln!(lines, "{word} route {}", text(&name)); // writing to memory cannot fail
        }
    }
    for change in items(&found["changed"]) {
        let _ = writeln!(lines, "{} route {}", paint.yellow("changed"), paint.bold(&text(&change["route"])));
        for words in items(&change["words"]) {
            let _ = writeln!(lines, "          {}", text(&words));
        }
        let _ = writeln!(lines, "          {}", moved(&change, paint));
    }
    for words in items(&found["others"]) {
        let _ = writeln!(lines, "{} {}", paint.yellow("also   "), text(&words));
    }
    if lines.is_empty() { "nothing changes".to_owned() } else { lines }
}

/// Who moves.
fn moved(change: &Value, paint: Paint) -> String {
    if let Some(why) = change["unknown_because"].as_str() {
        return format!("moved callers unknown: {}", escape_controls(why));
    }
    let flows: Vec<String> = change["moves"].as_array().into_iter().flatten().map(flow).collect();
    let note = change["note"].as_str().map(|note| format!("; {}", escape_controls(note))).unwrap_or_default();
    match change["moved_percent"].as_f64() {
        Some(percent) if !flows.is_empty() => {
            format!("{} of its callers move: {}{note}", paint.bold(&format!("{percent} %")), flows.join(", "))
        }
        Some(_) | None => format!("no caller moves{note}"),
    }
}

fn flow(flow: &Value) -> String {
    let percent = flow["percent"].as_f64().unwrap_or(0.0);
    format!("{percent} % from {} to {}", text(&flow["from"]), text(&flow["to"]))
}

fn text(value: &Value) -> String {
    escape_controls(value.as_str().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_changes_are_in_words() {
        let page = json!({ "what_if": {
            "added": ["new"], "removed": ["old\u{1b}"], "others": ["upstream v2: other endpoints"],
            "changed": [
                { "route": "shop", "words": ["canary 10 → 50"], "moved_percent": 40.0,
                  "moves": [{ "from": "stable", "to": "canary", "percent": 40.0 }] },
                { "route": "api", "words": ["limits"], "moved_percent": 0.0, "moves": [] },
                { "route": "x", "words": [], "moves": null, "unknown_because": "targets differ" },
            ],
        } });
        assert_eq!(
            what_if(&page, Paint::Plain),
            "added   route new\nremoved route old\\u{1b}\nchanged route shop\n          canary 10 → 50\n          \
             40 % of its callers move: 40 % from stable to canary\nchanged route api\n          limits\n          \
             no caller moves\nchanged route x\n          moved callers unknown: targets differ\n\
             also    upstream v2: other endpoints\n"
        );
        assert_eq!(what_if(&json!({}), Paint::Plain), "nothing changes");
    }
}
