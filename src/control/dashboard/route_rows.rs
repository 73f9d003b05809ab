//! The rows of a route: itself, each variant, its shadow.

use maud::{Markup, html};
use serde_json::{Value, json};

use super::cells::{errors, name, place, quantile, word};
use super::figures::{NONE, count, grouped, list, percent, text};
use super::parts::{Tone, in_path, verdict};
use super::release_verdict::ReleaseVerdict;

/// The heads of the columns.
pub const HEADS: [&str; 9] =
    ["Route, variant", "Upstream", "Set", "Measured", "Requests", "Errors", "p50", "p99", "State"];

/// The first variant of a route: the others are canaries.
pub fn is_stable(route: &Value, at: usize) -> bool {
    at == 0 && route["variants"][0].is_object()
}

/// The full name of a variant, such as `shop:canary`.
pub fn variant_name(route: &Value, variant: &Value) -> String {
    format!("{}:{}", text(&route["name"]), text(&variant["name"]))
}

/// The rows in the table of all routes, with the kills in force.
pub fn route_rows(route: &Value, kills: &Value) -> Markup {
    let variants: Vec<&Value> = list(&route["variants"]).collect();
    html! {
        @match variants.as_slice() {
            [] => (plain_row(route)),
            [one] => (single_row(route, one)),
            [_, ..] => {
                (split_row(route))
                @for (at, variant) in variants.iter().enumerate() {
                    @let key = variant_name(route, variant);
                    @let row = VariantRow { route, variant, at, kills, detail: ShareDetail::SinceChange };
                    tr role="row" data-row={ "variant:" (key) } data-href=(route_path(route)) tabindex="-1"
                        data-kill=[row.kill().as_deref()] data-state=[row.state().as_deref()] data-word=[row.word().as_deref()] {
                        th role="rowheader" scope="row" class="sub" { (name(text(&variant["name"]))) }
                        (row.cells())
                    }
                }
            }
        }
        (shadow_row(route))
    }
}

/// The path of a route's page.
pub fn route_path(route: &Value) -> String {
    format!("/routes/{}", in_path(text(&route["name"])))
}

/// What decides between the variants, in words; empty when it is not known.
pub fn decides(route: &Value) -> &'static str {
    match text(&route["experiment"]["sample_ratio"]["counted"]) {
        "keys" => "by caller",
        "requests" => "by request",
        _ => "",
    }
}

/// A redirect or a response: no upstream, no variant.
fn plain_row(route: &Value) -> Markup {
    html! {
        tr role="row" class="lead" data-row={ "route:" (text(&route["name"])) } data-href=(route_path(route)) tabindex="-1" {
            (head(route))
            td role="cell" data-label="Action" { span class="soft" { (word(text(&route["action"]))) } }
            td role="cell" {} td role="cell" {}
            td role="cell" class="num" data-label="Requests" { (count(&route["requests"])) }
            td role="cell" {} td role="cell" {} td role="cell" {} td role="cell" {}
        }
    }
}

/// A route with stable alone: one line.
fn single_row(route: &Value, variant: &Value) -> Markup {
    let row = VariantRow { route, variant, at: 0, kills: &Value::Null, detail: ShareDetail::SinceChange };
    html! {
        tr role="row" class="lead" data-row={ "route:" (text(&route["name"])) } data-href=(route_path(route)) tabindex="-1" {
            (head(route))
            (row.cells())
        }
    }
}

fn split_row(route: &Value) -> Markup {
    let killed = route["killed"] == true;
    html! {
        tr role="row" class="lead" data-row={ "route:" (text(&route["name"])) } data-href=(route_path(route)) tabindex="-1"
            data-kill=(json!({ "route": route["name"] }).to_string()) data-state=(if killed { "killed" } else { "open" })
            data-word=(if killed { "killed" } else { "not killed" }) {
            (head(route))
            td role="cell" data-label="Decided" { span class="soft" { (decides(route)) } }
            td role="cell" {} td role="cell" {}
            td role="cell" class="num" data-label="Requests" { (count(&route["requests"])) }
            td role="cell" class="num" data-label="Errors" { (errors(&sum(route, "errors"), &route["requests"])) }
            td role="cell" {} td role="cell" {}
            td role="cell" data-label="State" { @if killed { (verdict(Tone::Held, "⊘", "killed")) } }
        }
    }
}

