//! What ends the tries: their number, the list of failures, the budget, other proxies, the deadline.

use std::time::Duration;

use pointsman::clock::Clock;

use super::NO_EJECTION;
use crate::harness::fleet::UNAVAILABLE;
use crate::harness::proxy::Setup;
use crate::harness::{Fleet, Proxy, Reply, until};

/// The number of further tries with this outcome.
#[track_caller]
fn outcome(proxy: &Proxy, outcome: &str) -> f64 {
    proxy.metric(&format!("pointsman_upstream_retries_total{{outcome=\"{outcome}\",upstream=\"main\"}}"))
}

/// The last line of the access log, of so many.
#[track_caller]
fn last_line(proxy: &Proxy, count: usize) -> serde_json::Value {
    proxy.logged(count).pop().unwrap()
}

#[test]
fn as_many_tries_are_made_as_the_route_says() {
    for (attempts, failures, tries, status) in [
        (0, 1, 1, 503),
        (1, 1, 2, 200),
        (1, 2, 2, 503),
        (2, 2, 3, 200),
        (2, 3, 3, 503),
        (10, 10, 11, 200),
        (10, 11, 11, 503),
    ] {
        let fleet = Fleet::of(3);
        let proxy = fleet.behind(NO_EJECTION, &format!("retry = {{ attempts = {attempts} }}"));
        fleet.next_tries_get(&vec![UNAVAILABLE; failures]);
        let case = format!("attempts = {attempts}, {failures} failures");
        assert_eq!(proxy.connect().get("/", "").status, status, "{case}");
        let all = fleet.take_tries();
        assert_eq!(all.len(), tries, "{case}");
        let mut first: Vec<usize> = all.iter().take(3).map(|one| one.endpoint).collect();
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), tries.min(3), "{case}: all endpoints before one gets a second try");
        let last = all.last().unwrap().got.field("x-pointsman-attempt");
        assert_eq!(last, (tries > 1).then(|| tries.to_string()).as_deref(), "{case}");
    }
}

#[test]
fn only_failures_that_the_route_lists_are_tried_again() {
    for (on, failure, again) in [
        ("[\"connect\", \"502\"]", UNAVAILABLE, false),
        ("[\"connect\", \"502\"]", Reply::Status(502, ""), true),
        ("[\"connect\", \"502\"]", Reply::Reset(""), false),
        ("[\"reset_before_head\"]", Reply::Reset(""), true),
        ("[\"reset_before_head\"]", Reply::Cut("garbage\r\n\r\n"), true),
        ("[\"reset_before_head\"]", UNAVAILABLE, false),
        ("[\"503\"]", Reply::Silence, false),
        ("[\"timeout\"]", Reply::Silence, true),
        ("[\"429\"]", Reply::Status(429, ""), true),
        ("[\"5xx\"]", Reply::Status(500, ""), true),
        ("[\"5xx\"]", Reply::Status(404, ""), false),
    ] {
        let fleet = Fleet::of(2);
        let route = format!("timeout = {{ request = \"1m\", per_try = \"500ms\" }}\nretry = {{ on = {on} }}");
        let proxy = fleet.behind(NO_EJECTION, &route);
        fleet.next_tries_get(&[failure]);
        let status = proxy.connect().get("/", "").status;
        assert_eq!(
            (status == 200, fleet.tries().len()),
            (again, if again { 2 } else { 1 }),
            "{on}, {failure:?}: {status}"
        );
        let line = last_line(&proxy, 1);
        assert!(line["retry_end"].is_null(), "no further try was wanted: {line}");
    }
}

#[test]
fn a_spent_budget_passes_the_failure_on() {
    let fleet = Fleet::of(2);
    let none = format!("{NO_EJECTION}\nretry_budget = {{ ratio = 0, min_per_second = 0 }}");
    let proxy = fleet.behind(&none, "");
    for n in 1..=20 {
        fleet.next_tries_get(&[Reply::Status(503, "x-own: 1\r\n")]);
        let answer = proxy.connect().get("/", "");
        assert_eq!((answer.status, answer.field("x-own")), (503, Some("1")), "the response of the endpoint");
        assert_eq!(fleet.take_tries().len(), 1);
        let line = last_line(&proxy, n);
        assert_eq!(line["retry_end"], "budget", "{line}");
    }
    assert_eq!(outcome(&proxy, "budget"), 20.0);
    // A reset has no response that could be passed on.
    let proxy = fleet.behind(&none, "");
    fleet.next_tries_get(&[Reply::Reset("")]);
    assert_eq!(proxy.connect().get("/", "").status, 502);
    assert_eq!(outcome(&proxy, "budget"), 1.0);
}

