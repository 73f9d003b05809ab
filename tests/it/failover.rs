//! Upstreams that fail: ejection, further tries, rescue. Each case over sockets, the good one and the bad one.

mod by_hand;
mod caps;
mod connections;
mod ejection;
mod grpc;
mod no_failures;
mod outage;
mod rescue;
mod retries;
mod retry_limits;
mod transitions;

use std::time::{Duration, Instant};

use pointsman::clock::Clock;

use crate::harness::{Fleet, Proxy, Raw, until};

/// No further try, so that each failure is seen.
const ONE_TRY: &str = "retry = { attempts = 0 }";
/// The shortest ejections.
const BRIEF: &str = "outlier = { base_ejection = \"1s\" }";
/// No ejection, so that only the rules of further tries decide.
const NO_EJECTION: &str = "outlier = { consecutive_failures = 0 }";
/// The shortest time of an ejection of one second.
const BRIEF_LEAST: Duration = Duration::from_millis(850);

/// GETs, each on a connection of its own, until this endpoint is ejected. Returns the statuses other than 200, and the
/// time before the last GET.
#[track_caller]
fn until_ejected(proxy: &Proxy, fleet: &Fleet, endpoint: usize) -> (Vec<u16>, Instant) {
    let mut failed = Vec::new();
    let before = until("the endpoint is ejected", || {
        let before = Clock.now();
        let answer = proxy.connect().send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").try_response();
        let status = answer.map_or(0, |answer| answer.status);
        failed.extend((status != 200).then_some(status));
        (fleet.state(proxy, endpoint) == "ejected").then_some(before)
    });
    (failed, before)
}

/// So many GETs, each on a connection of its own, each of which gets 200.
#[track_caller]
fn all_get_200(proxy: &Proxy, count: usize) {
    for n in 0..count {
        let answer = proxy.connect().get("/", "");
        assert_eq!(answer.status, 200, "GET {n}: {}", answer.text());
    }
}

/// A GET, whose response may be held.
fn open(proxy: &Proxy) -> Raw {
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    client
}
