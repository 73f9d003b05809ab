//! One route: the figures of its variants, how they went on, and what watches them.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::cells::{counted_value, empty, fact, name, place, sentence, word};
use super::chart::{error_chart, latency_chart, share_chart};
use super::figures::{list, percent, text};
use super::frame::Frame;
use super::guard_meter::guard_cell;
use super::parts::{ActButton, ReasonField, Tone, in_path, moment, verdict};
use super::release_verdict::ReleaseVerdict;
use super::route_rows::{ShareDetail, VariantRow, decides, is_stable, variant_name};

/// One route of `/v1/routes`, with `/v1/history?route=NAME`.
pub fn route_page(frame: &Frame<'_>, route: &Value, history: &Value) -> String {
    let route_name = text(&route["name"]);
    let main = html! {
        div class="head" data-kill=(preset(route)) {
            h1 { (name(route_name)) }
            @if route["killed"] == true { (verdict(Tone::Held, "⊘", "killed")) " " a href="/kills" { "Kills" } }
            (place(text(&route["place"])))
            @if frame.viewer.may_operate && list(&route["variants"]).nth(1).is_some() { (kill_route(route)) }
        }
        @if !route.is_object() {
            (empty("There is no such route.", &html! { a href="/routes" { "All routes" } }))
        } @else if list(&route["variants"]).next().is_none() {
            p { "It answers by itself (" (word(text(&route["action"]))) "): " (counted_value(&route["requests"], "request")) " since the start of the process." }
        } @else {
            (variants(frame, route))
            (charts(route, history))
            (releases(frame, route))
            (experiment(route))
            (shadow(frame, route))
            (deciding(route))
        }
    };
    frame.around(&main)
}

/// What a kill on this page is for: the only canary, else the route.
fn preset(route: &Value) -> String {
    let variants: Vec<&Value> = list(&route["variants"]).collect();
    match variants.as_slice() {
        [_, canary] => json!({ "variant": variant_name(route, canary) }).to_string(),
        _ => json!({ "route": text(&route["name"]) }).to_string(),
    }
}

fn kill_route(route: &Value) -> Markup {
    let route_name = text(&route["name"]);
    html! {
        @if route["killed"] != true {
            (ActButton {
                label: "Kill route",
                target: route_name,
                path: "/v1/kill".to_owned(),
                body: json!({ "route": route_name }),
                effect: "serves stable only, from the next request on; only a revive ends it".to_owned(),
                key: None,
                reason: ReasonField::Required,
                is_grave: true,
            }.markup())
        }
    }
}

fn variants(frame: &Frame<'_>, route: &Value) -> Markup {
    let kills = &frame.status["kills"];
    let acts = frame.viewer.may_operate;
    html! {
        section aria-labelledby="variants" {
            h2 id="variants" { "Variants" }
            table class="stack routes" role="table" {
                caption class="sr-only" { "The variants with their shares, requests, errors and durations" }
                thead role="rowgroup" { tr role="row" {
                    @for head in ["Variant", "Upstream"] { th role="columnheader" scope="col" { (head) } }
                    @for head in ["Set", "Measured", "Requests", "Errors", "p50", "p99"] {
                        th role="columnheader" scope="col" class="num" { (head) }
                    }
                    th role="columnheader" scope="col" { "State" }
                    @if acts { th role="columnheader" scope="col" { "Act" } }
                } }
                tbody role="rowgroup" {
                    @for (at, variant) in list(&route["variants"]).enumerate() {
                        @let row = VariantRow { route, variant, at, kills, detail: ShareDetail::Both };
                        tr role="row" data-row={ "variant:" (variant_name(route, variant)) } tabindex="-1"
                            data-kill=[row.kill().as_deref()] data-state=[row.state().as_deref()] data-word=[row.word().as_deref()] {
                            th role="rowheader" scope="row" { (name(text(&variant["name"]))) }
                            (row.cells())
                            @if acts { td role="cell" class="do" { (kill_variant(route, &row)) } }
                        }
                    }
                }
            }
            p class="soft" {
                "Measured is the share since the weights changed"
                @if route["experiment"]["since"].is_string() { ", at " (moment(&route["experiment"]["since"])) }
                ". Requests, errors, p50 and p99 are of all requests of the line since the start of the process."
            }
        }
    }
}

