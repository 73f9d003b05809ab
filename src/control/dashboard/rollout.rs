//! A rollout, or the release of a static weight: stages, evidence, both arms, what happens next, its records.

use maud::{Markup, html};
use serde_json::Value;

use super::chart::{error_chart, latency_chart, share_chart, stage_chart};
use super::figures::{count, list, millis, ratio, short, span, text};
use super::frame::Frame;
use super::next_step::{BlockDetail, next_step};
use super::parts::{code_spans, in_path};
use super::record_line::record_table;
use super::release_acts::{ActScene, act_list};
use super::release_row::{can_act, kill_preset, owner_line, shares, stage_line, why_there};
use super::release_verdict::ReleaseVerdict;
use super::rollout_guards::guards_section;
use super::rollout_stages::stage_table;

/// The API's answers that the page shows.
#[derive(Clone, Copy, Debug)]
pub struct RolloutPageFacts<'a> {
    /// `/v1/rollouts/{name}`.
    pub rollout: &'a Value,
    /// `/v1/history?rollout=NAME&points=300`.
    pub history: &'a Value,
    /// Its records in the journal, newest first.
    pub records: &'a [Value],
}

/// The page.
pub fn rollout_page(frame: &Frame<'_>, facts: RolloutPageFacts<'_>) -> String {
    let RolloutPageFacts { rollout, history, records } = facts;
    let kills = &frame.status["kills"];
    let verdict = ReleaseVerdict::of(rollout, kills);
    let scene = ActScene { release: rollout, viewer: frame.viewer, kills };
    let main = html! {
        section class="one-release" data-row={ "rollout:" (frame.title) } data-name=(frame.title) data-state=(verdict.state)
            data-word=(verdict.word) data-kill=[frame.viewer.may_operate.then(|| kill_preset(rollout))] {
            (head(frame, rollout, &verdict))
            (decision(scene))
        }
        @if list(&rollout["stages"]).next().is_some() {
            section aria-labelledby="stages-head" {
                h2 id="stages-head" { "Stages" }
                (stage_chart(rollout))
                (stage_table(rollout, records))
            }
        }
        (guards_section(rollout, history))
        (traffic_section(rollout, history))
        section aria-labelledby="journal-head" {
            h2 id="journal-head" { "Journal" }
            (record_table(records))
        }
    };
    let title = format!("{} · {}", verdict.title(), frame.title);
    Frame { title: &title, ..frame.clone() }.around(&main)
}

/// Name, verdict, and what it is made of.
fn head(frame: &Frame<'_>, rollout: &Value, verdict: &ReleaseVerdict) -> Markup {
    let revision = text(&rollout["revision"]);
    html! {
        div class="head" {
            h1 { bdi { (frame.title) } }
            p { (verdict.markup()) " " (why_there(rollout)) }
        }
        div class="facts" {
            (owner_line(rollout))
            @if !revision.is_empty() { p { span class="soft" { "revision " } bdi { (revision) } } }
            p {
                span class="soft" { "moves " }
                @for (at, variant) in variants(rollout).iter().enumerate() {
                    @if at > 0 { ", " }
                    a href={ "/routes/" (in_path(variant.split(':').next().unwrap_or_default())) } { bdi { (variant) } }
                }
            }
            (stage_line(rollout))
            (shares(rollout))
        }
        p class="says" { (code_spans(text(&rollout["says"]))) }
    }
}

fn variants(rollout: &Value) -> Vec<&str> {
    if rollout["kind"] == "static" {
        return vec![text(&rollout["name"])];
    }
    list(&rollout["variants"]).map(text).collect()
}

/// What comes next, and what the viewer can do about it.
fn decision(scene: ActScene<'_>) -> Markup {
    let edits: Vec<&str> = list(&scene.release["edit"]).map(text).collect();
    let (first, rare) = (scene.first_acts(), scene.rare_acts());
    html! {
        div class="decision" {
            div {
                h2 { "What comes next" }
                (next_step(scene.release, BlockDetail::Whole))
                @if !edits.is_empty() {
                    p { "Then in the file: " @for edit in edits { code { bdi { (edit) } } " " } }
                }
            }
            @if can_act(scene.viewer) {
                div {
                    h2 { "What you can do" }
                    @if first.is_empty() && rare.is_empty() { p class="soft" { "Nothing now." } }
                    (act_list(&first))
                    @if !rare.is_empty() {
                        details id="rare-acts" { summary { "Rare acts" } (act_list(&rare)) }
                    }
                }
            }
        }
    }
}

/// Both arms over time, and the traffic of its routes.
fn traffic_section(rollout: &Value, history: &Value) -> Markup {
    html! {
        section aria-labelledby="arms-head" {
            h2 id="arms-head" { "Stable and canary over time" }
            div class="charts" {
                (error_chart(history)) (latency_chart(history)) (share_chart(history))
            }
            @if list(&rollout["traffic"]).next().is_some() { (traffic_table(rollout)) }
        }
    }
}

