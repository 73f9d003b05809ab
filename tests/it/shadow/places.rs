//! Which copies take permits and memory, and which do not: stalled uploads, slow responses, comparisons, controls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Figures, SHADOWED, page, setup};
use crate::harness::{Proxy, Raw, Upstream, until};

/// Compares, without controls unless the text says otherwise.
fn compared(more: &str) -> String {
    let one = SHADOWED.replace("methods =", "max_in_flight = 1\nmethods =");
    format!("{one}[route.shadow.compare]\nredact = []\n{more}\n")
}

/// Answers with a head and half a body at once, and with the rest on the test's signal.
fn halting(go: &Arc<AtomicBool>) -> Upstream {
    let go = Arc::clone(go);
    Upstream::script(move |mut conn| {
        while conn.request().is_ok() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
            until("the test releases it", || go.load(Ordering::Acquire).then_some(()));
            conn.send("rest");
        }
    })
}

#[test]
fn stalled_uploads_take_no_permit() {
    let (main, dark) = (Upstream::echo(), Upstream::echo());
    let proxy = setup(&main, &dark).start(&SHADOWED.replace("methods =", "max_in_flight = 1\nmethods ="));
    let stalled: Vec<Raw> = (0..5)
        .map(|_| {
            let mut client = Raw::connect(proxy.address());
            client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhalf");
            client
        })
        .collect();
    until("all of them are sampled", || (Figures::of(&proxy).sampled == 5.0).then_some(()));
    let mut client = proxy.connect();
    for number in 1..=3 {
        assert_eq!(client.get("/", "").status, 200);
        until("its copy", || (Figures::of(&proxy).sent == f64::from(number)).then_some(()));
    }
    drop(stalled);
    let figures = Figures::settled(&proxy, 8);
    assert_eq!((figures.sent, figures.dropped("incomplete"), figures.dropped.len()), (3.0, 5.0, 1), "{figures:?}");
}

