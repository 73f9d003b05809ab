//! Pipelines of HTTP/1.1: every request is answered once and in order, in whatever pieces it comes, whichever upstream it
//! goes to, and whatever ends the connection.

use std::io::Write as _;
use std::time::Duration;

use pointsman::app::Stopped;

use crate::harness::{Broken, ONE_ROUTE, Proxy, Raw, Upstream, until};
use crate::upgrade::{ASK, ROUTES, switcher};

/// How many requests a long pipeline has.
const MANY: usize = 1_000;

/// Two variants, one of them slow.
const SPLIT: &str = r#"
[upstream.fast]
endpoints = ["http://{fast}"]
[upstream.slow]
endpoints = ["http://{slow}"]
[[route]]
name = "fixed"
match = { path = "/fixed/*" }
respond = { status = 403, body = "fixed" }
[[route]]
name = "all"
match = { path = "/*" }
stable = "fast"
[[route.variant]]
name = "canary"
upstream = "slow"
weight = 50
"#;

/// The request with this number: all framings, and routes with and without an upstream.
fn request(number: usize) -> (&'static str, String) {
    let text = match number % 5 {
        0 => format!("GET /{number} HTTP/1.1\r\nHost: test\r\n\r\n"),
        1 => format!("POST /{number} HTTP/1.1\r\nHost: test\r\nContent-Length: 8\r\n\r\nbody{number:04}"),
        2 => format!(
            "PUT /{number} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n4;a=b\r\nbody\r\n4\r\n{number:04}\r\n0\r\nX-T: 1\r\n\r\n"
        ),
        3 => format!("HEAD /{number} HTTP/1.1\r\nHost: test\r\n\r\n"),
        _ => format!("GET /fixed/{number} HTTP/1.1\r\nHost: test\r\n\r\n"),
    };
    (if number % 5 == 3 { "HEAD" } else { "GET" }, text)
}

/// So many requests without a body.
fn gets(count: usize) -> String {
    let all: Vec<String> = (0..count).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: test\r\n\r\n")).collect();
    all.concat()
}

#[test]
fn a_thousand_requests_of_one_write_are_answered_once_and_in_order() {
    let (fast, slow) = (Upstream::echo().named("fast"), Upstream::echo().named("slow").delay(Duration::from_millis(1)));
    let proxy = Proxy::with("fast", &fast).with("slow", &slow).start(SPLIT);
    let mut client = proxy.connect();
    let all: String = (0..MANY).map(|number| request(number).1).collect();
    let mut writer = client.wire.writer();
    std::thread::scope(|scope| {
        scope.spawn(move || writer.write_all(all.as_bytes()).unwrap());
        for number in 0..MANY {
            let method = request(number).0;
            let answer = client.read_response_to(method);
            match number % 5 {
                3 => assert_eq!(answer.status, 200),
                4 => assert_eq!((answer.status, answer.text().as_str()), (403, "fixed"), "{number}"),
                kind => {
                    let got = answer.json();
                    assert_eq!(got["target"], format!("/{number}"));
                    let body = if kind == 0 { String::new() } else { format!("body{number:04}") };
                    assert_eq!(got["body"], body, "{number}");
                }
            }
        }
    });
    assert!(!client.wire.has_bytes(), "more responses than requests");
    drop(client);
    proxy.settles();
    let mut targets: Vec<String> = [&fast, &slow].iter().flat_map(|echo| echo.got()).map(|got| got.target).collect();
    targets.sort_by_key(|target| target[1..].parse::<usize>().unwrap());
    let expected: Vec<String> = (0..MANY).filter(|number| number % 5 != 4).map(|number| format!("/{number}")).collect();
    assert_eq!(targets, expected, "each request reached an upstream once");
    assert!(fast.requests() > 100 && slow.requests() > 100, "both variants have a share");
    let logged = proxy.logged(MANY);
    assert!(logged.iter().all(|line| line["termination"] == "--"));
    assert_eq!((fast.accepted(), slow.accepted()), (1, 1), "the connections are kept");
}

#[test]
fn a_long_pipeline_that_ends_with_a_half_close_is_answered_whole() {
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let mut client = proxy.connect();
    let all = gets(MANY);
    let mut writer = client.wire.writer();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(all.as_bytes()).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        for number in 0..MANY {
            assert_eq!(client.read_response().json()["target"], format!("/{number}"));
        }
    });
    client.ends();
    proxy.settles();
    assert_eq!(echo.requests(), MANY as u64);
}

