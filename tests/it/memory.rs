//! Memory after thousands of hostile requests and responses: a leak in one of them would show.

use std::sync::Mutex;

use crate::harness::frames::{self, Frames};
use crate::harness::{ONE_ROUTE, Proxy, Raw, Upstream, until};

/// The growth that is allowed: buffers that are kept once, not for each request.
const GROWTH_MAX: f64 = 8e6;

#[test]
fn hostile_requests_leave_nothing_behind() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo)
        .limits("connection_rate_per_ip = 1000000")
        .start_alone(&format!("[access_log]\nsink = \"off\"\n{ONE_ROUTE}"));
    let head = "POST / HTTP/1.1\r\nHost: test\r\n";
    let cases = [
        format!("{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n1;{}\r\n", "e".repeat(20_000)),
        format!("{head}{}\r\n", "X: y\r\n".repeat(101)),
        format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "a".repeat(9_000)),
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
    ];
    let round = |count: usize| {
        for i in 0..count {
            let mut client = Raw::connect(proxy.address);
            client.offer(&cases[i % cases.len()]);
            let answer =
                client.try_response().unwrap_or_else(|broken| panic!("{broken:?} to {}", cases[i % cases.len()]));
            // On a busy machine the upstream may be late for a head that was forwarded before its body broke a rule.
            assert!((400..600).contains(&answer.status), "{answer:?} to case {}", i % cases.len());
        }
    };
    round(1_000);
    let before = proxy.metric("process_resident_memory_bytes");
    round(10_000);
    let grown = proxy.metric("process_resident_memory_bytes") - before;
    assert!(grown < GROWTH_MAX, "{grown} bytes more after 10 000 hostile requests");
    until("requests end", || (proxy.metric("pointsman_requests_in_flight") == 0.0).then_some(()));
}

#[test]
fn hostile_answers_leave_nothing_behind() {
    let upstream = Upstream::script(|mut conn| {
        if conn.request().is_ok() {
            match conn.number % 3 {
                0 => drop(conn.send("garbage\r\n\r\n")),
                1 => drop(conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n")),
                _ => conn.reset(),
            }
        }
    });
    let quiet = format!("[access_log]\nsink = \"off\"\n{ONE_ROUTE}");
    let proxy = Proxy::with("main", &upstream).start_alone(&quiet);
    let mut client = Raw::connect(proxy.address);
    let mut round = |count: usize| {
        for _ in 0..count {
            assert_eq!(client.get("/", "").status, 502);
        }
    };
    round(1_000);
    let before = proxy.metric("process_resident_memory_bytes");
    round(10_000);
    let grown = proxy.metric("process_resident_memory_bytes") - before;
    assert!(grown < GROWTH_MAX, "{grown} bytes more after 10 000 hostile answers");
    let series = "pointsman_upstream_connections{upstream=\"main\"}";
    until("the upstream's connections end", || (proxy.metric(series) == 0.0).then_some(()));
}

#[test]
fn clients_that_go_away_leave_nothing_behind() {
    let endless = Upstream::script(|mut conn| {
        if conn.head().is_ok() {
            conn.send("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n");
            let piece = vec![b'x'; 1 << 16];
            while conn.send(&piece) {}
        }
    });
    let quiet = format!("[access_log]\nsink = \"off\"\n{ONE_ROUTE}");
    let proxy = Proxy::with("main", &endless).limits("connection_rate_per_ip = 1000000").start_alone(&quiet);
    let round = |count: usize| {
        for i in 0..count {
            let mut client = Raw::connect(proxy.address);
            client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
            assert_eq!(client.head().map(|(_, status, _)| status), Ok(200));
            if i % 2 == 0 {
                client.reset();
            }
        }
    };
    let ended = || {
        let ended = || proxy.metric("pointsman_requests_in_flight") == 0.0;
        until("requests end", || ended().then_some(()));
    };
    round(200);
    ended();
    let before = proxy.metric("process_resident_memory_bytes");
    round(1_000);
    ended();
    let grown = proxy.metric("process_resident_memory_bytes") - before;
    assert!(grown < GROWTH_MAX, "{grown} bytes more after 1 000 clients that went away");
    until("the upstream's connections end", || (endless.open() == 0).then_some(()));
}

#[test]
fn idle_connections_keep_no_buffers() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo)
        .limits("connection_rate_per_ip = 1000000")
        .start_alone(&format!("[access_log]\nsink = \"off\"\n{ONE_ROUTE}"));
    let open = |count: usize| {
        let asked = |_| {
            let mut client = Raw::connect(proxy.address);
            assert_eq!(client.get("/", "").status, 200);
            client
        };
        (0..count).map(asked).collect::<Vec<Raw>>()
    };
    drop(open(100));
    until("connections end", || (proxy.metric("pointsman_connections") == 0.0).then_some(()));
    let before = proxy.metric("process_resident_memory_bytes");
    let idle = open(1_000);
    until("a thousand idle connections use less than their read buffers", || {
        (proxy.metric("process_resident_memory_bytes") - before < GROWTH_MAX).then_some(())
    });
    drop(idle);
}

#[test]
fn buffered_uploads_are_counted_before_they_are_buffered() {
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let ended = Mutex::new(ended);
    let mute = Upstream::script(move |mut conn| {
        if conn.head().is_ok() {
            // The rest is not read.
            let _ = ended.lock().unwrap().recv();
        }
    });
    let _end = end;
    let quiet = format!("[access_log]\nsink = \"off\"\n{ONE_ROUTE}");
    let proxy = Proxy::with("main", &mute).start_alone(&quiet);
    let post = frames::block(&[(":method", "POST"), (":scheme", "http"), (":authority", "test"), (":path", "/")]);
    let figures = || (proxy.metric("process_resident_memory_bytes"), proxy.metric("pointsman_held_bytes"));
    let (resident, held) = figures();
    let fill = || {
        let mut client = Frames::connect(proxy.address, &[]);
        let (mut stream, mut window) = (0, 65_535);
        while stream == 0 || window == 65_535 {
            let frame = client.next().unwrap();
            let number = |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
            match frame.kind {
                frames::SETTINGS => {
                    let at = frame.payload.chunks(6).position(|setting| setting[1] == 4);
                    stream = at.map_or(stream, |at| number(6 * at + 2));
                }
                frames::WINDOW_UPDATE => window += number(0),
                _ => {}
            }
        }
        let mut id = 1;
        while window > 0 && id < 200 {
            assert!(client.headers(id, 0, &post));
            let mut left = stream.min(window);
            window -= left;
            while left > 0 {
                let length = left.min(16_384);
                assert!(client.send(frames::DATA, 0, id, &vec![0; length as usize]));
                left -= length;
            }
            id += 2;
        }
        // Earlier bytes have been read when this is answered.
        assert!(client.send(frames::PING, 0, 0, &[0; 8]));
        while client.next().unwrap().kind != frames::PING {}
        client
    };
    let clients: Vec<Frames> = (0..4).map(|_| fill()).collect();
    until("buffered bytes have been counted", || {
        let (now, counted) = figures();
        let (grown, counted) = (now - resident, counted - held);
        // Pieces of a read keep blocks that are larger than the pieces.
        (grown > GROWTH_MAX && counted > 1e6).then_some(())?;
        assert!(grown < 1.4 * counted + GROWTH_MAX, "{grown} bytes are buffered, {counted} are counted");
        Some(())
    });
    drop(clients);
    until("all memory is released", || (proxy.metric("pointsman_held_bytes") == held).then_some(()));
}
