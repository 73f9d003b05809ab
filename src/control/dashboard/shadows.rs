//! Dark launches: outcomes of copies, and where responses differ.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::cells::{counted_value, empty, fact, name, part_of, tally};
use super::figures::{NONE, count, list, millis, percent, ratio, short, text};
use super::frame::Frame;
use super::parts::{ActButton, ReasonField, Tone, in_path, moment, verdict};
use super::shadow_fields::field_table;

/// The page of `/v1/shadows`.
pub fn shadows_page(frame: &Frame<'_>, facts: &Value) -> String {
    let routes = &facts["routes"];
    let main = html! {
        div class="head" { h1 { "Shadows" } (sums(facts)) }
        @if list(routes).next().is_none() {
            (empty("No shadow is configured.", &html! {
                "A dark launch sends copies of real requests to a new version and discards its responses: add "
                code { "[route.shadow]" } " with " code { "upstream" } " and " code { "weight" }
                " to a route of the file. See " code { "docs/dark-launch.md" } "."
            }))
        }
        @for route in list(routes) { (one_shadow(frame, facts, route)) }
    };
    frame.around(&main)
}

fn sums(facts: &Value) -> Markup {
    let number = list(&facts["routes"]).count();
    let comparing = &facts["comparing"];
    html! {
        @if number > 0 {
            p class="sums" {
                (counted_value(&json!(number), "shadow")) ", "
                "copies hold " (size(&facts["held_bytes"])) " of " (size(&facts["held_bytes_max"]))
                @if comparing["refused"].as_u64().is_some_and(|refused| refused > 0) { ", " (counted_value(&comparing["refused"], "comparison")) " refused: no memory" }
                @if comparing["failed"].as_u64().is_some_and(|failed| failed > 0) { ", " (counted_value(&comparing["failed"], "comparison")) " failed" }
            }
        }
    }
}

/// `64 MiB` of a number of bytes.
fn size(bytes: &Value) -> String {
    let Some(bytes) = bytes.as_f64() else { return NONE.to_owned() };
    let units = [(1024.0 * 1024.0, "MiB"), (1024.0, "KiB")];
    let unit = units.into_iter().find(|(size, _)| bytes >= *size);
    unit.map_or_else(
        || format!("{}\u{a0}bytes", short(bytes)),
        |(size, name)| format!("{}\u{a0}{name}", short(bytes / size)),
    )
}

fn one_shadow(frame: &Frame<'_>, facts: &Value, route: &Value) -> Markup {
    let route_name = text(&route["route"]);
    let id = in_path(route_name);
    let killed = !route["killed_by"].is_null() || facts["kill_all"] == true;
    html! {
        section id=(id) aria-labelledby={ "h-" (id) } data-kill=(json!({ "shadow": route_name }).to_string()) {
            div class="head" {
                h2 id={ "h-" (id) } {
                    a href={ "/routes/" (id) } { (name(route_name)) } " → " (name(text(&route["upstream"])))
                }
                (shadow_verdict(facts, route))
                @if frame.viewer.may_operate && !killed && !route_name.is_empty() { (kill_button(route_name)) }
            }
            (copies(route))
            @if route["compares"] == false {
                p class="soft" {
                    "The responses are not compared: " code { "[route.shadow.compare]" } " with " code { "control = 20" }
                    " does. See " code { "docs/dark-launch.md" } "."
                }
            } @else if route["comparison"].is_object() {
                (comparison(&route["comparison"]))
                (latency(&route["comparison"]))
                (field_table(route_name, &route["comparison"]))
            } @else {
                p class="soft" { "No response has been compared yet." }
            }
        }
    }
}

fn kill_button(route_name: &str) -> Markup {
    let button = ActButton {
        label: "Kill shadow",
        target: route_name,
        path: "/v1/kill".to_owned(),
        body: json!({ "shadow": route_name }),
        effect: "no copies any more; callers notice nothing".to_owned(),
        key: None,
        reason: ReasonField::Required,
        is_grave: true,
    };
    button.markup()
}

