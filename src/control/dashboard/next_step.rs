//! What a release does next by itself, when, and what stands in the way.

use maud::{Markup, html};
use serde_json::Value;

use super::figures::{list, percent, text};
use super::parts::{code_spans, moment};

/// The most blocks in a row of the overview.
const BLOCKS_MAX: usize = 3;

/// How much is shown of what stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockDetail {
    /// A few, without what ends them.
    Short,
    /// All, each with what ends it.
    Whole,
}

/// What comes next by itself.
pub fn next_step(release: &Value, detail: BlockDetail) -> Markup {
    let awaited = list(&release["awaited"]).next().is_some();
    match text(&release["state"]) {
        "pending" | "running" => html! {
            p class="next" {
                strong { (target(release)) } " "
                @if release["next"].is_string() { "at " (moment(&release["next"])) }
                @else if awaited { "when it is approved" }
                @else if list(&release["blocks"]).next().is_some() { "when what stands here is over" }
                @else { "at the next step" }
            }
            (blocks(release, detail))
        },
        "watching" | "warned" => html! {
            p class="next" { "nothing: the weight of " (percent(&release["weight"])) " is static" }
            @if !text(&release["unblock"]).is_empty() { p class="soft" { (code_spans(text(&release["unblock"]))) } }
        },
        "complete" => html! {
            p class="next" { "nothing: it keeps " (percent(&release["weight"])) ", its guards watch" }
        },
        "held" | "killed" | "rolled_back" => html! {
            p class="next" { (what_ends(release)) }
            (stopped(release, detail))
        },
        _ => html! { p class="next" { "not known" } },
    }
}

/// Where it goes next: `→ 50 %, stage half`.
fn target(release: &Value) -> Markup {
    let stages = || list(&release["stages"]);
    let current = stages().find(|stage| stage["place"] == "current");
    let is_below = |stage: &&Value| match (release["weight"].as_f64(), stage["weight"].as_f64()) {
        (Some(set), Some(full)) => set < full,
        _ => false,
    };
    let stage = current.filter(is_below).or_else(|| stages().find(|stage| stage["place"] == "ahead"));
    match stage {
        Some(stage) => html! { "→ " (percent(&stage["weight"])) ", stage " bdi { (text(&stage["name"])) } },
        None if current.is_some() => html! { "→ complete, keeps " (percent(&release["weight"])) },
        None => html! { "→ its first stage" },
    }
}

/// What ends a stop: a person, or something that comes by itself.
fn what_ends(release: &Value) -> &'static str {
    match (text(&release["state"]), text(&release["because"])) {
        ("killed", _) => "nothing: waits for a revive",
        ("rolled_back", _) => "nothing: stays on stable",
        (_, "canary down") => "goes on by itself when the canary accepts connections",
        (_, "requires") => "goes on by itself when the other rollout is far enough",
        (_, "no rollback target") => "→ rolled back, as soon as stable has a usable endpoint",
        _ => "nothing: waits for a person",
    }
}

/// What ends a stop, as the API says it.
fn stopped(release: &Value, detail: BlockDetail) -> Markup {
    match detail {
        BlockDetail::Whole if list(&release["blocks"]).next().is_some() => blocks(release, detail),
        BlockDetail::Short | BlockDetail::Whole => {
            let unblock = text(&release["unblock"]);
            // A command alone says what the buttons of the row do.
            let is_command = detail == BlockDetail::Short && unblock.starts_with('`');
            html! { @if !unblock.is_empty() && !is_command { p class="soft" { (code_spans(unblock)) } } }
        }
    }
}

/// What stands in the way, the first one first.
fn blocks(release: &Value, detail: BlockDetail) -> Markup {
    let shown = match detail {
        BlockDetail::Short => BLOCKS_MAX,
        BlockDetail::Whole => usize::MAX,
    };
    let all = list(&release["blocks"]).count();
    html! {
        @if all > 0 {
            ul class="blocks" {
                @for block in list(&release["blocks"]).take(shown) { li { (one_block(block, detail, release)) } }
                @if all > shown { li class="soft" { "and " (all - shown) " more" } }
            }
        }
    }
}

fn one_block(block: &Value, detail: BlockDetail, release: &Value) -> Markup {
    let unblock = text(&block["unblock"]);
    html! {
        (code_spans(text(&block["says"])))
        @if block["kind"] == "approval" { (who_may(release)) }
        @if block["until"].is_string() { ", until " (moment(&block["until"])) }
        @if detail == BlockDetail::Whole && !unblock.is_empty() { span class="soft" { " · " (code_spans(unblock)) } }
    }
}

