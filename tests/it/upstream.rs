//! Towards the upstreams: pools, limits, timeouts, balance, cancellation, back-pressure and names.

#![expect(clippy::unwrap_used, clippy::float_cmp, reason = "a test may fail, and counts are whole")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pointsman::app::Resolve;
use pointsman::clock::Clock;
use pointsman::control::{DnsAnswer as Addresses, LookupResult};

use crate::harness::upstream::hash;
use crate::harness::{
    Broken, Conn, FullBacklog, ONE_ROUTE, PATIENCE, Proxy, Raw, RefusingAddress, Upstream, Wire, until,
};

/// An upstream that answers at once with its name and the connection's number, except for `/hold`, which it answers on
/// the test's signal.
struct Holding {
    upstream: Upstream,
    held: Receiver<u64>,
    release: Sender<()>,
}

fn holding(name: &'static str) -> Holding {
    let (holds, held) = channel();
    let (release, released) = channel();
    let (holds, released) = (Mutex::new(holds), Mutex::new(released));
    let upstream = Upstream::script(move |mut conn| {
        while let Ok(got) = conn.request() {
            if got.target == "/hold" {
                holds.lock().unwrap().send(conn.number).unwrap();
                if released.lock().unwrap().recv().is_err() {
                    return;
                }
            }
            let body = if got.method == "HEAD" { "" } else { name };
            let length = name.len();
            let answer = format!("HTTP/1.1 200 OK\r\nx-conn: {}\r\ncontent-length: {length}\r\n\r\n", conn.number);
            if !conn.send(answer + body) {
                return;
            }
        }
    });
    Holding { upstream, held, release }
}

fn with(upstream_lines: &str, route_lines: &str) -> String {
    format!(
        "[upstream.main]\nendpoints = [\"http://{{main}}\"]\n{upstream_lines}\n[[route]]\nname = \"all\"\n\
         match = {{ path = \"/*\" }}\nstable = \"main\"\n{route_lines}\n"
    )
}

#[track_caller]
fn conn_of(client: &mut Raw) -> u64 {
    let answer = client.get("/", "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.field("x-conn").unwrap().parse().unwrap()
}

#[test]
fn the_connection_that_was_used_last_is_used_first() {
    let holding = holding("a");
    let proxy = Proxy::to(&holding.upstream);
    let mut clients: Vec<Raw> = (0..3)
        .map(|_| {
            let mut client = proxy.connect();
            client.send("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n");
            holding.held.recv().unwrap();
            client
        })
        .collect();
    // One after the other, in the order in which the upstream's threads receive the signal.
    let (mut waiting, mut last) = (vec![0, 1, 2], 0);
    while !waiting.is_empty() {
        holding.release.send(()).unwrap();
        let at = until("one is answered", || waiting.iter().position(|one: &usize| clients[*one].wire.has_bytes()));
        last = clients[waiting.remove(at)].read_response().field("x-conn").unwrap().parse().unwrap();
    }
    for _ in 0..20 {
        assert_eq!(conn_of(&mut clients[0]), last);
    }
    assert_eq!(holding.upstream.accepted(), 3);
}

#[test]
fn a_pooled_connection_that_the_upstream_closes_fails_no_request() {
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let upstream = Upstream::answering_once(ok);
    let proxy = Proxy::with("main", &upstream).workers(2).start(ONE_ROUTE);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                for n in 0..75 {
                    let answer = client.get("/", "");
                    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "request {n}");
                }
            });
        }
    });
    // A body cannot be sent twice: it needs a connection that is known to be alive.
    let mut client = proxy.connect();
    for _ in 0..5 {
        until("the closed connection is noticed", || {
            (proxy.metric("pointsman_upstream_connections{upstream=\"main\"}") == 0.0).then_some(())
        });
        assert_eq!(client.post("/", "", b"body").status, 200);
    }
}

/// Answers the first request of a connection, reads the second one and closes.
fn fickle() -> Upstream {
    Upstream::script(|mut conn| {
        if conn.request().is_ok() && conn.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok") {
            drop(conn.request());
        }
    })
}