fn shadow_verdict(facts: &Value, route: &Value) -> Markup {
    let confirmed = list(&route["comparison"]["fields"]).filter(|field| field["verdict"] == "confirmed").count();
    let is_slowed = route["weight_actual"].as_f64().zip(route["weight"].as_f64()).is_some_and(|(now, set)| now < set);
    let sent = route["sent"].as_u64();
    html! {
        @if !route["killed_by"].is_null() {
            (verdict(Tone::Held, "⊘", "killed")) " " a href="/kills" { "Kills" }
        } @else if facts["kill_all"] == true {
            (verdict(Tone::Held, "⊘", "everything is killed")) " " a href="/kills" { "Kills" }
        } @else if sent == Some(0) || sent.is_none() {
            (verdict(Tone::Unknown, "◌", "no copy yet"))
        } @else {
            @if is_slowed { (verdict(Tone::Watch, "▲", "slowed: copies fail")) " " }
            @if confirmed > 0 {
                (verdict(Tone::Watch, "▲", &format!("{confirmed} {}", if confirmed == 1 { "field really differs" } else { "fields really differ" })))
            } @else if route["comparison"]["compared"].as_u64().is_some_and(|compared| compared > 0) {
                (verdict(Tone::Serving, "●", "no difference confirmed"))
            } @else {
                (verdict(Tone::Quiet, "○", "copies only"))
            }
        }
    }
}

/// The outcomes of copies.
fn copies(route: &Value) -> Markup {
    html! {
        dl class="pairs" {
            (fact("Share now", &html! { (percent(&route["weight_actual"])) " of " (percent(&route["weight"])) " set" }))
            (fact("Sampled", &html! { (count(&route["sampled"])) " since " (moment(&route["since"])) }))
            (fact("Sent", &html! { (part_of(&route["sent"], &route["sampled"])) }))
            (fact("Completed", &tally(&route["completed"], "none")))
            (fact("Dropped", &tally(&route["dropped"], "none")))
            (fact("In flight", &html! { (count(&route["in_flight"])) }))
            (fact("Controls", &html! {
                (count(&route["controls"]["answered"])) " answered, " (count(&route["controls"]["failed"])) " failed, "
                (count(&route["controls"]["no_place"])) " without a place"
            }))
            (fact("Not compared", &tally(&route["not_compared"], "none")))
        }
    }
}

fn comparison(comparison: &Value) -> Markup {
    html! {
        dl class="pairs" {
            (fact("Compared", &html! {
                (count(&comparison["compared"])) @if comparison["since"].is_string() { " since " (moment(&comparison["since"])) }
            }))
            (fact("Equal", &html! { (part_of(&comparison["equal"], &comparison["compared"])) }))
            (fact("Different", &html! { (part_of(&comparison["different"], &comparison["compared"])) }))
            (fact("Controls that differ", &html! { (part_of(&comparison["noisy_controls"], &comparison["with_control"])) }))
            (fact("Mismatch beyond noise", &html! {
                (ratio(&comparison["net_mismatch"])) " of " (counted_value(&comparison["compared"], "response"))
                @if comparison["net_mismatch_upper"].is_number() { ", below " (ratio(&comparison["net_mismatch_upper"])) " with 99\u{a0}% confidence" }
            }))
            @for (member, words) in [
                ("ended_early", "Copies that ended early"), ("controls_ended_early", "Controls that ended early"),
                ("unread", "Bodies not read"), ("truncated", "More than 256 differences"), ("evicted", "Fields forgotten"),
            ] {
                @if comparison[member].as_u64().is_some_and(|number| number > 0) { (fact(words, &html! { (count(&comparison[member])) })) }
            }
            @if comparison["revision"].is_string() { (fact("Revision", &name(text(&comparison["revision"])))) }
        }
    }
}

