//! Which requests are exposures: those that a weight decides, of callers with a key.

use pointsman::stats::ArmPlace;

use super::{CANARY, Watched};
use crate::harness::{Fleet, Setup, Upstream};

fn start(fleet: &Fleet, stable: &Upstream, route: &str) -> Watched {
    let rules = format!(
        "[identity]\ntenant = [\"header:x-tenant\"]\ntrusted_proxies = [\"127.0.0.0/8\"]\n\
         [upstream.v1]\nendpoints = [\"http://{{v1}}\"]\n[upstream.v2]\nendpoints = {}\n\
         [[route]]\nname = \"shop\"\nmatch = {{ path = \"/*\" }}\nstable = \"v1\"\n{route}\n",
        fleet.urls()
    );
    Watched::start(Setup::default().with("v1", stable), &rules)
}

#[test]
fn a_caller_is_one_exposure_a_slot() {
    let (fleet, stable) = (Fleet::of(1), Upstream::echo());
    let watched = start(&fleet, &stable, "sticky = [\"tenant\"]\ncanary = { upstream = \"v2\", weight = 100 }");
    let mut client = watched.proxy.connect();
    for tenant in ["a", "b", "a", "a", "b"] {
        assert_eq!(client.get("/", &format!("x-tenant: {tenant}\r\n")).status, 200);
    }
    assert_eq!(watched.exposed(CANARY), 2);
    watched.open();
    assert_eq!(client.get("/", "x-tenant: a\r\n").status, 200);
    assert_eq!(watched.exposed(CANARY), 1);
}

#[test]
fn callers_without_a_key_are_none() {
    let (fleet, stable) = (Fleet::of(1), Upstream::echo());
    let watched = start(&fleet, &stable, "sticky = [\"tenant\"]\ncanary = { upstream = \"v2\", weight = 100 }");
    assert_eq!(watched.proxy.connect().get("/", "").status, 200);
    assert!(!watched.watch.is_used());
}

#[test]
fn without_sticky_keys_each_request_is_a_caller() {
    let (fleet, stable) = (Fleet::of(1), Upstream::echo());
    let watched = start(&fleet, &stable, "canary = { upstream = \"v2\", weight = 100 }");
    let mut client = watched.proxy.connect();
    for _ in 0..5 {
        assert_eq!(client.get("/", "").status, 200);
    }
    // Two random keys of 65 536 places may be one.
    assert!((4..=5).contains(&watched.exposed(CANARY)), "{}", watched.exposed(CANARY));
}

#[test]
fn a_target_with_a_weight_is_a_stratum_and_one_without_is_none() {
    let (fleet, stable) = (Fleet::of(1), Upstream::echo());
    let route = "sticky = [\"tenant\"]\ncanary = { upstream = \"v2\", weight = 100 }\n\
                 [[route.target]]\nheader = { x-all = \"1\" }\nserve = \"canary\"\n\
                 [[route.target]]\nheader = { x-some = \"1\" }\nserve = \"canary\"\nweight = 100";
    let watched = start(&fleet, &stable, route);
    let mut client = watched.proxy.connect();
    assert_eq!(client.get("/", "x-tenant: a\r\nx-all: 1\r\n").status, 200);
    assert!(!watched.watch.is_used());
    assert_eq!(client.get("/", "x-tenant: a\r\nx-some: 1\r\n").status, 200);
    let places = [0, 1, 2].map(|stratum| watched.exposed(ArmPlace { stratum, arm: 1 }));
    assert_eq!(places, [0, 0, 1]);
}

#[test]
fn requests_that_are_refused_before_they_are_sent_are_none() {
    let (fleet, stable) = (Fleet::of(1), Upstream::echo());
    let route = "sticky = [\"client_ip\"]\nlimits = { body = \"1KiB\" }\ncanary = { upstream = \"v2\", weight = 100 }";
    let watched = start(&fleet, &stable, route);
    assert_eq!(watched.proxy.connect().post("/", "", &[b'x'; 2000]).status, 413);
    assert!(!watched.watch.is_used());
}
