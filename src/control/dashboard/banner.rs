//! The state of the proxy above every page: generation, readiness, and what is wrong with all of it.

use maud::{Markup, html};
use serde_json::Value;

use super::figures::{count, list, text};
use super::parts::{Tone, code_spans, moment, verdict};

/// The most characters of a diagnostic in the banner: the page Config has all.
const LINE_MAX: usize = 200;

/// Where the banner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BannerPlace {
    /// The list below it has what needs a person: the banner does not repeat it.
    AboveNeeds,
    Elsewhere,
}

/// The state of `/v1/status`, in part.
pub fn banner(status: &Value, place: BannerPlace) -> Markup {
    html! {
        @if status.is_object() {
            p class="facts" {
                (readiness(status))
                span { "generation " (count(&status["generation"])) }
                @if status["applied_at"].is_string() { span { "applied " (moment(&status["applied_at"])) } }
                @if status["version"].is_string() { span class="soft" { "version " (text(&status["version"])) } }
            }
            @let alarms = alarms(status, place);
            @if !alarms.is_empty() {
                ul class="alarms" { @for alarm in alarms { li { (alarm) } } }
            }
        }
    }
}

/// Whether it is ready, and why not.
fn readiness(status: &Value) -> Markup {
    let because = text(&status["unready_because"]);
    let (shown, says) = match (text(&status["phase"]), &status["ready"]) {
        ("running" | "", Value::Bool(true)) => (verdict(Tone::Serving, "●", "ready"), ""),
        ("running" | "", Value::Bool(false)) => (verdict(Tone::Bad, "✕", "not ready"), because),
        ("running" | "", _) => (verdict(Tone::Unknown, "◌", "readiness unknown"), because),
        ("lame", _) => (verdict(Tone::Watch, "▲", "leaving"), "it still serves, and says that it stops"),
        ("draining", _) => (verdict(Tone::Watch, "▲", "draining"), "it takes no new connections"),
        ("forced", _) => (verdict(Tone::Bad, "✕", "forced"), "it closes what is left"),
        (phase, _) => (verdict(Tone::Unknown, "◌", phase), because),
    };
    html! { span { (shown) @if !says.is_empty() { ": " bdi { (says) } } } }
}

fn alarms(status: &Value, place: BannerPlace) -> Vec<Markup> {
    let mut alarms: Vec<Markup> = kill_alarm(status).into_iter().collect();
    let journal = &status["journal"];
    if place == BannerPlace::Elsewhere {
        alarms.extend(reload_alarm(status));
        alarms.extend(trouble(&journal["failure"], "the journal cannot be written"));
    }
    alarms.extend(trouble(&journal["damage"], "the journal is damaged"));
    alarms.extend(trouble(&status["hand_over_failure"], "the hand-over failed"));
    alarms.extend(trouble(&status["admin_socket"]["trouble"], "no admin socket"));
    alarms
}

fn reload_alarm(status: &Value) -> Option<Markup> {
    let last = &status["last_reload"];
    (last["outcome"] == "rejected").then(|| {
        html! {
            (verdict(Tone::Bad, "✕", "reload rejected")) " at " (moment(&last["at"])) ": " (code_spans(&first_line(text(&last["text"]))))
            " Generation " (count(&status["generation"])) " stays in effect. " a href="/config" { "Diagnostics" }
        }
    })
}

fn trouble(what: &Value, words: &str) -> Option<Markup> {
    (!what.is_null()).then(|| html! { (verdict(Tone::Bad, "✕", words)) ": " bdi { (said(what)) } })
}

