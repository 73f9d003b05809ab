//! The upstreams: endpoints, health, ejections, load, and what a person can do with an endpoint.

use maud::{Markup, html};
use serde_json::Value;

use super::cells::{counted, empty};
use super::figures::{list, text};
use super::frame::Frame;
use super::list_view::{ListView, LongList};
use super::parts::Tone;
use super::upstream_rows::{endpoint_row, settings, upstream_row, upstream_tone};

/// The list of upstreams.
const UPSTREAMS: LongList =
    LongList { path: "/upstreams", label: "Upstream, endpoint or state", all: "All upstreams", entries_max: 100 };

/// The page of `/v1/upstreams`.
pub fn upstreams_page(frame: &Frame<'_>, facts: &Value, view: ListView<'_>) -> String {
    let upstreams = &facts["upstreams"];
    let main = html! {
        div class="head" { h1 { "Upstreams" } (sums(upstreams)) }
        @if list(upstreams).next().is_none() {
            (empty("There is no upstream.", &html! {
                "An upstream is a named set of endpoints: add " code { "[upstream.NAME]" } " with " code { "endpoints = [\"http://HOST:PORT\"]" }
                " to the file. See " code { "docs/upstreams.md" } "."
            }))
        } @else {
            @if list(upstreams).nth(1).is_some() { (UPSTREAMS.form(&view)) }
            (table(frame, &view, &fitting(view.filter, upstreams)))
            p class="soft" {
                "Usable: it gets requests. Acts by hand are in memory until the next start of the process, on this process alone. "
                code { "docs/upstreams.md" } " has health checks and ejection."
            }
        }
    };
    frame.around(&main)
}

fn sums(upstreams: &Value) -> Markup {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let endpoints = list(upstreams).map(|upstream| list(&upstream["endpoints"]).count()).sum();
    let of = |tone: Tone| list(upstreams).filter(|upstream| upstream_tone(upstream) == tone).count();
    html! {
        p class="sums" {
            (counted(number(list(upstreams).count()), "upstream")) ", " (counted(number(endpoints), "endpoint"))
            @for (standing, words) in [("ejected", "ejected"), ("unhealthy", "unhealthy"), ("drained", "drained")] {
                @let all = list(upstreams).flat_map(|upstream| list(&upstream["endpoints"]));
                @let found = all.filter(|endpoint| text(&endpoint["standing"]) == standing).count();
                @if found > 0 { ", " a href=(UPSTREAMS.filtered(standing)) { (found) " " (words) } }
            }
            @if of(Tone::Bad) > 0 { ", " strong class="bad" { (counted(number(of(Tone::Bad)), "upstream")) " without a usable endpoint" } }
        }
    }
}

/// The upstreams that fit: by a part of their name, or of the name, address or state of an endpoint.
fn fitting<'u>(filter: &str, upstreams: &'u Value) -> Vec<&'u Value> {
    let wanted = filter.trim().to_lowercase();
    let fits = |upstream: &&Value| {
        let of_endpoints =
            list(&upstream["endpoints"]).flat_map(|one| [&one["name"], &one["address"], &one["standing"]]);
        let mut names = std::iter::once(&upstream["name"]).chain(of_endpoints).map(text);
        wanted.is_empty() || names.any(|name| name.to_lowercase().contains(&wanted))
    };
    list(upstreams).filter(fits).collect()
}

fn table(frame: &Frame<'_>, view: &ListView<'_>, fitting: &[&Value]) -> Markup {
    let shown = UPSTREAMS.part(view, fitting);
    html! {
        @if shown.is_empty() {
            (empty(if fitting.is_empty() { "No upstream fits the filter." } else { "There are no more upstreams." }, &html! {
                a href="/upstreams" { "All upstreams" }
            }))
        } @else {
            (UPSTREAMS.pages(view, fitting.len()))
            (rows(frame, shown))
            (UPSTREAMS.pages(view, fitting.len()))
        }
    }
}