/// Who may give the approvals that are awaited.
fn who_may(release: &Value) -> Markup {
    html! {
        @for awaited in list(&release["awaited"]) {
            @let people: Vec<&str> = list(&awaited["people"]).map(text).filter(|name| !name.is_empty()).collect();
            @if !people.is_empty() { "; as " bdi { (text(&awaited["role"])) } ": " bdi { (people.join(", ")) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(release: &Value) -> String {
        let page = next_step(release, BlockDetail::Short).into_string();
        let mut text = String::new();
        let mut is_tag = false;
        for letter in page.chars() {
            match letter {
                '<' => is_tag = true,
                '>' => is_tag = false,
                other if !is_tag => text.push(other),
                _ => {}
            }
        }
        text
    }

    fn in_stage(weight: f64) -> Value {
        json!({ "state": "running", "weight": weight, "stages": [
            { "name": "few", "weight": 5.0, "place": "done" },
            { "name": "quarter", "weight": 25.0, "place": "current" },
            { "name": "all", "weight": 100.0, "place": "ahead" },
        ] })
    }

    #[test]
    fn what_comes_next_has_its_moment() {
        let mut release = in_stage(25.0);
        release["next"] = json!("2026-12-01T14:10:00.000Z");
        assert!(
            shown(&release).starts_with("→ 100\u{a0}%, stage all at 2026-12-01 14:10:00\u{a0}Z"),
            "{}",
            shown(&release)
        );
        release["next"] = Value::Null;
        release["awaited"] = json!([{ "role": "lead", "people": ["ana", "bo"] }]);
        release["blocks"] = json!([{ "kind": "approval", "says": "it awaits the approval of lead" }]);
        let text = shown(&release);
        assert!(text.contains("when it is approved") && text.contains("as lead: ana, bo"), "{text}");
        assert!(shown(&in_stage(10.0)).contains("→ 25\u{a0}%, stage quarter"), "it is below the weight of its stage");
    }

    #[test]
    fn the_last_stage_leads_to_the_end() {
        let mut release = in_stage(100.0);
        release["stages"] = json!([{ "name": "all", "weight": 100, "place": "current" }]);
        assert!(shown(&release).contains("→ complete, keeps 100\u{a0}%"));
        release["stages"] = Value::Null;
        assert!(shown(&release).contains("→ its first stage"));
    }

    #[test]
    fn each_stop_says_what_ends_it() {
        for (state, because, words) in [
            ("held", "person", "nothing: waits for a person"),
            ("held", "canary down", "by itself when the canary accepts"),
            ("held", "requires", "the other rollout"),
            ("held", "no rollback target", "→ rolled back"),
            ("killed", "", "waits for a revive"),
            ("rolled_back", "", "stays on stable"),
            ("complete", "", "it keeps"),
            ("watching", "", "static"),
            ("strange", "", "not known"),
            ("", "", "not known"),
        ] {
            let release = json!({ "state": state, "because": because, "unblock": "`pointsman x`" });
            assert!(shown(&release).contains(words), "{state} {because}: {}", shown(&release));
        }
        assert!(shown(&Value::Null).contains("not known"));
    }

    #[test]
    fn blocks_are_few_in_a_row_and_all_on_the_page() {
        let block = json!({ "kind": "requests", "says": "85 of 400 in stage `x`", "unblock": "more traffic" });
        let mut release = in_stage(25.0);
        release["blocks"] = json!([block, block, block, block, block]);
        assert!(shown(&release).contains("and 2 more"));
        let page = next_step(&release, BlockDetail::Whole).into_string();
        assert_eq!(page.matches("more traffic").count(), 5);
        assert!(page.contains("<code><bdi>x</bdi></code>"), "{page}");
    }

    #[test]
    fn hostile_texts_stay_text() {
        let hostile = "`<img src=x onerror=alert(1)>` ` \u{202e}";
        let mut release = in_stage(1.0);
        release["blocks"] = json!([{ "kind": hostile, "says": hostile, "unblock": hostile, "until": hostile }]);
        release["stages"][1]["name"] = json!(hostile);
        assert!(!next_step(&release, BlockDetail::Whole).into_string().contains("<img"));
    }
}
