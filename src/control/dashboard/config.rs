//! The configuration in effect, and the last reload with its diagnostics.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::cells::{clipped, fact, name, other_verdict, sentence, word};
use super::figures::{count, list, span, text};
use super::frame::Frame;
use super::parts::{ActButton, ReasonField, Tone, moment, verdict};

/// The most characters of a file or of diagnostics that are shown.
const TEXT_MAX: usize = 1 << 20;
/// The most lines of a summary that are shown.
const SUMMARY_MAX: usize = 200;

/// The page of `/v1/config`.
pub fn config_page(frame: &Frame<'_>, facts: &Value) -> String {
    let last = &facts["last_reload"];
    let main = html! {
        div class="head" {
            h1 { "Configuration" }
            (outcome(last))
            @if frame.viewer.may_reload { (reload_button(facts)) }
        }
        (in_effect(facts))
        (last_reload(facts))
        (last_change(facts))
        (kept(facts))
        (files(facts))
    };
    frame.around(&main)
}

fn reload_button(facts: &Value) -> Markup {
    let button = ActButton {
        label: "Reload",
        target: "the files",
        path: "/v1/config/reload".to_owned(),
        body: json!({}),
        effect: format!(
            "reads the files again; a bad file changes nothing, and generation {} stays",
            count(&facts["generation"])
        ),
        key: None,
        reason: ReasonField::Optional,
        is_grave: false,
    };
    button.markup()
}

fn outcome(reload: &Value) -> Markup {
    match text(&reload["outcome"]) {
        "applied" => verdict(Tone::Serving, "●", "last reload applied"),
        "unchanged" => verdict(Tone::Serving, "●", "as the files say"),
        "rejected" => verdict(Tone::Bad, "✕", "last reload rejected"),
        "" => verdict(Tone::Unknown, "◌", "no reload yet"),
        other => other_verdict(other),
    }
}

fn in_effect(facts: &Value) -> Markup {
    let file = text(&facts["file"]);
    html! {
        section aria-labelledby="in-effect" {
            h2 id="in-effect" { "In effect" }
            dl class="pairs" {
                (fact("Generation", &html! { (count(&facts["generation"])) }))
                (fact("Applied", &moment(&facts["applied_at"])))
                (fact("Hash", &html! { code { (name(text(&facts["hash"]))) } }))
                (fact("File", &html! {
                    @if file.is_empty() { "none: the library gave the rules" } @else { code { (sentence(file)) } }
                }))
            }
        }
    }
}

/// The last attempt, with what it found as in a terminal.
fn last_reload(facts: &Value) -> Markup {
    let last = &facts["last_reload"];
    let is_rejected = last["outcome"] == "rejected";
    html! {
        section aria-labelledby="last-reload" {
            h2 id="last-reload" { "Last reload" }
            @if last.is_object() {
                p {
                    (outcome(last)) " at " (moment(&last["at"]))
                    @if let Some(took) = last["took_ms"].as_u64() {
                        " in " (if took < 1_000 { format!("{took}\u{a0}ms") } else { span(took) })
                    }
                    (cause(text(&last["cause"])))
                    @if is_rejected { ": generation " (count(&facts["generation"])) " stays in effect, nothing has changed" }
                }
                @if is_rejected {
                    pre class="terminal" tabindex="0" aria-label="Diagnostics" { bdi { (clipped(text(&last["text"]), TEXT_MAX)) } }
                    p class="help" { "Mend the file and save it. " code { "pointsman check FILE" } " shows the same without a reload." }
                }
            } @else {
                p class="soft" { "The files have not been read again since the start." }
            }
        }
    }
}

fn cause(cause: &str) -> Markup {
    let words = match cause {
        "start" => "at the start",
        "watch" => "a file changed",
        "signal" => "by a signal",
        "asked" => "asked by a person or a pipeline",
        other => other,
    };
    html! { @if !words.is_empty() { ", " (word(words)) } }
}

fn last_change(facts: &Value) -> Markup {
    let change = &facts["last_change"];
    html! {
        section aria-labelledby="last-change" {
            h2 id="last-change" { "Last change" }
            @if change.is_object() {
                p { "Generation " (count(&change["generation"])) " at " (moment(&change["at"])) (cause(text(&change["cause"]))) }
                (summary(&change["summary"]))
            } @else {
                p class="soft" { "Nothing has changed since the start." }
            }
        }
    }
}

fn summary(summary: &Value) -> Markup {
    let number = list(summary).count();
    html! {
        @if number == 0 { p class="soft" { "No route has changed." } }
        @else {
            ul class="lines" { @for line in list(summary).take(SUMMARY_MAX) { li { (sentence(text(line))) } } }
            @if number > SUMMARY_MAX { p class="soft" { (SUMMARY_MAX) " of " (number) " lines." } }
        }
    }
}

