//! A/B tests: the evidence about a route's variants since its weights last changed, over sockets.

use std::sync::Arc;

use pointsman::app::ReloadOutcome;
use pointsman::route::Salt;
use serde_json::Value;

use crate::harness::proxy::Ignorant;
use crate::harness::{Answer, Proxy, Raw, Upstream, until};

/// A cookie identifies callers; `x-pick: 1` selects the canary.
const SHOP: &str = r#"
[identity]
user = ["cookie:uid"]
[upstream.v1]
endpoints = ["http://{v1}"]
[upstream.v2]
endpoints = ["http://{v2}"]
[[route]]
name = "shop"
match = { path = "/*" }
stable = "v1"
sticky = ["user"]
canary = { upstream = "v2", weight = 50 }
headers = { request = { set = { x-variant = "{variant}" } }, response = { set = { x-variant = "{variant}" } } }
[[route.target]]
header = { x-pick = "1" }
serve = "canary"
"#;

struct Scene {
    proxy: Proxy,
    upstreams: [Upstream; 2],
}

fn scene(workers: usize, text: &str) -> Scene {
    let upstreams = ["v1", "v2"].map(|name| Upstream::echo().named(name));
    let setup = Proxy::workers(workers).with("v1", &upstreams[0]).with("v2", &upstreams[1]);
    Scene { proxy: setup.start(text), upstreams }
}

fn get(client: &mut Raw, user: usize, lines: &str) -> Answer {
    client.get("/", &format!("Cookie: uid=user-{user}\r\n{lines}"))
}

