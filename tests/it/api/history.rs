//! `/v1/history`: the requests that clients made are in the points, and names and parameters that are wrong are explained.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Reply, call, over_socket};
use crate::harness::{Proxy, Setup, Upstream, until};

/// How often the series of this test get a point: an hour of a route is 72 s here.
const EVERY: Duration = Duration::from_millis(200);

/// A route whose canary guards watch, and one whose canary a rollout moves.
const ROUTES: &str = r#"
[upstream.v1]
endpoints = ["http://{v1}"]
[upstream.v2]
endpoints = ["http://{v2}"]
[rollout.next]
[[rollout.next.stage]]
name = "half"
weight = 50
[[route]]
name = "shop"
match = { path = "/shop/*" }
stable = "v1"
sticky = []
guard = "warn"
canary = { upstream = "v2", weight = 50 }
[[route]]
name = "cart"
match = { path = "/cart/*" }
stable = "v1"
sticky = []
canary = { upstream = "v2", rollout = "next" }
[[route]]
name = "moved"
match = { path = "/moved" }
redirect = { to = "https://example.com/", status = 308 }
"#;

fn ask(proxy: &Proxy, query: &str) -> Reply {
    over_socket(proxy, &call("GET", &format!("/v1/history{query}"), "", ""))
}

/// The sum of a list of all arms.
fn sum(history: &Value, list: &str) -> u64 {
    let arms = history["arms"].as_array().unwrap().iter();
    arms.flat_map(|arm| arm[list].as_array().unwrap()).filter_map(Value::as_u64).sum()
}

/// Each list has as many entries as there are points.
fn lists_are_whole(history: &Value) {
    let points = usize::try_from(history["points"].as_u64().unwrap()).unwrap();
    let arms = history["arms"].as_array().unwrap().iter();
    let of_arms = arms.flat_map(|arm| ["requests", "errors", "share", "p50_ms", "p99_ms"].map(|list| &arm[list]));
    let guards = history["guards"].as_array().unwrap().iter().map(|guard| &guard["evidence_log10"]);
    for list in of_arms.chain(guards).chain([&history["weight"], &history["share"]]) {
        assert_eq!(list.as_array().map(Vec::len), Some(points), "{history:#}");
    }
}

#[test]
fn the_points_have_the_requests_of_clients() {
    let (stable, canary) = (Upstream::echo(), Upstream::answering("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"));
    let setup: Setup = Proxy::with("v1", &stable).with("v2", &canary).workers(2);
    let proxy = setup.tuned(|options| options.history_every = EVERY).start(ROUTES);
    let none = ask(&proxy, "?route=moved").json();
    assert_eq!((&none["points"], &none["from"], &none["arms"]), (&json!(0), &Value::Null, &json!([])), "{none:#}");

    let mut client = proxy.connect();
    let statuses: Vec<u16> = (0..60).map(|_| client.get("/shop/x", "").status).collect();
    let failed = statuses.iter().filter(|status| **status == 500).count() as u64;
    assert!(failed > 0 && failed < 60, "both arms answer");
    let shop = until("the requests are sampled", || {
        Some(ask(&proxy, "?route=shop").json()).filter(|shop| sum(shop, "requests") == 60)
    });
    lists_are_whole(&shop);
    assert_eq!((sum(&shop, "errors"), &shop["kind"], &shop["step_s"]), (failed, &json!("route"), &json!(0.2)));
    assert_eq!((&shop["arms"][0]["name"], &shop["arms"][1]["name"]), (&json!("stable"), &json!("canary")));
    assert!(shop["from"].as_str().is_some_and(|from| from.ends_with('Z')), "{shop:#}");
    assert!(shop["arms"][0]["p99_ms"].as_array().unwrap().iter().any(Value::is_number), "{shop:#}");

    let release = ask(&proxy, "?rollout=shop%3Acanary&points=10").json();
    lists_are_whole(&release);
    assert_eq!((sum(&release, "requests"), sum(&release, "errors")), (60, failed), "{release:#}");
    assert!(release["points"].as_u64().unwrap() <= 10 && release["weight"][0] == json!(50.0), "{release:#}");
    let guards = release["guards"].as_array().unwrap();
    assert!(guards.iter().any(|guard| guard["threshold_log10"].as_f64().is_some_and(|at| at > 1.0)), "{release:#}");

    let next = until("the rollout is sampled", || {
        drop(client.get("/cart/x", ""));
        Some(ask(&proxy, "?rollout=next").json()).filter(|next| next["points"] != json!(0) && sum(next, "requests") > 0)
    });
    lists_are_whole(&next);
    assert_eq!((&next["kind"], &next["arms"][1]["name"]), (&json!("rollout"), &json!("canary")));
    assert!(proxy.metric("pointsman_history_bytes") > 1_000.0 && next["dropped"] == json!(0));
}

#[test]
fn wrong_names_and_parameters_are_explained() {
    let (stable, canary) = (Upstream::echo(), Upstream::echo());
    let proxy = Proxy::with("v1", &stable).with("v2", &canary).start(ROUTES);
    until("guards watch", || (ask(&proxy, "?rollout=shop:canary").status == 200).then_some(()));
    for (query, status, kind, similar) in [
        ("?rollout=shop:canery", 404, "unknown-rollout", Some("shop:canary")),
        ("?rollout=cart:canary", 404, "unknown-rollout", Some("next")),
        ("?rollout=shop", 404, "unknown-rollout", None),
        ("?rollout=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E", 404, "unknown-rollout", None),
        ("?route=shp", 404, "unknown-scope", Some("shop")),
        ("?route=%E2%80%AEpohs%3Cb%3E", 404, "unknown-scope", None),
        ("", 400, "bad-query", None),
        ("?rollout=next&route=shop", 400, "bad-query", None),
        ("?route=shop&route=shop", 400, "bad-query", None),
        ("?route=shop&points=9", 400, "bad-query", None),
        ("?route=shop&points=1001", 400, "bad-query", None),
        ("?route=shop&points=10&points=10", 400, "bad-query", None),
        ("?route=shop&step=1", 400, "bad-query", None),
        ("?route=%ff", 400, "bad-query", None),
    ] {
        let reply = ask(&proxy, query);
        assert_eq!((reply.status, reply.problem().as_str()), (status, kind), "{query}: {reply:?}");
        assert_eq!(reply.json()["similar"].as_str(), similar, "{query}: {reply:?}");
        assert!(reply.head.contains("x-content-type-options: nosniff"), "{reply:?}");
    }
    assert_eq!(ask(&proxy, "?rollout=next&points=10").status, 200, "nothing is sampled yet");
}
