//! Unreachable endpoints: a request that another endpoint, or stable, can answer does not fail.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use pointsman::clock::Clock;

use crate::harness::proxy::Setup;
use crate::harness::{FullBacklog, Proxy, Raw, RefusingAddress, Upstream, until};
use crate::upstream_tls::{Authority, Close, Front, config, files};

fn urls(scheme: &str, all: &[SocketAddr]) -> String {
    all.iter().map(|address| format!("\"{scheme}://{address}\"")).collect::<Vec<_>>().join(", ")
}

/// One route to an upstream with these endpoints.
fn text(endpoints: &str, lines: &str) -> String {
    format!(
        "[identity]\nuser = [\"cookie:uid\"]\n[upstream.main]\nendpoints = [{endpoints}]\n{lines}\n\
         [[route]]\nname = \"all\"\nmatch = {{ path = \"/*\" }}\nstable = \"main\"\nsticky = [\"user\"]\n"
    )
}

/// This number of GET and of POST requests by different callers, none of which may fail.
#[track_caller]
fn none_fails(client: &mut Raw, count: usize, case: &str) {
    for n in 0..count {
        let caller = format!("Cookie: uid=u{n}\r\n");
        let answer = client.get("/", &caller);
        assert_eq!(answer.status, 200, "{case}, GET {n}: {}", answer.text());
        let answer = client.post("/", &caller, b"a body");
        assert_eq!(answer.status, 200, "{case}, POST {n}: {}", answer.text());
        assert_eq!(answer.json()["body_bytes"], 6, "{case}, POST {n}");
    }
}

#[test]
fn one_dead_endpoint_of_two_fails_no_request() {
    let deaf = RefusingAddress::new();
    for (scheme, alive, count) in [("http", Upstream::echo(), 400), ("h2c", Upstream::h2c(), 100)] {
        for balance in ["least_request", "round_robin", "peak_ewma", "hash"] {
            for endpoints in [[deaf.address(), alive.address()], [alive.address(), deaf.address()]] {
                let case = format!("{scheme}, {balance}, {endpoints:?}");
                let lines = format!("balance = \"{balance}\"");
                let proxy = Proxy::workers(1).start(&text(&urls(scheme, &endpoints), &lines));
                let began = Clock.now();
                none_fails(&mut proxy.connect(), count / 2, &case);
                let tried = proxy.metric("pointsman_upstream_connect_failures_total{upstream=\"main\"}");
                let most = Clock.now().duration_since(began).as_secs_f64() + 2.0;
                assert!(
                    (1.0..=most).contains(&tried),
                    "{case}: the dead one is tried once a second, not {tried} times"
                );
                assert_eq!(
                    proxy.metric("pointsman_upstream_retries_total{outcome=\"retried\",upstream=\"main\"}"),
                    tried,
                    "{case}"
                );
                assert_eq!(proxy.metric("pointsman_upstream_failures_total{upstream=\"main\"}"), tried, "{case}");
                let of_alive = alive.address().to_string();
                for line in proxy.logged(count) {
                    assert_eq!(line["endpoint"], of_alive, "{line}");
                    assert!(matches!(line["attempts"].as_u64(), Some(1 | 2)), "{line}");
                }
            }
        }
    }
}

#[test]
fn one_dead_endpoint_fails_no_request_of_many_clients() {
    let (deaf, alive) = (RefusingAddress::new(), Upstream::echo());
    for balance in ["least_request", "round_robin", "peak_ewma", "hash"] {
        let lines = format!("balance = \"{balance}\"");
        let proxy = Proxy::workers(2).start(&text(&urls("http", &[deaf.address(), alive.address()]), &lines));
        std::thread::scope(|scope| {
            for client in 0..8 {
                let (proxy, case) = (&proxy, format!("{balance}, client {client}"));
                scope.spawn(move || none_fails(&mut proxy.connect(), 50, &case));
            }
        });
    }
}

/// An HTTP/2 endpoint that refuses a stream and then closes every new connection at once.
fn refuses_then_closes() -> (SocketAddr, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (first, _) = listener.accept().await.unwrap();
            let mut first = h2::server::handshake(first).await.unwrap();
            let (_, mut respond) = first.accept().await.unwrap().unwrap();
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            let closing = async {
                while let Ok((next, _)) = listener.accept().await {
                    drop(next);
                }
            };
            tokio::select! {
                _ = first.accept() => {}
                () = closing => {}
            }
        });
    });
    (address, thread)
}