/// The part of `/status` for the first route, when all requests are counted.
fn report(proxy: &Proxy) -> Value {
    until("requests are counted", || (proxy.metric("pointsman_requests_in_flight") == 0.0).then_some(()));
    proxy.status()["routes"][0]["experiment"].clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[track_caller]
fn near(value: &Value, expected: f64, tolerance: f64) {
    let value = number(value);
    assert!((value - expected).abs() <= tolerance, "{value} is not near {expected}");
}

#[test]
fn keys_failures_and_durations_are_reported_by_variant() {
    let Scene { proxy, upstreams } = scene(2, SHOP);
    // Several connections, so that callers reach both workers.
    let mut clients: Vec<Raw> = (0..4).map(|_| proxy.connect()).collect();
    let mut of_canary = 0;
    for (round, status) in [200, 200, 500].into_iter().enumerate() {
        upstreams[1].answer_with(status);
        for user in 0..200 {
            let answer = get(&mut clients[(user + round) % 4], user, "");
            of_canary += u32::from(round == 0 && answer.field("x-variant") == Some("canary"));
        }
    }
    let of_canary = f64::from(of_canary);
    let report = report(&proxy);
    let [stable, canary] = [&report["variants"][0], &report["variants"][1]];
    near(&canary["keys"], of_canary, 4.0);
    near(&stable["keys"], 200.0 - of_canary, 4.0);
    near(&canary["sampled"], 3.0 * of_canary, 0.0);
    near(&canary["requests"], 3.0 * of_canary, 0.0);
    near(&canary["error_ratio"], 1.0 / 3.0, 1e-9);
    near(&stable["error_ratio"], 0.0, 0.0);
    near(&canary["share"], of_canary / 2.0, 1.5);
    for quantile in ["p50_ms", "p90_ms", "p99_ms"] {
        assert!(number(&stable[quantile]) > 0.0 && number(&canary[quantile]) > 0.0, "{report:#}");
    }
    assert_eq!(report["sample_ratio"]["result"], "ok", "{report:#}");
    assert_eq!(report["sample_ratio"]["counted"], "keys");
    let compared = &report["comparisons"][0];
    assert_eq!((&compared["variant"], &compared["against"]), (&"canary".into(), &"stable".into()));
    assert_eq!(compared["says"], "fails more often", "{compared:#}");
    near(&compared["difference"], 1.0 / 3.0, 1e-9);
    assert!(number(&compared["difference_low"]) > 0.1 && number(&compared["difference_high"]) < 0.6, "{compared:#}");

    let metrics = proxy.metrics();
    let labels = r#"{route="shop",variant="canary"}"#;
    let series = |name: &str| crate::harness::proxy::series(&metrics, name);
    near(&series(&format!("pointsman_variant_keys{labels}")).into(), of_canary, 4.0);
    near(&series(&format!("pointsman_variant_share_ratio{labels}")).into(), of_canary / 200.0, 0.015);
    near(&series(r#"pointsman_sample_ratio_mismatch{route="shop"}"#).into(), 0.0, 0.0);
    assert!(series(r#"pointsman_sample_ratio_evidence_log10{route="shop"}"#) < 3.0);
    assert!(series(r#"pointsman_sample_begin_timestamp_seconds{route="shop"}"#) > 1.7e9);
}

#[test]
fn only_a_change_of_weights_restarts_the_evidence() {
    let Scene { proxy, upstreams: _kept } = scene(1, SHOP);
    let mut client = proxy.connect();
    let before = report(&proxy);
    (0..80).for_each(|user| drop(get(&mut client, user, "")));
    // Another setting of the route changes: the sample continues.
    let slower = SHOP.replace("sticky = ", "timeout = { request = \"9s\" }\nsticky = ");
    assert!(!matches!(proxy.rewrite(&slower), ReloadOutcome::Rejected(_)));
    let kept = report(&proxy);
    let sum = |report: &Value, field: &str| {
        let variants = report["variants"].as_array().unwrap();
        variants.iter().map(|one| number(&one[field])).sum::<f64>()
    };
    assert_eq!(kept["since"], before["since"]);
    near(&sum(&kept, "sampled").into(), 80.0, 0.0);
    for (at, text) in [
        (0, slower.replace("weight = 50", "weight = 60")),
        (1, slower.replace("weight = 50", "weight = 60").replace("sticky = ", "salt = \"other\"\nsticky = ")),
    ] {
        assert!(!matches!(proxy.rewrite(&text), ReloadOutcome::Rejected(_)));
        let anew = report(&proxy);
        assert_ne!(anew["since"], kept["since"], "{at}");
        let variants = anew["variants"].as_array().unwrap();
        for variant in variants {
            let counts = ["requests", "errors", "sampled"].map(|count| number(&variant[count]));
            assert_eq!((counts, &variant["p50_ms"]), ([0.0; 3], &Value::Null), "{at}: {variant:#}");
        }
        assert_eq!(anew["sample_ratio"]["result"], "too few");
        assert_eq!(anew["comparisons"].as_array().map(Vec::len), Some(0), "nothing to compare");
        (0..5).for_each(|user| drop(get(&mut client, user, "")));
        let five = report(&proxy);
        near(&sum(&five, "requests").into(), 5.0, 0.0);
    }
}

#[test]
fn callers_picked_by_a_target_or_without_a_key_are_left_out() {
    let Scene { proxy, upstreams: _kept } = scene(1, SHOP);
    let mut client = proxy.connect();
    (0..100).for_each(|user| drop(get(&mut client, user, "")));
    let before = report(&proxy);
    for user in 100..400 {
        assert_eq!(get(&mut client, user, "X-Pick: 1\r\n").field("x-variant"), Some("canary"));
        assert_eq!(client.get("/", "").field("x-variant"), Some("stable"), "no key");
    }
    let after = report(&proxy);
    assert_eq!(after["sample_ratio"], before["sample_ratio"]);
    for at in 0..2 {
        let [before, after] = [&before["variants"][at], &after["variants"][at]];
        assert_eq!((&after["keys"], &after["share"]), (&before["keys"], &before["share"]));
        near(&after["requests"], number(&before["requests"]) + 300.0, 0.0);
    }
    assert_eq!(after["sample_ratio"]["result"], "ok");
    assert_eq!(after["comparisons"][0]["requests"], before["comparisons"][0]["requests"], "nor are they compared");
}

#[test]
fn without_sticky_keys_requests_are_counted() {
    let text = SHOP.replace("sticky = [\"user\"]", "sticky = []").replace("weight = 50", "weight = 10");
    let Scene { proxy, upstreams: _kept } = scene(1, &text);
    let mut client = proxy.connect();
    (0..200).for_each(|user| drop(get(&mut client, user, "")));
    let few = report(&proxy);
    assert_eq!(few["sample_ratio"]["result"], "too few", "{few:#}");
    let says = few["sample_ratio"]["says"].as_str().unwrap();
    assert!(says.starts_with("200 requests so far; from 300 on"), "{says}");
    (0..100).for_each(|user| drop(get(&mut client, user, "")));
    let report = report(&proxy);
    assert_eq!(
        (&report["sample_ratio"]["result"], &report["sample_ratio"]["counted"]),
        (&"ok".into(), &"requests".into())
    );
    assert_eq!(report["variants"][1]["keys"], Value::Null);
    near(&report["variants"][1]["share"], 10.0, 1.0);
}

#[test]
fn fallbacks_to_stable_count_as_failures_of_the_variant() {
    let v1 = Upstream::echo();
    let setup = Proxy::with("v1", &v1).tuned(|options| options.resolver = Arc::new(Ignorant));
    let proxy = setup.start(&SHOP.replace("{v2}", "nowhere:80"));
    let mut client = proxy.connect();
    (0..5).for_each(|user| drop(get(&mut client, user, "")));
    assert_eq!(report(&proxy)["sample_ratio"]["result"], "too few", "little data claims nothing");
    (5..80).for_each(|user| assert_eq!(get(&mut client, user, "").status, 200));
    let report = report(&proxy);
    assert_eq!(report["sample_ratio"]["result"], "ok", "they were drawn as the weights say: {report:#}");
    near(&report["variants"][1]["share"], 50.0, 15.0);
    near(&report["variants"][1]["error_ratio"], 1.0, 0.0);
    near(&report["variants"][0]["error_ratio"], 0.0, 0.0);
    assert_eq!(report["variants"][1]["p50_ms"], Value::Null, "the latency of stable says nothing about the canary");
    let comparison = &report["comparisons"][0];
    near(&comparison["error_ratio"], 1.0, 0.0);
    assert_eq!(comparison["says"], "fails more often");
}

#[test]
fn a_truncated_response_is_a_failure() {
    let v1 = Upstream::echo();
    let v2 = Upstream::answering_once("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    let proxy = Proxy::with("v1", &v1).with("v2", &v2).start(SHOP);
    let mut broken = 0.0;
    for user in 0..12 {
        let mut client = proxy.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: shop\r\nCookie: uid=user-{user}\r\n\r\n"));
        broken += f64::from(u8::from(client.try_response().is_err()));
    }
    assert!(broken > 0.0, "some callers are on canary");
    let report = report(&proxy);
    near(&report["variants"][1]["errors"], broken, 0.0);
    near(&report["variants"][1]["error_ratio"], 1.0, 0.0);
    near(&report["comparisons"][0]["error_ratio"], 1.0, 0.0);
    near(&report["variants"][0]["errors"], 0.0, 0.0);
}

/// A later try answers the client, and hides nothing from the evidence.
#[test]
fn a_failed_first_try_is_a_failure_of_its_variant() {
    let (v1, bad, good) = (Upstream::echo(), Upstream::echo().status(503), Upstream::echo());
    let lone = "[upstream.v2]\nendpoints = [\"http://{v2}\"]";
    assert!(SHOP.contains(lone), "the text of the upstream");
    let two = "[upstream.v2]\nendpoints = [\"http://{v2}\", \"http://{good}\"]\nbalance = \"round_robin\"";
    let proxy = Proxy::with("v1", &v1).with("v2", &bad).with("good", &good).start(&SHOP.replace(lone, two));
    for user in 0..12 {
        assert_eq!(get(&mut proxy.connect(), user, "").status, 200, "user {user}");
    }
    let failed = bad.requests();
    assert!(failed > 0, "some requests of the canary come to the bad endpoint first");
    #[expect(clippy::cast_precision_loss, reason = "a few requests")]
    let failed = failed as f64;
    let report = report(&proxy);
    near(&report["variants"][1]["errors"], failed, 0.0);
    near(&report["variants"][0]["errors"], 0.0, 0.0);
    assert!(proxy.metric("pointsman_upstream_retries_total{outcome=\"retried\",upstream=\"v2\"}") >= failed);
}

#[test]
fn routes_with_one_variant_have_no_evidence() {
    let v1 = Upstream::echo();
    let proxy = Proxy::to(&v1);
    assert_eq!(proxy.connect().get("/", "").status, 200);
    assert_eq!(report(&proxy), Value::Null);
    assert!(!proxy.metrics().contains("pointsman_variant_keys{"));
}

/// The ids that join a request with the records of the upstream, the client and services behind them.
#[test]
fn headers_and_log_name_the_variant_that_was_served() {
    let Scene { proxy, upstreams: _kept } = scene(1, SHOP);
    let mut client = proxy.connect();
    let mut expected = Vec::new();
    for user in 0..20 {
        let answer = get(&mut client, user, &format!("X-Request-Id: id-{user}\r\n"));
        let bucket = Salt::new("shop").bucket(&format!("user-{user}")).number();
        let variant = if bucket < 500_000 { "canary" } else { "stable" };
        assert_eq!((answer.field("x-variant"), answer.echoed("x-variant")), (Some(variant), vec![variant.to_owned()]));
        expected.push((variant, "weight", Some(u64::from(bucket))));
    }
    let answer = get(&mut client, 0, "X-Pick: 1\r\n");
    assert_eq!((answer.field("x-variant"), answer.echoed("x-variant")), (Some("canary"), vec!["canary".to_owned()]));
    expected.push(("canary", "target", None));
    let lines = proxy.logged(expected.len());
    for (line, (variant, reason, bucket)) in lines.iter().zip(expected) {
        let joined = (line["variant"].as_str(), line["reason"].as_str(), line["bucket"].as_u64());
        assert_eq!(joined, (Some(variant), Some(reason), bucket), "{line:#}");
        assert!(line["request_id"].is_string() && line["route"] == "shop", "{line:#}");
    }
}