fn head(route: &Value) -> Markup {
    html! {
        th role="rowheader" scope="row" {
            a href=(route_path(route)) { (name(text(&route["name"]))) }
            " " (place(text(&route["place"])))
        }
    }
}

fn shadow_row(route: &Value) -> Markup {
    let shadow = &route["shadow"];
    html! {
        @if shadow.is_object() {
            tr role="row" data-row={ "shadow:" (text(&route["name"])) } data-href="/shadows" tabindex="-1"
                data-kill=(json!({ "shadow": route["name"] }).to_string()) {
                th role="rowheader" scope="row" class="sub" { a href={ "/shadows#" (in_path(text(&route["name"]))) } { "shadow" } }
                td role="cell" data-label="Upstream" { (name(text(&shadow["upstream"]))) }
                td role="cell" class="num" data-label="Set" { (percent(&shadow["weight"])) }
                td role="cell" {} td role="cell" {} td role="cell" {} td role="cell" {} td role="cell" {}
                td role="cell" data-label="State" {
                    @if shadow["killed"] == true { (verdict(Tone::Held, "⊘", "killed")) } @else { span class="soft" { "copies only" } }
                }
            }
        }
    }
}

/// A member of all variants in sum; null when one is not known.
pub fn sum(route: &Value, member: &str) -> Value {
    list(&route["variants"])
        .map(|variant| variant[member].as_u64())
        .sum::<Option<u64>>()
        .map_or(Value::Null, Value::from)
}

/// Which measured shares of a variant are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareDetail {
    /// The one since the weights changed.
    SinceChange,
    /// That, and the one since the start where it differs.
    Both,
}

/// A variant in a table.
#[derive(Clone, Copy, Debug)]
pub struct VariantRow<'a> {
    pub route: &'a Value,
    pub variant: &'a Value,
    /// Its place among the variants: 0 is stable.
    pub at: usize,
    /// The kills in force, of `/v1/status`.
    pub kills: &'a Value,
    pub detail: ShareDetail,
}