#[test]
fn a_retried_request_takes_the_protocol_of_its_new_connection() {
    let ((refusing, thread), alive) = (refuses_then_closes(), Upstream::echo());
    let endpoints = format!("\"h2c://{refusing}\", \"http://{}\"", alive.address());
    let proxy = Proxy::workers(1).start(&text(&endpoints, "balance = \"round_robin\""));
    let answer = proxy.connect().post("/x?y", "", b"a body");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let got = &alive.got()[0];
    assert_eq!((got.method.as_str(), got.target.as_str(), got.version.as_str()), ("POST", "/x?y", "HTTP/1.1"));
    assert_eq!((got.field("host"), got.field("content-length"), &*got.body), (Some("test"), Some("6"), &b"a body"[..]));
    let line = &proxy.logged(1)[0];
    assert_eq!((line["attempts"].as_u64(), line["termination"].as_str()), (Some(2), Some("--")), "{line}");
    drop(proxy);
    thread.join().unwrap();
}

#[test]
fn an_endpoint_without_tls_or_with_a_bad_certificate_fails_no_request() {
    let (authority, other) = (Authority::new(), Authority::new());
    let dir = files(&[("ca.pem", &authority.pem)]);
    for (alpn, behind) in [(&b"http/1.1"[..], Upstream::echo()), (b"h2", Upstream::h2c())] {
        let front = |authority: &Authority| {
            Front::with(&config(&authority.issue("127.0.0.1"), None), (alpn, behind.address(), Close::Notified))
        };
        let (alive, untrusted, clear) = (front(&authority), front(&other), Upstream::echo());
        let endpoints = urls("https", &[clear.address(), untrusted.address, alive.address]);
        let tls = "connect_timeout = \"30s\"\ntls = { ca = \"{files}/ca.pem\" }";
        let proxy = Setup::default().place("files", dir.path().display()).start(&text(&endpoints, tls));
        none_fails(&mut proxy.connect(), 50, &String::from_utf8_lossy(alpn));
    }
}

#[test]
fn an_endpoint_that_does_not_accept_in_time_fails_no_request() {
    let (full, alive) = (FullBacklog::new(), Upstream::echo());
    let lines = "connect_timeout = \"500ms\"\nbalance = \"round_robin\"";
    let proxy = Proxy::workers(1).start(&text(&urls("http", &[full.address(), alive.address()]), lines));
    none_fails(&mut proxy.connect(), 100, "a full queue");
}

#[test]
fn an_endpoint_that_exceeds_the_request_timeout_is_avoided() {
    let (full, alive) = (FullBacklog::new(), Upstream::echo());
    let lines = "connect_timeout = \"30s\"\nbalance = \"round_robin\"";
    let toml = text(&urls("http", &[full.address(), alive.address()]), lines);
    let proxy = Proxy::workers(1).start(&toml.replace("[[route]]", "[[route]]\ntimeout = { request = \"500ms\" }"));
    let mut client = proxy.connect();
    // The endpoint is tried again about once a second: that request is late, and the others of the same second are not.
    until("a late request is followed by four prompt ones", || {
        if client.get("/", "").status != 504 {
            return None;
        }
        assert!(proxy.metric("pointsman_upstream_connect_failures_total{upstream=\"main\"}") >= 1.0);
        client = proxy.connect();
        (0..4).all(|_| client.get("/", "").status == 200).then_some(())
    });
}

#[test]
fn an_unreachable_variant_is_skipped_for_a_moment() {
    let (full, stable) = (FullBacklog::new(), Upstream::echo().named("v1"));
    let toml = split(100, "").replace("[upstream.v2]", "[upstream.v2]\nconnect_timeout = \"500ms\"");
    let proxy = Proxy::with("v1", &stable).place("v2", full.address()).start(&toml);
    let mut client = proxy.connect();
    assert_eq!(client.get("/", "").status, 200);
    let tries = || proxy.metric("pointsman_upstream_connect_failures_total{upstream=\"v2\"}");
    until("many requests are answered between two tries", || {
        let before = tries();
        let all: Vec<_> = (0..20).map(|_| client.get("/", "")).collect();
        assert!(all.iter().all(|answer| answer.status == 200 && answer.json()["name"] == "v1"));
        (tries() <= before).then_some(())
    });
}

