//! What needs a person: releases that wait, files that are rejected, certificates that expire, upstreams that fail.

use maud::{Markup, html};
use serde_json::Value;

use super::figures::{list, text};
use super::parts::{Tone, code_spans, in_path, moment, verdict};
use super::release_verdict::ReleaseVerdict;

/// The most needs that are listed: the table below has all releases.
const NEEDS_MAX: usize = 12;
/// A certificate needs a person so long before it ends.
const CERTIFICATE_DAYS: i64 = 14;

/// One thing that needs a person.
#[derive(Clone, Debug)]
pub struct Need {
    rank: u8,
    /// What it is about; orders needs of one rank.
    subject: String,
    verdict: Markup,
    /// Where a person looks closer.
    href: String,
    says: Markup,
}

/// The answers from which needs are derived.
#[derive(Clone, Copy, Debug)]
pub struct NeedFacts<'a> {
    /// `/v1/status`, in part.
    pub status: &'a Value,
    /// `/v1/rollouts`.
    pub rollouts: &'a Value,
    /// `/v1/upstreams`.
    pub upstreams: &'a Value,
    /// The moment of the server, RFC 3339.
    pub now: &'a str,
}

/// All that needs a person, the most urgent first.
pub fn needs(facts: NeedFacts<'_>) -> Vec<Need> {
    let NeedFacts { status, rollouts, upstreams, now } = facts;
    let releases = list(&rollouts["rollouts"]).filter_map(|release| of_release(release, &status["kills"]));
    let mut all: Vec<Need> = releases.collect();
    all.extend(of_proxy(status));
    all.extend(list(&status["listeners"]).flat_map(|listener| of_certificates(listener, now)));
    all.extend(list(&upstreams["upstreams"]).filter_map(of_upstream));
    all.sort_by(|one, other| one.rank.cmp(&other.rank).then_with(|| one.subject.cmp(&other.subject)));
    all
}

fn of_release(release: &Value, kills: &Value) -> Option<Need> {
    let verdict = ReleaseVerdict::of(release, kills);
    let waits = release["needs_person"] == true || release["kind"] == "static" && verdict.rank() < 2;
    if !waits {
        return None;
    }
    let name = text(&release["name"]);
    Some(Need {
        rank: verdict.rank(),
        subject: name.to_owned(),
        verdict: verdict.markup(),
        href: format!("/rollouts/{}", in_path(name)),
        says: code_spans(text(&release["says"])),
    })
}

fn of_proxy(status: &Value) -> Vec<Need> {
    let mut found = Vec::new();
    let last = &status["last_reload"];
    if last["outcome"] == "rejected" {
        let first = text(&last["text"]).lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let says = html! { "a newer file is rejected since " (moment(&last["at"])) ": " (code_spans(first)) };
        found.push(proxy_need("configuration", "rejected", "/config", says));
    }
    let failure = &status["journal"]["failure"];
    if !failure.is_null() {
        let said = failure.as_str().map_or_else(|| failure.to_string(), str::to_owned);
        let says = html! { "it cannot be written, and no weight is raised: " bdi { (said) } };
        found.push(proxy_need("journal", "failing", "/journal", says));
    }
    found
}

fn proxy_need(subject: &str, word: &str, href: &str, says: Markup) -> Need {
    let verdict = verdict(Tone::Bad, "✕", word);
    Need { rank: 1, subject: subject.to_owned(), verdict, href: href.to_owned(), says }
}

fn of_certificates<'a>(listener: &'a Value, now: &'a str) -> impl Iterator<Item = Need> + 'a {
    let now: Option<jiff::Timestamp> = now.parse().ok();
    list(&listener["tls"]["certificates"]).filter_map(move |certificate| {
        let ends: Option<jiff::Timestamp> = text(&certificate["expires_at"]).parse().ok();
        let left = ends?.as_second().saturating_sub(now?.as_second());
        let kept = text(&certificate["kept_because"]);
        if left > CERTIFICATE_DAYS * 86_400 && kept.is_empty() {
            return None;
        }
        let (rank, tone, shape, word) = match left {
            ..=0 => (1, Tone::Bad, "✕", "expired"),
            _ if left <= CERTIFICATE_DAYS * 86_400 => (4, Tone::Watch, "▲", "expires"),
            _ => (4, Tone::Watch, "▲", "kept"),
        };
        let says = html! {
            "certificate on " bdi { (text(&listener["name"])) } ", good until " (moment(&certificate["expires_at"]))
            @if !kept.is_empty() { "; kept, its files are invalid: " bdi { (kept) } }
        };
        let subject = text(&certificate["name"]).to_owned();
        Some(Need { rank, subject, verdict: verdict(tone, shape, word), href: "/config".to_owned(), says })
    })
}

