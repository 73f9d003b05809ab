//! `reload`: lets a running proxy read its file again, and waits for the outcome.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::bail;
use http::StatusCode;
use serde_json::Value;

use super::admin::{AdminEndpoint, AdminResponse, FetchOptions, Purpose, Sent};
use super::args::ReloadArguments;
use super::paint::{Paint, Terminal};
use super::{Exit, diagnostic_text, out};
use crate::compare::escape_controls;

/// A reload of many routes takes seconds, and one requested during a hand-over waits for its end.
const PATIENCE: Duration = Duration::from_secs(90);
/// A command that prints nothing for longer looks broken.
const ANNOUNCED_AFTER: Duration = Duration::from_secs(2);

/// Requests a reload.
///
/// # Errors
/// When the proxy does not answer, or is stopping.
pub fn reload(arguments: &ReloadArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    // It applies only what the file says: without a token, a proxy accepts it from its own machine over TCP too.
    let admin = arguments.admin.find(Purpose::Read)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(patiently(&admin))?;
    if answer.status == StatusCode::SERVICE_UNAVAILABLE {
        bail!("{} answers: {}", answer.place, answer.line());
    }
    // Whatever else listens there answers something else.
    let outcome: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let Some((outcome, word)) = outcome.as_ref().and_then(|outcome| Some((outcome, outcome["outcome"].as_str()?)))
    else {
        answer.page()?;
        bail!("{} answers without an outcome: is this the admin listener?", answer.place);
    };
    let is_stopping = outcome["diagnostics"][0]["code"] == "stopping";
    let exit = match word {
        "applied" | "unchanged" => Exit::Ok,
        _ if is_stopping => Exit::Failed,
        _ => Exit::BadFile,
    };
    if arguments.json {
        out::print_json(outcome)?;
    } else if exit == Exit::Ok {
        out::print(&in_words(outcome, terminal.stdout))?;
    } else {
        out::print_error(&diagnostic_text::coloured(
            outcome["text"].as_str().unwrap_or("the file is rejected"),
            terminal.stderr,
        ));
        let message = if is_stopping { "not reloaded" } else { "rejected: the running configuration stays in effect" };
        out::print_error(&terminal.stderr.red(message));
    }
    Ok(exit)
}

/// Requests the reload. An answer that takes longer is announced.
async fn patiently(admin: &AdminEndpoint) -> anyhow::Result<AdminResponse> {
    let asking = admin.ask("/reload", FetchOptions::post(Sent::Nothing, PATIENCE));
    tokio::pin!(asking);
    tokio::select! {
        answer = &mut asking => return answer,
        () = tokio::time::sleep(ANNOUNCED_AFTER) => {}
    }
    let (names, seconds) = (admin.names(), PATIENCE.as_secs());
    out::print_error(&format!(
        "waiting for {names}, up to {seconds} s: many routes take seconds, and a hand-over comes first (Ctrl-C ends the \
         waiting, not the reload)"
    ));
    asking.await
}

/// A reload that was not rejected, in words.
fn in_words(outcome: &Value, paint: Paint) -> String {
    let generation = outcome["generation"].as_u64().unwrap_or(0);
    let mut text = if outcome["outcome"] == "applied" {
        paint.green(&format!("reloaded: generation {generation}"))
    } else {
        format!("no change: generation {generation} stays in effect")
    };
    for line in outcome["summary"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        text.push_str("\n  ");
        text.push_str(&escape_controls(line));
    }
    // The file was read before, as soon as it was saved.
    let changes = outcome["last_change"]["summary"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let changes = changes.collect::<Vec<_>>().join("; ");
    if !changes.is_empty() {
        let _ = write!(text, "\n  last change: {}", escape_controls(&changes));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn outcomes_in_words() {
        let applied = json!({ "outcome": "applied", "generation": 3, "summary": ["shop canary 5 → 10"] });
        assert_eq!(in_words(&applied, Paint::Plain), "reloaded: generation 3\n  shop canary 5 → 10");
        let same = json!({ "outcome": "unchanged", "generation": 2, "summary": [] });
        assert_eq!(in_words(&same, Paint::Plain), "no change: generation 2 stays in effect");
        let seen = json!({ "outcome": "unchanged", "generation": 2, "summary": [],
            "last_change": { "outcome": "applied", "generation": 2, "summary": ["shop canary killed"] } });
        let text = in_words(&seen, Paint::Plain);
        assert_eq!(text, "no change: generation 2 stays in effect\n  last change: shop canary killed");
        let hostile = json!({ "outcome": "applied", "generation": 3, "summary": ["a\u{1b}[2J"] });
        assert!(!in_words(&hostile, Paint::Plain).contains('\u{1b}'));
    }
}
