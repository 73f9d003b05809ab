//! Errors: statuses of the server, and what ends a try without a response.

use pointsman::telemetry::RunView;

use super::{ERROR, NOT_FOUND, Watched};
use crate::harness::{Fleet, RefusingAddress, Reply, Setup, Upstream, until};
use crate::upgrade::ASK;

const ONE_TRY: &str = "retry = { attempts = 0 }";

fn length(watched: &Watched) -> u32 {
    let RunView { length, .. } = watched.watch.run(1);
    length
}

#[test]
fn statuses_and_broken_connections_are_errors_and_what_blames_the_client_is_none() {
    let (fleet, stable) = (Fleet::of(1), Upstream::echo());
    let watched = Watched::canary(&fleet, &stable, ONE_TRY, ", rescue = false");
    let mut failures = 0;
    for (reply, events) in [
        (Reply::Echo, &[][..]),
        (Reply::Status(500, ""), &[ERROR]),
        (Reply::Status(503, ""), &[ERROR]),
        (Reply::Status(404, ""), &[NOT_FOUND]),
        (Reply::Status(429, ""), &[]),
        (Reply::Cut(""), &[ERROR]),
        (Reply::Reset(""), &[ERROR]),
        (Reply::Cut("HTTP/1.1 2"), &[ERROR]),
        (Reply::Cut("nonsense\r\n\r\n"), &[ERROR]),
        (Reply::Cut("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"), &[ERROR]),
        (Reply::Reset("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"), &[ERROR]),
        (Reply::Status(304, ""), &[]),
    ] {
        fleet.answers(0, reply);
        watched.open();
        // A connection of its own: the end of an idle one is no error. The response may be incomplete.
        let mut client = watched.proxy.connect();
        let _ = client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx").try_response();
        let expected: Vec<_> = events.iter().map(|signal| (1, *signal)).collect();
        assert_eq!(watched.events(), expected, "{reply:?}");
        failures = if events.contains(&ERROR) { failures + 1 } else { 0 };
        // A head that is well ends a run, and its body begins another one.
        let is_late = matches!(reply, Reply::Cut(text) | Reply::Reset(text) if text.starts_with("HTTP/1.1 200"));
        failures = if is_late { 1 } else { failures };
        assert_eq!(length(&watched), failures, "{reply:?}");
        assert_eq!(watched.exposed(super::CANARY), 1, "{reply:?}");
    }
}

#[test]
fn a_connection_that_is_refused_and_a_limit_of_the_variant_are_errors() {
    let (address, fleet, stable) = (RefusingAddress::new(), Fleet::of(1), Upstream::echo());
    let rules = |limits: &str, endpoint: String| {
        format!(
            "[upstream.v1]\nendpoints = [\"http://{{v1}}\"]\n[upstream.v2]\nendpoints = [\"http://{endpoint}\"]\n{limits}\n\
             [[route]]\nname = \"shop\"\nmatch = {{ path = \"/*\" }}\nstable = \"v1\"\nsticky = [\"client_ip\"]\n\
             canary = {{ upstream = \"v2\", weight = 100 }}\n"
        )
    };
    let start = |rules: &str| Watched::start(Setup::default().with("v1", &stable), rules);
    let refused = start(&rules("", address.address().to_string()));
    // The default: stable answers, and the failure stays the canary's. Later requests do not even try.
    for n in 0..6 {
        refused.open();
        assert_eq!(refused.proxy.connect().get("/", "").status, 200, "request {n}");
        assert_eq!(refused.events(), [(1, ERROR)], "request {n}");
        assert_eq!(refused.exposed(super::CANARY), 1);
    }
    let view = refused.watch.view();
    assert_eq!((length(&refused), view.stable_answers), (6, 0), "stable has no exposure");
    fleet.all_answer(Reply::Held);
    let limited = start(&rules("limits = { requests = 1 }", fleet.address(0).to_string()));
    let mut first = limited.proxy.connect();
    first.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    until("the first request is under way", || (fleet.requests(0) == 1).then_some(()));
    limited.open();
    assert_eq!(limited.proxy.connect().get("/", "").status, 503);
    assert_eq!(limited.events(), [(1, ERROR)]);
    fleet.release();
    assert_eq!(first.read_response().status, 200);
}

#[test]
fn no_response_in_time_is_an_error() {
    let (fleet, stable) = (Fleet::of(1), Upstream::echo());
    fleet.all_answer(Reply::Silence);
    let route = format!("{ONE_TRY}\ntimeout = {{ request = \"200ms\" }}");
    let watched = Watched::canary(&fleet, &stable, &route, ", rescue = false");
    assert_eq!(watched.proxy.connect().get("/", "").status, 504);
    assert_eq!((watched.events(), length(&watched)), (vec![(1, ERROR)], 1));
}

#[test]
fn the_failures_of_stable_are_counted_and_so_are_its_events() {
    let (fleet, stable) = (Fleet::of(1), Upstream::echo().status(500));
    // One caller in a million: the client of the test is none.
    let rules = format!(
        "[upstream.v1]\nendpoints = [\"http://{{v1}}\"]\n[upstream.v2]\nendpoints = {}\n\
         [[route]]\nname = \"shop\"\nmatch = {{ path = \"/*\" }}\nstable = \"v1\"\nsticky = [\"client_ip\"]\n\
         canary = {{ upstream = \"v2\", weight = 0.0001 }}\n",
        fleet.urls()
    );
    let watched = Watched::start(Setup::default().with("v1", &stable), &rules);
    for status in [500, 200, 502] {
        stable.answer_with(status);
        watched.open();
        assert_eq!(watched.proxy.connect().get("/", "").status, status);
        assert_eq!(watched.exposed(pointsman::stats::ArmPlace::default()), 1);
    }
    let view = watched.watch.view();
    assert_eq!((view.stable_answers, view.stable_failures), (3, 2));
    assert!(view.stable_times.quantile(0.5).is_some(), "the time of the one that succeeded");
    assert_eq!(watched.events(), [(0, ERROR), (0, ERROR)]);
}

#[test]
fn an_opening_that_fails_and_an_early_reset_of_a_tunnel_are_errors() {
    let (fleet, stable) = (Fleet::of(1), Upstream::echo());
    let watched = Watched::canary(&fleet, &stable, &format!("{ONE_TRY}\nlimits = {{ upgrade = [\"websocket\"] }}"), "");
    for (reply, events) in [
        (Reply::Echo, &[(1, ERROR)][..]),
        (Reply::Status(403, ""), &[]),
        (Reply::Status(503, ""), &[(1, ERROR)]),
        (
            Reply::Cut("HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n"),
            &[(1, ERROR)],
        ),
    ] {
        fleet.answers(0, reply);
        watched.open();
        let mut client = watched.proxy.connect();
        let _ = client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{ASK}\r\n")).try_response();
        assert_eq!(watched.events(), events, "{reply:?}");
    }
    for (reply, events) in [(Reply::Switch, &[][..]), (Reply::SwitchAndReset, &[(1, ERROR)])] {
        fleet.answers(0, reply);
        watched.open();
        let mut client = watched.proxy.connect();
        let answer = client.send(format!("GET / HTTP/1.1\r\nHost: test\r\n{ASK}\r\n")).try_response().unwrap();
        assert_eq!(answer.status, 101);
        client.send("ping");
        if matches!(reply, Reply::Switch) {
            client.finish();
        }
        drop(client.wire.rest());
        until("the tunnel is recorded", || (watched.proxy.metric_sum("pointsman_upgrades_open") == 0.0).then_some(()));
        assert_eq!(watched.events(), events, "{reply:?}");
    }
}
