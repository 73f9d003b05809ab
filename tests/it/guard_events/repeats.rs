//! The first try is judged, once. What another try replaces without a word about the variant is not.

use super::{ERROR, Watched};
use crate::harness::fleet::UNAVAILABLE;
use crate::harness::{Fleet, Reply, Upstream};

const REPEATS: &str = "retry = { attempts = 1, on = [\"503\", \"reset_before_head\"] }";

#[test]
fn a_retry_that_succeeds_hides_nothing() {
    let (fleet, stable) = (Fleet::of(2), Upstream::echo());
    let watched = Watched::canary(&fleet, &stable, REPEATS, "");
    for first in [UNAVAILABLE, Reply::Cut("HTTP/1.1 200 OK\r\n"), UNAVAILABLE] {
        fleet.next_tries_get(&[first]);
        watched.open();
        assert_eq!(watched.proxy.connect().get("/", "").status, 200);
        assert_eq!((fleet.take_tries().len(), watched.events()), (2, vec![(1, ERROR)]), "{first:?}");
    }
    assert_eq!(watched.watch.run(1).length, 3, "a retry that succeeds ends no run");
    fleet.next_tries_get(&[UNAVAILABLE, UNAVAILABLE]);
    watched.open();
    assert_eq!(watched.proxy.connect().get("/", "").status, 503);
    assert_eq!((watched.events(), watched.watch.run(1).length), (vec![(1, ERROR)], 4), "one request, one failure");
}

#[test]
fn a_rescue_hides_nothing_and_is_no_exposure_of_stable() {
    let (fleet, stable) = (Fleet::of(1), Upstream::echo().named("v1"));
    fleet.all_answer(UNAVAILABLE);
    let watched = Watched::canary(&fleet, &stable, "retry = { attempts = 0 }", ", rescue = { on = [\"503\"] }");
    for n in 1..=3 {
        watched.open();
        assert_eq!(watched.proxy.connect().get("/", "").json()["name"], "v1");
        assert_eq!((watched.events(), watched.watch.run(1).length), (vec![(1, ERROR)], n));
        assert_eq!([0, 1].map(|arm| watched.exposed(pointsman::stats::ArmPlace { stratum: 0, arm })), [0, 1]);
    }
    assert_eq!(watched.watch.view().stable_answers, 0);
}

#[test]
fn the_end_of_an_idle_connection_is_not_judged_if_another_try_follows() {
    let (fleet, stable) = (Fleet::of(1), Upstream::echo());
    let watched = Watched::canary(&fleet, &stable, "retry = { attempts = 0 }", ", rescue = false");
    let mut client = watched.proxy.connect();
    assert_eq!(client.get("/", "").status, 200);
    // The next request goes over the same connection, which then ends.
    fleet.next_tries_get(&[Reply::Cut("")]);
    watched.open();
    assert_eq!(client.get("/", "").status, 200);
    let tries = fleet.take_tries();
    assert_eq!(tries.iter().map(|made| made.got.connection).collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!((watched.events(), watched.watch.run(1).length), (vec![], 0));
    // The second try is the first that is judged.
    fleet.next_tries_get(&[Reply::Cut(""), Reply::Status(500, "")]);
    watched.open();
    assert_eq!(client.get("/", "").status, 500);
    assert_eq!((fleet.take_tries().len(), watched.events()), (2, vec![(1, ERROR)]));
    // A POST is not sent again, so its failure is judged.
    assert_eq!(client.get("/", "").status, 200);
    fleet.next_tries_get(&[Reply::Cut("")]);
    watched.open();
    assert_eq!(client.post("/", "", b"x").status, 502);
    assert_eq!((fleet.take_tries().len(), watched.events()), (2, vec![(1, ERROR)]));
}