/// Warnings about what is in effect, and the certificates that are kept although their files are bad.
fn kept(facts: &Value) -> Markup {
    let last = &facts["last_reload"];
    let of_reload = list(&last["summary"]).filter(|_| last["outcome"] == "unchanged").map(text);
    let warnings = list(&facts["warnings"]).map(|one| one.as_str().unwrap_or_else(|| text(&one["message"])));
    let all: Vec<&str> = of_reload.chain(warnings).filter(|one| !one.is_empty()).collect();
    html! {
        @if !all.is_empty() {
            section aria-labelledby="kept" {
                h2 id="kept" { "Warnings" }
                ul class="lines" { @for one in all { li { (verdict(Tone::Watch, "▲", "warning")) " " (sentence(one)) } } }
            }
        }
    }
}

/// The files as they were applied; their text where the API gives it.
fn files(facts: &Value) -> Markup {
    html! {
        section aria-labelledby="files" {
            h2 id="files" { "Files" }
            @if list(&facts["files"]).next().is_none() { p class="soft" { "No file." } }
            ul class="lines" {
                @for (at, file) in list(&facts["files"]).enumerate() {
                    @let path = [file, &file["path"], &file["file"], &file["name"]].into_iter().map(text).find(|path| !path.is_empty());
                    li {
                        @if file["text"].is_string() {
                            details id={ "file-" (at) } {
                                summary { code { (sentence(path.unwrap_or_default())) } }
                                pre class="terminal" tabindex="0" { bdi { (clipped(text(&file["text"]), TEXT_MAX)) } }
                            }
                        } @else { code { (sentence(path.unwrap_or("–"))) } }
                    }
                }
            }
            p class="help" {
                "Secrets are not shown. " code { "pointsman check FILE --against URL" } " shows what an edit would do to what runs."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cells::tests::{hostile_everywhere, shown_by};
    use super::*;

    fn facts() -> Value {
        json!({ "generation": 3, "hash": "c0be", "file": "/etc/routes.toml", "files": ["/etc/routes.toml", { "path": "/etc/tokens.toml", "text": "a <b>\n" }],
            "applied_at": "2026-12-01T00:58:17.741Z",
            "last_reload": { "outcome": "rejected", "text": "error[out-of-range]: a weight\n  --> routes.toml:22:38\n", "cause": "watch", "at": "2026-12-01T01:58:17.741Z", "took_ms": 2 },
            "last_change": { "outcome": "applied", "generation": 3, "summary": ["shop canary 25 → 30"], "cause": "asked", "at": "2026-12-01T00:58:17.741Z", "took_ms": 2_100 } })
    }

    #[test]
    fn a_rejected_reload_has_its_diagnostics() {
        let page = shown_by(true, |frame| config_page(frame, &facts()));
        for part in [
            "rejected",
            "<bdi>error[out-of-range]: a weight\n  --&gt; routes.toml:22:38\n</bdi>",
            "generation 3 stays in effect",
            "a file changed",
            "in 2\u{a0}ms",
            "shop canary 25 → 30",
            "a &lt;b&gt;\n",
            "data-path=\"/v1/config/reload\" data-body=\"{}\"",
            "data-reason=\"optional\"",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!shown_by(false, |frame| config_page(frame, &facts())).contains("data-act"));
    }

    #[test]
    fn an_unchanged_reload_shows_what_is_kept() {
        let mut facts = facts();
        facts["last_reload"] = json!({ "outcome": "unchanged", "summary": ["1 certificate is kept: a.pem"], "cause": "signal", "at": null });
        let page = shown_by(true, |frame| config_page(frame, &facts));
        assert!(
            page.contains("▲") && page.contains("1 certificate is kept: a.pem") && page.contains("as the files say"),
            "{page}"
        );
    }

    #[test]
    fn missing_bad_and_hostile_answers_are_shown() {
        for facts in [json!(null), json!(7), json!({ "files": 7, "last_reload": 7, "last_change": [] })] {
            let page = shown_by(true, |frame| config_page(frame, &facts));
            for part in ["no reload yet", "have not been read again", "Nothing has changed", "No file."] {
                assert!(page.contains(part), "{part}: {page}");
            }
        }
        for outcome in ["rejected", "unchanged", "applied", "x"] {
            let mut hostile = hostile_everywhere(&facts());
            hostile["last_reload"]["outcome"] = json!(outcome);
            hostile["warnings"] = json!(["<img src=x>", { "message": "<img src=x>" }]);
            let page = shown_by(true, |frame| config_page(frame, &hostile));
            assert!(!page.contains("<img"), "{page}");
        }
    }
}