fn kill_alarm(status: &Value) -> Option<Markup> {
    let kills = list(&status["kills"]).count();
    if status["kill"]["all"] == true {
        return Some(html! {
            (verdict(Tone::Bad, "⊘", "everything is killed")) ": all callers get stable. " a href="/kills" { "Kills" }
        });
    }
    let word = match kills {
        0 => return None,
        1 => "1 kill in force".to_owned(),
        more => format!("{more} kills in force"),
    };
    Some(html! {
        (verdict(Tone::Held, "⊘", &word)) ": "
        @for (at, kill) in list(&status["kills"]).take(3).enumerate() {
            @if at > 0 { ", " }
            bdi { (scope_words(&kill["scope"])) }
        }
        @if kills > 3 { " and " (kills - 3) " more" }
        ". " a href="/kills" { "Kills" }
    })
}

/// A scope in words, such as `route shop`.
pub fn scope_words(scope: &Value) -> String {
    let Some(members) = scope.as_object() else { return String::new() };
    let words =
        members.iter().filter(|(_, value)| !value.is_null() && **value != false).map(|(kind, value)| {
            match value.as_str() {
                Some(name) => format!("{kind} {name}"),
                None => kind.clone(),
            }
        });
    words.collect::<Vec<_>>().join(" of ")
}

fn first_line(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let mut short: String = line.chars().take(LINE_MAX).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    if !short.is_empty() && !short.ends_with(['.', '…']) {
        short.push('.');
    }
    short
}

/// A text, or anything else as JSON.
fn said(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(status: &Value) -> String {
        banner(status, BannerPlace::Elsewhere).into_string()
    }

    #[test]
    fn a_quiet_proxy_has_facts_and_no_alarm() {
        let page = shown(
            &json!({ "phase": "running", "ready": true, "generation": 12_345, "kills": [], "kill": { "all": false },
            "last_reload": { "outcome": "unchanged" }, "journal": { "failure": null, "damage": null } }),
        );
        assert!(page.contains("12\u{a0}345") && page.contains("ready") && !page.contains("alarms"), "{page}");
    }

    #[test]
    fn each_trouble_is_said_in_words() {
        for (status, words) in [
            (json!({ "phase": "draining", "ready": false }), "draining"),
            (json!({ "phase": "lame", "ready": false }), "leaving"),
            (json!({ "phase": "forced" }), "it closes what is left"),
            (json!({ "phase": "running", "ready": false, "unready_because": "no worker" }), "no worker"),
            (json!({ "kill": { "all": true } }), "everything is killed"),
            (json!({ "kills": [{ "scope": { "route": "shop" } }] }), "1 kill in force"),
            (json!({ "kills": [{ "scope": { "route": "shop" } }] }), "route shop"),
            (json!({ "kills": [{}, {}, {}, {}, {}] }), "and 2 more"),
            (json!({ "last_reload": { "outcome": "rejected", "text": "\n  unknown key\nmore" } }), "unknown key."),
            (json!({ "journal": { "failure": "no space left" } }), "no space left"),
            (json!({ "journal": { "damage": { "at": 7 } } }), "the journal is damaged"),
            (json!({ "hand_over_failure": "timed out" }), "timed out"),
            (json!({ "admin_socket": { "trouble": "too long" } }), "too long"),
        ] {
            let page = shown(&status);
            assert!(page.contains(words), "{status}: {page}");
        }
        let rejected = json!({ "last_reload": { "outcome": "rejected" }, "journal": { "failure": "no space left" } });
        assert!(!banner(&rejected, BannerPlace::AboveNeeds).into_string().contains("alarms"), "the list below says it");
    }

    #[test]
    fn bad_and_hostile_answers_stay_text() {
        for status in [json!(null), json!([]), json!("x"), json!(7)] {
            assert_eq!(shown(&status), "");
        }
        assert!(shown(&json!({})).contains("readiness unknown"), "what is not known is not green");
        let hostile = "<img src=x onerror=alert(1)>".repeat(150);
        let page = shown(&json!({ "phase": hostile, "kills": [{ "scope": { "variant": hostile } }],
            "last_reload": { "outcome": "rejected", "text": hostile }, "journal": { "failure": hostile } }));
        assert!(!page.contains("<img"), "{page}");
    }
}
