//! What serves when none is usable: the last resort of stable, and stable for a variant.

use super::{ONE_TRY, until_ejected};
use crate::api::{call, over_socket};
use crate::harness::fleet::UNAVAILABLE;
use crate::harness::proxy::Setup;
use crate::harness::{Fleet, Reply, Upstream};

/// The body of an act; a drain leaves no usable endpoint.
fn body_of(act: &str) -> &'static str {
    if act == "drain" { "{\"reason\":\"a test\",\"force\":true}" } else { "{\"reason\":\"a test\"}" }
}

#[test]
fn an_ejected_endpoint_serves_when_the_others_are_drained() {
    let fleet = Fleet::of(3);
    fleet.answers(0, UNAVAILABLE);
    let proxy = fleet.behind("", ONE_TRY);
    until_ejected(&proxy, &fleet, 0);
    let act = |endpoint: usize, act: &str| {
        let path = format!("/v1/upstreams/main/endpoints/{}/{act}", fleet.address(endpoint));
        let reply = over_socket(&proxy, &call("POST", &path, "", body_of(act)));
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    };
    act(1, "drain");
    act(2, "drain");
    let before = [1, 2].map(|endpoint| fleet.requests(endpoint));
    fleet.answers(0, Reply::Echo);
    for _ in 0..10 {
        assert_eq!(proxy.connect().get("/", "").json()["name"], "0", "the last resort");
    }
    assert_eq!(before, [1, 2].map(|endpoint| fleet.requests(endpoint)), "drained ones get nothing");
    act(0, "drain");
    let answer = proxy.connect().get("/", "");
    assert_eq!(answer.status, 503);
    assert!(answer.field("proxy-status").unwrap().contains("no_endpoint"), "{answer:?}");
    act(1, "undrain");
    assert_eq!(proxy.connect().get("/", "").json()["name"], "1");
}

/// A variant has no last resort: stable answers.
#[test]
fn a_canary_without_a_usable_endpoint_falls_back_to_stable() {
    let (fleet, stable) = (Fleet::of(2), Upstream::echo().named("stable"));
    let rules = format!(
        "[upstream.v1]\nendpoints = [\"http://{{v1}}\"]\n[upstream.main]\nendpoints = {}\n\
         [[route]]\nname = \"all\"\nmatch = {{ path = \"/*\" }}\nstable = \"v1\"\nsticky = [\"client_ip\"]\n\
         canary = {{ upstream = \"main\", weight = 100 }}\n",
        fleet.urls()
    );
    let proxy = Setup::default().with("v1", &stable).start(&rules);
    for endpoint in [0, 1] {
        assert_eq!(proxy.connect().get("/", "").status, 200);
        let path = format!("/v1/upstreams/main/endpoints/{}/drain", fleet.address(endpoint));
        assert_eq!(over_socket(&proxy, &call("POST", &path, "", body_of("drain"))).status, 200);
    }
    let before = [0, 1].map(|endpoint| fleet.requests(endpoint));
    for _ in 0..10 {
        assert_eq!(proxy.connect().get("/", "").json()["name"], "stable");
    }
    assert_eq!(before, [0, 1].map(|endpoint| fleet.requests(endpoint)));
}
