//! Stopping: every accepted request is answered, connections are asked to close, and the deadline is kept.

#![expect(clippy::unwrap_used, clippy::float_cmp, reason = "a test may fail, and counts are whole")]

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use pointsman::app::Stopped;
use pointsman::clock::Clock;

use crate::harness::h2_client::End;
use crate::harness::{Broken, H2, ONE_ROUTE, PATIENCE, Proxy, Raw, Upstream, Wire, until};
use crate::process::Running;

/// An upstream that sends one piece of its response for each word from the test, and ends the response when the test
/// drops the sender.
struct Held {
    upstream: Upstream,
    arrived: Receiver<()>,
    words: Sender<&'static str>,
}

fn held() -> Held {
    let (arrival, arrived) = channel();
    let (words, spoken) = channel::<&str>();
    let (arrival, spoken) = (Mutex::new(arrival), Mutex::new(spoken));
    let upstream = Upstream::script(move |mut conn| {
        if conn.request().is_err() {
            return;
        }
        arrival.lock().unwrap().send(()).unwrap();
        let spoken = spoken.lock().unwrap();
        let mut head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        while let Ok(word) = spoken.recv() {
            conn.send(format!("{head}{:x}\r\n{word}\r\n", word.len()));
            head = "";
        }
        conn.send(format!("{head}0\r\n\r\n"));
    });
    Held { upstream, arrived, words }
}

fn stopping(upstream: &Upstream, delay: Duration, deadline: Duration) -> Proxy {
    let setup = Proxy::with("main", upstream).tuned(move |options| {
        options.drain_delay = delay;
        options.drain_deadline = deadline;
    });
    setup.start(ONE_ROUTE)
}

/// The drain has begun: connections are refused, not left waiting.
fn stops_listening(address: SocketAddr) {
    until("the listener refuses connections", || std::net::TcpStream::connect(address).is_err().then_some(()));
}

fn ask(address: SocketAddr, path: &str) -> u16 {
    let mut client = Raw::connect(address);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).read_response().status
}

#[test]
fn readiness_fails_first_while_requests_are_still_served() {
    let echo = Upstream::echo();
    // On a machine that is too slow for the first delay, a longer one is tried.
    let was_in_time = [2, 8, 30].map(Duration::from_secs).into_iter().any(|delay| {
        let proxy = stopping(&echo, delay, PATIENCE);
        assert_eq!(ask(proxy.admin(), "/readyz"), 200);
        let mut client = proxy.connect();
        assert_eq!(client.get("/", "").status, 200);
        let stopped = Clock.now();
        proxy.app().stop();
        until("readiness fails", || (ask(proxy.admin(), "/readyz") == 503).then_some(()));
        assert_eq!(ask(proxy.admin(), "/healthz"), 200, "a restart would not help");
        let is_lame = proxy.metric("pointsman_drain_phase{phase=\"lame\"}") == 1.0;
        let (answer, newcomer) = (client.get("/", ""), std::net::TcpStream::connect(proxy.address()));
        let served = newcomer.map(|stream| Raw { wire: Wire::new(stream) }.get("/", "").status);
        if stopped.elapsed() >= delay {
            return false;
        }
        assert!(is_lame, "the delay has not passed");
        assert_eq!((answer.status, answer.closes()), (200, false), "the drain has not begun");
        assert_eq!(served.unwrap(), 200, "new connections are accepted");
        drop(client);
        assert_eq!(proxy.stop(), Stopped::Drained);
        true
    });
    assert!(was_in_time);
}

#[test]
fn no_accepted_request_is_lost() {
    let echo = Upstream::echo();
    let proxy = Proxy::with("main", &echo).workers(2).start(ONE_ROUTE);
    let (address, answered) = (proxy.address(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| hammer(address, &answered));
        }
        until("the clients send without pause", || (answered.load(SeqCst) > 200).then_some(()));
        assert_eq!(proxy.stop(), Stopped::Drained);
    });
    assert_eq!(
        echo.requests(),
        answered.load(SeqCst),
        "every request that reached the upstream was answered to a client"
    );
}

