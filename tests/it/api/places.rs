//! Places of connections: what must always work does, when idle connections take all others.

use std::net::TcpStream;

use super::{SHOP, call, exchange, over_socket, over_tcp};
use crate::harness::{Proxy, until};

#[test]
fn idle_connections_keep_neither_health_nor_the_list_of_kills_out() {
    let proxy = Proxy::start(SHOP);
    // The shared places; each waits for a head for up to 10 s.
    let mut idle: Vec<TcpStream> = (0..448).map(|_| TcpStream::connect(proxy.admin()).unwrap()).collect();
    let refused = until("the shared places are taken", || {
        let reply = over_tcp(&proxy, &call("GET", "/v1/routes", "", ""));
        // On a busy machine the first ones may have ended already.
        idle.push(TcpStream::connect(proxy.admin()).unwrap());
        (reply.status == 503).then_some(reply)
    });
    assert_eq!(refused.problem(), "busy");
    assert!(refused.head.contains("connection: close"), "{refused:?}");
    for path in ["/healthz", "/readyz", "/metrics", "/v1/kill"] {
        let reply = over_tcp(&proxy, &call("GET", path, "", ""));
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
    }
    let kill = over_tcp(&proxy, &call("POST", "/v1/kill", "", "{}"));
    assert_eq!(kill.problem(), "socket-only", "the call is looked at");
    assert_eq!(over_socket(&proxy, &call("GET", "/v1/routes", "", "")).status, 200, "the socket has its own places");
    drop(idle);
    until("the places are free again", || {
        let stream = TcpStream::connect(proxy.admin()).ok()?;
        (exchange(stream, &call("GET", "/v1/routes", "", "")).status == 200).then_some(())
    });
}