#[test]
fn only_safe_requests_are_repeated_after_they_were_sent() {
    let upstream = fickle();
    let proxy = Proxy::to(&upstream);
    let mut client = proxy.connect();
    assert_eq!(client.get("/", "").status, 200);
    assert_eq!(client.get("/", "").status, 200, "a GET is asked again on a connection of its own");
    assert_eq!(proxy.metric("pointsman_upstream_retries_total{outcome=\"retried\",upstream=\"main\"}"), 1.0);
    let answer = client.post("/pay", "", b"once");
    assert_eq!(answer.status, 502);
    assert!(answer.field("proxy-status").unwrap().contains("connection_terminated"), "{answer:?}");
    let paid = upstream.got().iter().filter(|got| got.target == "/pay").count();
    assert_eq!(paid, 1, "a POST is sent once");
}

#[test]
fn more_requests_than_the_limit_are_refused_at_once() {
    for (limit, label) in [("requests", "requests"), ("connections", "connections")] {
        let holding = holding("a");
        let proxy = Proxy::with("main", &holding.upstream).start(&with(&format!("limits = {{ {limit} = 2 }}"), ""));
        let mut clients: Vec<Raw> = (0..2).map(|_| proxy.connect()).collect();
        for client in &mut clients {
            client.send("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n");
            holding.held.recv().unwrap();
        }
        let mut third = proxy.connect();
        let answer = third.get("/", "");
        assert_eq!((answer.status, answer.field("retry-after")), (503, Some("1")), "{limit}");
        let overflow = format!("pointsman_upstream_overflow_total{{limit=\"{label}\",upstream=\"main\"}}");
        assert_eq!(proxy.metric(&overflow), 1.0);
        assert_eq!(proxy.metric("pointsman_upstream_in_flight{upstream=\"main\"}"), 2.0);
        holding.release.send(()).unwrap();
        holding.release.send(()).unwrap();
        for client in &mut clients {
            assert_eq!(client.read_response().status, 200);
        }
        assert_eq!(third.get("/", "").status, 200, "there is room again: {limit}");
        assert_eq!(holding.upstream.accepted(), 2);
    }
}

#[test]
fn a_refused_connect_is_502_and_a_connect_timeout_504() {
    let gone = RefusingAddress::new();
    let proxy = Proxy::workers(1).place("main", gone.address()).start(ONE_ROUTE);
    let answer = proxy.connect().get("/", "");
    assert_eq!(answer.status, 502);
    assert!(answer.field("proxy-status").unwrap().contains("connection_refused"), "{answer:?}");
    assert_eq!(proxy.logged(1)[0]["termination"], "UC");
    assert_eq!(proxy.metric("pointsman_upstream_connect_failures_total{upstream=\"main\"}"), 1.0);

    let full = FullBacklog::new();
    let proxy = Proxy::workers(1).place("main", full.address()).start(&with("connect_timeout = \"100ms\"", ""));
    let answer = proxy.connect().get("/", "");
    assert_eq!(answer.status, 504);
    assert!(answer.field("proxy-status").unwrap().contains("connection_timeout"), "{answer:?}");
    assert_eq!(proxy.logged(1)[0]["detail"], "connect_timeout");
}

#[test]
fn an_upstream_that_does_not_answer_in_time_is_504_and_closed() {
    for (timeout, least) in [("80ms", 80), ("2s", 2000)] {
        let (gone, went) = channel();
        let gone = Mutex::new(gone);
        let upstream = Upstream::script(move |mut conn| {
            if conn.request().is_ok() {
                conn.wait();
                gone.lock().unwrap().send(()).unwrap();
            }
        });
        let route = format!("timeout = {{ request = \"{timeout}\" }}");
        let proxy = Proxy::with("main", &upstream).start(&with("", &route));
        let mut client = proxy.connect();
        let began = Clock.now();
        let answer = client.get("/", "");
        let took = Clock.now().duration_since(began).as_millis();
        assert_eq!(answer.status, 504);
        assert!(answer.field("proxy-status").unwrap().contains("http_response_timeout"), "{answer:?}");
        assert!((least..least + 10_000).contains(&took), "{took} ms for {timeout}");
        went.recv_timeout(PATIENCE).expect("the upstream's request is cancelled");
        let line = &proxy.logged(1)[0];
        assert_eq!((line["termination"].as_str(), line["detail"].as_str()), (Some("UH"), Some("response_timeout")));
        drop(client);
        proxy.settles();
    }
}

