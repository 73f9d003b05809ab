//! The stages of a rollout on one line: passed, current with its time, ahead.

use maud::{Markup, html};
use serde_json::Value;

use super::super::figures::{list, percent, span, text};
use super::super::parts::{Tone, moment, verdict};
use super::series::figure;
use super::trace::place;
use super::words::plain;

/// The height of a stage of 100 %.
const HEIGHT: f64 = 36.0;
/// The most stages that are shown.
const STAGES_MAX: usize = 30;
/// What is shown elsewhere in a stage: its time and its approvals; and what has stopped the rollout.
const SHOWN_ELSEWHERE: [&str; 3] = ["duration", "approval", "stopped"];

/// The stages of `/v1/rollouts/{name}`.
pub fn stage_chart(rollout: &Value) -> Markup {
    let stages: Vec<&Value> = list(&rollout["stages"]).collect();
    if stages.is_empty() {
        return html! { p class="nothing" { "No stages: the weight is set by the file." } };
    }
    html! {
        div class="stage-box" {
            ol class="stage-chart" aria-label="Stages" {
                @for stage in stages.iter().take(STAGES_MAX) { (one(stage, rollout)) }
            }
        }
        @if stages.len() > STAGES_MAX { p class="nothing" { (stages.len() - STAGES_MAX) " more stages." } }
    }
}

fn one(stage: &Value, rollout: &Value) -> Markup {
    let place = text(&stage["place"]);
    let is_current = place == "current";
    let class = match place {
        "done" | "current" => place,
        _ => "ahead",
    };
    let stopped = match text(&rollout["state"]) {
        "held" if is_current => "stopped-held",
        "rolled_back" | "killed" if is_current => "stopped-back",
        _ => "",
    };
    html! {
        li class={ (class) " " (stopped) }
            aria-current=[is_current.then_some("step")] {
            (stair(stage, class))
            div class="words" {
                p class="stage-name" { b { (percent(&stage["weight"])) } " " bdi { (plain(text(&stage["name"]), 48)) } }
                p { (standing(class, rollout)) }
                p class="time" { (time(stage, class)) }
                @if is_current && figure(&rollout["weight"]) != figure(&stage["weight"]) {
                    p { "set now: " (percent(&rollout["weight"])) }
                }
                (approvals(stage, rollout))
                @if is_current { (waits(rollout)) }
            }
        }
    }
}

/// The weight of a stage as a height; in the current one, how much of its time is over as a width.
fn stair(stage: &Value, class: &str) -> Markup {
    let weight = figure(&stage["weight"]).unwrap_or(0.0).clamp(0.0, 100.0);
    let height = (HEIGHT * weight / 100.0).max(if class == "current" { 4.0 } else { 2.0 });
    let (y, height) = (place(HEIGHT - height), place(height));
    html! {
        svg class="stair" width="100%" height=(HEIGHT) aria-hidden="true" {
            rect class="weight" x="0" y=(y) width="100%" height=(height) {}
            @if class == "current" {
                @let over = place(progress(stage).unwrap_or(0.0) * 100.0);
                rect class="over" x="0" y=(y) width={ (over) "%" } height=(height) {}
            }
        }
    }
}

/// The part of the least time that is over; `None`: it has no least time, or is not known.
fn progress(stage: &Value) -> Option<f64> {
    let [run, least] = [&stage["run_ms"], &stage["min_duration_ms"]].map(figure);
    let part = run? / least.filter(|least| *least > 0.0)?;
    Some(part.clamp(0.0, 1.0))
}

/// What the rollout does in a stage.
fn standing(class: &str, rollout: &Value) -> Markup {
    match (class, text(&rollout["state"])) {
        ("done", _) => html! { span class="soft" { span aria-hidden="true" { "✓ " } "passed" } },
        ("current", "running") if list(&rollout["awaited"]).next().is_some() => {
            verdict(Tone::Asks, "◆", "needs approval")
        }
        ("current", "running") => html! { b { span aria-hidden="true" { "▶ " } "now" } },
        ("current", "held") => verdict(Tone::Held, "■", "held here"),
        ("current", "rolled_back") => verdict(Tone::Bad, "✖", "rolled back here"),
        ("current", "killed") => verdict(Tone::Bad, "⛔", "killed here"),
        ("current", "complete") => verdict(Tone::Serving, "✓", "complete"),
        ("current", "pending") => verdict(Tone::Quiet, "○", "not started"),
        ("current", other) => html! { b { (plain(&other.replace('_', " "), 24)) } },
        (_, _) => html! { span class="soft" { "ahead" } },
    }
}

/// `12 min of 2 h`.
fn time(stage: &Value, class: &str) -> Markup {
    let [run, least] = [&stage["run_ms"], &stage["min_duration_ms"]].map(Value::as_u64);
    let least_words = least.filter(|least| *least > 0).map(span);
    html! {
        @match (class, run, least_words) {
            ("done", _, _) => {},
            ("current", Some(run), Some(words)) if least.is_some_and(|least| run >= least) => {
                (span(run)) ", at least " (words) " is over"
            },
            ("current", Some(run), Some(words)) => { (span(run)) " of " (words) },
            ("current", Some(run), None) => { (span(run)) ", no least time" },
            (_, _, Some(words)) => { "at least " (words) },
            (_, _, None) => { "no least time" },
        }
    }
}

/// Who has approved that the stage is left, and whose approval is missing.
fn approvals(stage: &Value, rollout: &Value) -> Markup {
    let given: Vec<&Value> = list(&stage["approved"]).take(16).collect();
    let missing = list(&stage["approve"])
        .filter(|role| !given.iter().any(|approval| text(&approval["role"]) == text(role)))
        .take(16);
    let standing = |role: &Value| {
        let is_asked = list(&rollout["awaited"]).any(|awaited| text(&awaited["role"]) == text(role));
        match text(&stage["place"]) {
            "done" => "not given",
            "current" if is_asked => "asked",
            _ => "approval to come",
        }
    };
    let missing: Vec<&Value> = missing.collect();
    html! {
        @if !given.is_empty() || !missing.is_empty() {
            ul class="approvals" {
                @for approval in given {
                    li {
                        span class="shape" aria-hidden="true" { "◆" } " " bdi { (plain(text(&approval["role"]), 32)) }
                        ": approved by " bdi { (plain(text(&approval["by"]), 32)) } ", " (moment(&approval["at"]))
                    }
                }
                @for role in missing {
                    li {
                        span class="shape" aria-hidden="true" { "◇" } " " bdi { (plain(text(role), 32)) }
                        ": " (standing(role))
                    }
                }
            }
        }
    }
}

/// What stands in the way, besides time and approvals; and when it goes on.
fn waits(rollout: &Value) -> Markup {
    let blocks: Vec<&Value> =
        list(&rollout["blocks"]).filter(|block| !SHOWN_ELSEWHERE.contains(&text(&block["kind"]))).take(8).collect();
    html! {
        @if !blocks.is_empty() {
            ul class="waits" {
                @for block in blocks {
                    li {
                        "waits: " bdi { (plain(text(&block["says"]), 160)) }
                        @if block["until"].is_string() { ", until " (moment(&block["until"])) }
                    }
                }
            }
        }
        @if rollout["next"].is_string() { p { "next: " (moment(&rollout["next"])) } }
    }
}