#[test]
fn with_all_endpoints_dead_four_are_tried_without_a_wait() {
    let all: Vec<RefusingAddress> = (0..6).map(|_| RefusingAddress::new()).collect();
    let addresses: Vec<SocketAddr> = all.iter().map(RefusingAddress::address).collect();
    let proxy = Proxy::workers(1).start(&text(&urls("http", &addresses), ""));
    let mut client = proxy.connect();
    let began = Clock.now();
    for _ in 0..20 {
        let answer = client.get("/", "");
        // Once all are known to fail, that is what the response says.
        let status = answer.field("proxy-status").unwrap();
        let expected = if status.contains("ejected") { 503 } else { 502 };
        assert_eq!(answer.status, expected);
        assert!(expected == 503 || status.contains("connection_refused"), "{answer:?}");
    }
    let took = Clock.now().duration_since(began);
    // A wait between two attempts would be at least a second for each request.
    assert!(took < Duration::from_secs(15), "{took:?} for 20 requests");
    for line in proxy.logged(20) {
        let ended = if line["status"] == 503 { "PC" } else { "UC" };
        assert_eq!((line["attempts"].as_u64(), line["termination"].as_str()), (Some(4), Some(ended)), "{line}");
    }
    assert_eq!(proxy.metric("pointsman_upstream_connect_failures_total{upstream=\"main\"}"), 80.0);
    assert_eq!(proxy.metric("pointsman_upstream_failures_total{upstream=\"main\"}"), 80.0);
    assert_eq!(proxy.metric("pointsman_upstream_requests_total{status_class=\"none\",upstream=\"main\"}"), 20.0);
}

#[test]
fn an_endpoint_that_recovers_is_used_again() {
    let (deaf, alive) = (RefusingAddress::new(), Upstream::echo().named("alive"));
    let endpoints = [deaf.address(), alive.address()];
    let proxy = Proxy::workers(1).start(&text(&urls("http", &endpoints), "balance = \"round_robin\""));
    let mut client = proxy.connect();
    none_fails(&mut client, 10, "while it is dead");
    let _back = Upstream::echo_on(deaf.listen()).named("back");
    until("it is tried again", || (client.get("/", "").json()["name"] == "back").then_some(()));
    let names: Vec<String> = (0..10).map(|_| client.get("/", "").json()["name"].to_string()).collect();
    assert_eq!(names.iter().filter(|name| name.contains("back")).count(), 5, "it has its turns again: {names:?}");
}

#[test]
fn a_request_without_a_host_gets_the_authority_of_its_endpoint() {
    let (deaf, alive) = (RefusingAddress::new(), Upstream::echo());
    let endpoints = urls("http", &[deaf.address(), alive.address()]);
    let proxy = Proxy::workers(1).start(&text(&endpoints, "balance = \"round_robin\""));
    for _ in 0..4 {
        let answer = proxy.connect().send("GET / HTTP/1.0\r\n\r\n").read_response();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.echoed("host"), [alive.address().to_string()]);
    }
}

/// A route with a canary for all callers, selected also by `x-canary`.
fn split(weight: u32, lines: &str) -> String {
    format!(
        "[upstream.v1]\nendpoints = [\"http://{{v1}}\"]\n[upstream.v2]\nendpoints = [\"http://{{v2}}\"]\n\
         [[route]]\nname = \"shop\"\nmatch = {{ path = \"/*\" }}\nstable = \"v1\"\nsticky = [\"client_ip\"]\n{lines}\n\
         headers = {{ request = {{ set = {{ x-variant = \"{{variant}}\" }} }} }}\n\
         canary = {{ upstream = \"v2\", weight = {weight} }}\n\
         [[route.target]]\nheader = {{ x-canary = \"1\" }}\nserve = \"canary\"\n"
    )
}

