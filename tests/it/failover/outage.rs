//! All endpoints down: an answer at once, and service as soon as one is back.

use std::time::Duration;

use pointsman::clock::Clock;

use crate::harness::fleet::{UNAVAILABLE, state_of};
use crate::harness::{Fleet, Proxy, RefusingAddress, Reply, Upstream, until};

fn rules(addresses: &[RefusingAddress]) -> String {
    let urls: Vec<_> = addresses.iter().map(|one| format!("\"http://{}\"", one.address())).collect();
    format!(
        "[upstream.main]\nendpoints = [{}]\n[[route]]\nname = \"all\"\nmatch = {{ path = \"/*\" }}\nstable = \"main\"\n",
        urls.join(", ")
    )
}

#[test]
fn while_all_refuse_each_request_fails_at_once_and_the_first_that_is_back_serves() {
    let mut all: Vec<_> = (0..3).map(|_| RefusingAddress::new()).collect();
    let proxy = Proxy::start(&rules(&all));
    let mut client = proxy.connect();
    let began = Clock.now();
    for _ in 0..50 {
        let status = client.get("/", "").status;
        assert!(matches!(status, 502 | 503), "{status}");
    }
    let took = Clock.now().duration_since(began);
    assert!(took < Duration::from_secs(15), "{took:?} for 50 requests: none waits");
    let address = all[1].address();
    let _back = Upstream::echo_on(all.remove(1).listen());
    let began = Clock.now();
    until("it is served again", || (client.get("/", "").status == 200).then_some(()));
    let took = Clock.now().duration_since(began);
    assert!(took < Duration::from_secs(10), "{took:?}: long before an ejection ends");
    for n in 0..50 {
        assert_eq!(client.get("/", "").status, 200, "request {n}");
    }
    // The one that was kept counts as failing for ten seconds more.
    until("the state follows", || {
        assert_eq!(client.get("/", "").status, 200);
        matches!(state_of(&proxy, "main", address).as_str(), "usable" | "failing").then_some(())
    });
}

#[test]
fn when_all_answer_503_the_response_is_passed_on_and_service_returns() {
    let fleet = Fleet::of(3);
    fleet.all_answer(UNAVAILABLE);
    let proxy = fleet.behind("", "");
    let mut client = proxy.connect();
    for n in 0..50 {
        let answer = client.get("/", "");
        assert_eq!((answer.status, answer.body.as_slice()), (503, &b"no"[..]), "request {n}");
    }
    let ejected = (0..3).filter(|endpoint| fleet.state(&proxy, *endpoint) == "ejected").count();
    assert_eq!(ejected, 1, "half of three, rounded down");
    fleet.all_answer(Reply::Echo);
    for n in 0..50 {
        assert_eq!(client.get("/", "").status, 200, "request {n}");
    }
}

/// The control thread tries an endpoint that did not accept: no request is needed for it to come back.
#[test]
fn an_endpoint_that_did_not_accept_is_admitted_without_a_request() {
    let (dead, alive) = (RefusingAddress::new(), Upstream::echo());
    let urls = format!("\"http://{}\", \"http://{}\"", dead.address(), alive.address());
    let proxy = Proxy::start(&format!(
        "[upstream.main]\nendpoints = [{urls}]\nbalance = \"round_robin\"\n\
         outlier = {{ consecutive_failures = 1, base_ejection = \"1s\" }}\n\
         [[route]]\nname = \"all\"\nmatch = {{ path = \"/*\" }}\nstable = \"main\"\n"
    ));
    let (address, mut client) = (dead.address(), proxy.connect());
    until("it is ejected", || {
        assert_eq!(client.get("/", "").status, 200);
        (state_of(&proxy, "main", address) == "ejected").then_some(())
    });
    let back = Upstream::echo_on(dead.listen());
    until("it is admitted", || (state_of(&proxy, "main", address) == "usable").then_some(()));
    assert_eq!(back.requests(), 0, "by a connect alone");
    until("it serves", || {
        assert_eq!(client.get("/", "").status, 200);
        (back.requests() > 0).then_some(())
    });
}