#[test]
fn the_budget_is_a_share_of_the_requests_and_a_number_a_second() {
    for (settings, requests, most) in [
        ("{ ratio = 0.2, min_per_second = 0 }", 50, 10),
        ("{ ratio = 1, min_per_second = 0 }", 30, 30),
        ("{ ratio = 0, min_per_second = 1 }", 30, 10),
    ] {
        let fleet = Fleet::of(2);
        fleet.all_answer(UNAVAILABLE);
        let setup = Setup::default().workers(2);
        let proxy = setup.start(&fleet.rules(&format!("{NO_EJECTION}\nretry_budget = {settings}"), ""));
        let began = Clock.now();
        for _ in 0..requests {
            assert_eq!(proxy.connect().get("/", "").status, 503);
        }
        let (tries, refused) = (fleet.tries().len(), outcome(&proxy, "budget"));
        assert_eq!(tries as f64 + refused, f64::from(2 * requests), "{settings}");
        // On a busy machine, the window has moved meanwhile.
        if Clock.now().duration_since(began) < Duration::from_secs(9) {
            assert_eq!(tries, usize::try_from(requests + most).unwrap(), "{settings}");
        }
    }
}

#[test]
fn an_attempt_of_an_untrusted_client_is_ignored_and_not_passed_on() {
    let fleet = Fleet::of(2);
    let proxy = fleet.behind(NO_EJECTION, "");
    for lines in [
        "X-Pointsman-Attempt: 7\r\n",
        "x-envoy-attempt-count: 3\r\n",
        "x-pointsman-attempt: 2\r\nX-Pointsman-Attempt: 3\r\n",
    ] {
        fleet.next_tries_get(&[UNAVAILABLE]);
        assert_eq!(proxy.connect().get("/", lines).status, 200, "{lines}");
        let tries = fleet.take_tries();
        let attempts: Vec<_> = tries.iter().map(|one| one.got.field("x-pointsman-attempt")).collect();
        assert_eq!(attempts, [None, Some("2")], "{lines}");
    }
}

#[test]
fn behind_a_proxy_that_tries_again_nothing_is_repeated_once_it_was_sent() {
    let fleet = Fleet::of(2);
    let trusting = format!("[identity]\ntrusted_proxies = [\"127.0.0.0/8\"]\n{}", fleet.rules(NO_EJECTION, ""));
    let proxy = Setup::default().start(&trusting);
    for (n, (lines, again)) in (1..).zip([
        ("x-pointsman-attempt: 2\r\n", false),
        ("x-pointsman-attempt: 3\r\n", false),
        ("x-envoy-attempt-count: 2\r\n", false),
        ("x-envoy-attempt-count: 1\r\n", true),
        ("x-pointsman-attempt: 1\r\n", true),
        ("x-pointsman-attempt: much\r\n", true),
        ("", true),
    ]) {
        fleet.next_tries_get(&[UNAVAILABLE]);
        let status = proxy.connect().get("/", lines).status;
        assert_eq!((status, fleet.take_tries().len()), if again { (200, 2) } else { (503, 1) }, "{lines}");
        let line = last_line(&proxy, n);
        if !again {
            assert_eq!(line["retry_end"], "other_proxy", "{line}");
        }
    }
}

#[test]
fn what_was_not_sent_goes_elsewhere_also_behind_a_proxy_that_tries_again() {
    let (dead, fleet) = (crate::harness::RefusingAddress::new(), Fleet::of(1));
    let rules =
        fleet.rules(NO_EJECTION, "").replace("endpoints = [", &format!("endpoints = [\"http://{}\", ", dead.address()));
    let proxy = Setup::default().start(&format!("[identity]\ntrusted_proxies = [\"127.0.0.0/8\"]\n{rules}"));
    let mut client = proxy.connect();
    for _ in 0..6 {
        assert_eq!(client.get("/", "x-pointsman-attempt: 2\r\n").status, 200);
    }
    assert!(proxy.metric("pointsman_upstream_connect_failures_total{upstream=\"main\"}") >= 1.0);
}

