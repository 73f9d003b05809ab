//! Slow requests: an event at the moment at which they become slow.

use std::time::Duration;

use super::{SLOW, Watched};
use crate::harness::{Fleet, Reply, Upstream, until};

const NEVER: Duration = Duration::from_mins(50);

fn held() -> (Fleet, Upstream) {
    let fleet = Fleet::of(1);
    fleet.all_answer(Reply::Held);
    (fleet, Upstream::echo())
}

#[test]
fn an_unanswered_request_is_slow_when_the_threshold_passes_and_once() {
    let (fleet, stable) = held();
    let watched = Watched::canary(&fleet, &stable, "", "");
    watched.watch.set_slow_after(usize::from(SLOW), Some(Duration::from_millis(150)));
    let mut client = watched.proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let events = until("the request is slow", || Some(watched.events()).filter(|events| !events.is_empty()));
    assert_eq!(events, [(1, SLOW)], "before its response");
    watched.open();
    fleet.release();
    assert_eq!(client.read_response().status, 200);
    watched.proxy.logged(1);
    assert!(watched.events().is_empty());
}

#[test]
fn without_a_threshold_nothing_is_slow() {
    let (fleet, stable) = held();
    let watched = Watched::canary(&fleet, &stable, "", "");
    let mut client = watched.proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    until("it has arrived", || (fleet.requests(0) == 1).then_some(()));
    fleet.release();
    assert_eq!(client.read_response().status, 200);
    assert!(watched.events().is_empty());
}

#[test]
fn a_client_that_leaves_makes_no_event_before_the_threshold() {
    for (threshold, events) in [(NEVER, vec![]), (Duration::ZERO, vec![(1, SLOW)])] {
        let (fleet, stable) = held();
        let watched = Watched::canary(&fleet, &stable, "", "");
        watched.watch.set_slow_after(usize::from(SLOW), Some(threshold));
        let mut client = watched.proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        until("it has arrived", || (fleet.requests(0) == 1).then_some(()));
        client.reset();
        assert_eq!(watched.proxy.logged(1)[0]["detail"], "client_gone");
        assert_eq!(watched.events(), events, "{threshold:?}");
        assert_eq!((watched.exposed(super::CANARY), watched.watch.run(1).length), (1, 0), "its exposure stays");
        fleet.release();
    }
}

#[test]
fn a_response_and_a_failure_after_the_threshold_are_slow_too() {
    let (fleet, stable) = (Fleet::of(1), Upstream::echo());
    let watched = Watched::canary(&fleet, &stable, "retry = { attempts = 0 }", ", rescue = false");
    watched.watch.set_slow_after(usize::from(SLOW), Some(Duration::ZERO));
    for (reply, events) in [
        (Reply::Echo, vec![(1, SLOW)]),
        (Reply::Status(500, ""), vec![(1, SLOW), (1, super::ERROR)]),
        (Reply::Cut("HTTP/1.1 200"), vec![(1, SLOW), (1, super::ERROR)]),
    ] {
        fleet.answers(0, reply);
        watched.open();
        let _ = watched.proxy.connect().send("GET / HTTP/1.1\r\nHost: test\r\n\r\n").try_response();
        assert_eq!(watched.events(), events, "{reply:?}");
    }
}