#[test]
fn comparisons_that_wait_for_a_slow_response_take_no_permit() {
    let go = Arc::new(AtomicBool::new(false));
    let (main, dark) = (halting(&go), Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalfrest"));
    let proxy = setup(&main, &dark).start(&compared("control = 0"));
    let clients: Vec<Raw> = (1..=4)
        .map(|number| {
            let mut client = proxy.connect();
            client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
            until("its copy", || (Figures::of(&proxy).sent == f64::from(number)).then_some(()));
            client
        })
        .collect();
    assert_eq!(proxy.metric_sum("pointsman_shadow_weight_actual_ratio"), 1.0, "the shadow is healthy");
    assert!(page(&proxy)["comparison"].is_null(), "no response is complete yet");
    go.store(true, Ordering::Release);
    for mut client in clients {
        assert_eq!(client.read_response().body, b"halfrest");
    }
    until("all are compared", || (page(&proxy)["comparison"]["equal"] == 4).then_some(()));
    let figures = Figures::settled(&proxy, 4);
    assert!(figures.dropped.is_empty(), "{figures:?}");
}

#[test]
fn kills_stop_copies_that_wait_for_their_requests() {
    // Another route before this one: in the new rules it has another place.
    let first = "[[route]]\nname = \"first\"\nmatch = { host = \"first\" }\nrespond = {}\n";
    for (kill, before) in [("all = true", ""), ("shadows = [\"all\"]", ""), ("shadows = [\"all\"]", first)] {
        a_kill_stops_waiting_copies(&format!("{before}[kill]\n{kill}\n"));
    }
}

fn a_kill_stops_waiting_copies(kill: &str) {
    let go = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&go);
    let main = Upstream::script(move |mut conn| {
        while conn.request().is_ok() {
            until("the test releases it", || gate.load(Ordering::Acquire).then_some(()));
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let dark = Upstream::echo();
    let proxy = setup(&main, &dark).start(&compared("control = 100"));
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    until("it has reached its upstream", || (main.requests() == 1).then_some(()));
    proxy.rewrite(&format!("{kill}{}", compared("control = 100")));
    go.store(true, Ordering::Release);
    assert_eq!(client.read_response().status, 200);
    let figures = Figures::settled(&proxy, 1);
    assert_eq!((figures.dropped("killed"), figures.sent), (1.0, 0.0), "{figures:?}");
    assert_eq!((dark.requests(), main.requests()), (0, 1), "neither a copy nor a control was sent");
}

#[test]
fn controls_send_the_proxy_header_to_their_upstream() {
    let main = Upstream::script(|mut conn| {
        let line = String::from_utf8(conn.wire.line().unwrap_or_default()).unwrap();
        while line.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1") && conn.request().is_ok() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let dark = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let text = compared("control = 100").replacen("[upstream.dark]", "proxy_protocol = \"v1\"\n[upstream.dark]", 1);
    let proxy = setup(&main, &dark).start(&text);
    assert_eq!(proxy.connect().get("/", "").status, 200);
    until("they are compared", || {
        let page = page(&proxy);
        (page["comparison"]["equal"] == 1 && page["controls"]["answered"] == 1).then_some(())
    });
    assert_eq!(main.got().len(), 2);
}

#[test]
fn responses_that_are_not_compared_are_not_buffered() {
    let go = Arc::new(AtomicBool::new(false));
    let (main, dark) = (halting(&go), Upstream::echo());
    let text = compared("control = 0").replace("methods =", "max_body = \"1KiB\"\nmethods =");
    let proxy = setup(&main, &dark).start(&text);
    let mut client = proxy.connect();
    let body = "x".repeat(2000);
    client
        .send(format!("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n{body}\r\n0\r\n\r\n"));
    let figures = Figures::settled(&proxy, 1);
    assert_eq!(figures.dropped("body_too_large"), 1.0, "{figures:?}");
    assert_eq!(proxy.metric("pointsman_shadow_held_bytes"), 0.0, "although its response is still under way");
    go.store(true, Ordering::Release);
    assert_eq!(client.read_response().body, b"halfrest");
    assert_eq!(proxy.metric("pointsman_shadow_held_bytes"), 0.0);
}

#[test]
fn a_slow_upstream_leaves_no_permit_for_controls_and_copies_continue() {
    let go = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&go);
    let main = Upstream::script(move |mut conn| {
        while let Ok(got) = conn.request() {
            if got.field("x-pointsman-shadow").is_some() {
                until("the test releases the controls", || gate.load(Ordering::Acquire).then_some(()));
            }
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let dark = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let proxy = setup(&main, &dark).start(&compared("control = 100"));
    let mut client = proxy.connect();
    for number in 1..=3 {
        assert_eq!(client.get("/", "").status, 200);
        until("its copy", || (Figures::of(&proxy).sent == f64::from(number)).then_some(()));
    }
    assert_eq!(page(&proxy)["controls"]["no_place"], 2, "one is under way");
    go.store(true, Ordering::Release);
    until("all are compared", || (page(&proxy)["comparison"]["equal"] == 3).then_some(()));
    assert_eq!(page(&proxy)["comparison"]["with_control"], 1);
}

#[test]
fn full_permits_are_counted_and_do_not_throttle() {
    let go = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&go);
    let dark = Upstream::script(move |mut conn| {
        while conn.request().is_ok() {
            until("the test releases it", || gate.load(Ordering::Acquire).then_some(()));
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let main = Upstream::echo();
    let proxy: Proxy = setup(&main, &dark).start(&SHADOWED.replace("methods =", "max_in_flight = 1\nmethods ="));
    let mut client = proxy.connect();
    assert_eq!(client.get("/", "").status, 200);
    until("its copy is under way", || (dark.requests() == 1).then_some(()));
    assert_eq!(client.get("/", "").status, 200);
    let figures = Figures::of(&proxy);
    assert_eq!((figures.dropped("in_flight_limit"), figures.in_flight), (1.0, 1.0), "{figures:?}");
    assert_eq!(proxy.metric_sum("pointsman_shadow_weight_actual_ratio"), 1.0);
    go.store(true, Ordering::Release);
    assert_eq!(Figures::settled(&proxy, 2).sent, 1.0);
}