fn kill_variant(route: &Value, row: &VariantRow<'_>) -> Markup {
    let full = variant_name(route, row.variant);
    html! {
        @if is_stable(route, row.at) {
        } @else if row.variant["killed"] == true {
            a href="/kills" { "Revive…" }
        } @else {
            (ActButton {
                label: "Kill",
                target: &full,
                path: "/v1/kill".to_owned(),
                body: json!({ "variant": full }),
                effect: "its callers get stable at their next request; only a revive ends it".to_owned(),
                key: None,
                reason: ReasonField::Required,
                is_grave: true,
            }.markup())
        }
    }
}

fn charts(route: &Value, history: &Value) -> Markup {
    html! {
        section aria-labelledby="over-time" {
            h2 id="over-time" { "Over time" }
            div class="charts" {
                (error_chart(history))
                (latency_chart(history))
                @if list(&route["variants"]).nth(1).is_some() { (share_chart(history)) }
            }
        }
    }
}

fn releases(frame: &Frame<'_>, route: &Value) -> Markup {
    let rollout = text(&route["rollout"]);
    html! {
        section aria-labelledby="releases" {
            h2 id="releases" { "Who watches it" }
            @if !rollout.is_empty() {
                p {
                    "The rollout " a href={ "/rollouts/" (in_path(rollout)) } { (name(rollout)) } " moves its weight"
                    @for variant in list(&route["variants"]).filter(|variant| variant["stage"].is_string()) {
                        ", now in stage " strong { (name(text(&variant["stage"]))) }
                    }
                    ": its guards, its stages and its acts are there."
                }
            }
            @for release in list(&route["releases"]) { (one_release(frame, release)) }
            @if rollout.is_empty() && list(&route["releases"]).next().is_none() {
                p class="soft" { "No canary: no guard watches it." }
            }
        }
    }
}

fn one_release(frame: &Frame<'_>, release: &Value) -> Markup {
    let verdict = ReleaseVerdict::of(release, &frame.status["kills"]);
    html! {
        div class="release" {
            p {
                (verdict.markup()) " "
                a href={ "/rollouts/" (in_path(text(&release["name"]))) } { (name(text(&release["name"]))) }
                " " span class="soft" { (name(text(&release["revision"]))) }
                @if release["at"].is_string() { ", since " (moment(&release["at"])) }
            }
            (guard_cell(release))
            @if release["state"] == "held" || !release["closest"].is_object() { p { (sentence(text(&release["says"]))) } }
            @if release["unblock"].is_string() { p class="help" { "What ends it: " (sentence(text(&release["unblock"]))) } }
        }
    }
}

fn experiment(route: &Value) -> Markup {
    let experiment = &route["experiment"];
    html! {
        @if experiment.is_object() {
            section aria-labelledby="experiment" {
                h2 id="experiment" { "Experiment" }
                p { (sentence(text(&experiment["sample_ratio"]["says"]))) }
                @for one in list(&experiment["comparisons"]) {
                    p {
                        (name(text(&one["variant"]))) " against " (name(text(&one["against"]))) ": "
                        (sentence(text(&one["says"]))) ", "
                        (counted_value(&one["requests"], "request")) " against " (counted_value(&one["requests_against"], "request"))
                    }
                }
                p { a href={ "/experiments#" (in_path(text(&route["name"]))) } { "Rates, intervals and the sample" } }
            }
        }
    }
}

fn shadow(frame: &Frame<'_>, route: &Value) -> Markup {
    let shadow = &route["shadow"];
    let words = |value: &Value| list(value).map(text).collect::<Vec<_>>().join(", ");
    html! {
        @if shadow.is_object() {
            section aria-labelledby="shadow" {
                div class="head" {
                    h2 id="shadow" { "Shadow" }
                    @if shadow["killed"] == true { (verdict(Tone::Held, "⊘", "killed")) }
                    @else if frame.viewer.may_operate {
                        (ActButton {
                            label: "Kill shadow",
                            target: text(&route["name"]),
                            path: "/v1/kill".to_owned(),
                            body: json!({ "shadow": text(&route["name"]) }),
                            effect: "no copies any more; callers notice nothing".to_owned(),
                            key: None,
                            reason: ReasonField::Required,
                            is_grave: true,
                        }.markup())
                    }
                }
                dl class="pairs" {
                    (fact("Copies to", &name(text(&shadow["upstream"]))))
                    (fact("Share set", &html! { (percent(&shadow["weight"])) " by " (name(text(&shadow["sample_by"]))) }))
                    (fact("Of variants", &name(&words(&shadow["from"]))))
                    (fact("Methods", &name(&words(&shadow["methods"]))))
                    @if shadow["control"].is_number() { (fact("Controls", &html! { (percent(&shadow["control"])) " of the copies" })) }
                }
                p { a href={ "/shadows#" (in_path(text(&route["name"]))) } { "Copies, and where responses differ" } }
            }
        }
    }
}

