//! The overview: what needs a person, then a row for each rollout, the worst on top.

use maud::{Markup, html};
use serde_json::Value;

use super::figures::{list, text};
use super::frame::Frame;
use super::needs::{Need, NeedFacts, needs, needs_list};
use super::release_acts::ActScene;
use super::release_row::{OverviewRow, can_act, row_heads};
use super::release_verdict::ReleaseVerdict;

/// The API's answers that the overview shows.
#[derive(Clone, Copy, Debug)]
pub struct OverviewFacts<'a> {
    /// `/v1/rollouts`.
    pub rollouts: &'a Value,
    /// `/v1/upstreams`.
    pub upstreams: &'a Value,
    /// By rollout or release: its last record in the journal.
    pub last_records: &'a Value,
    /// By rollout or release: `/v1/history?rollout=NAME&points=60`.
    pub histories: &'a Value,
}

/// The page.
pub fn overview_page(frame: &Frame<'_>, facts: OverviewFacts<'_>) -> String {
    let OverviewFacts { rollouts, upstreams, .. } = facts;
    let found = needs(NeedFacts { status: frame.status, rollouts, upstreams, now: frame.now });
    let rows = rows(frame, facts);
    let main = html! {
        h1 class="sr-only" { "Overview" }
        section aria-labelledby="needs-head" {
            h2 id="needs-head" class=[found.is_empty().then_some("sr-only")] { "Needs you" }
            (needs_list(&found))
        }
        section aria-labelledby="releases-head" {
            div class="head" {
                h2 id="releases-head" { "Rollouts and watched releases" }
                (tally(&rows))
            }
            @if rows.is_empty() { (no_release()) } @else { (table(frame, &rows)) }
        }
    };
    let title = title(&rows, &found);
    Frame { title: &title, ..frame.clone() }.with_needs(&main, Some(found.len()))
}

/// The rows, the worst first, then by name.
fn rows<'a>(frame: &Frame<'a>, facts: OverviewFacts<'a>) -> Vec<OverviewRow<'a>> {
    let kills = &frame.status["kills"];
    let row = |release: &'a Value| {
        let name = text(&release["name"]);
        OverviewRow {
            verdict: ReleaseVerdict::of(release, kills),
            scene: ActScene { release, viewer: frame.viewer, kills },
            record: &facts.last_records[name],
            history: &facts.histories[name],
        }
    };
    let mut rows: Vec<OverviewRow<'a>> = list(&facts.rollouts["rollouts"]).map(row).collect();
    rows.sort_by(|one, other| one.verdict.rank().cmp(&other.verdict.rank()).then_with(|| one.name().cmp(other.name())));
    rows
}

/// How many rows have each verdict, the worst first.
fn tally(rows: &[OverviewRow<'_>]) -> Markup {
    let mut counts: Vec<(&ReleaseVerdict, usize)> = Vec::new();
    for row in rows {
        match counts.last_mut() {
            Some((verdict, count)) if verdict.word == row.verdict.word => *count += 1,
            _ => counts.push((&row.verdict, 1)),
        }
    }
    html! {
        @if !rows.is_empty() {
            p class="tally" {
                @for (verdict, count) in counts {
                    span class=(verdict.tone.class()) { span aria-hidden="true" { (verdict.shape) " " } (count) " " bdi { (verdict.word) } } " "
                }
            }
        }
    }
}

fn table(frame: &Frame<'_>, rows: &[OverviewRow<'_>]) -> Markup {
    html! {
        table class={ "stack releases" @if !can_act(frame.viewer) { " read" } } role="table" aria-labelledby="releases-head" {
            thead role="rowgroup" {
                tr role="row" { @for head in row_heads(frame.viewer) { th scope="col" role="columnheader" { (head) } } }
            }
            tbody role="rowgroup" { @for row in rows { (row.markup()) } }
        }
    }
}

fn no_release() -> Markup {
    html! {
        p class="soft" {
            "No rollout, and no release that guards watch. A " code { "[rollout.NAME]" } " in the file gives a release stages; "
            code { "guard" } " in a route lets guards watch a static weight."
        }
    }
}

/// The title: how many need a person, with the worst verdict.
fn title(rows: &[OverviewRow<'_>], found: &[Need]) -> String {
    let worst = rows.first().map(|row| row.verdict.title());
    match (found.len(), worst) {
        (0, Some(worst)) => format!("{worst} · Overview"),
        (0, None) => "Overview".to_owned(),
        (count, _) => format!("◆ {count} need you · Overview"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::frame::PageName;
    use super::super::viewer::Viewer;
    use super::*;

    fn page(rollouts: &Value, viewer: &Viewer) -> String {
        let status = json!({ "phase": "running", "ready": true });
        let frame = Frame {
            page: PageName::Overview,
            title: "Overview",
            viewer,
            seq: 7,
            now: "2026-12-01T00:00:00.000Z",
            status: &status,
            grafana: None,
        };
        let facts =
            OverviewFacts { rollouts, upstreams: &Value::Null, last_records: &Value::Null, histories: &Value::Null };
        overview_page(&frame, facts)
    }

    fn release(name: &str, state: &str) -> Value {
        json!({ "kind": "rollout", "name": name, "state": state, "needs_person": state == "rolled_back" })
    }

    #[test]
    fn the_worst_is_on_top_and_the_order_is_always_the_same() {
        let all = ["complete", "rolled_back", "held", "pending", "killed", "running"];
        let mut rows: Vec<Value> = all
            .iter()
            .flat_map(|state| [release(&format!("{state}-b"), state), release(&format!("{state}-a"), state)])
            .collect();
        let first = page(&json!({ "rollouts": rows }), &Viewer::default());
        rows.reverse();
        assert_eq!(first, page(&json!({ "rollouts": rows }), &Viewer::default()));
        let order = [
            "rolled_back-a",
            "rolled_back-b",
            "held-a",
            "held-b",
            "killed-a",
            "running-a",
            "complete-a",
            "complete-b",
            "pending-a",
        ];
        let places: Vec<Option<usize>> =
            order.iter().map(|name| first.find(&format!("data-row=\"rollout:{name}\""))).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
        assert!(first.contains("<title>◆ 2 need you · Overview · Pointsman</title>"), "{first}");
        assert!(first.contains("<span id=\"needs-count\" class=\"count\">2"), "{first}");
    }

    #[test]
    fn a_calm_overview_says_so() {
        let calm = page(&json!({ "rollouts": [release("a", "complete")] }), &Viewer::default());
        assert!(calm.contains("Nothing needs you.") && calm.contains("<title>✓ complete · Overview"), "{calm}");
        for nothing in [Value::Null, json!({}), json!({ "rollouts": [] }), json!({ "rollouts": "x" })] {
            let page = page(&nothing, &Viewer::default());
            assert!(page.contains("No rollout, and no release") && !page.contains("<table"), "{page}");
        }
    }

    #[test]
    fn each_of_many_releases_has_its_row() {
        let viewer = Viewer { may_operate: true, ..Viewer::default() };
        let rows: Vec<Value> = (0..1_000).map(|at| release(&format!("r{at}"), "running")).collect();
        let found = page(&json!({ "rollouts": rows }), &viewer);
        assert_eq!(found.matches("<tr role=\"row\" data-row").count(), 1_000);
    }
}
