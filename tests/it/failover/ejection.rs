//! When an endpoint is ejected, how long, and how it comes back.

use std::time::Duration;

use pointsman::clock::Clock;

use super::{BRIEF, BRIEF_LEAST, ONE_TRY, all_get_200, open, until_ejected};
use crate::harness::fleet::UNAVAILABLE;
use crate::harness::proxy::Setup;
use crate::harness::{Fleet, Proxy, Raw, Reply, until};

/// While a try is under way for less than this time, no other one begins.
const CLAIMED: Duration = Duration::from_secs(4);

#[test]
fn five_failures_in_a_row_eject_whatever_the_number_of_workers() {
    for (workers, reply, seen) in [
        (1, UNAVAILABLE, 503),
        (3, Reply::Status(502, ""), 502),
        (2, Reply::Status(504, ""), 504),
        (2, Reply::Reset(""), 502),
        (1, Reply::Cut(""), 502),
        (1, Reply::Cut("garbage\r\n\r\n"), 502),
        (2, Reply::Cut("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"), 0),
        (1, Reply::Reset("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel"), 0),
    ] {
        let fleet = Fleet::of(3);
        fleet.answers(0, reply);
        let proxy = Setup::default().workers(workers).start(&fleet.rules("", ONE_TRY));
        let (failed, _) = until_ejected(&proxy, &fleet, 0);
        assert_eq!((failed, fleet.requests(0)), (vec![seen; 5], 5), "{workers} workers, {reply:?}");
        all_get_200(&proxy, 30);
        assert_eq!(fleet.requests(0), 5, "{workers} workers, {reply:?}: no request goes there");
        assert_eq!(["usable"; 2], [1, 2].map(|endpoint| fleet.state(&proxy, endpoint)), "{reply:?}");
    }
}

#[test]
fn a_success_between_failures_starts_the_count_again() {
    let fleet = Fleet::of(2);
    fleet.answers_in_turn(0, &[UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, Reply::Echo]);
    let proxy = fleet.behind("", ONE_TRY);
    let mut client = proxy.connect();
    until("it has failed forty times", || {
        client.get("/", "");
        (fleet.requests(0) == 50).then_some(())
    });
    assert_eq!(fleet.state(&proxy, 0), "usable");
    fleet.answers(0, UNAVAILABLE);
    until_ejected(&proxy, &fleet, 0);
    assert_eq!(fleet.requests(0), 55, "with five in a row it is ejected");
}

#[test]
fn only_some_statuses_are_failures() {
    for (status, outlier, counts) in [
        (400, "", false),
        (404, "", false),
        (429, "any_5xx = true", false),
        (500, "", false),
        (501, "", false),
        (500, "any_5xx = true", true),
        (503, "consecutive_failures = 0", false),
    ] {
        let fleet = Fleet::of(2);
        fleet.answers(0, Reply::Status(status, ""));
        let proxy = fleet.behind(&format!("outlier = {{ {outlier} }}"), ONE_TRY);
        if counts {
            let (failed, _) = until_ejected(&proxy, &fleet, 0);
            assert_eq!(failed, [status; 5], "{outlier}");
        } else {
            let mut client = proxy.connect();
            until("it has had twenty requests", || {
                client.get("/", "");
                (fleet.requests(0) >= 20).then_some(())
            });
            assert_eq!(fleet.state(&proxy, 0), "usable", "{status}, {outlier}");
        }
    }
}

/// Sends GETs until one reaches this endpoint, which does not answer it before its release. Returns its client.
#[track_caller]
fn until_tried(proxy: &Proxy, fleet: &Fleet, endpoint: usize) -> Raw {
    let before = fleet.requests(endpoint);
    until("a GET reaches the endpoint", || {
        let mut client = open(proxy);
        let held = until("an answer, or the endpoint has the request", || {
            let held = fleet.requests(endpoint) > before;
            (held || client.wire.has_bytes()).then_some(held)
        });
        if held {
            return Some(client);
        }
        assert_eq!(client.read_response().status, 200);
        None
    })
}

