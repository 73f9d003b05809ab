//! What is killed: scope, by whom, why, since when. The list is untrusted: control characters are escaped.

use serde_json::Value;

use crate::cli::admin::{AdminEndpoint, FetchOptions};
use crate::cli::args::ActOutput;
use crate::cli::kill_row::KillRow;
use crate::cli::paint::{Paint, Terminal};
use crate::cli::{Exit, out};

/// Prints what is killed.
pub(super) async fn list(admin: &AdminEndpoint, output: ActOutput, terminal: Terminal) -> anyhow::Result<Exit> {
    let page = admin.ask("/v1/kill", FetchOptions::get()).await?.page()?;
    match output {
        ActOutput::Json => out::print_json(&page)?,
        ActOutput::Text => out::print(&table(&page, terminal.stdout))?,
    }
    Ok(Exit::Ok)
}

fn table(page: &Value, paint: Paint) -> String {
    let kills: Vec<KillRow> = page["kills"].as_array().into_iter().flatten().map(KillRow::read).collect();
    if kills.is_empty() {
        return "nothing is killed".to_owned();
    }
    let width = |of: fn(&KillRow) -> &String, title: &str| {
        kills.iter().map(|row| of(row).chars().count()).max().unwrap_or(0).max(title.len())
    };
    let (scope, by, since) =
        (width(|row| &row.scope, "SCOPE"), width(|row| &row.by, "BY"), width(|row| &row.since, "SINCE"));
    let mut lines = vec![paint.dim(&format!("{:<scope$}  {:<by$}  {:<since$}  WHY", "SCOPE", "BY", "SINCE"))];
    for row in &kills {
        let name = paint.red(&format!("{:<scope$}", row.scope));
        lines.push(format!("{name}  {:<by$}  {:<since$}  {}", row.by, row.since, row.why()).trim_end().to_owned());
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kills_are_a_table() {
        let page = json!({ "kills": [
            { "scope": { "route": "search" }, "source": "file", "place": "routes.toml:12", "matches": true },
            { "scope": { "variant": "shop:canary" }, "source": "call", "who": { "name": "ana", "via": "socket" },
              "reason": "errors", "at": "2026-11-29T14:03:10.123Z", "seq": 12, "durable": true, "matches": false },
        ] });
        assert_eq!(
            table(&page, Paint::Plain),
            "SCOPE                BY              SINCE                 WHY\n\
             route search         routes.toml:12  -\n\
             variant shop:canary  ana (socket)    2026-11-29 14:03:10Z  errors [not in the running configuration]"
        );
        assert_eq!(table(&json!({ "kills": [] }), Paint::Plain), "nothing is killed");
    }
}
