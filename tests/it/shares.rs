//! One client address against all others: its share of the requests and of resets, and what stalled readers take from
//! other clients.

use std::any::Any;
use std::net::SocketAddr;

use crate::harness::frames::{self, END_STREAM, Fate, Frames, HEADERS, INITIAL_WINDOW_SIZE};
use crate::harness::{ONE_ROUTE, Proxy, Raw, Upstream, Wire, connect_from, until};

/// More than the system's buffers of a connection take.
const BIG_BYTES: usize = 32 << 20;

/// A client at 127.0.0.`last` that sends frames.
fn client(last: u8, address: SocketAddr, settings: &[(u16, u32)]) -> Frames {
    Frames::over(connect_from(last, address), settings)
}

/// A client at 127.0.0.`last` with HTTP/1.1.
fn plain(last: u8, address: SocketAddr) -> Raw {
    Raw { wire: Wire::new(connect_from(last, address)) }
}

/// An upstream that never answers.
fn mute() -> Upstream {
    Upstream::script(|mut conn| {
        if conn.head().is_ok() {
            conn.wait();
        }
    })
}

/// An upstream whose responses are large, except for `/small`.
fn large() -> Upstream {
    Upstream::script(|mut conn| {
        let piece = vec![b'x'; 1 << 16];
        while let Ok(head) = conn.head() {
            if head.target == "/small" {
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc");
                continue;
            }
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {BIG_BYTES}\r\n\r\n"));
            if !(0..BIG_BYTES / piece.len()).all(|_| conn.send(&piece)) {
                return;
            }
        }
    })
}

fn asks(client: &mut Frames, stream: u32, path: &str) {
    assert!(client.headers(stream, END_STREAM, &frames::get("test", path)));
}

/// Waits for the head of a response and returns whether its status is 200.
fn is_answered(client: &mut Frames, stream: u32) -> bool {
    loop {
        let frame = client.next().expect("the connection lasts");
        assert!(frame.kind != frames::RST_STREAM || frame.stream != stream, "the stream was reset");
        if frame.kind == HEADERS && frame.stream == stream {
            // `:status: 200` is one entry of the static table (RFC 7541, appendix A).
            return frame.payload.first() == Some(&0x88);
        }
    }
}

#[test]
fn an_address_gets_a_quarter_while_more_than_half_of_the_slots_are_in_use() {
    let mute = mute();
    let trust = format!("[identity]\ntrusted_proxies = [\"127.0.0.9/32\"]\n{ONE_ROUTE}");
    let proxy = Proxy::with("main", &mute).limits("requests = 20").start(&trust);
    let mut clients = Vec::new();
    let mut take = |last: u8, count: u32, before: u64| {
        let mut client = client(last, proxy.address(), &[]);
        for at in 0..count {
            asks(&mut client, 2 * at + 1, "/");
        }
        until("they are under way", || (mute.accepted() == before + u64::from(count)).then_some(()));
        clients.push(client);
        clients.len() - 1
    };
    let greedy = take(1, 10, 0);
    let modest = take(2, 5, 10);
    for (at, stream) in [(greedy, 21), (modest, 11)] {
        asks(&mut clients[at], stream, "/");
        assert!(matches!(clients[at].fate(stream), Fate::Answered(503, _)), "stream {stream}");
    }
    assert_eq!((proxy.refused("requests_per_ip"), proxy.refused("requests")), (2.0, 0.0));
    let mut exempt = client(9, proxy.address(), &[]);
    for at in 0..6 {
        asks(&mut exempt, 2 * at + 1, "/");
    }
    assert!(matches!(exempt.fate(11), Fate::Answered(503, _)), "all are taken");
    assert_eq!((proxy.refused("requests_per_ip"), proxy.refused("requests")), (2.0, 1.0));
    until("the others are under way", || (mute.accepted() == 20).then_some(()));
}

#[test]
fn a_response_that_waits_for_its_reader_uses_no_slot() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).limits("requests = 4").start(ONE_ROUTE);
    let mut deaf = Frames::connect(proxy.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    for stream in (1..80).step_by(2) {
        asks(&mut deaf, stream, "/");
        assert!(is_answered(&mut deaf, stream), "stream {stream}");
    }
    assert_eq!(proxy.metric("pointsman_requests_in_flight"), 40.0, "they wait for their reader");
    let mut other = proxy.connect();
    for _ in 0..5 {
        assert_eq!(other.get("/", "").status, 200);
    }
    assert_eq!(proxy.refused("requests"), 0.0);
    // A slow reader gets the rest when it reads.
    let window = 1_000_u32.to_be_bytes();
    assert!(deaf.send(frames::WINDOW_UPDATE, 0, 5, &window));
    loop {
        let frame = deaf.next().unwrap();
        if frame.kind == frames::DATA && frame.stream == 5 && frame.flags & END_STREAM != 0 {
            break;
        }
    }
    assert_eq!(other.get("/", "").status, 200);
    drop((deaf, other));
    proxy.settles();
}

