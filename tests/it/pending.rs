//! Requests that wait for a connection, because `limits.connections` of the upstream is reached: what they get, how many
//! wait, for how long, and who leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use http::Response;
use pointsman::clock::Clock;
use tokio::sync::Semaphore;

use crate::harness::h2_client::End;
use crate::harness::{Answer, H2, ONE_ROUTE, PATIENCE, Proxy, Raw, Setup, Upstream, until};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// [`ONE_ROUTE`] with these lines in its upstream.
fn with(lines: &str) -> String {
    ONE_ROUTE.replace("[[route]]", &format!("{lines}\n[[route]]"))
}

/// One connection, for which requests wait as long as a test does.
fn one_connection() -> String {
    with("connect_timeout = \"1m\"\nlimits = { connections = 1 }")
}

fn ask(proxy: &Proxy, path: &str) -> Raw {
    let mut client = proxy.connect();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
    client
}

/// Waits until this number of requests is under way.
#[track_caller]
fn under_way(proxy: &Proxy, requests: u32) {
    let count = || proxy.metric("pointsman_requests_in_flight");
    until("requests are under way", || (count() == f64::from(requests)).then_some(()));
}

/// The first request is at the upstream and holds its only connection.
#[track_caller]
fn occupy(proxy: &Proxy, upstream: &Upstream) -> Raw {
    let first = ask(proxy, "/first");
    until("the first request is at the upstream", || (upstream.requests() == 1).then_some(()));
    first
}

#[track_caller]
fn is_overflow(answer: &Answer) {
    let found = (answer.status, answer.field("retry-after"), answer.field("proxy-status"));
    let status = "pointsman; error=connection_limit_reached; details=\"upstream_connections\"";
    assert_eq!(found, (503, Some("1"), Some(status)), "{}", answer.text());
}

fn overflow(proxy: &Proxy) -> f64 {
    proxy.metric("pointsman_upstream_overflow_total{limit=\"connections\",upstream=\"main\"}")
}

/// Answers `/first…` when the test says so, everything else at once.
fn slow_first() -> (Upstream, Arc<AtomicBool>) {
    let released = Arc::new(AtomicBool::new(false));
    let wait = Arc::clone(&released);
    let upstream = Upstream::script(move |mut conn| {
        while let Ok(got) = conn.request() {
            if got.target.starts_with("/first") {
                until("the test releases the first", || wait.load(SeqCst).then_some(()));
            }
            if !conn.send(OK) {
                return;
            }
        }
    });
    (upstream, released)
}

#[test]
fn as_many_requests_as_allowed_wait_and_go_on_in_order_on_the_same_connection() {
    let slow = Upstream::echo().held();
    let proxy = Proxy::with("main", &slow).start(&one_connection());
    let first = occupy(&proxy, &slow);
    let mut all = vec![first];
    for number in 0..128 {
        all.push(ask(&proxy, &format!("/{number}")));
        under_way(&proxy, number + 2);
    }
    is_overflow(&proxy.connect().get("/too-many", ""));
    assert_eq!(slow.requests(), 1, "the others wait");
    let metric = |name: &str| proxy.metric(&format!("pointsman_upstream_{name}upstream=\"main\"}}"));
    let counts = || ["pending{", "pended_total{", "overflow_total{limit=\"pending\","].map(metric);
    assert_eq!((counts(), overflow(&proxy)), ([128.0, 128.0, 1.0], 0.0));
    slow.release();
    for client in &mut all {
        assert_eq!(client.read_response().status, 200);
    }
    let targets: Vec<String> = slow.got().into_iter().map(|got| got.target).collect();
    let expected: Vec<String> = ["/first".to_owned()].into_iter().chain((0..128).map(|at| format!("/{at}"))).collect();
    assert_eq!(targets, expected, "in the order of arrival, each once");
    assert_eq!(slow.accepted(), 1);
    assert_eq!(counts(), [0.0, 128.0, 1.0]);
    drop(all);
    proxy.settles();
}

