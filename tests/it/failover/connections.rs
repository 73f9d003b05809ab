//! Connections that fail: HTTP/2 with many streams, GOAWAY, TLS, half-open ones, upgrades, and copies of what is tried again.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use pointsman::clock::Clock;

use super::{NO_EJECTION, ONE_TRY};
use crate::harness::fleet::{UNAVAILABLE, state_of};
use crate::harness::frames::{DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, SETTINGS, frame};
use crate::harness::h2_client::End;
use crate::harness::proxy::Setup;
use crate::harness::{Fleet, FullBacklog, H2, Proxy, Reply, Upstream, until};
use crate::upgrade::ASK;
use crate::upstream_tls::{Authority, Close, Front, config, files};

/// One route to these endpoints.
fn rules(urls: &str, upstream: &str, route: &str) -> String {
    format!(
        "[upstream.main]\nendpoints = [{urls}]\nbalance = \"round_robin\"\n{upstream}\n\
         [[route]]\nname = \"all\"\nmatch = {{ path = \"/*\" }}\nstable = \"main\"\n{route}\n"
    )
}

/// An HTTP/2 endpoint that closes each connection when it has so many streams on it. Counts its connections.
fn breaks_with(streams: usize) -> (Upstream, Arc<AtomicU64>) {
    let broken = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&broken);
    let upstream = Upstream::script(move |mut conn| {
        conn.wire.exact(24).unwrap();
        conn.send(frame(SETTINGS, 0, 0, &[]));
        let mut open = 0;
        while let Ok(head) = conn.wire.exact(9) {
            if conn.wire.exact(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize).is_err() {
                return;
            }
            open += usize::from(head[3] == HEADERS);
            if open == streams {
                broken.fetch_add(1, SeqCst);
                return;
            }
        }
    });
    (upstream, counted)
}

#[test]
fn a_connection_that_breaks_with_many_streams_is_one_failure() {
    let (main, broken) = breaks_with(8);
    let other = Upstream::h2c();
    let urls = format!("\"h2c://{}\", \"h2c://{}\"", main.address(), other.address());
    let proxy = Proxy::start(&rules(&urls, "outlier = { consecutive_failures = 2 }", ONE_TRY));
    let state = || state_of(&proxy, "main", main.address());
    let mut client = H2::connect(proxy.address());
    for (number, expected) in [(1, "usable"), (2, "ejected")] {
        // Every second request goes there, and is answered when the connection breaks.
        let all: Vec<_> =
            (0..16).map(|_| client.open(H2::request("POST", "/").body(()).unwrap(), End::Now).0).collect();
        let statuses: Vec<u16> = all.into_iter().map(|response| client.finish(response).status).collect();
        let failed = statuses.iter().filter(|status| **status == 502).count();
        assert_eq!((failed, broken.load(SeqCst)), (8, number));
        assert_eq!(state(), expected, "after {number} connections that broke");
    }
    for _ in 0..10 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(broken.load(SeqCst), 2);
}

/// Sends GOAWAY with each stream and then answers it: streams that come after it are not processed.
fn leaves_after_each() -> Upstream {
    Upstream::script(|mut conn| {
        conn.wire.exact(24).unwrap();
        conn.send(frame(SETTINGS, 0, 0, &[]));
        while let Ok(head) = conn.wire.exact(9) {
            if conn.wire.exact(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize).is_err() {
                return;
            }
            if head[3] == HEADERS {
                let id = [head[5], head[6], head[7], head[8]];
                let stream = u32::from_be_bytes(id);
                let answer = [
                    frame(GOAWAY, 0, 0, &[&id[..], &[0; 4]].concat()),
                    frame(HEADERS, END_HEADERS, stream, &[0x88]),
                    frame(DATA, END_STREAM, stream, b"ok"),
                ];
                if !conn.send(answer.concat()) {
                    return;
                }
            }
        }
    })
}

#[test]
fn a_goaway_is_no_failure() {
    let (leaving, other) = (leaves_after_each(), Upstream::h2c());
    let urls = format!("\"h2c://{}\", \"h2c://{}\"", leaving.address(), other.address());
    let proxy = Proxy::start(&rules(&urls, "outlier = { consecutive_failures = 1 }", ""));
    let mut client = H2::connect(proxy.address());
    for _ in 0..5 {
        let all: Vec<_> = (0..8).map(|_| client.open(H2::request("POST", "/").body(()).unwrap(), End::Now).0).collect();
        for response in all {
            assert_eq!(client.finish(response).status, 200, "unprocessed streams go elsewhere");
        }
    }
    assert!(leaving.accepted() >= 5, "each of its connections serves one stream");
    assert_eq!(state_of(&proxy, "main", leaving.address()), "usable");
}

/// A listener that accepts and keeps the connections, and never sends a byte.
struct Mute {
    address: SocketAddr,
    accepted: Arc<AtomicU64>,
}

impl Mute {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, accepted) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&accepted);
        // It ends with the process of the tests.
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, SeqCst);
                kept.push(stream);
            }
        });
        Self { address, accepted }
    }
}

#[test]
fn a_half_open_endpoint_fails_no_get_and_is_ejected() {
    let (mute, alive) = (Mute::new(), Upstream::echo());
    let urls = format!("\"http://{}\", \"http://{}\"", mute.address, alive.address());
    let proxy = Proxy::start(&rules(&urls, "", "timeout = { request = \"1m\", per_try = \"300ms\" }"));
    let mut client = proxy.connect();
    until("it is ejected", || {
        let answer = client.get("/", "");
        assert_eq!(answer.status, 200, "{}", answer.text());
        (state_of(&proxy, "main", mute.address) == "ejected").then_some(())
    });
    assert_eq!(mute.accepted.load(SeqCst), 5);
    let began = Clock.now();
    for _ in 0..50 {
        assert_eq!(client.get("/", "").status, 200);
    }
    assert_eq!(mute.accepted.load(SeqCst), 5);
    assert!(Clock.now().duration_since(began) < Duration::from_secs(10), "no request waits for it");
}