#[test]
fn a_connection_with_a_stalled_reader_uses_no_slot() {
    let large = large();
    let proxy = Proxy::with("main", &large).limits("requests = 2").start(ONE_ROUTE);
    let deaf: Vec<Raw> = (0..8)
        .map(|_| {
            until("there is a free slot", || {
                let mut client = proxy.connect();
                client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
                (client.head().unwrap().1 == 200).then_some(client)
            })
        })
        .collect();
    assert_eq!(proxy.metric("pointsman_requests_in_flight"), 8.0);
    drop(deaf);
    proxy.settles();
}

#[test]
fn an_address_gets_a_quarter_across_workers() {
    let mute = mute();
    let proxy = Proxy::with("main", &mute).workers(4).limits("requests = 64").start(ONE_ROUTE);
    let mut clients: Vec<Frames> = (0..8).map(|_| client(1, proxy.address(), &[])).collect();
    let mut refused = 0.0;
    for at in 0..8_u32 {
        for client in &mut clients {
            asks(client, 2 * at + 1, "/");
        }
        until("each is under way or refused", || {
            refused = proxy.refused("requests_per_ip");
            (mute.accepted() as f64 + refused == f64::from(8 * (at + 1))).then_some(())
        });
    }
    // Each of four workers may be late by one.
    assert!((32..=36).contains(&mute.accepted()) && refused >= 28.0, "{} and {refused}", mute.accepted());
    let mut others: Vec<Frames> = (2..4).map(|last| client(last, proxy.address(), &[])).collect();
    let before = mute.accepted();
    for other in &mut others {
        for at in 0..12 {
            asks(other, 2 * at + 1, "/");
        }
    }
    until("others have their share", || (mute.accepted() == before + 24).then_some(()));
}

/// A reader at 127.0.0.`last` that reads only the head of a large response, over HTTP/2.
fn deaf_stream(last: u8, address: SocketAddr) -> Box<dyn Any> {
    let mut one = client(last, address, &[(INITIAL_WINDOW_SIZE, 0)]);
    asks(&mut one, 1, "/");
    assert!(is_answered(&mut one, 1));
    Box::new(one)
}

/// The same over HTTP/1.1.
fn deaf_connection(last: u8, address: SocketAddr) -> Box<dyn Any> {
    let mut one = plain(last, address);
    one.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(one.head().unwrap().1, 200);
    Box::new(one)
}

#[test]
fn stalled_readers_are_shed_when_upstream_connections_run_out() {
    for (protocol, deaf) in [("h2", deaf_stream as fn(u8, SocketAddr) -> Box<dyn Any>), ("h1", deaf_connection)] {
        let large = large();
        let few = ONE_ROUTE.replace("[[route]]", "limits = { connections = 8 }\n[[route]]");
        let proxy = Proxy::with("main", &large).start(&few);
        // From many addresses: together they take all connections.
        let all: Vec<_> = (1..=8).map(|last| deaf(last, proxy.address())).collect();
        until("other clients are served", || {
            (plain(100, proxy.address()).get("/small", "").status == 200).then_some(())
        });
        let shed = proxy.refused("reader_shed");
        assert!((1.0..=8.0).contains(&shed), "{shed} are shed");
        if protocol == "h2" {
            until("the log names the reason", || {
                proxy.log_lines().iter().any(|line| line["detail"] == "reader_shed").then_some(())
            });
        }
        drop(all);
        proxy.settles();
    }
}

#[test]
fn resets_of_one_address_are_limited_across_its_connections() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).limits("h2_resets_per_ip = 20").start(ONE_ROUTE);
    let storm = |last: u8| {
        let mut client = client(last, proxy.address(), &[]);
        for at in 0..8 {
            let block = frames::get("test", "/");
            if !client.headers(2 * at + 1, END_STREAM, &block)
                || !client.send(frames::RST_STREAM, 0, 2 * at + 1, &[0; 4])
            {
                break;
            }
        }
        client
    };
    let refused = || proxy.refused("h2_resets_per_ip");
    until("the address may reset no more streams", || {
        storm(1);
        (refused() > 0.0).then_some(())
    });
    let before = refused();
    until("a new connection does not help", || {
        // Tokens come back, twenty a second.
        storm(1);
        (refused() > before + 2.0).then_some(())
    });
    assert_eq!(plain(2, proxy.address()).get("/", "").status, 200, "others are served");
}
