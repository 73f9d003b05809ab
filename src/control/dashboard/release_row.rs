//! A rollout or a watched release as a row: hurt now, worse or not, what comes next, what the viewer can do.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::chart::sparkline;
use super::figures::{count, list, percent, ratio, text};
use super::guard_meter::{closest, guard_cell, sentence};
use super::next_step::{BlockDetail, next_step};
use super::parts::{in_path, moment};
use super::record_line::record_line;
use super::release_acts::{ActScene, act_list};
use super::release_verdict::ReleaseVerdict;
use super::viewer::Viewer;

/// What a row shows.
#[derive(Clone, Debug)]
pub struct OverviewRow<'a> {
    pub verdict: ReleaseVerdict,
    pub scene: ActScene<'a>,
    /// Its last record in the journal.
    pub record: &'a Value,
    pub history: &'a Value,
}

/// The heads of the columns: the questions in the order in which a person asks them.
pub const HEADS: [&str; 5] =
    ["Is anyone hurt now?", "Is the canary worse?", "What comes next?", "What can I do?", "Stage, shares"];

impl OverviewRow<'_> {
    fn release(&self) -> &Value {
        self.scene.release
    }

    /// The name.
    pub fn name(&self) -> &str {
        text(&self.release()["name"])
    }

    /// The row.
    pub fn markup(&self) -> Markup {
        let (release, name) = (self.release(), self.name());
        let href = format!("/rollouts/{}", in_path(name));
        let is_quiet = self.verdict.is_quiet();
        html! {
            tr role="row" class=[is_quiet.then_some("quiet")] data-row={ "rollout:" (name) } data-href=(href) data-name=(name)
                data-state=(self.verdict.state) data-word=(self.verdict.word) data-kill=[self.preset()] tabindex="-1" {
                th scope="row" role="rowheader" class="what" {
                    p { (self.verdict.markup()) }
                    p class="name" { a href=(href) { bdi { (name) } } }
                    p { (why_there(release)) }
                    (owner_line(release))
                }
                td role="cell" data-label=(HEADS[1]) class="worse" {
                    @if is_quiet {
                        @if let Some(guard) = closest(release) { p class="counts" { (sentence(guard)) } }
                    } @else { (guard_cell(release)) }
                }
                td role="cell" data-label=(HEADS[2]) class="then" { (next_step(release, BlockDetail::Short)) }
                @if can_act(self.scene.viewer) {
                    td role="cell" data-label=(HEADS[3]) class="can" { (act_list(&self.scene.first_acts())) }
                }
                td role="cell" data-label=(HEADS[4]) class="beside" {
                    (stage_line(release))
                    (shares(release))
                    @if !is_quiet { (sparkline(self.history)) }
                    (record_line(self.record))
                }
            }
        }
    }

    /// What the dialog of a kill begins with.
    fn preset(&self) -> Option<String> {
        self.scene.viewer.may_operate.then(|| kill_preset(self.release()))
    }
}

/// The scope that a kill of a release has.
pub fn kill_preset(release: &Value) -> String {
    let kind = if release["kind"] == "static" { "variant" } else { "rollout" };
    json!({ kind: text(&release["name"]) }).to_string()
}

/// Whether a viewer can do anything with a release.
pub fn can_act(viewer: &Viewer) -> bool {
    viewer.may_operate || !viewer.approves.is_empty()
}

/// The head of the table, for a viewer who can act or not.
pub fn row_heads(viewer: &Viewer) -> impl Iterator<Item = &'static str> {
    let can_act = can_act(viewer);
    HEADS.into_iter().enumerate().filter(move |(at, _)| *at != 3 || can_act).map(|(_, head)| head)
}

/// Why it is in its state, since when.
pub fn why_there(release: &Value) -> Markup {
    let (by, because, state) = (text(&release["by"]), text(&release["because"]), text(&release["state"]));
    let word = match (state, because) {
        ("running", _) if release["doing"] != "frozen" => text(&release["doing"]),
        // The name of the person says it.
        ("held", "person") if !by.is_empty() => "",
        ("held", because) => because,
        _ => "",
    };
    let is_since = release["at"].is_string() && state != "running";
    html! {
        span class="soft" {
            (word.replace('_', " "))
            @if !by.is_empty() { @if !word.is_empty() { ", " } "by " bdi { (by) } }
            @if is_since { " since " (moment(&release["at"])) }
            @if release["durable"] == false { ", not on the disk yet" }
        }
    }
}