#[test]
fn a_stalled_response_is_cut_and_never_complete() {
    for framing in ["content-length: 100\r\n\r\nhalf", "transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"] {
        let upstream = Upstream::script(move |mut conn| {
            if conn.request().is_ok() {
                conn.send(format!("HTTP/1.1 200 OK\r\n{framing}"));
                conn.wait();
            }
        });
        let proxy = Proxy::with("main", &upstream).start(&with("", "timeout = { idle = \"200ms\" }"));
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let broken = client.try_response().expect_err("half an answer");
        assert!(matches!(broken, Broken::Closed | Broken::Reset), "{broken:?}");
        assert_eq!(client.wire.partial, b"half", "the received bytes were passed on");
        let line = &proxy.logged(1)[0];
        assert_eq!((line["termination"].as_str(), line["detail"].as_str()), (Some("UB"), Some("idle_timeout")));
    }
}

/// A proxy in front of endpoints `a`, `b`, `c` with these weights.
fn balanced(balance: &str, all: &[(&Upstream, u32)]) -> Proxy {
    let mut setup = Proxy::workers(1);
    for (upstream, _) in all {
        let at = upstream.address();
        setup = setup.place(&format!("{at}"), at);
    }
    let list = |(upstream, weight): &(&Upstream, u32)| {
        format!("{{ url = \"http://{}\", weight = {weight} }}", upstream.address())
    };
    setup.start(&spread(balance, &all.iter().map(list).collect::<Vec<_>>().join(", ")))
}

fn spread(balance: &str, endpoints: &str) -> String {
    format!(
        "[identity]\nuser = [\"cookie:uid\"]\n[upstream.main]\nendpoints = [{endpoints}]\nbalance = \"{balance}\"\n\
         [[route]]\nname = \"all\"\nmatch = {{ path = \"/*\" }}\nstable = \"main\"\nsticky = [\"user\"]\n"
    )
}

#[test]
fn round_robin_is_exact_by_weight() {
    let [a, b, c] = ["a", "b", "c"].map(holding);
    let proxy = balanced("round_robin", &[(&a.upstream, 1), (&b.upstream, 2), (&c.upstream, 3)]);
    let mut client = proxy.connect();
    for round in 1..=10 {
        let mut row = String::new();
        (0..6).for_each(|_| row.push_str(&client.get("/", "").text()));
        let counts = ["a", "b", "c"].map(|name| row.matches(name).count());
        assert_eq!(counts, [1, 2, 3], "round {round}: {row}");
        assert!(!row.contains("ccc"), "the turns of the heavy one are spread: {row}");
    }
}

#[test]
fn least_request_follows_weights_and_avoids_busy_endpoints() {
    let [a, b] = ["a", "b"].map(holding);
    let proxy = balanced("least_request", &[(&a.upstream, 1), (&b.upstream, 3)]);
    let mut client = proxy.connect();
    let of_a = (0..800).filter(|_| client.get("/", "").text() == "a").count();
    assert!((140..=260).contains(&of_a), "{of_a} of 800 at weight 1 of 4");

    let [a, b] = ["a", "b"].map(holding);
    let proxy = balanced("least_request", &[(&a.upstream, 1), (&b.upstream, 1)]);
    let mut holders = Vec::new();
    while a.upstream.requests() < 6 {
        let mut holder = proxy.connect();
        let before = (a.upstream.requests(), b.upstream.requests());
        holder.send("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n");
        let at_a = until("it arrives", || {
            let now = (a.upstream.requests(), b.upstream.requests());
            (now != before).then_some(now.0 != before.0)
        });
        if at_a {
            holders.push(holder);
        } else {
            b.release.send(()).unwrap();
            assert_eq!(holder.read_response().text(), "b");
        }
    }
    let mut client = proxy.connect();
    let of_a = (0..200).filter(|_| client.get("/", "").text() == "a").count();
    // A request goes to the busy one only where five draws are it: 1 of 32.
    assert!(of_a <= 25, "{of_a} of 200 went to the busy one");
}