#[test]
fn a_request_waits_no_longer_than_connect_timeout() {
    let slow = Upstream::echo().held();
    let proxy = Proxy::with("main", &slow).start(&with("connect_timeout = \"300ms\"\nlimits = { connections = 1 }"));
    let mut first = occupy(&proxy, &slow);
    let began = Clock.now();
    is_overflow(&proxy.connect().get("/second", ""));
    let waited = Clock.now().duration_since(began);
    assert!(waited >= Duration::from_millis(300), "after {waited:?}");
    assert_eq!(overflow(&proxy), 1.0);
    assert_eq!(proxy.metric("pointsman_upstream_connect_failures_total{upstream=\"main\"}"), 0.0);
    slow.release();
    assert_eq!(first.read_response().status, 200);
    assert_eq!(proxy.connect().get("/third", "").status, 200, "the place is free");
    assert_eq!((slow.requests(), slow.accepted()), (2, 1));
}

#[test]
fn a_request_whose_time_is_over_leaves_and_its_endpoint_is_not_blamed() {
    let slow = Upstream::echo().held();
    let toml = one_connection() + "[route.timeout]\nrequest = \"300ms\"\n";
    let proxy = Proxy::with("main", &slow).start(&toml);
    let mut first = occupy(&proxy, &slow);
    let mut second = ask(&proxy, "/second");
    assert_eq!([first.read_response().status, second.read_response().status], [504, 504]);
    assert_eq!(proxy.metric("pointsman_upstream_connect_failures_total{upstream=\"main\"}"), 0.0);
    under_way(&proxy, 0);
    slow.release();
    assert_eq!(proxy.connect().get("/third", "").status, 200);
}

#[test]
fn a_client_that_leaves_makes_room() {
    let slow = Upstream::echo().held();
    let toml = with("connect_timeout = \"1m\"\nlimits = { connections = 1, pending = 1 }");
    let proxy = Proxy::with("main", &slow).start(&toml);
    let mut first = occupy(&proxy, &slow);
    let leaves = ask(&proxy, "/leaves");
    under_way(&proxy, 2);
    is_overflow(&proxy.connect().get("/too-many", ""));
    leaves.reset();
    under_way(&proxy, 1);
    let mut stays = ask(&proxy, "/stays");
    under_way(&proxy, 2);
    slow.release();
    assert_eq!([first.read_response().status, stays.read_response().status], [200, 200]);
    assert!(slow.got().iter().all(|got| got.target != "/leaves"), "what was not sent is not sent later");
    assert_eq!(slow.accepted(), 1);
}

#[test]
fn a_connection_that_ends_makes_room() {
    let released = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&released);
    let closing = Upstream::script(move |mut conn| {
        if conn.request().is_ok() {
            until("the test releases the responses", || gate.load(SeqCst).then_some(()));
            conn.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let proxy = Proxy::with("main", &closing).start(&one_connection());
    let mut all = vec![occupy(&proxy, &closing)];
    for number in 2..5 {
        all.push(ask(&proxy, "/"));
        under_way(&proxy, number);
    }
    released.store(true, SeqCst);
    assert!(all.iter_mut().all(|client| client.read_response().status == 200));
    assert_eq!(closing.accepted(), 4);
}

#[test]
fn an_idle_connection_to_another_endpoint_is_closed_for_a_request_that_waits() {
    let (one, other) = (Upstream::echo(), Upstream::echo());
    let toml = one_connection().replace("\"http://{main}\"", "\"http://{main}\", \"http://{other}\"");
    let proxy = Proxy::with("main", &one)
        .with("other", &other)
        .start(&toml.replace("connect_timeout", "balance = \"round_robin\"\nconnect_timeout"));
    let mut client = proxy.connect();
    let began = Clock.now();
    for number in 0..10 {
        assert_eq!(client.get("/", "").status, 200, "request {number}");
    }
    assert!(Clock.now().duration_since(began) < Duration::from_secs(30), "none waits until the connection times out");
    assert_eq!((one.requests(), other.requests()), (5, 5));
    until("one connection is left", || (one.open() + other.open() == 1).then_some(()));
}

#[test]
fn an_idle_connection_of_another_worker_is_closed_for_a_request_that_waits() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).workers(2).start(&one_connection());
    let mut clients: Vec<Raw> = Vec::new();
    let began = Clock.now();
    // The system chooses the workers of the clients.
    until("a request uses the connection of another worker", || {
        let mut client = proxy.connect();
        assert_eq!(client.get("/", "").status, 200);
        clients.push(client);
        (echo.accepted() > 1).then_some(())
    });
    for client in clients.iter_mut().rev() {
        assert_eq!(client.get("/", "").status, 200);
    }
    assert!(Clock.now().duration_since(began) < PATIENCE, "none waits until a connection times out");
    until("one connection is left", || (echo.open() == 1).then_some(()));
    assert_eq!(overflow(&proxy), 0.0);
}