/// Owner, ticket and kind.
pub fn owner_line(release: &Value) -> Markup {
    let (owner, ticket) = (text(&release["owner"]), text(&release["ticket"]));
    html! {
        p class="soft" {
            @if release["kind"] == "static" { "static weight" }
            @else if owner.is_empty() { "no owner" }
            @else { bdi { (owner) } }
            @if !ticket.is_empty() { " · " bdi { (ticket) } }
        }
    }
}

/// Stage n of m.
pub fn stage_line(release: &Value) -> Markup {
    let all = list(&release["stages"]).count();
    let at = list(&release["stages"]).position(|stage| stage["place"] == "current");
    html! {
        @if all > 0 {
            p {
                @match at {
                    Some(at) => { "stage " (at + 1) " of " (all) ", " bdi { (text(&release["stage"])) } }
                    None => { "before stage 1 of " (all) }
                }
            }
        }
    }
}

/// The share as it is set, as it is measured, and of callers.
pub fn shares(release: &Value) -> Markup {
    let callers = closest(release).map(|guard| (&guard["tested"]["exposures"], &guard["stable"]["exposures"]));
    let own = callers.and_then(|(own, _)| own.as_u64()).unwrap_or(0);
    let all = own.saturating_add(callers.and_then(|(_, stable)| stable.as_u64()).unwrap_or(0));
    #[expect(clippy::cast_precision_loss, reason = "a share is for people")]
    let part = own as f64 / all.max(1) as f64;
    html! {
        p class="soft" {
            "set " (percent(&release["weight"]))
            @if release["share"].is_number() { ", measured " (percent(&release["share"])) }
            @if all > 0 { ", callers " (count(&json!(own))) " of " (count(&json!(all))) " (" (ratio(&json!(part))) ")" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(release: &Value, viewer: &Viewer) -> String {
        let scene = ActScene { release, viewer, kills: &Value::Null };
        let verdict = ReleaseVerdict::of(release, &Value::Null);
        OverviewRow { verdict, scene, record: &Value::Null, history: &Value::Null }.markup().into_string()
    }

    fn operator() -> Viewer {
        Viewer { may_operate: true, ..Viewer::default() }
    }

    #[test]
    fn a_row_answers_from_left_to_right() {
        let release = json!({ "kind": "rollout", "name": "v2", "state": "held", "because": "person", "by": "bo", "stage": "half",
            "at": "2026-12-01T01:00:06.219Z", "weight": 50, "share": 49.5, "owner": "team-a", "ticket": "T-1",
            "stages": [{ "name": "few", "place": "done" }, { "name": "half", "place": "current", "weight": 50 }],
            "closest": { "state": "watching", "tested": { "exposures": 400 }, "stable": { "exposures": 1_600 },
                "says": "errors 3.1 × stable (1.9 to 5.2): 14 callers of 400" } });
        let page = row(&release, &operator());
        let parts = [
            "■",
            ">held<",
            "<bdi>v2<",
            "by <bdi>bo</bdi>",
            "01:00:06\u{a0}Z",
            ">team-a<",
            "T-1",
            "errors 3.1\u{a0}× stable",
            "waits for a person",
            ">Resume<",
            ">Roll back<",
            "stage 2 of 2",
            "set 50\u{a0}%, measured 49.5\u{a0}%, callers 400 of 2\u{a0}000 (20\u{a0}%)",
        ];
        let places: Vec<Option<usize>> = parts.iter().map(|part| page.find(part)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} {page}");
        assert!(
            page.contains("data-kill=\"{&quot;rollout&quot;:&quot;v2&quot;}\"") && page.contains("data-state=\"held\""),
            "{page}"
        );
    }

    #[test]
    fn a_reader_has_no_column_for_acts() {
        let release = json!({ "kind": "static", "name": "shop:canary", "state": "watching" });
        let page = row(&release, &Viewer::default());
        assert!(
            !page.contains("data-kill") && !page.contains("class=\"can\"") && page.contains("static weight"),
            "{page}"
        );
        assert_eq!((row_heads(&Viewer::default()).count(), row_heads(&operator()).count()), (4, 5));
    }

    #[test]
    fn missing_members_are_no_figures() {
        for release in [json!({}), Value::Null, json!({ "name": null, "stages": "x", "weight": "5", "closest": [] })] {
            let page = row(&release, &operator());
            assert!(page.contains("set –") && !page.contains("NaN") && !page.contains("callers"), "{page}");
        }
        let hostile = "<img src=x onerror=alert(1)>\u{202e}".repeat(150);
        let release = json!({ "kind": "rollout", "name": hostile, "state": hostile, "owner": hostile, "ticket": hostile, "stage": hostile,
            "because": hostile, "by": hostile, "at": hostile, "doing": hostile, "stages": [{ "name": hostile, "place": "current" }] });
        assert!(!row(&release, &operator()).contains("<img"));
    }
}
