//! Rescue: stable answers for a variant that fails, and the failure stays the variant's.

use serde_json::Value;

use crate::harness::fleet::UNAVAILABLE;
use crate::harness::proxy::Setup;
use crate::harness::{Fleet, Proxy, Raw, Reply, Upstream, until};

/// A canary of this fleet for all callers, with this `rescue`.
fn rules(fleet: &Fleet, rescue: &str, route: &str) -> String {
    format!(
        "[upstream.v1]\nendpoints = [\"http://{{v1}}\"]\n[upstream.v2]\nendpoints = {}\nbalance = \"round_robin\"\n\
         outlier = {{ consecutive_failures = 0 }}\n\
         [[route]]\nname = \"shop\"\nmatch = {{ path = \"/*\" }}\nstable = \"v1\"\nsticky = [\"client_ip\"]\n{route}\n\
         canary = {{ upstream = \"v2\", weight = 100, rescue = {rescue} }}\n",
        fleet.urls()
    )
}

fn start(fleet: &Fleet, stable: &Upstream, rescue: &str) -> Proxy {
    Setup::default().with("v1", stable).start(&rules(fleet, rescue, ""))
}

const ON_503: &str = "{ on = [\"connect\", \"503\"] }";

#[track_caller]
fn is_rescued(line: &Value) {
    let fields = [&line["variant"], &line["reason"], &line["upstream"]];
    assert_eq!(fields.map(|text| text.as_str().unwrap_or("")), ["canary", "weight+fallback", "v1"], "{line}");
}

/// The requests and errors of the canary, and of stable.
fn evidence(proxy: &Proxy) -> [(u64, u64); 2] {
    let variants = proxy.status()["routes"][0]["experiment"]["variants"].clone();
    [1, 0].map(|at: usize| (variants[at]["requests"].as_u64().unwrap(), variants[at]["errors"].as_u64().unwrap()))
}

#[test]
fn stable_answers_for_a_canary_that_answers_503() {
    let (fleet, stable) = (Fleet::of(2), Upstream::echo().named("v1"));
    fleet.all_answer(UNAVAILABLE);
    let proxy = start(&fleet, &stable, ON_503);
    let mut client = proxy.connect();
    for n in 0..10 {
        let answer = client.get("/", "");
        assert_eq!((answer.status, answer.json()["name"].as_str()), (200, Some("v1")), "request {n}");
        let tries = fleet.take_tries();
        assert_eq!(tries.len(), 2, "within the canary's endpoints first");
        assert_ne!(tries[0].endpoint, tries[1].endpoint);
    }
    proxy.logged(10).iter().for_each(is_rescued);
    assert_eq!(evidence(&proxy), [(10, 10), (0, 0)], "the failures are the canary's");
    let failed = proxy.metric("pointsman_upstream_failures_total{upstream=\"v1\"}");
    assert_eq!((failed, stable.requests()), (0.0, 10));
}

#[test]
fn a_body_goes_along_and_a_post_is_not_rescued_after_it_was_sent() {
    let (fleet, stable) = (Fleet::of(1), Upstream::echo().named("v1"));
    fleet.all_answer(UNAVAILABLE);
    let proxy = start(&fleet, &stable, ON_503);
    let mut client = proxy.connect();
    client.send("PUT /a HTTP/1.1\r\nHost: test\r\nContent-Length: 6\r\n\r\na body");
    let answer = client.read_response();
    assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some("a body")));
    fleet.take_tries();
    assert_eq!(client.post("/", "", b"a body").status, 503, "the response of the canary");
    assert_eq!((fleet.take_tries().len(), stable.requests()), (1, 1));
    assert_eq!(evidence(&proxy), [(2, 2), (0, 0)]);
    let lines = proxy.logged(2);
    is_rescued(&lines[0]);
    assert_eq!((&lines[1]["reason"], &lines[1]["upstream"]), (&"weight".into(), &"v2".into()), "{}", lines[1]);
}