#[test]
fn hash_is_sticky_and_moves_only_the_keys_of_a_removed_endpoint() {
    let [a, b, c] = ["a", "b", "c"].map(holding);
    let proxy = balanced("hash", &[(&a.upstream, 1), (&b.upstream, 1), (&c.upstream, 1)]);
    let mut client = proxy.connect();
    let mut of = |key: u32| client.get("/", &format!("Cookie: uid=u{key}\r\n")).text();
    let first: Vec<String> = (0..300).map(&mut of).collect();
    assert_eq!((0..300).map(&mut of).collect::<Vec<_>>(), first, "a key stays at its endpoint");
    for name in ["a", "b", "c"] {
        let share = first.iter().filter(|owner| *owner == name).count();
        assert!((60..=140).contains(&share), "{share} of 300 keys at {name}");
    }
    let two = [&a, &b].map(|one| format!("\"http://{}\"", one.upstream.address())).join(", ");
    proxy.rewrite(&spread("hash", &two));
    for (key, owner) in (0..300).zip(&first) {
        let now = of(key);
        assert!(now != "c" && (owner == "c" || now == *owner), "u{key} moved from {owner} to {now}");
    }
}

/// An upstream that reports when a connection is cut after `before` was sent.
fn cuttable(before: &'static str) -> (Upstream, Receiver<&'static str>) {
    let (sender, events) = channel();
    let sender = Mutex::new(sender);
    let upstream = Upstream::script(move |mut conn| {
        let sender = sender.lock().unwrap().clone();
        if conn.request().is_ok() {
            conn.send(before);
            sender.send("asked").unwrap();
            conn.wait();
            sender.send("cut").unwrap();
        }
    });
    (upstream, events)
}

#[test]
fn a_client_that_closes_cancels_its_request() {
    for (before, stage) in [("", "CH"), ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", "CB")] {
        let (upstream, events) = cuttable(before);
        let proxy = Proxy::to(&upstream);
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(events.recv(), Ok("asked"));
        if !before.is_empty() {
            client.head().unwrap();
        }
        client.reset();
        assert_eq!(events.recv_timeout(PATIENCE), Ok("cut"), "{stage}");
        proxy.settles();
        let line = &proxy.logged(1)[0];
        assert_eq!((line["termination"].as_str(), line["detail"].as_str()), (Some(stage), Some("client_gone")));
        until("its connection is no longer counted", || {
            (proxy.metric("pointsman_upstream_connections{upstream=\"main\"}") == 0.0).then_some(())
        });
    }
}

const BODY_BYTES: usize = 40 << 20;
/// The most that sockets and the proxy's buffers take together; far less than the body.
const IN_BETWEEN_MAX: usize = 24 << 20;

/// Writes until the peer takes no more for a while, and returns how much that was.
fn fill(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(700))).unwrap();
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(n) => sent += n,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) => panic!("{error}"),
        }
    }
    sent
}

#[test]
fn a_slow_upstream_slows_the_sender() {
    let (go, gone) = channel();
    let gone = Mutex::new(gone);
    let upstream = Upstream::script(move |mut conn: Conn| {
        let mut got = conn.head().unwrap();
        gone.lock().unwrap().recv().unwrap();
        (got.body, got.trailers) = conn.wire.framed(&got.headers).unwrap().unwrap();
        let digest = hash(&got.body);
        conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{digest}", digest.len()));
    });
    // The upstream has ample time to read and hash the body.
    let proxy = Proxy::with("main", &upstream).start(&with("", "timeout = { request = \"5m\" }"));
    let body: Vec<u8> = (0..BODY_BYTES).map(|n| n.to_le_bytes()[n % 3]).collect();
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    write!(stream, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {BODY_BYTES}\r\n\r\n").unwrap();
    let sent = fill(&mut stream, &body);
    assert!(sent < IN_BETWEEN_MAX, "{sent} bytes were taken while the upstream read none");
    go.send(()).unwrap();
    stream.set_write_timeout(None).unwrap();
    stream.write_all(&body[sent..]).unwrap();
    let mut client = Raw { wire: Wire::new(stream) };
    assert_eq!(client.read_response().text(), hash(&body), "every byte arrived");
}

#[test]
fn a_slow_client_slows_the_upstream() {
    let (sender, progress) = channel();
    let sender = Mutex::new(sender);
    let upstream = Upstream::script(move |mut conn: Conn| {
        conn.head().unwrap();
        conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY_BYTES}\r\n\r\n"));
        let piece = vec![b'x'; 1 << 16];
        for sent in (0..BODY_BYTES).step_by(piece.len()) {
            if !conn.send(&piece) {
                return;
            }
            sender.lock().unwrap().send(sent + piece.len()).unwrap();
        }
    });
    let proxy = Proxy::to(&upstream);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut sent = 0;
    while let Ok(now) = progress.recv_timeout(Duration::from_millis(700)) {
        sent = now;
    }
    assert!(sent < IN_BETWEEN_MAX, "{sent} bytes were taken while the client read none");
    assert_eq!(client.read_response().body.len(), BODY_BYTES);
}