#[test]
fn requests_of_an_unreachable_canary_fall_back_to_stable() {
    let (deaf, stable) = (RefusingAddress::new(), Upstream::echo().named("v1"));
    let proxy = Proxy::with("v1", &stable).place("v2", deaf.address()).start(&split(100, ""));
    let mut client = proxy.connect();
    for n in 0..50 {
        for answer in [client.get("/", ""), client.post("/", "", b"a body")] {
            assert_eq!((answer.status, answer.json()["name"].as_str()), (200, Some("v1")), "request {n}");
            assert_eq!(answer.echoed("x-variant"), ["canary"], "it stays a request of the canary");
        }
    }
    assert_eq!(client.get("/", "X-Canary: 1\r\n").json()["name"], "v1");
    let lines = proxy.logged(101);
    for (at, line) in lines.iter().enumerate() {
        let reason = if at == 100 { "target+fallback" } else { "weight+fallback" };
        let fields = [&line["variant"], &line["reason"], &line["upstream"], &line["endpoint"], &line["detail"]];
        let endpoint = stable.address().to_string();
        assert_eq!(fields.map(|text| text.as_str().unwrap_or("")), ["canary", reason, "v1", &endpoint, ""], "{line}");
        assert!(line["attempts"] == 1 || line["attempts"] == 2, "{line}");
    }
    assert!(lines.iter().any(|line| line["attempts"] == 2), "it is tried");
    let requests = |upstream: &str, class: &str| {
        proxy.metric(&format!("pointsman_upstream_requests_total{{status_class=\"{class}\",upstream=\"{upstream}\"}}"))
    };
    assert_eq!((requests("v2", "none"), requests("v1", "2xx")), (101.0, 101.0));
    assert_eq!(proxy.metric("pointsman_upstream_failures_total{upstream=\"v2\"}"), 101.0);
    assert_eq!(proxy.metric("pointsman_upstream_failures_total{upstream=\"v1\"}"), 0.0);
    assert_eq!(proxy.metric("pointsman_upstream_in_flight{upstream=\"v2\"}"), 0.0);
    let of = |variant: &str| {
        let series = format!("reason=\"weight+fallback\",route=\"shop\",status_class=\"2xx\",variant=\"{variant}\"");
        proxy.metric(&format!("pointsman_requests_total{{{series}}}"))
    };
    assert_eq!((of("canary"), of("stable")), (100.0, 0.0), "counted where they belong");
    let variants = proxy.status()["routes"][0]["experiment"]["variants"].clone();
    assert_eq!((&variants[1]["requests"], &variants[1]["errors"]), (&101.into(), &101.into()), "{variants}");
    assert_eq!(variants[0]["requests"], 0, "no request was sent to stable: {variants}");
}

#[test]
fn without_rescue_an_unreachable_canary_is_502() {
    let (deaf, stable) = (RefusingAddress::new(), Upstream::echo());
    let setup = Proxy::with("v1", &stable).place("v2", deaf.address());
    let of = |rescue: &str| split(100, "").replace("weight = 100", &format!("weight = 100, rescue = {rescue}"));
    let proxy = setup.start(&of("false"));
    let mut client = proxy.connect();
    assert_eq!(client.get("/", "").status, 502);
    assert_eq!(proxy.logged(1)[0]["reason"], "weight");
    proxy.rewrite(&of("{ on = [\"connect\"] }"));
    assert_eq!(client.get("/", "").status, 200);
}

#[test]
fn stable_never_falls_back_to_a_canary() {
    let (deaf, canary) = (RefusingAddress::new(), Upstream::echo().named("v2"));
    let proxy = Proxy::with("v2", &canary).place("v1", deaf.address()).start(&split(0, ""));
    let answer = proxy.connect().get("/", "");
    assert_eq!(answer.status, 502);
    assert_eq!(canary.requests(), 0);
    let line = &proxy.logged(1)[0];
    assert_eq!((line["variant"].as_str(), line["reason"].as_str()), (Some("stable"), Some("stable")));
}

#[test]
fn with_canary_and_stable_dead_the_response_is_the_error_of_the_canary() {
    let (one, two) = (RefusingAddress::new(), RefusingAddress::new());
    let proxy = Proxy::workers(1).place("v1", one.address()).place("v2", two.address()).start(&split(100, ""));
    let answer = proxy.connect().get("/", "");
    assert_eq!(answer.status, 502);
    let line = &proxy.logged(1)[0];
    let fields = [&line["variant"], &line["reason"], &line["upstream"], &line["termination"]];
    assert_eq!(fields.map(|text| text.as_str().unwrap_or("")), ["canary", "weight+fallback", "v1", "UC"], "{line}");
}