#[test]
fn a_pipeline_is_read_alike_wherever_it_is_cut() {
    const PIPELINE: &str = "POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n\
        3;x=\"y\"\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: t\r\n\r\n\
        GET /b?c=d HTTP/1.1\r\nHost: test\r\nX: 1\r\n\r\n\
        PUT /e HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nGET \
        \r\nGET /f HTTP/1.1\r\nHost: test\r\n\r\n";
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    let (mut bystander, mut client) = (proxy.connect(), proxy.connect());
    let mut sent = 0;
    for cut in 1..PIPELINE.len() {
        client.send(&PIPELINE[..cut]);
        // The one worker takes what has arrived before it answers the bystander.
        assert_eq!(bystander.get("/between", "").status, 200);
        client.send(&PIPELINE[cut..]);
        for (target, body) in [("/a", "abcde"), ("/b?c=d", ""), ("/e", "GET "), ("/f", "")] {
            let got = client.read_response().json();
            assert_eq!((got["target"].as_str(), got["body"].as_str()), (Some(target), Some(body)), "cut at {cut}");
            if target == "/a" {
                assert_eq!(got["trailers"][0][1], "t", "cut at {cut}");
            }
        }
        sent += 5;
    }
    drop((client, bystander));
    proxy.settles();
    assert_eq!(echo.requests(), sent);
}

#[test]
fn nothing_behind_the_last_request_of_a_connection_is_read() {
    const NEXT: &str = "GET /next HTTP/1.1\r\nHost: test\r\n\r\n";
    let echo = Upstream::echo();
    let proxy = Proxy::to(&echo);
    for (at, (last, status)) in [
        ("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, CLOSE\r\n\r\n", 200),
        ("POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", 200),
        ("GET / HTTP/1.0\r\nHost: test\r\n\r\n", 200),
        ("POST / HTTP/1.0\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi", 200),
        ("GET / HTTP/1.1\r\nHost: test\r\nHost: test\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : test\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n\r\n", 400),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = proxy.connect();
        client.send(format!("GET /first HTTP/1.1\r\nHost: test\r\n\r\n{last}{NEXT}"));
        assert_eq!(client.read_response().json()["target"], "/first", "{last:?}");
        let answer = client.read_response();
        assert_eq!(answer.status, status, "{last:?}");
        assert!(answer.closes() || last.contains("HTTP/1.0"), "{last:?}");
        client.ends();
        assert!(echo.got().iter().all(|got| got.target != "/next"), "{at}: {last:?}");
    }
    proxy.settles();
}

#[test]
fn a_request_that_is_refused_waits_for_the_responses_before_it() {
    let echo = Upstream::echo().held();
    let proxy = Proxy::to(&echo);
    let mut client = proxy.connect();
    client.send(
        "GET /one HTTP/1.1\r\nHost: test\r\n\r\nGET /two HTTP/1.1\r\n\r\nGET /three HTTP/1.1\r\nHost: test\r\n\r\n",
    );
    until("the first one has arrived", || (echo.requests() == 1).then_some(()));
    echo.release();
    assert_eq!(client.read_response().json()["target"], "/one");
    let answer = client.read_response();
    assert_eq!((answer.status, answer.closes()), (400, true));
    client.ends();
    proxy.settles();
    assert_eq!(echo.requests(), 1);
}