#[test]
fn bodies_beyond_the_limit_are_413() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).start(&with("", "limits = { body = \"1KiB\" }"));
    let mut client = proxy.connect();
    assert_eq!(client.post("/", "", &[b'x'; 1024]).json()["body_bytes"], 1024);
    let chunk = |bytes: usize| format!("{bytes:x}\r\n{}\r\n", "x".repeat(bytes));
    let chunked = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(format!("{chunked}{}{}0\r\n\r\n", chunk(1000), chunk(24)));
    assert_eq!(client.read_response().json()["body_bytes"], 1024);
    let before = echo.requests();
    let answer = client.offer("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1025\r\n\r\n").read_response();
    assert_eq!((answer.status, answer.closes()), (413, true));
    client.ends();
    let mut client = proxy.connect();
    client.send(format!("{chunked}{}{}0\r\n\r\n", chunk(1000), chunk(25)));
    let answer = client.read_response();
    assert_eq!((answer.status, answer.closes()), (413, true));
    client.ends();
    assert_eq!(echo.requests(), before, "no upstream took it as a complete request");
    assert_eq!(proxy.refused("body_too_large"), 2.0);
}

/// Names with the answers of the test.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<BTreeMap<String, Vec<IpAddr>>>>);

impl Book {
    fn say(&self, name: &str, addresses: &[Ipv4Addr]) {
        let addresses = addresses.iter().copied().map(IpAddr::V4).collect();
        self.0.lock().unwrap().insert(name.to_owned(), addresses);
    }

    fn forget(&self) {
        self.0.lock().unwrap().clear();
    }
}

impl Resolve for Book {
    fn resolve(&self, name: &str) -> Pin<Box<dyn Future<Output = LookupResult> + Send>> {
        let known = self.0.lock().unwrap().get(name).cloned();
        Box::pin(async move { Addresses::new(known.ok_or("no such name")?, Duration::from_secs(1)) })
    }
}

#[test]
fn names_are_followed_and_the_last_good_addresses_are_kept() {
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = first.local_addr().unwrap().port();
    let second = TcpListener::bind(("127.0.0.2", port)).unwrap();
    let (one, two) = (Upstream::echo_on(first).named("one"), Upstream::echo_on(second).named("two"));
    let book = Book::default();
    let resolver = Arc::new(book.clone());
    let setup = Proxy::workers(1).place("main", format!("svc.internal:{port}")).tuned(move |options| {
        options.resolver = Arc::clone(&resolver) as Arc<dyn Resolve>;
    });
    let proxy = setup.start(ONE_ROUTE);
    let mut client = proxy.connect();
    assert_eq!(client.get("/", "").status, 503, "the name has no address yet");
    book.say("svc.internal", &[Ipv4Addr::LOCALHOST]);
    until("the name is found", || (client.get("/", "").status == 200).then_some(()));
    assert_eq!(client.get("/", "").json()["name"], "one");
    book.say("svc.internal", &[Ipv4Addr::new(127, 0, 0, 2)]);
    until("the name's new address is used", || (client.get("/", "").json()["name"] == "two").then_some(()));
    book.forget();
    let failed = "pointsman_dns_resolutions_total{name=\"svc.internal\",outcome=\"failed\"}";
    let before = proxy.metric(failed);
    until("lookups fail", || (proxy.metric(failed) >= before + 2.0).then_some(()));
    assert_eq!(client.get("/", "").json()["name"], "two", "the last good answer is kept");
    assert_eq!(proxy.status()["names"]["svc.internal"]["error"], "no such name");
    book.say("svc.internal", &[Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)]);
    until("both addresses are used", || {
        let names = [(); 8].map(|()| client.get("/", "").json()["name"].to_string());
        (names.iter().any(|name| name.contains("one")) && names.iter().any(|name| name.contains("two"))).then_some(())
    });
    assert_eq!((one.accepted(), two.accepted()), (2, 1), "connections are kept while an address stays");
}
