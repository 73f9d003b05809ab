//! What is killed, by whom and why; and what can be killed.

use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::banner::scope_words;
use super::cells::{counted, empty, name, sentence, who};
use super::figures::{list, span, text};
use super::frame::Frame;
use super::parts::{ActButton, ReasonField, Tone, in_path, moment, verdict};

/// What can be killed: the kind, what it does, the option of the command.
const KINDS: [(&str, &str, &str); 6] = [
    ("variant", "its callers get stable, from their next request on", "--variant ROUTE:VARIANT"),
    ("route", "the route serves stable alone; copies for its shadow go on", "--route ROUTE"),
    ("rollout", "all variants that the rollout moves get no request", "--rollout NAME"),
    ("tenant", "this tenant gets stable on every route", "--tenant NAME"),
    ("shadow", "the shadow of the route gets no copies", "--shadow ROUTE"),
    ("all", "every route serves stable alone, and no copy is made", "--all"),
];

/// The page of `/v1/kill`.
pub fn kills_page(frame: &Frame<'_>, facts: &Value) -> String {
    let kills = &facts["kills"];
    let number = u64::try_from(list(kills).count()).unwrap_or(u64::MAX);
    let main = html! {
        div class="head" {
            h1 { "Kills" }
            @if number > 0 { p class="sums" { (verdict(Tone::Held, "⊘", &format!("{} in force", counted(number, "kill")))) } }
        }
        @if !kills.is_array() {
            p { (verdict(Tone::Unknown, "◌", "unknown")) " " span class="soft" { "The list of kills is not known." } }
        } @else if number == 0 {
            (empty("Nothing is killed.", &html! { "All shares are as the file and the rollouts set them." }))
        } @else {
            (in_force(frame, kills))
        }
        (kinds(frame))
    };
    frame.around(&main)
}

fn in_force(frame: &Frame<'_>, kills: &Value) -> Markup {
    let acts = frame.viewer.may_operate;
    html! {
        table class="stack kills" role="table" {
            caption class="sr-only" { "Kills in force" }
            thead role="rowgroup" { tr role="row" {
                @for head in ["Scope", "Since", "Who", "Why"] { th role="columnheader" scope="col" { (head) } }
                @if acts { th role="columnheader" scope="col" { "Act" } }
            } }
            tbody role="rowgroup" { @for kill in list(kills) { (kill_row(frame, kill)) } }
        }
    }
}

fn kill_row(frame: &Frame<'_>, kill: &Value) -> Markup {
    let (by_file, words) = (kill["source"] == "file", scope_words(&kill["scope"]));
    html! {
        tr role="row" data-row={ "kill:" (text(&kill["source"])) " " (words) } tabindex="-1" {
            th role="rowheader" scope="row" {
                (scope(&kill["scope"], &words))
                @if kill["matches"] == false { " " (verdict(Tone::Watch, "▲", "not in the running configuration")) }
            }
            td role="cell" data-label="Since" { @if by_file { span class="soft" { "the file" } } @else { (moment(&kill["at"])) } }
            td role="cell" data-label="Who" {
                @if by_file { code { (sentence(text(&kill["place"]))) } } @else { (who(&kill["who"])) }
            }
            td role="cell" data-label="Why" {
                @if by_file { span class="soft" { "by the file" } } @else { (sentence(text(&kill["reason"]))) }
                @if let Some(after) = kill["close_streams_ms"].as_u64().filter(|after| *after > 0) { span class="soft" { "; closes streams after " (span(after)) } }
                @if kill["seq"].is_u64() { " " a class="soft" href={ "/journal?before=" (kill["seq"].as_u64().unwrap_or_default().saturating_add(1)) } { "#" (kill["seq"]) } }
                @if kill["durable"] == false { " " (verdict(Tone::Bad, "✕", "not recorded")) ": it ends with the process" }
            }
            @if frame.viewer.may_operate {
                td role="cell" class="do" {
                    @if by_file { span class="soft" { "edit " code { "[kill]" } " of the file: a revive does not end it" } }
                    @else { (revive(kill, &words)) }
                }
            }
        }
    }
}

/// The scope, with a link to the page of what is killed.
fn scope(scope: &Value, words: &str) -> Markup {
    let named = |kind: &str| scope[kind].as_str().filter(|name| !name.is_empty());
    let route = named("route").or_else(|| named("variant").and_then(|full| full.split(':').next()));
    let path = match (route, named("rollout"), named("shadow")) {
        (Some(route), ..) => Some(format!("/routes/{}", in_path(route))),
        (_, Some(rollout), _) => Some(format!("/rollouts/{}", in_path(rollout))),
        (.., Some(shadow)) => Some(format!("/shadows#{}", in_path(shadow))),
        (None, None, None) => None,
    };
    let shown = if scope["all"] == true { "everything" } else { words };
    html! {
        @match path {
            Some(path) => a href=(path) { (name(shown)) },
            None => (name(shown)),
        }
    }
}

