//! Requests that are refused under load: those of routes of low priority first, never those of operators.

use serde_json::json;

use crate::api::{call, over_socket, over_tcp};
use crate::harness::{Proxy, Raw, Upstream, until};

/// Two routes, one of them of low priority; a listener for ten requests.
fn crowded(upstream: &Upstream) -> Proxy {
    let route = |name: &str, lines: &str| {
        format!("[[route]]\nname = \"{name}\"\nmatch = {{ path = \"/{name}/*\" }}\nstable = \"main\"\n{lines}\n")
    };
    let canary = "canary = { upstream = \"other\", weight = 100 }";
    let text = format!(
        "[identity]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[upstream.main]\nendpoints = [\"http://{{main}}\"]\n[upstream.other]\nendpoints = [\"http://{{main}}\"]\n{}{}",
        route("low", "priority = \"low\""),
        route("shop", canary)
    );
    Proxy::with("main", upstream).limits("requests = 10").start(&text)
}

fn ask(proxy: &Proxy, path: &str) -> Raw {
    let mut client = proxy.connect();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
    client
}

fn under_way(proxy: &Proxy, requests: f64) {
    until("requests are under way", || (proxy.metric("pointsman_requests_in_flight") == requests).then_some(()));
}

#[test]
fn low_priority_is_refused_first_and_operators_never() {
    let upstream = Upstream::echo().held();
    let proxy = crowded(&upstream);
    let mut open: Vec<Raw> = (0..7).map(|_| ask(&proxy, "/shop/x")).collect();
    under_way(&proxy, 7.0);
    open.push(ask(&proxy, "/low/x"));
    under_way(&proxy, 8.0);
    let refused = ask(&proxy, "/low/y").read_response();
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")), "the ninth of ten");
    assert_eq!(refused.field("proxy-status"), Some("pointsman; error=connection_limit_reached; details=\"shed\""));
    open.extend((0..2).map(|_| ask(&proxy, "/shop/x")));
    under_way(&proxy, 10.0);
    assert_eq!(ask(&proxy, "/shop/x").read_response().status, 503, "the limit itself holds for all");
    assert_eq!(proxy.refused("requests"), 1.0);
    assert_eq!(proxy.metric("pointsman_shed_total{route=\"low\"}"), 1.0);

    // Operators are answered while everything is shed.
    for path in ["/healthz", "/readyz", "/status", "/metrics", "/v1/limits"] {
        assert_eq!(over_tcp(&proxy, &call("GET", path, "", "")).status, 200, "{path}");
    }
    let scope = json!({ "variant": "shop:canary", "reason": "a test" }).to_string();
    let killed = over_socket(&proxy, &call("POST", "/v1/kill", "", &scope));
    assert_eq!(killed.status, 200, "{}", killed.body);
    upstream.release();
    for mut client in open {
        assert_eq!(client.read_response().status, 200);
    }
    until("the places are free", || (ask(&proxy, "/low/z").read_response().status == 200).then_some(()));
    assert_eq!(ask(&proxy, "/shop/x").read_response().status, 200);
}