fn of_upstream(upstream: &Value) -> Option<Need> {
    let count = |member: &str| upstream[member].as_u64().unwrap_or(0);
    let total = upstream["total"].as_u64()?;
    let (ejected, unhealthy) = (count("ejected"), count("unhealthy"));
    let unresolved = list(&upstream["unresolved"]).count();
    let has_none = upstream["usable"] == 0;
    if !has_none && ejected + unhealthy == 0 && unresolved == 0 {
        return None;
    }
    let (rank, verdict) = if has_none {
        (1, verdict(Tone::Bad, "✕", "none usable"))
    } else {
        (4, verdict(Tone::Watch, "▲", "some fail"))
    };
    let says = html! {
        "upstream: " (count("usable")) " of " (total) " endpoints usable"
        @if unhealthy > 0 { ", " (unhealthy) " unhealthy" }
        @if ejected > 0 { ", " (ejected) " ejected" }
        @if unresolved > 0 { ", " (unresolved) " names without an address" }
    };
    Some(Need { rank, subject: text(&upstream["name"]).to_owned(), verdict, href: "/upstreams".to_owned(), says })
}

/// The list; one line says so when there is nothing in it.
pub fn needs_list(needs: &[Need]) -> Markup {
    let rest = needs.len().saturating_sub(NEEDS_MAX);
    html! {
        @if needs.is_empty() {
            p class="none" { "Nothing needs you." }
        } @else {
            ul class="needs" {
                @for need in needs.iter().take(NEEDS_MAX) {
                    li {
                        (need.verdict) " " a href=(need.href) { bdi { (need.subject) } } " "
                        span class="says" { (need.says) }
                    }
                }
                @if rest > 0 { li class="soft" { "and " (rest) " more" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(status: &Value, rollouts: &Value, upstreams: &Value) -> (usize, String) {
        let found = needs(NeedFacts { status, rollouts, upstreams, now: "2026-12-01T00:00:00.000Z" });
        (found.len(), needs_list(&found).into_string())
    }

    #[test]
    fn nothing_needs_you_when_all_is_well() {
        let status = json!({ "last_reload": { "outcome": "applied" }, "listeners": [{ "tls": null },
            { "tls": { "certificates": [{ "name": "a", "expires_at": "2027-12-01T00:00:00Z", "kept_because": null }] } }] });
        let rollouts = json!({ "rollouts": [{ "kind": "rollout", "state": "running", "needs_person": false }] });
        let upstreams =
            json!({ "upstreams": [{ "total": 2, "usable": 1, "ejected": 0, "unhealthy": 0, "waiting": 1 }] });
        let (count, page) = shown(&status, &rollouts, &upstreams);
        assert_eq!((count, page.contains("Nothing needs you.")), (0, true), "{page}");
        assert_eq!(shown(&Value::Null, &json!([]), &json!("x")).0, 0);
    }

    #[test]
    fn what_needs_a_person_comes_in_the_order_of_its_urgency() {
        let status = json!({ "last_reload": { "outcome": "rejected", "text": "\nunknown key", "at": "2026-12-01T00:00:00Z" },
            "journal": { "failure": "no space" },
            "listeners": [{ "name": "https", "tls": { "certificates": [
                { "name": "soon.example", "expires_at": "2026-12-08T00:00:00Z" },
                { "name": "over.example", "expires_at": "2026-11-30T00:00:00Z" },
                { "name": "kept.example", "expires_at": "2027-11-30T00:00:00Z", "kept_because": "no key" },
                { "name": "strange", "expires_at": null } ] } }] });
        let rollouts = json!({ "rollouts": [
            { "kind": "rollout", "name": "b", "state": "held", "because": "person", "needs_person": true, "says": "held (person)" },
            { "kind": "rollout", "name": "a", "state": "running", "awaited": [{}], "needs_person": true },
            { "kind": "rollout", "name": "z", "state": "held", "because": "no rollback target", "needs_person": true },
            { "kind": "static", "name": "shop:canary", "state": "rolled_back" },
            { "kind": "static", "name": "shop:other", "state": "warned" } ] });
        let upstreams = json!({ "upstreams": [
            { "name": "gone", "total": 2, "usable": 0, "ejected": 1, "unhealthy": 1 },
            { "name": "half", "total": 2, "usable": 1, "unhealthy": 1, "unresolved": ["x"] }, {}, null ] });
        let (count, page) = shown(&status, &rollouts, &upstreams);
        assert_eq!(count, 11, "{page}");
        let order = [
            "z",
            "configuration",
            "gone",
            "journal",
            "over.example",
            "shop:canary",
            "a",
            "b",
            "half",
            "kept.example",
            "soon.example",
        ];
        let places: Vec<Option<usize>> = order.iter().map(|name| page.find(&format!("<bdi>{name}</bdi>"))).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} {page}");
        assert!(page.contains("1 of 2 endpoints usable, 1 unhealthy, 1 names without an address"), "{page}");
    }

    #[test]
    fn many_needs_and_hostile_names_are_bounded_and_text() {
        let hostile = "<img src=x onerror=alert(1)>\u{202e}".repeat(100);
        let one = json!({ "kind": "rollout", "name": hostile, "state": "held", "says": hostile, "needs_person": true });
        let (count, page) = shown(&Value::Null, &json!({ "rollouts": vec![one; 30] }), &Value::Null);
        assert_eq!(count, 30);
        assert!(page.contains("and 18 more") && !page.contains("<img"));
    }
}