fn rows(frame: &Frame<'_>, upstreams: &[&Value]) -> Markup {
    let acts = frame.viewer.may_operate;
    html! {
        table class="stack upstreams" role="table" {
            caption class="sr-only" { "Upstreams, each with its endpoints" }
            thead role="rowgroup" { tr role="row" {
                @for head in ["Upstream, endpoint", "State", "Checks", "Load, failures"] {
                    th role="columnheader" scope="col" { (head) }
                }
                th role="columnheader" scope="col" class="num" { "Weight" }
                @if acts { th role="columnheader" scope="col" { "Act" } }
            } }
            tbody role="rowgroup" {
                @for upstream in upstreams {
                    (upstream_row(frame, upstream))
                    @for endpoint in list(&upstream["endpoints"]) { (endpoint_row(frame, upstream, endpoint)) }
                }
            }
        }
        details class="settings" id="upstream-settings" {
            summary { "Settings of each upstream" }
            dl class="terms" {
                @for upstream in upstreams { dt { bdi { (text(&upstream["name"])) } } dd { (settings(upstream)) } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cells::tests::shown_by;
    use super::*;

    #[test]
    fn sums_name_what_is_wrong() {
        let facts = json!({ "upstreams": [
            { "name": "v1", "usable": 1, "total": 2, "endpoints": [{ "standing": "usable" }, { "standing": "ejected" }] },
            { "name": "v2", "usable": 0, "total": 1, "endpoints": [{ "standing": "drained" }] },
        ] });
        let page = shown_by(true, |frame| upstreams_page(frame, &facts, ListView::default()));
        for part in [
            "2\u{a0}upstreams, 3\u{a0}endpoints",
            "<a href=\"/upstreams?filter=ejected\">1 ejected</a>",
            "1 drained",
            "1\u{a0}upstream without a usable endpoint",
            "1 of 2 usable",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("unhealthy</"), "{page}");
    }

    #[test]
    fn without_upstreams_the_page_says_what_to_do() {
        for facts in [json!(null), json!({}), json!({ "upstreams": "x" }), json!({ "upstreams": [] })] {
            assert!(
                shown_by(true, |frame| upstreams_page(frame, &facts, ListView::default()))
                    .contains("There is no upstream.")
            );
        }
        let page = shown_by(false, |frame| {
            upstreams_page(frame, &json!({ "upstreams": [null, 7, { "endpoints": [null] }] }), ListView::default())
        });
        assert!(page.contains("3\u{a0}upstreams, 1\u{a0}endpoint"), "{page}");
    }

    #[test]
    fn many_upstreams_are_in_parts_and_are_found() {
        let endpoint = |at: usize| json!({ "name": format!("10.0.0.1:{at}"), "address": format!("10.0.0.1:{at}"), "standing": if at == 777 { "ejected" } else { "usable" } });
        let upstream = |at: usize| json!({ "name": format!("up-{at}"), "usable": 2, "total": 2, "endpoints": [endpoint(at), endpoint(at + 1)] });
        let facts = json!({ "upstreams": (0..1_000).map(upstream).collect::<Vec<_>>() });
        let page = |filter: &str, from: usize| {
            shown_by(true, |frame| upstreams_page(frame, &facts, ListView { filter, from }))
        };
        let first = page("", 0);
        assert!(first.contains("1 to 100 of 1\u{a0}000") && first.len() < 600_000, "{}", first.len());
        let found = |filter: &str| page(filter, 0).matches("data-row=\"upstream:").count();
        for (filter, number) in [("UP-12", 11), ("10.0.0.1:500", 2), ("ejected", 2), ("nothing", 0)] {
            assert_eq!(found(filter), number, "{filter}");
        }
        assert!(
            page("<img src=x>", 0).contains("No upstream fits the filter.")
                && page("", 5_000).contains("There are no more upstreams.")
        );
        assert!(!page("<img src=x>\"", 0).contains("<img"));
    }
}
