//! `x-pointsman-event`: the guards read it, and no client sees it.

use super::{PURCHASE, Watched};
use crate::harness::{Fleet, Reply, Upstream};

#[test]
fn an_event_counts_by_its_name_and_the_client_does_not_see_it() {
    let (fleet, stable) = (Fleet::of(1), Upstream::echo());
    let watched = Watched::canary(&fleet, &stable, "", "");
    for (lines, events) in [
        ("X-Pointsman-Event: purchase\r\n", vec![(1, PURCHASE)]),
        ("x-pointsman-event: purchase; value=12.50\r\nx-other: 1\r\n", vec![(1, PURCHASE)]),
        ("x-pointsman-event: refund\r\nx-pointsman-event: purchase\r\n", vec![(1, PURCHASE)]),
        ("x-pointsman-event: refund; purchase\r\n", vec![]),
        ("x-pointsman-events: purchase\r\n", vec![]),
    ] {
        fleet.answers(0, Reply::Status(200, lines));
        watched.open();
        let answer = watched.proxy.connect().get("/", "");
        assert_eq!((answer.status, answer.fields("x-pointsman-event").len()), (200, 0), "{lines:?}");
        assert_eq!(answer.fields("x-other").len(), usize::from(lines.contains("x-other")));
        assert_eq!(watched.events(), events, "{lines:?}");
    }
}

#[test]
fn a_request_that_is_not_judged_makes_no_event_and_its_field_is_removed() {
    let (fleet, stable) = (Fleet::of(1), Upstream::echo().lines("x-pointsman-event: purchase\r\n"));
    let watched = Watched::canary_with(&fleet, &stable, "[kill]\nroutes = [\"shop\"]\n", ["", ""]);
    let answer = watched.proxy.connect().get("/", "");
    assert_eq!((answer.status, answer.fields("x-pointsman-event").len()), (200, 0));
    assert!(watched.events().is_empty() && !watched.watch.is_used());
}

#[test]
fn an_event_in_trailers_counts_and_is_removed() {
    let (fleet, stable) = (Fleet::of(1), Upstream::echo());
    fleet.all_answer(Reply::Cut(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-pointsman-event\r\n\r\n1\r\nx\r\n0\r\n\
         x-pointsman-event: purchase\r\nx-other: 1\r\n\r\n",
    ));
    let watched = Watched::canary(&fleet, &stable, "", "");
    let answer = watched.proxy.connect().get("/", "te: trailers\r\nconnection: te\r\n");
    assert_eq!(answer.trailers, [("x-other".to_owned(), "1".to_owned())]);
    assert_eq!(watched.events(), [(1, PURCHASE)]);
}
