//! How many endpoints may be ejected.

use super::ONE_TRY;
use crate::harness::fleet::{UNAVAILABLE, state_of};
use crate::harness::{Fleet, Proxy, RefusingAddress, Reply, Upstream, until};

/// GETs until this many endpoints are ejected, and then some more. Returns the states of all.
#[track_caller]
fn states_after(proxy: &Proxy, fleet: &Fleet, count: usize, ejected: usize) -> Vec<String> {
    let states = || (0..count).map(|endpoint| fleet.state(proxy, endpoint)).collect::<Vec<_>>();
    let is_ejected = |state: &&String| *state == "ejected";
    until("so many are ejected", || {
        proxy.connect().get("/", "");
        (states().iter().filter(is_ejected).count() == ejected).then_some(())
    });
    for _ in 0..20 * count {
        assert_eq!(proxy.connect().get("/", "").status, 503);
    }
    states()
}

#[test]
fn at_most_half_of_those_that_answer_badly_are_ejected() {
    for (count, lines, ejected) in [
        (2, "", 1),
        (3, "", 1),
        (4, "", 2),
        (4, "outlier = { max_ejected_percent = 1 }", 1),
        (4, "outlier = { max_ejected_percent = 100 }", 3),
    ] {
        let fleet = Fleet::of(count);
        fleet.all_answer(UNAVAILABLE);
        let proxy = fleet.behind(lines, ONE_TRY);
        let mut states = states_after(&proxy, &fleet, count, ejected);
        states.sort();
        let mut expected = vec!["ejected"; ejected];
        expected.resize(count, "failing");
        assert_eq!(states, expected, "{lines}");
        for endpoint in 0..count {
            let was = fleet.requests(endpoint);
            let is_out = fleet.state(&proxy, endpoint) == "ejected";
            assert_eq!(was == 5, is_out, "{count} endpoints, {lines}: number {endpoint} got {was}");
        }
    }
}

#[test]
fn a_lone_endpoint_is_never_ejected() {
    let fleet = Fleet::of(1);
    fleet.answers(0, UNAVAILABLE);
    let proxy = fleet.behind("", ONE_TRY);
    for n in 1..=30 {
        assert_eq!(proxy.connect().get("/", "").status, 503);
        assert_eq!(fleet.requests(0), n, "each request is tried");
        assert_eq!(fleet.state(&proxy, 0), if n < 5 { "usable" } else { "failing" }, "after {n}");
    }
    fleet.answers(0, Reply::Echo);
    assert_eq!(proxy.connect().get("/", "").status, 200);
    // One success among failures is not recovery: that is a success ten seconds later.
    assert_eq!(fleet.state(&proxy, 0), "failing");
}

#[test]
fn those_that_do_not_accept_are_ejected_down_to_the_last_usable_one() {
    let refusing: Vec<_> = (0..3).map(|_| RefusingAddress::new()).collect();
    let alive = Upstream::echo();
    let urls: Vec<_> = refusing.iter().map(|dead| format!("\"http://{}\"", dead.address())).collect();
    let rules = format!(
        "[upstream.main]\nendpoints = [{}, \"http://{}\"]\nbalance = \"round_robin\"\n\
         [[route]]\nname = \"all\"\nmatch = {{ path = \"/*\" }}\nstable = \"main\"\n",
        urls.join(", "),
        alive.address()
    );
    let proxy = Proxy::start(&rules);
    let mut client = proxy.connect();
    until("all three are ejected", || {
        let answer = client.post("/", "", b"a body");
        assert_eq!(answer.status, 200, "no request fails: {}", answer.text());
        let is_out = |dead: &RefusingAddress| state_of(&proxy, "main", dead.address()) == "ejected";
        refusing.iter().all(is_out).then_some(())
    });
    assert_eq!(state_of(&proxy, "main", alive.address()), "usable");
    let before = proxy.metric("pointsman_upstream_connect_failures_total{upstream=\"main\"}");
    for _ in 0..50 {
        assert_eq!(client.post("/", "", b"a body").status, 200);
    }
    assert_eq!(proxy.metric("pointsman_upstream_connect_failures_total{upstream=\"main\"}"), before, "none is tried");
}