#[test]
fn what_rescue_does_not_name_is_passed_on() {
    for (rescue, reply, status) in [
        ("false", UNAVAILABLE, 503),
        ("{ on = [\"connect\"] }", UNAVAILABLE, 503),
        ("true", UNAVAILABLE, 503),
        (ON_503, Reply::Status(502, ""), 502),
        (ON_503, Reply::Status(404, ""), 404),
        (ON_503, Reply::Reset(""), 502),
        ("{ on = [\"reset_before_head\"] }", Reply::Reset(""), 200),
        ("{ on = [\"503\"], methods = [\"POST\"] }", UNAVAILABLE, 503),
    ] {
        let (fleet, stable) = (Fleet::of(2), Upstream::echo());
        fleet.all_answer(reply);
        let proxy = start(&fleet, &stable, rescue);
        assert_eq!(proxy.connect().get("/", "").status, status, "{rescue}, {reply:?}");
        assert_eq!(stable.requests() > 0, status == 200, "{rescue}, {reply:?}");
    }
}

#[test]
fn a_canary_that_is_well_again_within_its_tries_needs_no_rescue() {
    let (fleet, stable) = (Fleet::of(2), Upstream::echo());
    let proxy = start(&fleet, &stable, ON_503);
    fleet.next_tries_get(&[UNAVAILABLE]);
    assert_eq!(proxy.connect().get("/", "").status, 200);
    assert_eq!((fleet.take_tries().len(), stable.requests()), (2, 0));
    assert_eq!(proxy.logged(1)[0]["reason"], "weight");
    assert_eq!(evidence(&proxy)[1], (0, 0));
}

#[test]
fn without_further_tries_rescue_is_the_second_one() {
    let (fleet, stable) = (Fleet::of(2), Upstream::echo());
    fleet.all_answer(UNAVAILABLE);
    let budget = "[upstream.v2.retry_budget]\nratio = 0\nmin_per_second = 0\n";
    for (route, more) in [("retry = { attempts = 0 }", ""), ("", budget)] {
        let proxy = Setup::default().with("v1", &stable).start(&(rules(&fleet, ON_503, route) + more));
        fleet.take_tries();
        assert_eq!(proxy.connect().get("/", "").status, 200, "{route}{more}");
        assert_eq!(fleet.take_tries().len(), 1, "{route}{more}");
        is_rescued(&proxy.logged(1)[0]);
    }
}

#[test]
fn a_failure_of_stable_is_passed_on_and_no_canary_rescues_it() {
    let (fleet, stable) = (Fleet::of(2), Upstream::echo().status(502));
    fleet.all_answer(UNAVAILABLE);
    let proxy = start(&fleet, &stable, ON_503);
    assert_eq!(proxy.connect().get("/", "").status, 502, "the response of stable, the last try");
    is_rescued(&proxy.logged(1)[0]);
    assert_eq!(stable.requests(), 1, "one more try, at stable");
    let of_stable = rules(&fleet, ON_503, "").replace("weight = 100", "weight = 0");
    let proxy = Setup::default().with("v1", &stable).start(&of_stable);
    fleet.take_tries();
    assert_eq!(proxy.connect().get("/", "").status, 502);
    assert!(fleet.take_tries().is_empty(), "no canary answers for stable");
}

#[test]
fn the_limits_of_stable_bound_its_rescues() {
    let (fleet, stable) = (Fleet::of(2), Upstream::echo().named("v1").held());
    fleet.all_answer(UNAVAILABLE);
    let text = rules(&fleet, ON_503, "").replace("[upstream.v2]", "limits = { requests = 1 }\n[upstream.v2]");
    let proxy = Setup::default().with("v1", &stable).start(&text);
    let rescued = |proxy: &Proxy| -> Raw {
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        client
    };
    let mut first = rescued(&proxy);
    until("stable has the first", || (stable.requests() == 1).then_some(()));
    let mut second = rescued(&proxy);
    assert_eq!(second.read_response().status, 503, "stable has no place");
    assert_eq!(stable.requests(), 1);
    stable.release();
    assert_eq!(first.read_response().json()["name"], "v1");
    assert_eq!(rescued(&proxy).read_response().json()["name"], "v1");
}
