//! What says nothing about an endpoint: clients that go away, copies, idle connections that end.

use super::{NO_EJECTION, ONE_TRY, all_get_200, open};
use crate::harness::fleet::UNAVAILABLE;
use crate::harness::proxy::Setup;
use crate::harness::{Fleet, Proxy, Reply, Upstream, until};

/// One failure ejects.
const STRICT: &str = "outlier = { consecutive_failures = 1 }";

#[test]
fn clients_that_go_away_are_no_failures() {
    let fleet = Fleet::of(2);
    fleet.answers(0, Reply::Silence);
    let proxy = fleet.behind(STRICT, ONE_TRY);
    for round in 1..=6 {
        until("the silent endpoint has a request of a client that leaves", || {
            let mut client = open(&proxy);
            let held = until("an answer, or the endpoint has the request", || {
                let held = fleet.requests(0) == round;
                (held || client.wire.has_bytes()).then_some(held)
            });
            // An end in order is none: the client may still read.
            held.then(|| client.reset())
        });
        until("the request ends", || (proxy.metric("pointsman_requests_in_flight") == 0.0).then_some(()));
        assert_eq!(fleet.state(&proxy, 0), "usable", "after {round}");
    }
    // A response that the client does not read to its end.
    fleet.answers(0, Reply::Echo);
    all_get_200(&proxy, 10);
}