#[test]
fn a_client_that_never_reads_stops_its_own_pipeline() {
    const BODY: usize = 1 << 20;
    let large = Upstream::answering(
        [format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n").as_bytes(), &vec![b'x'; BODY]].concat(),
    );
    let proxy = Proxy::with("main", &large).limits("stall_timeout = \"1s\"").start(ONE_ROUTE);
    let mut deaf = proxy.connect();
    deaf.offer("GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(MANY));
    until("the reader is cut", || (proxy.refused("reader_stalled") == 1.0).then_some(()));
    assert_eq!(proxy.connect().get("/", "").body.len(), BODY, "others are served");
    proxy.settles();
    let requests = large.requests();
    assert!(requests < 100, "{requests} requests of a client that reads nothing");
    drop(deaf);
}

#[test]
fn a_client_that_resets_takes_its_waiting_requests_with_it() {
    let echo = Upstream::echo().held();
    let proxy = Proxy::to(&echo);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(100));
    until("the first one has arrived", || (echo.requests() == 1).then_some(()));
    client.reset();
    echo.release();
    proxy.settles();
    assert_eq!(proxy.metric("pointsman_upstream_in_flight{upstream=\"main\"}"), 0.0);
    // The response to one request may leave together with that to the next one.
    assert!(echo.requests() <= 2, "{} requests of a client that is gone", echo.requests());
}

#[test]
fn a_body_that_its_upstream_breaks_ends_the_pipeline() {
    for broken in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\nx\r\n",
    ] {
        let upstream = Upstream::script(move |mut conn| {
            while let Ok(got) = conn.request() {
                if got.target == "/broken" {
                    conn.send(broken);
                    return;
                }
                conn.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole");
            }
        });
        let proxy = Proxy::to(&upstream);
        let mut client = proxy.connect();
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
        client.send([get("/one"), get("/broken"), get("/three")].concat());
        assert_eq!(client.read_response().text(), "whole");
        let end = client.try_response();
        assert!(matches!(end, Err(Broken::Closed | Broken::Reset)), "{broken:?}: {end:?}");
        assert_eq!(client.wire.partial, b"part", "{broken:?}");
        client.ends();
        proxy.settles();
        assert!(upstream.got().iter().all(|got| got.target != "/three"), "{broken:?}");
        assert_eq!(proxy.logged(2)[1]["termination"].as_str().map(|letters| &letters[1..]), Some("B"), "{broken:?}");
    }
}

#[test]
fn a_switch_in_the_middle_of_a_pipeline_decides_what_the_bytes_behind_it_are() {
    const BEHIND: &str = "GET /behind HTTP/1.1\r\nHost: test\r\n\r\nGET /last HTTP/1.1\r\nHost: test\r\n\r\n";
    let upstream = switcher();
    let proxy = Proxy::with("main", &upstream).start(ROUTES);
    let first = "POST /first HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi";
    let asks = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: test\r\n{ASK}\r\n");
    // Refused by the upstream, answered as usual by it, and not allowed by the route: what follows are requests.
    for (path, status) in [("/ws/refused", 403), ("/ws/ordinary", 200), ("/plain", 200)] {
        let mut client = proxy.connect();
        let seen = upstream.requests();
        client.send([first, &asks(path), BEHIND].concat());
        for expected in [200, status, 200, 200] {
            assert_eq!(client.read_response().status, expected, "{path}");
        }
        let targets: Vec<String> =
            upstream.got()[usize::try_from(seen).unwrap()..].iter().map(|got| got.target.clone()).collect();
        assert_eq!(targets, ["/first", path, "/behind", "/last"]);
    }
    // Accepted: they belong to the tunnel.
    let mut client = proxy.connect();
    let seen = upstream.requests();
    client.send([first, &asks("/ws/open"), BEHIND].concat());
    assert_eq!((client.read_response().status, client.read_response().status), (200, 101));
    assert_eq!(client.wire.exact(BEHIND.len()).unwrap(), BEHIND.as_bytes());
    assert_eq!(client.finish().wire.rest().0, b"bye");
    assert_eq!(upstream.requests(), seen + 2);
    proxy.settles();
}

#[test]
fn a_drain_ends_a_pipeline_after_a_whole_response() {
    let echo = Upstream::echo().held();
    let proxy = Proxy::with("main", &echo).start(ONE_ROUTE);
    let address = proxy.address();
    let mut client = proxy.connect();
    let all = gets(100);
    client.send(all);
    until("the first one has arrived", || (echo.requests() == 1).then_some(()));
    proxy.app().stop();
    until("the listener refuses connections", || std::net::TcpStream::connect(address).is_err().then_some(()));
    echo.release();
    let answered = answers_up_to_the_end(&mut client);
    assert_eq!(answered, echo.requests(), "every request that reached the upstream is answered");
    assert!(answered < 100, "the connection ends early");
    assert_eq!(proxy.stop(), Stopped::Drained);
}

/// Reads whole responses up to the one that announces the end, and counts them.
fn answers_up_to_the_end(client: &mut Raw) -> u64 {
    for number in 0.. {
        let answer = client.read_response();
        assert_eq!(answer.json()["target"], format!("/{number}"));
        if answer.closes() {
            client.ends();
            return number + 1;
        }
    }
    unreachable!("there is always another number")
}
