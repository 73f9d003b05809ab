//! The names of rollouts and releases: in paths, and for those who typed another.

use serde_json::Value;

use super::outcome::refused;
use super::send::{STATUS_PATIENCE, encoded};
use crate::cli::admin::{AdminEndpoint, AdminResponse, FetchOptions};
use crate::cli::args::ActOutput;
use crate::cli::paint::Terminal;
use crate::cli::release_row::ReleaseRow;
use crate::cli::rollout_row::RolloutRow;
use crate::cli::{Exit, out};

/// Names that are listed.
const LISTED_MAX: usize = 10;

/// The path of a rollout or release.
pub(super) fn path(name: &str) -> String {
    format!("/v1/rollouts/{}", encoded(name))
}

/// The entries of `/v1/rollouts`.
pub(super) fn entries(page: &Value) -> impl Iterator<Item = &Value> {
    page["rollouts"].as_array().into_iter().flatten()
}

/// Reports that there is no such rollout or release, with the names that there are.
pub(super) async fn not_found(
    admin: &AdminEndpoint,
    answer: &AdminResponse,
    output: ActOutput,
    terminal: Terminal,
) -> anyhow::Result<Exit> {
    if let (ActOutput::Json, Some(document)) = (output, answer.json()) {
        out::print_json(&document)?;
    }
    let exit = refused(answer, output, terminal)?;
    let page = admin.ask("/v1/rollouts", FetchOptions::within(STATUS_PATIENCE)).await.ok();
    if output == ActOutput::Text
        && let Some(names) = page.and_then(|answer| answer.page().ok()).and_then(|page| names(&page))
    {
        out::print_error(&format!("  {names}"));
    }
    Ok(exit)
}

/// `rollouts: a; releases: shop:canary`.
fn names(page: &Value) -> Option<String> {
    let rollouts = RolloutRow::sorted(entries(page)).into_iter().map(|row| row.name).collect();
    let releases = entries(page).filter(|entry| !RolloutRow::is(entry)).map(ReleaseRow::read).collect();
    let releases = ReleaseRow::sorted(releases).into_iter().map(|row| row.name).collect();
    let lists = [("rollouts", rollouts), ("releases", releases)];
    let words = |(what, names): (&str, Vec<String>)| {
        let more = names.len().saturating_sub(LISTED_MAX);
        let listed = names.into_iter().take(LISTED_MAX).collect::<Vec<_>>().join(", ");
        let end = if more > 0 { format!(" and {more} more: `pointsman rollout ls`") } else { String::new() };
        (!listed.is_empty()).then(|| format!("{what}: {listed}{end}"))
    };
    let words: Vec<String> = lists.into_iter().filter_map(words).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_listed_by_kind() {
        let entry = |kind: &str, name: &str| json!({ "kind": kind, "name": name, "state": "watching" });
        let page = json!({ "rollouts": [entry("static", "shop:canary"), entry("rollout", "cart-v2")] });
        assert_eq!(names(&page).as_deref(), Some("rollouts: cart-v2; releases: shop:canary"));
        assert_eq!(names(&json!({ "rollouts": [] })), None);
        let many: Vec<Value> = (0..12).map(|number| entry("rollout", &format!("r{number:02}"))).collect();
        let listed = names(&json!({ "rollouts": many })).unwrap();
        assert!(listed.ends_with("r09 and 2 more: `pointsman rollout ls`"), "{listed}");
        assert_eq!(path("shop:canary"), "/v1/rollouts/shop%3Acanary");
    }
}