fn deciding(route: &Value) -> Markup {
    let says = match decides(route) {
        "by caller" => {
            "By caller: a caller with a sticky key keeps its variant. Kills come first, then targets, then the weight."
        }
        "by request" => "By request: each request is drawn by itself. Kills come first, then targets, then the weight.",
        _ => "Kills come first, then targets, then the weight.",
    };
    html! {
        section aria-labelledby="deciding" {
            h2 id="deciding" { "What decides" }
            p { (says) }
            p class="help" {
                "Why a request gets its variant: " code { "pointsman explain --admin URL --host HOST --path PATH" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cells::tests::{hostile_everywhere, shown_by};
    use super::*;

    fn route() -> Value {
        json!({ "name": "shop", "place": "/etc/routes.toml:42", "action": "split", "requests": 7_028, "killed": false, "rollout": null,
            "variants": [
                { "name": "stable", "upstream": "v1", "weight": 90, "share": 90.2, "share_total": 90.2, "counted": 6_342, "requests": 6_342, "errors": 0 },
                { "name": "canary", "upstream": "v2", "weight": 10, "share": 9.8, "share_total": 9.8, "counted": 686, "requests": 686, "errors": 3 },
            ],
            "releases": [{ "kind": "static", "name": "shop:canary", "variant": "canary", "revision": "v2=2.0", "state": "watching",
                "says": "no guard has tripped", "unblock": null, "closest": null }],
            "shadow": { "upstream": "v3", "weight": 50, "sample_by": "request", "from": ["stable"], "methods": ["GET"], "control": 20 },
            "experiment": { "since": "2026-12-01T00:58:17.696Z", "sample_ratio": { "says": "1952 keys fit the weights", "counted": "keys" },
                "comparisons": [{ "variant": "canary", "against": "stable", "says": "no difference shown", "requests": 686, "requests_against": 6_342 }] } })
    }

    #[test]
    fn a_route_shows_its_variants_and_who_watches_them() {
        let page = shown_by(true, |frame| route_page(frame, &route(), &Value::Null));
        for part in [
            "data-body=\"{&quot;variant&quot;:&quot;shop:canary&quot;}\"",
            "data-body=\"{&quot;route&quot;:&quot;shop&quot;}\"",
            "<div class=\"head\" data-kill=\"{&quot;variant&quot;:&quot;shop:canary&quot;}\"",
            "href=\"/rollouts/shop%3Acanary\"",
            "1952 keys fit the weights",
            "686\u{a0}requests against 6\u{a0}342\u{a0}requests",
            "a caller with a sticky key keeps its variant",
            "20\u{a0}% of the copies",
            "00:58:17",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    #[test]
    fn a_viewer_has_no_buttons() {
        let page = shown_by(false, |frame| route_page(frame, &route(), &Value::Null));
        assert!(!page.contains("class=\"act"), "{page}");
    }

    #[test]
    fn what_is_killed_is_revived_not_killed_again() {
        let mut killed = route();
        killed["killed"] = json!(true);
        killed["variants"][1]["killed"] = json!(true);
        killed["shadow"]["killed"] = json!(true);
        let page = shown_by(true, |frame| route_page(frame, &killed, &Value::Null));
        assert!(page.contains("Revive…") && !page.contains("class=\"act"), "{page}");
    }

    #[test]
    fn plain_missing_bad_and_hostile_routes_are_shown() {
        let redirect = json!({ "name": "moved", "action": "redirect", "requests": 4 });
        let page = shown_by(true, |frame| route_page(frame, &redirect, &Value::Null));
        assert!(page.contains("answers by itself (<bdi>redirect</bdi>): 4\u{a0}requests"), "{page}");
        let page = shown_by(true, |frame| route_page(frame, &Value::Null, &Value::Null));
        assert!(page.contains("There is no such route."), "{page}");
        for bad in [
            json!([]),
            json!(7),
            json!({ "variants": [null, 7] }),
            json!({ "variants": [{}], "experiment": {}, "shadow": {} }),
        ] {
            let page = shown_by(true, |frame| route_page(frame, &bad, &json!("x")));
            assert!(page.contains("<main") && !page.contains("NaN"), "{page}");
        }
        let page = shown_by(true, |frame| route_page(frame, &hostile_everywhere(&route()), &Value::Null));
        assert!(!page.contains("<img"), "{page}");
    }
}