#[test]
fn under_load_each_request_gets_its_turn() {
    let upstream = Upstream::script(|mut conn| {
        while let Ok(got) = conn.request() {
            let close = got.target.ends_with('7');
            let answer = if close { OK.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n") } else { OK.to_owned() };
            if !conn.send(answer) || close {
                return;
            }
        }
    });
    let toml = with("connect_timeout = \"1m\"\nlimits = { connections = 2 }");
    let proxy = Proxy::with("main", &upstream).workers(2).start(&toml);
    std::thread::scope(|scope| {
        for client in 0..12 {
            let proxy = &proxy;
            scope.spawn(move || {
                let mut raw = proxy.connect();
                for number in 0..40 {
                    let answer = raw.get(&format!("/{client}/{number}"), "");
                    assert_eq!(answer.status, 200, "request {number} of client {client}: {}", answer.text());
                    if number % 10 == client % 10 {
                        // A client that leaves while its request is under way, and comes again.
                        raw.send("GET /left HTTP/1.1\r\nHost: test\r\n\r\n");
                        raw = proxy.connect();
                    }
                }
            });
        }
    });
    proxy.settles();
    let metric = |name| proxy.metric(&format!("pointsman_upstream_{name}{{upstream=\"main\"}}"));
    until("the gauge is that of the upstream", || (metric("connections") <= 2.0).then_some(()));
    assert_eq!(overflow(&proxy), 0.0);
}

#[test]
fn a_request_has_the_limit_of_its_own_snapshot() {
    let (upstream, released) = slow_first();
    let proxy = Proxy::with("main", &upstream).start(&one_connection());
    let mut first = occupy(&proxy, &upstream);
    let mut waits = ask(&proxy, "/waits");
    under_way(&proxy, 2);
    proxy.rewrite(&with("connect_timeout = \"1m\"\nlimits = { connections = 2 }"));
    assert_eq!(proxy.connect().get("/later", "").status, 200, "the new limit is not reached");
    assert_eq!(waits.read_response().status, 200, "the connection is free");
    assert_eq!((upstream.requests(), upstream.accepted()), (3, 2));
    released.store(true, SeqCst);
    assert_eq!(first.read_response().status, 200);
}

#[test]
fn connections_with_a_proxy_header_have_the_same_limit() {
    let released = Arc::new(AtomicBool::new(false));
    let wait = Arc::clone(&released);
    let upstream = Upstream::script(move |mut conn| {
        assert!(conn.wire.line().is_ok_and(|line| line.starts_with(b"PROXY ")));
        while conn.request().is_ok() {
            until("the test releases the responses", || wait.load(SeqCst).then_some(()));
            conn.send(OK);
        }
    });
    let toml = one_connection().replace("limits", "proxy_protocol = \"v1\"\nlimits");
    let proxy = Proxy::with("main", &upstream).start(&toml);
    let mut first = occupy(&proxy, &upstream);
    let mut second = ask(&proxy, "/second");
    under_way(&proxy, 2);
    assert_eq!(upstream.accepted(), 1);
    released.store(true, SeqCst);
    assert_eq!([first.read_response().status, second.read_response().status], [200, 200]);
    assert_eq!(upstream.accepted(), 2, "no connection is another client's");
}

/// An HTTP/2 upstream with so many streams a connection, which answers once for each permit.
fn streams(most: u32) -> (Upstream, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&permits);
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(most);
    let upstream = Upstream::h2c_script(&builder, move |shared, connection, request, mut respond| {
        let waits = Arc::clone(&waits);
        Box::pin(async move {
            let got = crate::harness::h2c::whole(connection, request).await.unwrap();
            shared.remember(got);
            waits.acquire().await.unwrap().forget();
            // A client that left needs no response.
            let _ = respond.send_response(Response::new(()), true);
        })
    });
    (upstream, permits)
}