fn latency(comparison: &Value) -> Markup {
    let times = &comparison["latency_seconds"];
    let of = |arm: &str, quantile: &str| {
        times[arm][quantile].as_f64().map_or_else(|| NONE.to_owned(), |seconds| millis(&json!(seconds * 1e3)))
    };
    html! {
        @if times.is_object() {
            table class="narrow" {
                caption { "Durations of " (counted_value(&comparison["compared"], "compared response")) }
                thead { tr {
                    th scope="col" { "Of" }
                    @for head in ["p50", "p90", "p99"] { th scope="col" class="num" { (head) } }
                } }
                tbody {
                    @for (arm, words) in [("primary", "requests"), ("candidate", "copies")] {
                        tr {
                            th scope="row" { (words) }
                            @for quantile in ["p50", "p90", "p99"] { td class="num" { (of(arm, quantile)) } }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cells::tests::{hostile_everywhere, shown_by};
    use super::*;

    fn facts() -> Value {
        json!({ "kill_all": false, "comparing": { "refused": 0, "failed": 2 }, "held_bytes": 0, "held_bytes_max": 67_108_864, "routes": [{
            "route": "api", "upstream": "v3", "since": "2026-12-01T00:58:17.696Z", "sampled": 1_750, "in_flight": 0, "sent": 1_744,
            "dropped": { "timeout": 6 }, "completed": { "2xx": 1_744 }, "not_compared": {}, "controls": { "answered": 874, "failed": 0, "no_place": 1 },
            "weight": 100.0, "weight_actual": 50.0, "killed_by": null, "compares": true,
            "comparison": { "since": "2026-12-01T00:58:20.302Z", "revision": "3.0", "compared": 1_744, "equal": 0, "different": 1_744, "with_control": 874,
                "noisy_controls": 874, "net_mismatch": 0.333, "net_mismatch_upper": 0.385, "ended_early": 3, "unread": 0,
                "latency_seconds": { "primary": { "p50": 0.00006, "p90": 0.0003, "p99": 0.0031 }, "candidate": { "p50": null } },
                "fields": [{ "path": "$.price", "verdict": "confirmed" }] },
        }] })
    }

    #[test]
    fn copies_and_comparison_have_their_counts() {
        let page = shown_by(true, |frame| shadows_page(frame, &facts()));
        for part in [
            "1 field really differs",
            "slowed",
            "50\u{a0}% of 100\u{a0}% set",
            "1\u{a0}744 of 1\u{a0}750 (99.7\u{a0}%)",
            "timeout</bdi> 6",
            "2xx</bdi> 1\u{a0}744",
            "33.3\u{a0}% of 1\u{a0}744\u{a0}responses",
            "below 38.5\u{a0}%",
            "3.1\u{a0}ms",
            "0.06\u{a0}ms",
            "Copies that ended early",
            "2\u{a0}comparisons failed",
            "copies hold 0\u{a0}bytes of 64\u{a0}MiB",
            "data-body=\"{&quot;shadow&quot;:&quot;api&quot;}\"",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(!page.contains("Bodies not read"), "{page}");
    }

    #[test]
    fn verdicts_follow_what_was_seen() {
        let with = |member: &str, value: Value| {
            let mut facts = facts();
            facts["routes"][0][member] = value;
            shown_by(true, |frame| shadows_page(frame, &facts))
        };
        let killed = with("killed_by", json!("shadow"));
        assert!(killed.contains("⊘") && !killed.contains("data-act=\"Kill shadow\""), "{killed}");
        assert!(with("sent", json!(0)).contains("no copy yet"));
        assert!(with("comparison", Value::Null).contains("No response has been compared yet."));
        assert!(with("compares", json!(false)).contains("[route.shadow.compare]"));
        assert!(with("comparison", json!({ "compared": 7 })).contains("no difference confirmed"));
    }

    #[test]
    fn missing_bad_and_hostile_answers_are_shown() {
        for facts in [json!(null), json!({}), json!({ "routes": 7 })] {
            assert!(shown_by(true, |frame| shadows_page(frame, &facts)).contains("No shadow is configured."));
        }
        let page = shown_by(true, |frame| shadows_page(frame, &json!({ "routes": [null, 7, { "comparison": {} }] })));
        assert!(page.contains("no copy yet") && !page.contains("NaN"), "{page}");
        let page = shown_by(true, |frame| shadows_page(frame, &hostile_everywhere(&facts())));
        assert!(!page.contains("<img"), "{page}");
    }
}