/// Sends requests on one connection after another until connections are refused. Every request of a connection that the
/// proxy has begun to serve is answered, and only `Connection: close` ends a connection.
fn hammer(address: SocketAddr, answered: &AtomicU64) {
    while let Ok(stream) = std::net::TcpStream::connect(address) {
        let mut client = Raw { wire: Wire::new(stream) };
        for n in 0.. {
            client.offer("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
            match client.try_response() {
                Ok(answer) => {
                    assert_eq!(answer.status, 200);
                    answered.fetch_add(1, SeqCst);
                    if answer.closes() {
                        client.ends();
                        break;
                    }
                }
                // The kernel took the connection, the proxy did not: it stopped listening.
                Err(Broken::Closed | Broken::Reset) if n == 0 => return,
                Err(broken) => panic!("request {n} of a connection was lost: {broken:?}"),
            }
        }
    }
}

#[test]
fn a_long_streaming_response_is_finished_before_its_connection_closes() {
    let held = held();
    let proxy = stopping(&held.upstream, Duration::ZERO, PATIENCE);
    let address = proxy.address();
    let mut client = proxy.connect();
    let mut idle = proxy.connect();
    let mut silent = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    held.arrived.recv().unwrap();
    held.words.send("one").unwrap();
    assert_eq!(client.head().unwrap().1, 200);
    idle.send("GET / HTTP/1.1\r\n");
    proxy.app().stop();
    stops_listening(address);
    assert_eq!(proxy.metric("pointsman_drain_phase{phase=\"draining\"}"), 1.0);
    silent.ends();
    for word in ["two", "three"] {
        held.words.send(word).unwrap();
    }
    drop(held.words);
    let (body, _) = client.wire.chunked().expect("the whole answer");
    assert_eq!(body, b"onetwothree");
    client.ends();
    drop(idle);
    assert_eq!(proxy.stop(), Stopped::Drained);
}

/// A worker that is silent for longer counts as stalled.
const SILENCE_MAX: Duration = Duration::from_secs(5);

#[test]
fn a_long_drain_does_not_count_as_a_stalled_worker() {
    let held = held();
    let setup = Proxy::with("main", &held.upstream).workers(2);
    let proxy = setup.tuned(|options| options.drain_deadline = PATIENCE).start(ONE_ROUTE);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    held.arrived.recv().unwrap();
    let ages = || {
        let text = proxy.metrics();
        let lines = text.lines().filter_map(|line| line.strip_prefix("pointsman_worker_heartbeat_age_seconds{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect::<Vec<f64>>()
    };
    assert_eq!(ages().len(), 2, "both give heartbeats");
    proxy.app().stop();
    // The worker without a request ends at once, the other one with its request.
    until("the worker without a request has ended", || (ages().len() == 1).then_some(()));
    let ended = Clock.now();
    until("the drain takes longer than a worker may be silent", || {
        (Clock.now().duration_since(ended) > SILENCE_MAX + Duration::from_millis(1500)).then_some(())
    });
    assert_eq!(proxy.metric("pointsman_worker_stalls_total"), 0.0);
    let age = ages()[0];
    assert!(age < SILENCE_MAX.as_secs_f64(), "a worker that drains gives heartbeats: {age} s");
    held.words.send("late").unwrap();
    drop(held.words);
    assert_eq!(client.read_response().text(), "late");
    assert_eq!(proxy.stop(), Stopped::Drained);
}

#[test]
fn the_next_response_of_a_kept_connection_has_connection_close() {
    let held = held();
    let proxy = stopping(&held.upstream, Duration::ZERO, PATIENCE);
    let address = proxy.address();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    held.arrived.recv().unwrap();
    proxy.app().stop();
    stops_listening(address);
    held.words.send("late").unwrap();
    drop(held.words);
    let answer = client.read_response();
    assert_eq!((answer.text().as_str(), answer.closes()), ("late", true));
    client.ends();
    assert_eq!(proxy.stop(), Stopped::Drained);
}

#[test]
fn http2_gets_goaway_and_finishes_its_streams() {
    let held = held();
    let proxy = stopping(&held.upstream, Duration::ZERO, PATIENCE);
    let mut client = H2::connect(proxy.address());
    let (response, _body) = client.open(H2::request("GET", "/").body(()).unwrap(), End::Now);
    held.arrived.recv().unwrap();
    let (address, mut idle) = (proxy.address(), H2::connect(proxy.address()));
    proxy.app().stop();
    stops_listening(address);
    idle.closed().expect("a connection without streams goes in order");
    held.words.send("whole").unwrap();
    drop(held.words);
    let answer = client.finish(response);
    assert_eq!((answer.status, answer.body.as_slice(), answer.reset), (200, &b"whole"[..], None));
    client.closed().expect("the connection goes in order");
    assert_eq!(proxy.stop(), Stopped::Drained);
}

#[test]
fn the_deadline_cuts_open_requests_and_logs_it() {
    let held = held();
    let proxy = stopping(&held.upstream, Duration::ZERO, Duration::from_millis(300));
    let log = proxy.dir().join("access.log");
    let log = std::fs::File::options().create(true).append(true).open(&log).map(|_| std::fs::File::open(log)).unwrap();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    held.arrived.recv().unwrap();
    held.words.send("begun").unwrap();
    client.head().unwrap();
    let began = Clock.now();
    assert_eq!(proxy.stop(), Stopped::Forced);
    let took = Clock.now().duration_since(began);
    assert!((Duration::from_millis(300)..PATIENCE).contains(&took), "{took:?}");
    assert!(client.wire.chunked().is_err(), "a partial response is never taken for a complete one");
    let line: serde_json::Value = serde_json::from_reader(log.unwrap()).expect("one line of access log");
    assert_eq!((line["termination"].as_str(), line["detail"].as_str()), (Some("PB"), Some("drain_deadline")), "{line}");
}

/// The real binary in front of `upstream`, and where it listens.
fn process(upstream: &Upstream) -> (Running, SocketAddr, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "schema = 1\n[[listener]]\nname = \"http\"\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         {}",
        ONE_ROUTE.replace("{main}", &upstream.address().to_string())
    );
    std::fs::write(dir.path().join("routes.toml"), text).unwrap();
    let mut process = Running::start(dir.path(), &["run", "--workers", "1"]);
    let address = process.word_after("listener").trim_start_matches("http://").parse().unwrap();
    (process, address, dir)
}

#[test]
fn sigterm_drains_the_process_and_it_exits_with_0() {
    let held = held();
    let (process, address, _dir) = process(&held.upstream);
    let mut client = Raw::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    held.arrived.recv().unwrap();
    process.signal("TERM");
    stops_listening(address);
    held.words.send("answered").unwrap();
    drop(held.words);
    let answer = client.read_response();
    assert_eq!((answer.text().as_str(), answer.closes()), ("answered", true));
    let (code, said) = process.end();
    assert_eq!(code, 0);
    assert!(said.contains("every open request was answered"), "{said}");
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let held = held();
    let (process, address, _dir) = process(&held.upstream);
    let mut client = Raw::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    held.arrived.recv().unwrap();
    process.signal("TERM");
    stops_listening(address);
    let began = Clock.now();
    process.signal("INT");
    let (code, said) = process.end();
    assert!(Clock.now().duration_since(began) < Duration::from_secs(25), "the deadline is 30 s");
    assert_eq!(code, 1, "the exit code reports that requests were cut");
    assert!(said.contains("were cut"), "{said}");
    let lines: Vec<_> = said.lines().filter(|line| line.contains("\"termination\":\"P")).collect();
    assert_eq!(lines.len(), 1, "the access log has it: {said}");
    assert!(client.try_response().is_err());
}