fn to_h2c(upstream: &Upstream) -> Setup {
    Proxy::with("main", upstream)
}

#[test]
fn a_request_waits_for_a_stream() {
    let (upstream, permits) = streams(2);
    let proxy = to_h2c(&upstream).start(&one_connection().replace("http://", "h2c://"));
    let mut client = H2::connect(proxy.address());
    let mut open = |path| client.open(H2::request("GET", path).body(()).unwrap(), End::Now).0;
    let all = ["/0", "/1", "/2", "/3", "/4"].map(&mut open);
    until("two streams are open", || (upstream.requests() == 2).then_some(()));
    under_way(&proxy, 5);
    assert_eq!(upstream.requests(), 2);
    for at in 3..=5 {
        permits.add_permits(1);
        until("the next request goes on", || (upstream.requests() == at).then_some(()));
        assert_eq!(upstream.requests(), at);
    }
    permits.add_permits(5);
    for response in all {
        assert_eq!(client.finish(response).status, 200);
    }
    assert_eq!(upstream.accepted(), 1);
    let targets: Vec<_> = upstream.got().into_iter().map(|got| got.target).collect();
    let late: Vec<_> = targets[2..].iter().map(|target| target.rsplit('/').next().unwrap()).collect();
    assert_eq!(late, ["2", "3", "4"], "in the order of arrival");
}

#[test]
fn too_many_requests_for_a_stream_are_503() {
    let (upstream, permits) = streams(1);
    let toml = with("connect_timeout = \"1m\"\nlimits = { connections = 1, pending = 1 }");
    let proxy = to_h2c(&upstream).start(&toml.replace("http://", "h2c://"));
    let mut first = ask(&proxy, "/first");
    until("the first request is at the upstream", || (upstream.requests() == 1).then_some(()));
    let mut second = ask(&proxy, "/second");
    under_way(&proxy, 2);
    is_overflow(&proxy.connect().get("/third", ""));
    permits.add_permits(2);
    assert_eq!([first.read_response().status, second.read_response().status], [200, 200]);
    assert_eq!(upstream.accepted(), 1);
}

#[test]
fn an_idle_http2_connection_of_another_worker_is_closed_for_a_request_that_waits() {
    let upstream = Upstream::h2c();
    let proxy = to_h2c(&upstream).workers(2).start(&one_connection().replace("http://", "h2c://"));
    let mut clients: Vec<Raw> = Vec::new();
    until("a request uses the connection of another worker", || {
        let mut client = proxy.connect();
        assert_eq!(client.get("/", "").status, 200);
        clients.push(client);
        (upstream.accepted() > 1).then_some(())
    });
    for client in clients.iter_mut().rev() {
        assert_eq!(client.get("/", "").status, 200);
    }
    assert_eq!(overflow(&proxy), 0.0);
}