#[test]
fn a_full_accept_queue_is_ejected_as_an_endpoint_that_does_not_accept() {
    let (full, alive) = (FullBacklog::new(), Upstream::echo());
    let urls = format!("\"http://{}\", \"http://{}\"", full.address(), alive.address());
    let lines = "connect_timeout = \"200ms\"\noutlier = { consecutive_failures = 1 }";
    let proxy = Proxy::start(&rules(&urls, lines, ""));
    let mut client = proxy.connect();
    until("it is ejected", || {
        assert_eq!(client.post("/", "", b"a body").status, 200);
        (state_of(&proxy, "main", full.address()) == "ejected").then_some(())
    });
    let row = proxy.status()["upstreams"][0]["endpoints"][0].clone();
    assert_eq!(row["ejected_because"], "connect_timeout", "{row}");
}

#[test]
fn an_endpoint_with_an_expired_certificate_is_ejected_and_the_others_serve() {
    let authority = Authority::new();
    let dir = files(&[("ca.pem", &authority.pem)]);
    for (alpn, behind) in [(&b"http/1.1"[..], Upstream::echo()), (b"h2", Upstream::h2c())] {
        let front = |until: i32| {
            let pair = authority.issue_until("127.0.0.1", until);
            Front::with(&config(&pair, None), (alpn, behind.address(), Close::Notified))
        };
        let (good, expired) = (front(4000), front(2002));
        let urls = format!("\"https://{}\", \"https://{}\"", expired.address, good.address);
        let lines = "outlier = { consecutive_failures = 1 }\ntls = { ca = \"{files}/ca.pem\" }";
        let proxy = Setup::default().place("files", dir.path().display()).start(&rules(&urls, lines, ""));
        let mut client = proxy.connect();
        until("it is ejected", || {
            assert_eq!(client.post("/", "", b"a body").status, 200, "no request fails");
            (state_of(&proxy, "main", expired.address) == "ejected").then_some(())
        });
        let row = proxy.status()["upstreams"][0]["endpoints"][0].clone();
        assert_eq!(row["ejected_because"], "tls", "{row}");
        for _ in 0..20 {
            assert_eq!(client.get("/", "").status, 200);
        }
    }
}

#[test]
fn an_opening_of_an_upgrade_is_tried_again_and_nothing_after_the_101() {
    let fleet = Fleet::of(2);
    fleet.all_answer(Reply::Switch);
    let route = "limits = { upgrade = [\"websocket\"] }\nretry = { attempts = 1 }";
    let proxy = fleet.behind(NO_EJECTION, route);
    for failure in [UNAVAILABLE, Reply::Reset("")] {
        fleet.next_tries_get(&[failure]);
        let mut client = proxy.connect();
        assert_eq!(client.get("/", ASK).status, 101, "{failure:?}");
        let tries = fleet.take_tries();
        assert_eq!(tries.len(), 2, "{failure:?}");
        assert_ne!(tries[0].endpoint, tries[1].endpoint);
        assert!(tries.iter().all(|one| one.got.field("upgrade") == Some("websocket")), "{tries:#?}");
        assert_eq!(client.send("some bytes").wire.exact(10).unwrap(), b"some bytes");
    }
    fleet.next_tries_get(&[Reply::SwitchAndReset]);
    let mut client = proxy.connect();
    assert_eq!(client.get("/", ASK).status, 101);
    client.send("x").ends();
    assert_eq!(fleet.take_tries().len(), 1, "an open tunnel is not repeated");
    fleet.next_tries_get(&[UNAVAILABLE, UNAVAILABLE]);
    assert_eq!(proxy.connect().get("/", ASK).status, 503, "the refusal of the second try is passed on");
}

#[test]
fn a_request_that_is_tried_again_is_copied_once() {
    let (fleet, dark) = (Fleet::of(2), Upstream::echo());
    let shadow = "[route.shadow]\nupstream = \"dark\"\nweight = 100\nmethods = [\"GET\", \"PUT\"]\n";
    let text = format!("[upstream.dark]\nendpoints = [\"http://{{dark}}\"]\n{}{shadow}", fleet.rules(NO_EJECTION, ""));
    let proxy = Proxy::with("dark", &dark).start(&text);
    let mut client = proxy.connect();
    for (n, failure) in (1..).zip([UNAVAILABLE, Reply::Reset(""), UNAVAILABLE]) {
        let sent: Vec<u8> = (0..20_000 * n).map(|byte| u8::try_from(byte * 31 % 251).unwrap()).collect();
        fleet.next_tries_get(&[failure]);
        client.send(format!("PUT / HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", sent.len())).send(&sent);
        assert_eq!(client.read_response().status, 200, "{failure:?}");
        let tries = fleet.take_tries();
        assert_eq!(tries.len(), 2, "{failure:?}");
        assert!(tries.iter().all(|one| one.got.body == sent), "{failure:?}");
        until("the copy ends", || (dark.requests() == u64::try_from(n).unwrap()).then_some(()));
        let copy = dark.got().pop().unwrap();
        assert!(copy.body == sent && copy.field("x-pointsman-attempt").is_none(), "{failure:?}: whole and once");
    }
    assert_eq!(proxy.metric_sum("pointsman_shadow_sampled_total"), 3.0);
}
