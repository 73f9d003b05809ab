//! The routes: shares set and measured, errors, durations, and what is killed, rolled back or held.

use maud::{Markup, html};
use serde_json::Value;

use super::cells::{counted, empty};
use super::figures::{grouped, list};
use super::frame::Frame;
use super::list_view::{ListView, LongList};
use super::route_marks::{RouteMark, fitting};
use super::route_rows::{HEADS, route_rows};

/// The list of routes.
const ROUTES: LongList =
    LongList { path: "/routes", label: "Route, upstream or rollout", all: "All routes", entries_max: 500 };

/// All routes: `/v1/routes`.
pub fn routes_page(frame: &Frame<'_>, routes: &Value, view: ListView<'_>) -> String {
    let all = &routes["routes"];
    let total = list(all).count();
    let main = html! {
        div class="head" { h1 { "Routes" } (sums(all)) }
        @if total == 0 {
            (empty("There is no route.", &html! {
                "A route leads requests to upstreams: add a " code { "[[route]]" } " to the file. See "
                code { "docs/reference/routes.md" } "."
            }))
        } @else {
            (ROUTES.form(&view))
            (table(frame, &view, &fitting(view.filter, all)))
            p class="soft" {
                "Set is the share that the file or a rollout gives, measured the one that callers got since the weights changed. "
                "Requests, errors, p50 and p99 are of all requests of the line since the start of the process. "
                code { "pointsman explain --admin URL --host HOST --path PATH" }
                " shows why a request gets its variant."
            }
        }
    };
    frame.around(&main)
}

/// How many routes there are, and how many are worth a look.
fn sums(all: &Value) -> Markup {
    let total = u64::try_from(list(all).count()).unwrap_or(u64::MAX);
    let marks = RouteMark::ALL.map(|mark| (mark, list(all).filter(|route| mark.is_of(route)).count()));
    html! {
        p class="sums" {
            (counted(total, "route"))
            @for (mark, number) in marks.into_iter().filter(|(_, number)| *number > 0) {
                ", " a href=(ROUTES.filtered(mark.filter())) { (grouped(u64::try_from(number).unwrap_or(u64::MAX))) " " (mark.words()) }
            }
        }
    }
}

fn table(frame: &Frame<'_>, view: &ListView<'_>, fitting: &[&Value]) -> Markup {
    let shown = ROUTES.part(view, fitting);
    html! {
        @if shown.is_empty() {
            (empty(if fitting.is_empty() { "No route fits the filter." } else { "There are no more routes." }, &html! {
                a href="/routes" { "All routes" }
            }))
        } @else {
            (ROUTES.pages(view, fitting.len()))
            table class="stack routes" role="table" {
                caption class="sr-only" { "Routes in the order of the file, each with its variants" }
                thead role="rowgroup" { tr role="row" {
                    @for (at, head) in HEADS.iter().enumerate() {
                        th role="columnheader" scope="col" class=[(2..8).contains(&at).then_some("num")] { (head) }
                    }
                } }
                tbody role="rowgroup" { @for route in shown { (route_rows(route, &frame.status["kills"])) } }
            }
            (ROUTES.pages(view, fitting.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cells::tests::{hostile_everywhere, shown_by};
    use super::*;

    fn route(at: usize) -> Value {
        let variant = |name: &str, weight: u64| {
            json!({ "name": name, "upstream": format!("upstream-{name}-{at}"), "weight": weight, "share": weight, "share_total": weight,
                "counted": 41_200, "requests": 41_200, "errors": 7, "p50_ms": 0.14, "p99_ms": 3.39, "killed": at.is_multiple_of(700), "latched": false })
        };
        let name = format!("checkout-route-{at:04}");
        let release =
            json!({ "kind": "static", "name": format!("{name}:canary"), "variant": "canary", "state": "watching" });
        json!({ "name": name, "place": format!("/etc/pointsman/routes.d/shop.toml:{at}"), "action": "split", "requests": 82_400, "killed": false,
            "variants": [variant("stable", 90), variant("canary", 10)], "releases": [release], "shadow": { "upstream": "v3", "weight": 50 } })
    }

    fn routes(number: usize) -> Value {
        json!({ "routes": (0..number).map(route).collect::<Vec<_>>() })
    }

    fn shown(facts: &Value, filter: &str, from: usize) -> String {
        shown_by(true, |frame| routes_page(frame, facts, ListView { filter, from }))
    }

    #[test]
    fn the_sums_are_of_all_routes_and_lead_to_them() {
        let page = shown(&routes(3), "0001", 0);
        for part in [
            "3\u{a0}routes",
            "<a href=\"/routes?filter=is%3Acanary\">3 with a canary</a>",
            "<a href=\"/routes?filter=is%3Akilled\">1 killed</a>",
            "value=\"0001\"",
            "data-row=\"route:checkout-route-0001\"",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(
            !page.contains("data-row=\"route:checkout-route-0002\"") && !page.contains("class=\"pages\""),
            "{page}"
        );
    }

    #[test]
    fn many_routes_are_in_parts_that_links_reach() {
        let facts = routes(1_100);
        let (first, second, last) = (shown(&facts, "", 0), shown(&facts, "checkout", 500), shown(&facts, "", 1_000));
        assert!(
            first.contains("1 to 500 of 1\u{a0}100")
                && first.contains("href=\"/routes?from=500\" rel=\"next\">Next 500"),
            "{first}"
        );
        assert!(!first.contains("rel=\"prev\""));
        assert!(second.contains("href=\"/routes?filter=checkout&amp;from=1000\" rel=\"next\">Next 100"), "{second}");
        assert!(second.contains("href=\"/routes?filter=checkout\" rel=\"prev\""), "{second}");
        assert!(last.contains("1\u{a0}001 to 1\u{a0}100 of 1\u{a0}100") && !last.contains("rel=\"next\""), "{last}");
        for (from, words) in [(1_100, "There are no more routes."), (usize::MAX, "There are no more routes.")] {
            assert!(shown(&facts, "", from).contains(words));
        }
    }

    #[test]
    fn two_thousand_routes_are_written_fast_and_are_small() {
        let facts = routes(2_000);
        #[expect(clippy::disallowed_methods, reason = "the time of this test is measured")]
        let now = std::time::Instant::now;
        let begun = now();
        let page = shown(&facts, "", 0);
        // 20 ms with optimization, on one core.
        assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
        assert!(page.len() < 1_500_000, "{}", page.len());
        assert_eq!(page.matches("data-row=\"route:").count(), 500);
    }

    #[test]
    fn missing_bad_and_hostile_answers_are_shown() {
        for facts in [json!(null), json!({}), json!({ "routes": 7 }), json!({ "routes": [] })] {
            assert!(shown(&facts, "", 0).contains("There is no route."));
        }
        assert!(shown(&json!({ "routes": [null, 7, {}] }), "", 0).contains("3\u{a0}routes"));
        assert!(shown(&routes(2), "<img src=x>\"", 0).contains("No route fits the filter."));
        let page = shown(&hostile_everywhere(&routes(2)), "", 0) + &shown(&routes(2), "<img src=x>\"", 0);
        assert!(!page.contains("<img"), "{page}");
    }
}