impl VariantRow<'_> {
    /// The cells after the name.
    pub fn cells(&self) -> Markup {
        let VariantRow { route, variant, .. } = self;
        html! {
            td role="cell" data-label="Upstream" { (name(text(&variant["upstream"]))) }
            td role="cell" class="num" data-label="Set" {
                (percent(&variant["weight"]))
                @if self.is_stopped() { " → 0\u{a0}%" }
            }
            td role="cell" class="num" data-label="Measured" { (self.measured()) }
            td role="cell" class="num" data-label="Requests" { (count(&variant["requests"])) }
            td role="cell" class="num" data-label="Errors" { (errors(&variant["errors"], &variant["requests"])) }
            td role="cell" class="num" data-label="p50" { (quantile(&variant["p50_ms"], &variant["requests"])) }
            td role="cell" class="num" data-label="p99" { (quantile(&variant["p99_ms"], &variant["requests"])) }
            td role="cell" data-label="State" { (self.marks(route)) }
        }
    }

    /// The scope of a kill of it; stable is not killed.
    pub fn kill(&self) -> Option<String> {
        let scope = || json!({ "variant": variant_name(self.route, self.variant) }).to_string();
        (!is_stable(self.route, self.at)).then(scope)
    }

    /// Its state for programs: a change of it is announced.
    pub fn state(&self) -> Option<String> {
        if is_stable(self.route, self.at) {
            return None;
        }
        Some(match self.release() {
            Some(release) => ReleaseVerdict::of(release, self.kills).state,
            None => self.stopped_word().unwrap_or("open").replace(' ', "_"),
        })
    }

    /// The state in words, where the name of the state is not.
    pub fn word(&self) -> Option<String> {
        self.release().map(|release| ReleaseVerdict::of(release, self.kills).word)
    }

    /// The release of a static weight that guards watch.
    fn release(&self) -> Option<&Value> {
        list(&self.route["releases"]).find(|release| release["variant"] == self.variant["name"])
    }

    /// It gets nothing, whatever its weight.
    fn is_stopped(&self) -> bool {
        let is_canary = !is_stable(self.route, self.at);
        let weight_is_set = self.variant["weight"].as_f64().is_some_and(|weight| weight > 0.0);
        let stopped = ["killed", "latched"].iter().any(|member| self.variant[*member] == true);
        weight_is_set && (stopped || is_canary && self.route["killed"] == true)
    }

    fn stopped_word(&self) -> Option<&'static str> {
        let is = |member: &str| self.variant[member] == true;
        match (is("killed"), is("latched"), is("held")) {
            (true, ..) => Some("killed"),
            (_, true, _) => Some("rolled back"),
            (.., true) => Some("held"),
            _ => None,
        }
    }

    fn marks(&self, route: &Value) -> Markup {
        let stopped = match self.stopped_word() {
            Some("killed") => Some((Tone::Held, "⊘", "killed")),
            Some("rolled back") => Some((Tone::Bad, "✕", "rolled back")),
            Some(word) => Some((Tone::Held, "■", word)),
            None => None,
        };
        html! {
            @let release = self.release().map(|release| (release, ReleaseVerdict::of(release, self.kills)));
            @if let Some((release, verdict)) = &release {
                a href={ "/rollouts/" (in_path(text(&release["name"]))) } { (verdict.markup()) } " "
            }
            @if let Some((tone, shape, word)) = stopped {
                @if release.as_ref().is_none_or(|(_, verdict)| verdict.word != word) { (verdict(tone, shape, word)) }
            }
            @if !is_stable(route, self.at) {
                @let rollout = text(&self.variant["rollout"]);
                @let rollout = if rollout.is_empty() { text(&route["rollout"]) } else { rollout };
                @if !rollout.is_empty() {
                    " " a href={ "/rollouts/" (in_path(rollout)) } { (name(rollout)) }
                    @if self.variant["stage"].is_string() { span class="soft" { ", stage " (name(text(&self.variant["stage"]))) } }
                }
            }
        }
    }

    /// The share since the weights changed, of how many.
    fn measured(&self) -> Markup {
        let share = &self.variant["share"];
        match (share.is_number(), self.draws_since()) {
            (true, Some(draws)) => html! {
                (percent(share)) span class="soft" { " of " (grouped(draws)) }
                @if self.detail == ShareDetail::Both && *share != self.variant["share_total"] { br; (self.measured_in_all()) }
            },
            _ => self.measured_in_all(),
        }
    }

    /// The share since the start, of how many.
    fn measured_in_all(&self) -> Markup {
        let share = &self.variant["share_total"];
        html! {
            @if share.is_number() { (percent(share)) span class="soft" { " of " (count(&sum(self.route, "counted"))) " in all" } }
            @else { (NONE) }
        }
    }

    /// How many requests were assigned since the weights changed; `None`: it is not known.
    fn draws_since(&self) -> Option<u64> {
        let sampled = list(&self.route["experiment"]["variants"]).map(|variant| variant["sampled"].as_u64());
        let sampled = sampled.sum::<Option<u64>>().filter(|draws| *draws > 0);
        let same = || self.variant["share"] == self.variant["share_total"];
        sampled.or_else(|| sum(self.route, "counted").as_u64().filter(|_| same()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop() -> Value {
        json!({ "name": "shop", "place": "/etc/pointsman/routes.toml:42", "action": "split", "requests": 33_072, "killed": true,
            "variants": [
                { "name": "stable", "upstream": "v1", "weight": 90.0, "share": 100.0, "share_total": 90.7, "counted": 29_814,
                  "requests": 30_021, "errors": 0, "p50_ms": 0.14, "p99_ms": 3.39, "killed": false, "latched": false },
                { "name": "canary", "upstream": "v2", "weight": 10.0, "share": 0.0, "share_total": 9.3, "counted": 3_051,
                  "requests": 3_051, "errors": 7, "p50_ms": 0.14, "p99_ms": 3.28, "killed": false, "latched": true },
            ],
            "releases": [{ "kind": "static", "name": "shop:canary", "route": "shop", "variant": "canary", "state": "rolled_back" }],
            "shadow": { "upstream": "v3", "weight": 50.0, "killed": true },
            "experiment": { "variants": [{ "sampled": 1_684 }, { "sampled": 0 }], "sample_ratio": { "counted": "keys" } } })
    }

    #[test]
    fn a_split_has_a_line_for_each_variant() {
        let page = route_rows(&shop(), &Value::Null).into_string();
        for part in [
            "data-row=\"route:shop\"",
            "data-kill=\"{&quot;variant&quot;:&quot;shop:canary&quot;}\" data-state=\"rolled_back\"",
            "href=\"/routes/shop\"",
            "title=\"/etc/pointsman/routes.toml:42\"",
            "<bdi>routes.toml:42</bdi>",
            "by caller",
            "10\u{a0}% → 0\u{a0}%",
            "100\u{a0}%<span class=\"soft\"> of 1\u{a0}684</span>",
            "7\u{a0}(0.229\u{a0}%)",
            "7\u{a0}(0.0212\u{a0}%)",
            "href=\"/rollouts/shop%3Acanary\"",
            "rolled back",
            "href=\"/shadows#shop\"",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert_eq!(page.matches("<tr").count(), 4);
        assert_eq!(page.matches("<td").count(), 4 * 8, "each row has all columns: {page}");
        assert!(!page.contains("shop:stable&quot;"), "stable is not killed: {page}");
    }

    #[test]
    fn a_plain_route_is_one_line() {
        let mut one = shop();
        one["variants"].as_array_mut().expect("a list").truncate(1);
        one["shadow"] = Value::Null;
        let page = route_rows(&one, &Value::Null).into_string();
        assert_eq!((page.matches("<tr").count(), page.matches("<td").count()), (1, 8), "{page}");
        let redirect = json!({ "name": "moved", "action": "redirect", "requests": 4, "error_ratio": 0.0 });
        let page = route_rows(&redirect, &Value::Null).into_string();
        assert!(page.contains("redirect") && page.contains(">4<"), "{page}");
        assert_eq!((page.matches("<tr").count(), page.matches("<td").count()), (1, 8), "{page}");
    }

    #[test]
    fn a_share_comes_with_its_count() {
        let mut route = shop();
        route["experiment"] = Value::Null;
        let of = |route: &Value| {
            let (variant, detail) = (&route["variants"][1], ShareDetail::Both);
            VariantRow { route, variant, at: 1, kills: &Value::Null, detail }.measured().into_string()
        };
        assert_eq!(of(&route), "9.3\u{a0}%<span class=\"soft\"> of 32\u{a0}865 in all</span>");
        route["variants"][1]["share"] = json!(9.3);
        assert_eq!(of(&route), "9.3\u{a0}%<span class=\"soft\"> of 32\u{a0}865</span>");
        route["variants"][0]["counted"] = Value::Null;
        assert_eq!(of(&route), "9.3\u{a0}%<span class=\"soft\"> of – in all</span>");
        route["variants"][1]["share_total"] = Value::Null;
        assert_eq!(of(&route), "–");
    }

    #[test]
    fn a_rollout_is_named_with_its_stage() {
        let mut route = shop();
        route["releases"] = json!([]);
        route["rollout"] = json!("shop-v2");
        route["variants"][1]["stage"] = json!("quarter");
        route["variants"][1]["latched"] = json!(false);
        route["variants"][1]["held"] = json!(true);
        let page = route_rows(&route, &Value::Null).into_string();
        for part in ["href=\"/rollouts/shop-v2\"", ", stage <bdi>quarter</bdi>", "■", "data-state=\"held\""] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }

    #[test]
    fn bad_and_hostile_routes_are_shown() {
        for route in [
            json!(null),
            json!(7),
            json!([]),
            json!({ "variants": "x" }),
            json!({ "variants": [null, 7, []], "shadow": {} }),
        ] {
            let page = route_rows(&route, &json!("x")).into_string();
            assert!(page.contains("<tr") && !page.contains("NaN"), "{page}");
        }
        let hostile = "<img src=x onerror=alert(1)>\u{202e}\"'".repeat(100);
        let one = json!({ "name": hostile, "upstream": hostile, "stage": hostile, "rollout": hostile, "weight": hostile, "share": hostile });
        let route = json!({ "name": hostile, "place": hostile, "action": hostile, "rollout": hostile, "requests": hostile,
            "variants": [one, one], "releases": [{ "name": hostile, "variant": hostile, "state": hostile }],
            "shadow": { "upstream": hostile }, "experiment": { "sample_ratio": { "counted": hostile } } });
        let page = route_rows(&route, &Value::Null).into_string();
        assert!(!page.contains("<img"), "{page}");
        let plain = json!({ "name": hostile, "action": hostile });
        assert!(!route_rows(&plain, &Value::Null).into_string().contains("<img"));
    }
}
