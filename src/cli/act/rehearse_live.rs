//! `rehearse --live`: a guard is tripped by hand, and the proxy measures how long the rollback takes.

use std::time::Duration;

use serde_json::Value;

use super::question::can_ask;
use super::rollout_act::perform;
use super::rollout_order::PersonOrder;
use super::send::seen;
use crate::cli::admin::{AdminEndpoint, FetchOptions, Purpose};
use crate::cli::args::{ActOutput, RolloutActArguments};
use crate::cli::paint::Terminal;
use crate::cli::{Exit, out};
use crate::clock::Clock;
use crate::compare::escape_controls;

/// Between two looks at the journal.
const EVERY: Duration = Duration::from_millis(200);
/// The proxy measures for 30 s after the time that the plan gives to a rollback, which is an hour at most.
const PATIENCE: Duration = Duration::from_mins(61);
/// How many records are read at a look.
const PAGE: usize = 100;

/// Rehearses a rollback on live traffic, and prints what was measured.
///
/// # Errors
/// No proxy answers.
pub fn rehearse_live(arguments: &RolloutActArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(rehearse(arguments, terminal))
}

async fn rehearse(arguments: &RolloutActArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    // A drill is no emergency: a slip in a script must not roll back.
    if !arguments.yes && !can_ask() {
        let words = "this rolls back live traffic: say so with --yes where there is no terminal";
        out::print_error(&format!("{}: {words}", terminal.stderr.red("refused")));
        return Ok(Exit::Usage);
    }
    let admin = arguments.admin.find(Purpose::Act)?;
    let before = seen(&admin).await.unwrap_or(0);
    let exit = perform(PersonOrder::Rehearse(arguments), terminal).await?;
    if exit != Exit::Ok {
        return Ok(exit);
    }
    let output = arguments.output();
    if output == ActOutput::Text {
        out::print_error("the proxy measures until the last request to the canary has ended …");
    }
    let Some(record) = measured(&admin, &arguments.name, before).await? else {
        out::print_error(
            &terminal.stderr.red("the proxy has not recorded what it measured: `pointsman journal` shows it"),
        );
        return Ok(Exit::Failed);
    };
    match output {
        ActOutput::Json => out::print_json(&record)?,
        ActOutput::Text => {
            out::print(&said(&record))?;
            let name = escape_controls(&arguments.name);
            out::print(&format!("go on with `pointsman rollout resume {name} --reason TEXT`"))?;
        }
    }
    Ok(exit)
}

/// The record of the measurement, from those after a sequence number; `None` when it does not come.
async fn measured(admin: &AdminEndpoint, rollout: &str, mut after: u64) -> anyhow::Result<Option<Value>> {
    let clock = Clock;
    let until = clock.now() + PATIENCE;
    while clock.now() < until {
        let page = admin.ask(&format!("/v1/journal?after={after}&limit={PAGE}"), FetchOptions::get()).await?.page()?;
        for record in page["records"].as_array().into_iter().flatten() {
            after = record["seq"].as_u64().unwrap_or(after).max(after);
            if record["what"] == "rollout" && record["act"] == "rehearsed" && record["rollout"] == rollout {
                return Ok(Some(record.clone()));
            }
        }
        tokio::time::sleep(EVERY).await;
    }
    Ok(None)
}

/// What was measured, in lines.
fn said(record: &Value) -> String {
    let evidence = &record["evidence"];
    let ms = |key: &str| evidence[key].as_f64().map(|ms| format!("{ms:.1} ms"));
    let line = |what: &str, value: Option<String>| {
        format!("  {what:<48} {}", value.unwrap_or_else(|| "not in time".to_owned()))
    };
    let after = evidence["requests_after"].as_u64().unwrap_or(0);
    let ended = match after {
        0 => "none".to_owned(),
        more => format!("{more}, the last one after {}", ms("last_request_ms").unwrap_or_default()),
    };
    [
        "measured from the trip on:".to_owned(),
        line("no worker sends to the canary any more after", ms("in_force_ms")),
        line("the record of the rollback is on the disk after", ms("durable_ms")),
        line("requests to the canary that ended meanwhile", Some(ended)),
        line("requests that have not ended yet", evidence["still_open"].as_u64().map(|open| open.to_string())),
        line("recorded as", record["seq"].as_u64().map(|seq| format!("#{seq}"))),
    ]
    .join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_measured_is_said_with_units() {
        let evidence = json!({ "in_force_ms": 4.54, "last_request_ms": 12.0, "requests_after": 3, "durable_ms": null });
        let text = said(&json!({ "seq": 17, "evidence": evidence }));
        for part in ["4.5 ms", "3, the last one after 12.0 ms", "#17", "not in time"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let none = json!({ "in_force_ms": 4.5, "last_request_ms": 0.0, "requests_after": 0, "durable_ms": 6.1 });
        assert!(said(&json!({ "seq": 17, "evidence": none })).contains("none"));
    }
}