#[test]
fn a_client_that_leaves_during_its_upload_or_the_response_is_no_failure() {
    let long = Upstream::script(|mut conn| {
        while let Ok(got) = conn.head() {
            if got.method == "POST" {
                return conn.wait();
            }
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n");
            let piece = vec![b'x'; 65536];
            while conn.send(&piece) {}
        }
    });
    let fleet = Fleet::of(1);
    let rules = fleet.rules(STRICT, ONE_TRY).replace("endpoints = [", "endpoints = [\"http://{long}\", ");
    let proxy = Proxy::with("long", &long).start(&rules);
    for n in 0..12 {
        let mut client = proxy.connect();
        match n % 3 {
            0 => drop(client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\nhalf")),
            1 => drop(client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal")),
            _ => {
                client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
                assert_eq!(client.head().map(|(_, status, _)| status), Ok(200));
            }
        }
        client.reset();
    }
    until("the requests end", || (proxy.metric("pointsman_requests_in_flight") == 0.0).then_some(()));
    let state = crate::harness::fleet::state_of(&proxy, "main", long.address());
    assert_eq!((state, fleet.state(&proxy, 0)), ("usable".to_owned(), "usable".to_owned()));
}

#[test]
fn idle_connections_that_end_are_no_failures() {
    let fleet = Fleet::of(2);
    fleet.answers(0, Reply::Cut("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
    fleet.answers(1, Reply::Reset("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
    let proxy = fleet.behind(STRICT, ONE_TRY);
    let mut client = proxy.connect();
    for n in 0..60 {
        // A POST that was written to a connection that ends at that moment is not sent again; a GET is.
        assert_eq!(client.get("/", "").status, 200, "GET {n}");
    }
    assert_eq!([0, 1].map(|endpoint| fleet.state(&proxy, endpoint)), ["usable", "usable"]);
}

/// A route whose shadow is the fleet's upstream.
const SHADOWED: &str = "[upstream.main]\nendpoints = {urls}\noutlier = { consecutive_failures = 1 }\n\
                        [upstream.stable]\nendpoints = [\"http://{stable}\"]\n\
                        [[route]]\nname = \"all\"\nmatch = { path = \"/*\" }\nstable = \"stable\"\n\
                        [route.shadow]\nupstream = \"main\"\nweight = 100\n";

#[test]
fn failures_of_copies_eject_no_endpoint() {
    for reply in [UNAVAILABLE, Reply::Reset(""), Reply::Cut("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")] {
        let (stable, fleet) = (Upstream::echo(), Fleet::of(2));
        fleet.answers(0, reply);
        let proxy = Setup::default().with("stable", &stable).place("urls", fleet.urls()).start(SHADOWED);
        let mut client = proxy.connect();
        // Failures throttle the shadow.
        until("it has failed ten times", || {
            assert_eq!(client.get("/", "").status, 200);
            (fleet.requests(0) >= 10).then_some(())
        });
        until("the copies end", || (proxy.metric_sum("pointsman_shadow_in_flight") == 0.0).then_some(()));
        assert_eq!([0, 1].map(|endpoint| fleet.state(&proxy, endpoint)), ["usable", "usable"], "{reply:?}");
    }
}

#[test]
fn failures_of_control_copies_eject_no_endpoint() {
    let main = Upstream::script(|mut conn| {
        while let Ok(got) = conn.request() {
            let status = if got.field("x-pointsman-shadow").is_some() { 503 } else { 200 };
            if !conn.send(format!("HTTP/1.1 {status} Reply\r\ncontent-length: 2\r\n\r\nok")) {
                return;
            }
        }
    });
    let (fleet, dark) = (Fleet::of(1), Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
    let shadow = "[route.shadow]\nupstream = \"dark\"\nweight = 100\n[route.shadow.compare]\ncontrol = 100\n";
    let rules = fleet.rules(STRICT, ONE_TRY).replace("endpoints = [", "endpoints = [\"http://{main}\", ");
    let text = format!("[upstream.dark]\nendpoints = [\"http://{{dark}}\"]\n{rules}{shadow}");
    let proxy = Proxy::with("main", &main).with("dark", &dark).start(&text);
    let controls = || main.got().iter().filter(|got| got.field("x-pointsman-shadow").is_some()).count();
    let mut client = proxy.connect();
    until("ten control copies have failed", || {
        assert_eq!(client.get("/", "").status, 200);
        (controls() >= 10).then_some(())
    });
    until("the copies end", || (proxy.metric_sum("pointsman_shadow_in_flight") == 0.0).then_some(()));
    assert_eq!(crate::harness::fleet::state_of(&proxy, "main", main.address()), "usable");
}

/// A copy goes where a request would go: not to an ejected endpoint, and it is never the one that tries it.
#[test]
fn no_copy_tries_an_ejected_endpoint() {
    let (fleet, stable) = (Fleet::of(2), Upstream::echo());
    fleet.answers(0, UNAVAILABLE);
    let direct =
        "[[route]]\nname = \"direct\"\nmatch = { path = \"/direct\" }\nstable = \"main\"\nretry = { attempts = 0 }\n";
    let text = format!("{direct}{SHADOWED}").replace("consecutive_failures = 1", "base_ejection = \"1s\"");
    // The tables of upstreams come first or last; a route may name what follows.
    let proxy = Setup::default().with("stable", &stable).place("urls", fleet.urls()).start(&text);
    until("it is ejected", || {
        proxy.connect().get("/direct", "");
        (fleet.state(&proxy, 0) == "ejected").then_some(())
    });
    let before = fleet.requests(0);
    until("its time is over", || {
        assert_eq!(proxy.connect().get("/", "").status, 200);
        (fleet.state(&proxy, 0) == "trial").then_some(())
    });
    for _ in 0..20 {
        assert_eq!(proxy.connect().get("/", "").status, 200);
    }
    until("the copies end", || (proxy.metric_sum("pointsman_shadow_in_flight") == 0.0).then_some(()));
    assert_eq!(fleet.requests(0), before, "only a request tries it");
}

#[test]
fn without_ejection_a_failing_endpoint_keeps_its_turns() {
    let fleet = Fleet::of(2);
    fleet.answers(0, UNAVAILABLE);
    let proxy = fleet.behind(NO_EJECTION, ONE_TRY);
    let mut client = proxy.connect();
    for _ in 0..40 {
        client.get("/", "");
    }
    assert_eq!((fleet.requests(0), fleet.state(&proxy, 0).as_str()), (20, "usable"));
}
