//! Balance over sockets: refusals attract no load, and another balance keeps the connections.

use pointsman::clock::Clock;

use crate::harness::{Proxy, Upstream};

fn rules(endpoints: &str, balance: &str) -> String {
    format!(
        "[upstream.main]\nendpoints = [{endpoints}]\nbalance = \"{balance}\"\n[[route]]\nname = \"all\"\n\
         match = {{ path = \"/*\" }}\nstable = \"main\"\n"
    )
}

#[test]
fn an_endpoint_that_refuses_at_once_gets_fewer_requests_than_the_others() {
    const COUNT: u64 = 150;
    for balance in ["least_request", "peak_ewma"] {
        let busy = Upstream::answering("HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nretry-after: 5\r\n\r\n");
        let (one, other) = (Upstream::echo(), Upstream::echo());
        let setup = Proxy::workers(1).place("busy", busy.address()).place("one", one.address());
        let text = rules("\"http://{busy}\", \"http://{one}\", \"http://{other}\"", balance);
        let proxy = setup.place("other", other.address()).start(&text);
        let (mut client, began) = (proxy.connect(), Clock.now());
        let refused = (0..COUNT).filter(|_| client.get("/", "").status == 429).count();
        // It is idle all the time. A refused try keeps its place for five seconds; few draws see no other endpoint.
        let most = 8 + Clock.now().duration_since(began).as_secs();
        assert!((1..=most).contains(&(refused as u64)), "{balance}: {refused} of {COUNT} were refused, at most {most}");
        assert_eq!(busy.requests() + one.requests() + other.requests(), COUNT, "{balance}: none is tried again");
    }
}

#[test]
fn another_balance_keeps_the_connections() {
    let upstream = Upstream::echo();
    let gone = Upstream::echo();
    let setup = Proxy::workers(1).place("main", upstream.address()).place("gone", gone.address());
    let proxy = setup.start(&rules("\"http://{main}\"", "least_request"));
    let mut client = proxy.connect();
    for balance in ["round_robin", "hash", "peak_ewma", "least_request"] {
        assert_eq!(client.get("/", "").status, 200);
        proxy.rewrite(&rules("\"http://{main}\"", balance));
    }
    // An endpoint that comes and goes changes nothing for the other one.
    proxy.rewrite(&rules("\"http://{gone}\", \"http://{main}\"", "hash"));
    (0..20).for_each(|_| assert_eq!(client.get("/", "").status, 200));
    proxy.rewrite(&rules("\"http://{main}\"", "hash"));
    assert_eq!(client.get("/", "").status, 200);
    assert_eq!(upstream.accepted(), 1, "one connection for all of it");
}