#[test]
fn one_get_tries_an_ejected_endpoint_and_its_success_admits_it() {
    let fleet = Fleet::of(3);
    fleet.answers(0, UNAVAILABLE);
    let proxy = Setup::default().workers(2).start(&fleet.rules(BRIEF, ONE_TRY));
    let (_, ejected) = until_ejected(&proxy, &fleet, 0);
    fleet.answers(0, Reply::Held);
    let mut first = until_tried(&proxy, &fleet, 0);
    let tried = Clock.now();
    let waited = tried.duration_since(ejected);
    assert!(waited >= BRIEF_LEAST, "{waited:?} after its ejection");
    all_get_200(&proxy, 20);
    if Clock.now().duration_since(tried) < CLAIMED {
        assert_eq!(fleet.requests(0), 6, "one request tries it, and no other one");
    }
    fleet.answers(0, Reply::Echo);
    fleet.release();
    assert_eq!(first.read_response().json()["name"], "0");
    until("it is admitted", || (fleet.state(&proxy, 0) == "usable").then_some(()));
    let before = fleet.requests(0);
    all_get_200(&proxy, 30);
    let share = fleet.requests(0) - before;
    assert!((8..=12).contains(&share), "{share} of 30: it has its turns again");
}

#[test]
fn a_failed_try_ejects_for_twice_as_long_and_is_repeated_elsewhere() {
    let fleet = Fleet::of(3);
    fleet.answers(0, UNAVAILABLE);
    let proxy = fleet.behind(&format!("{BRIEF}\nretry_budget = {{ ratio = 0, min_per_second = 0 }}"), ONE_TRY);
    let (_, mut since) = until_ejected(&proxy, &fleet, 0);
    for (nth, least_ms) in [(6, 850), (7, 1_700)] {
        let before = until("it is tried", || {
            let before = Clock.now();
            let answer = proxy.connect().get("/", "");
            assert_eq!(answer.status, 200, "neither `attempts` nor the budget is asked: {}", answer.text());
            (fleet.requests(0) == nth).then_some(before)
        });
        let waited = Clock.now().duration_since(since);
        assert!(waited >= Duration::from_millis(least_ms), "try {nth} after {waited:?}");
        assert_eq!(fleet.state(&proxy, 0), "ejected");
        since = before;
    }
}

#[test]
fn without_safe_requests_any_request_tries_it_a_quarter_later() {
    let fleet = Fleet::of(2);
    fleet.answers(0, UNAVAILABLE);
    let proxy = fleet.behind(BRIEF, ONE_TRY);
    let (_, ejected) = until_ejected(&proxy, &fleet, 0);
    fleet.answers(0, Reply::Echo);
    until("a POST tries it", || {
        assert_eq!(proxy.connect().post("/", "", b"x").status, 200);
        (fleet.requests(0) == 6).then_some(())
    });
    let waited = Clock.now().duration_since(ejected);
    assert!(waited >= Duration::from_millis(1_050), "{waited:?}: a quarter of the ejection is for safe requests");
    assert_eq!(fleet.state(&proxy, 0), "usable");
}

#[test]
fn a_reload_keeps_an_ejection() {
    let fleet = Fleet::of(3);
    fleet.answers(0, UNAVAILABLE);
    let proxy = fleet.behind("", ONE_TRY);
    until_ejected(&proxy, &fleet, 0);
    let other = "[[route]]\nname = \"other\"\nmatch = { path = \"/other\" }\nstable = \"main\"\n";
    for upstream in ["", "connect_timeout = \"3s\"", "limits = { requests = 100 }"] {
        proxy.rewrite(&(fleet.rules(upstream, ONE_TRY) + other));
        assert_eq!(fleet.state(&proxy, 0), "ejected", "{upstream}");
        all_get_200(&proxy, 10);
        assert_eq!(fleet.requests(0), 5, "{upstream}");
    }
    // An endpoint that is new is not ejected.
    proxy.rewrite(
        &fleet.rules("", ONE_TRY).replace("[upstream.main]", "[upstream.other]").replace("\"main\"", "\"other\""),
    );
    let answers: Vec<u16> = (0..9).map(|_| proxy.connect().get("/", "").status).collect();
    assert_eq!(answers.iter().filter(|status| **status == 503).count(), 3, "another upstream has its own state");
}