fn traffic_table(rollout: &Value) -> Markup {
    html! {
        table class="stack fit" role="table" {
            caption { "Traffic of its routes, dealt by weight" }
            thead { tr role="row" {
                @for head in ["Route", "Requests", "Rate", "Stable failed", "Stable p99", "Callers"] {
                    th scope="col" role="columnheader" class=[(head != "Route").then_some("num")] { (head) }
                }
            } }
            tbody { @for route in list(&rollout["traffic"]) { (traffic_row(route)) } }
        }
    }
}

fn traffic_row(route: &Value) -> Markup {
    let over = |member: &str| route[member].as_u64().map_or_else(String::new, |ms| format!(" in {}", span(ms)));
    let name = text(&route["route"]);
    html! {
        tr role="row" {
            th scope="row" role="rowheader" { a href={ "/routes/" (in_path(name)) } { bdi { (name) } } }
            td role="cell" class="num" data-label="Requests" { (count(&route["requests"])) (over("over_ms")) }
            td role="cell" class="num" data-label="Rate" {
                @match route["rate"].as_f64() { Some(rate) => { (short(rate)) "/s" } None => "–" }
            }
            td role="cell" class="num" data-label="Stable failed" {
                (count(&route["stable_errors"])) " of " (count(&route["stable_answers"]))
                @if route["error_ratio"].is_number() { " (" (ratio(&route["error_ratio"])) ")" }
            }
            td role="cell" class="num" data-label="Stable p99" {
                (millis(&route["p99_ms"])) @if route["p99_ms"].is_number() { " of " (count(&route["stable_answers"])) }
            }
            td role="cell" class="num" data-label="Callers" { (count(&route["callers"])) (over("callers_over_ms")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::frame::PageName;
    use super::super::viewer::Viewer;
    use super::*;

    fn page(rollout: &Value, title: &str) -> String {
        let (viewer, status) = (Viewer { may_operate: true, ..Viewer::default() }, json!({ "kills": [] }));
        let frame = Frame {
            page: PageName::Overview,
            title,
            viewer: &viewer,
            seq: 7,
            now: "2026-12-01T00:00:00.000Z",
            status: &status,
            grafana: None,
        };
        rollout_page(&frame, RolloutPageFacts { rollout, history: &Value::Null, records: &[] })
    }

    #[test]
    fn the_page_has_the_state_in_its_title() {
        let rollout = json!({ "kind": "rollout", "name": "checkout-v2", "state": "held", "because": "person", "weight": 50,
            "stage": "half", "variants": ["shop:canary", "api:canary"], "says": "held (person) at 50 % in stage `half`",
            "stages": [{ "name": "half", "place": "current", "weight": 50 }], "edit": ["stable = \"shop-v2\""],
            "traffic": [{ "route": "shop", "requests": 5_596, "over_ms": 14_015, "rate": 399.29, "stable_answers": 4_494,
                "stable_errors": 0, "error_ratio": 0.0, "p99_ms": 2.7, "callers": 2_011, "callers_over_ms": 6_004 }] });
        let page = page(&rollout, "checkout-v2");
        for part in [
            "<title>■ held · checkout-v2 · Pointsman</title>",
            "/routes/shop",
            "/routes/api",
            "about 1\u{a0}006 callers to stable",
            "stable = &quot;shop-v2&quot;",
            "0 of 4\u{a0}494",
            "2.7\u{a0}ms of 4\u{a0}494",
            "Rare acts",
            "data-kill",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    #[test]
    fn a_static_weight_and_bad_answers_have_a_page() {
        let release =
            json!({ "kind": "static", "name": "shop:canary", "route": "shop", "state": "watching", "weight": 10 });
        let shown = page(&release, "shop:canary");
        assert!(
            shown.contains("<h1><bdi>shop:canary") && !shown.contains("Rare acts") && !shown.contains("Stages"),
            "{shown}"
        );
        for bad in [
            Value::Null,
            json!({}),
            json!([1]),
            json!({ "stages": {}, "guards": 7, "traffic": [null, {}], "edit": "x", "variants": [null] }),
        ] {
            let page = page(&bad, "x");
            assert!(page.contains("unknown") && !page.contains("NaN") && !page.contains(">null<"), "{page}");
        }
        let hostile = "<img src=x onerror=alert(1)>\u{202e}".repeat(100);
        let rollout = json!({ "kind": "rollout", "name": hostile, "state": hostile, "variants": [hostile], "revision": hostile, "says": hostile,
            "traffic": [{ "route": hostile }], "edit": [hostile] });
        assert!(!page(&rollout, &hostile).contains("<img"));
    }
}