#[test]
fn retry_after_beyond_the_deadline_ends_the_tries() {
    let several = Fleet::of(2);
    let proxy = several.behind(NO_EJECTION, "timeout = { request = \"20s\" }");
    several.next_tries_get(&[Reply::Status(503, "retry-after: 60\r\n")]);
    assert_eq!(proxy.connect().get("/", "").status, 200, "another endpoint has not asked for a wait");
    let fleet = Fleet::of(1);
    let proxy = fleet.behind(NO_EJECTION, "timeout = { request = \"20s\" }");
    fleet.next_tries_get(&[Reply::Status(503, "retry-after: 60\r\n")]);
    let began = Clock.now();
    let answer = proxy.connect().get("/", "");
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("60")));
    assert!(Clock.now().duration_since(began) < Duration::from_secs(15), "at once");
    assert_eq!(fleet.take_tries().len(), 1);
    let line = last_line(&proxy, 1);
    assert_eq!(line["retry_end"], "deadline", "{line}");
    fleet.next_tries_get(&[Reply::Status(503, "retry-after: 0\r\n")]);
    assert_eq!(proxy.connect().get("/", "").status, 200);
}

#[test]
fn all_tries_end_with_the_timeout_of_the_request() {
    let fleet = Fleet::of(3);
    fleet.all_answer(Reply::Silence);
    let proxy =
        fleet.behind(NO_EJECTION, "timeout = { request = \"1500ms\", per_try = \"400ms\" }\nretry = { attempts = 10 }");
    let began = Clock.now();
    assert_eq!(proxy.connect().get("/", "").status, 504);
    let took = Clock.now().duration_since(began);
    assert!(took >= Duration::from_millis(1_400), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}: tries do not add up");
    let tries = fleet.tries().len();
    assert!((2..=4).contains(&tries), "{tries} tries of 400 ms in 1.5 s");
}

#[test]
fn a_client_that_leaves_ends_the_tries() {
    let fleet = Fleet::of(2);
    fleet.all_answer(Reply::Silence);
    let proxy = fleet.behind(NO_EJECTION, "timeout = { request = \"1m\", per_try = \"50s\" }");
    let client = super::open(&proxy);
    until("the first try has arrived", || (fleet.tries().len() == 1).then_some(()));
    client.reset();
    until("the request ends", || (proxy.metric("pointsman_requests_in_flight") == 0.0).then_some(()));
    assert_eq!(fleet.tries().len(), 1);
}

#[test]
fn the_log_has_each_try() {
    let fleet = Fleet::of(3);
    let proxy = fleet.behind(NO_EJECTION, "retry = { attempts = 2 }");
    fleet.next_tries_get(&[UNAVAILABLE, Reply::Reset("")]);
    assert_eq!(proxy.connect().get("/", "").status, 200);
    let tries = fleet.tries();
    let line = last_line(&proxy, 1);
    let address = |at: usize| fleet.address(tries[at].endpoint).to_string();
    assert_eq!((&line["attempts"], &line["endpoint"]), (&3.into(), &address(2).into()), "{line}");
    let text = line["tries"].to_string();
    for part in [&address(0), "503", &address(1), "reset"] {
        assert!(text.contains(part), "{part} in {line}");
    }
    assert!(line.get("retry_end").is_none_or(serde_json::Value::is_null), "it ended well: {line}");
    // A line of a request with one try has none of this.
    assert_eq!(proxy.connect().get("/", "").status, 200);
    let line = last_line(&proxy, 2);
    assert!(line.get("tries").is_none_or(serde_json::Value::is_null), "{line}");
    fleet.next_tries_get(&[UNAVAILABLE; 3]);
    assert_eq!(proxy.connect().get("/", "").status, 503);
    let line = last_line(&proxy, 3);
    assert_eq!(line["retry_end"], "attempts", "{line}");
}

#[test]
fn further_tries_are_counted() {
    let fleet = Fleet::of(2);
    let proxy = fleet.behind(NO_EJECTION, "");
    for _ in 0..5 {
        fleet.next_tries_get(&[UNAVAILABLE]);
        assert_eq!(proxy.connect().get("/", "").status, 200);
    }
    for _ in 0..3 {
        fleet.next_tries_get(&[UNAVAILABLE, UNAVAILABLE]);
        assert_eq!(proxy.connect().get("/", "").status, 503);
    }
    let sum = proxy.metric_sum("pointsman_upstream_retries_total");
    assert_eq!(sum, 8.0, "{}", proxy.metrics());
    assert_eq!(fleet.tries().len(), 16);
}