fn revive(kill: &Value, words: &str) -> Markup {
    let Some(scope) = kill["scope"].as_object().filter(|scope| !scope.is_empty()) else { return html! {} };
    let scope: Map<String, Value> =
        scope.iter().filter(|(_, value)| !value.is_null()).map(|(kind, value)| (kind.clone(), value.clone())).collect();
    let button = |label: &'static str, resume: Option<bool>, effect: &str| {
        let mut body = scope.clone();
        if let Some(resume) = resume {
            body.insert("resume".to_owned(), json!(resume));
        }
        let button = ActButton {
            label,
            target: words,
            path: "/v1/revive".to_owned(),
            body: Value::Object(body),
            effect: effect.to_owned(),
            key: None,
            reason: ReasonField::Required,
            is_grave: false,
        };
        button.markup()
    };
    html! {
        @if scope.contains_key("rollout") {
            (button("Revive", None, "its rollout stays held at 0 until it is resumed")) " "
            (button("Revive and resume", Some(true), "its rollout goes on, and callers come back as it raises the weight"))
        } @else if scope.contains_key("shadow") {
            (button("Revive", None, "copies are made again at once"))
        } @else {
            (button("Revive", None, "the set weight applies again at once: callers come back in one step; a rollout stays held at 0"))
        }
    }
}

fn kinds(frame: &Frame<'_>) -> Markup {
    html! {
        section aria-labelledby="kinds" {
            h2 id="kinds" { "What can be killed" }
            table class="stack kinds" role="table" {
                caption {
                    "A kill is above sticky keys, targets and weights; it holds until a revive, over reloads and restarts."
                    @if frame.viewer.may_operate { " Choose a row and press " kbd { "x" } ", or use the button above." }
                }
                thead role="rowgroup" { tr role="row" {
                    @for head in ["Scope", "Effect", "Command"] { th role="columnheader" scope="col" { (head) } }
                } }
                tbody role="rowgroup" {
                    @for (kind, effect, option) in KINDS {
                        tr role="row" data-row={ "kind:" (kind) } tabindex="-1"
                            data-kill=(if kind == "all" { json!({ "all": true }) } else { json!({ kind: "" }) }.to_string()) {
                            th role="rowheader" scope="row" { (kind) }
                            td role="cell" data-label="Effect" { (effect) }
                            td role="cell" data-label="Command" { code { "pointsman kill " (option) " --reason TEXT" } }
                        }
                    }
                }
            }
            p class="soft" { code { "docs/operations.md" } " has what callers notice, and what to check afterwards." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cells::tests::{hostile_everywhere, shown_by};
    use super::*;

    fn facts() -> Value {
        let call = |scope: Value| {
            json!({ "scope": scope, "matches": true, "source": "call", "who": { "name": "root", "via": "socket" }, "reason": "INC-4711",
                "at": "2026-12-01T00:59:59.684Z", "seq": 3, "durable": true, "close_streams_ms": 5_000 })
        };
        json!({ "seq": 3, "kills": [
            call(json!({ "variant": "shop:canary" })), call(json!({ "rollout": "shop-v2" })), call(json!({ "shadow": "api" })), call(json!({ "all": true })),
            { "scope": { "tenant": "acme" }, "matches": false, "source": "file", "place": "/etc/routes.toml:9" },
        ] })
    }

    #[test]
    fn kills_say_who_and_why_and_how_they_end() {
        let page = shown_by(true, |frame| kills_page(frame, &facts()));
        for part in [
            "5\u{a0}kills in force",
            "<a href=\"/routes/shop\"><bdi>variant shop:canary</bdi></a>",
            "href=\"/rollouts/shop-v2\"",
            "href=\"/shadows#api\"",
            "<bdi>everything</bdi>",
            "INC-4711",
            "closes streams after 5\u{a0}s",
            "href=\"/journal?before=4\"",
            "data-path=\"/v1/revive\" data-body=\"{&quot;variant&quot;:&quot;shop:canary&quot;}\"",
            "data-body=\"{&quot;rollout&quot;:&quot;shop-v2&quot;,&quot;resume&quot;:true}\"",
            "data-body=\"{&quot;all&quot;:true}\"",
            "not in the running configuration",
            "/etc/routes.toml:9",
            "a revive does not end it",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert_eq!(page.matches("data-act=\"Revive\"").count(), 4);
        assert!(!shown_by(false, |frame| kills_page(frame, &facts())).contains("data-act"));
    }

    #[test]
    fn a_kill_that_is_not_recorded_says_so() {
        let mut facts = facts();
        facts["kills"][0]["durable"] = json!(false);
        assert!(shown_by(true, |frame| kills_page(frame, &facts)).contains("it ends with the process"));
    }

    #[test]
    fn missing_bad_and_hostile_answers_are_shown() {
        assert!(shown_by(true, |frame| kills_page(frame, &json!({ "kills": [] }))).contains("Nothing is killed."));
        for facts in [json!(null), json!({}), json!({ "kills": 7 })] {
            let page = shown_by(true, |frame| kills_page(frame, &facts));
            assert!(
                page.contains("is not known") && !page.contains("Nothing is killed"),
                "what is not known is not good: {page}"
            );
        }
        let bad = json!({ "kills": [null, 7, {}, { "scope": {} }, { "scope": { "route": null }, "seq": u64::MAX }] });
        let page = shown_by(true, |frame| kills_page(frame, &bad));
        assert!(page.contains("5\u{a0}kills"), "{page}");
        let page = shown_by(true, |frame| kills_page(frame, &hostile_everywhere(&facts())));
        assert!(!page.contains("<img"), "{page}");
    }
}
