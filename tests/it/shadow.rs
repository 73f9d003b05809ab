//! Shadows: the content of a copy, how it ends, and that it does not affect the request.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pointsman::clock::Clock;

use crate::harness::proxy::Setup;
use crate::harness::upstream::Conn;
use crate::harness::{Proxy, Raw, RefusingAddress, Upstream, until};

mod bad_input;
mod cut;
mod fidelity;
mod hostile;
mod places;
mod report;
mod throttle;

const SHADOWED: &str = r#"
[upstream.main]
endpoints = ["http://{main}"]
[upstream.dark]
endpoints = ["{scheme}://{dark}"]
[[route]]
name = "all"
match = { path = "/*" }
stable = "main"
limits = { upgrade = ["websocket"] }
[route.shadow]
upstream = "dark"
weight = 100
methods = ["GET", "HEAD", "POST", "PUT"]
"#;

fn setup(main: &Upstream, dark: &Upstream) -> Setup {
    Proxy::with("main", main).with("dark", dark).place("scheme", "http")
}

fn shadowed(main: &Upstream, dark: &Upstream) -> Proxy {
    setup(main, dark).start(SHADOWED)
}

/// A gate that opens when its sender is used or dropped.
fn gate() -> (Sender<()>, Arc<Mutex<Receiver<()>>>) {
    let (open, opened) = channel();
    (open, Arc::new(Mutex::new(opened)))
}

/// The figures of the one shadow, which must add up in every scrape.
#[derive(Debug, Default, PartialEq)]
struct Figures {
    sampled: f64,
    in_flight: f64,
    sent: f64,
    dropped: Vec<(String, f64)>,
}

impl Figures {
    #[track_caller]
    fn of(proxy: &Proxy) -> Self {
        let text = proxy.metrics();
        let mut figures = Self::default();
        let mut completed = 0.0;
        for line in text.lines().filter(|line| line.starts_with("pointsman_shadow_")) {
            let Some((name, labels)) = line.split_once('{') else { continue };
            let value: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            match name {
                "pointsman_shadow_sampled_total" => figures.sampled += value,
                "pointsman_shadow_in_flight" => figures.in_flight += value,
                "pointsman_shadow_sent_total" => figures.sent += value,
                "pointsman_shadow_completed_total" => completed += value,
                "pointsman_shadow_dropped_total" if value > 0.0 => {
                    let reason = labels.split("reason=\"").nth(1).unwrap().split('"').next().unwrap();
                    figures.dropped.push((reason.to_owned(), value));
                }
                _ => {}
            }
        }
        let dropped: f64 = figures.dropped.iter().map(|(_, count)| count).sum();
        assert_eq!(figures.sampled, figures.in_flight + figures.sent + dropped, "{figures:?}");
        assert_eq!(figures.sent, completed, "{figures:?}");
        figures
    }

    /// The figures when all copies have ended.
    #[track_caller]
    fn settled(proxy: &Proxy, sampled: u32) -> Self {
        until("all copies end", || {
            let figures = Self::of(proxy);
            (figures.in_flight == 0.0 && figures.sampled >= f64::from(sampled)).then_some(figures)
        })
    }

    fn dropped(&self, reason: &str) -> f64 {
        self.dropped.iter().filter(|(name, _)| name == reason).map(|(_, count)| count).sum()
    }
}

#[test]
fn edits_and_host_apply_to_the_copy_only() {
    let (main, dark) = (Upstream::echo(), Upstream::echo());
    let proxy = setup(&main, &dark).start(&SHADOWED.replace(
        "methods =",
        "host = \"shadow.internal\"\nheaders = { set = { x-is = \"{variant}\" }, remove = [\"authorization\"] }\nmethods =",
    ));
    assert_eq!(proxy.connect().get("/", "Authorization: Basic eA==\r\n").status, 200);
    let (own, copy) = (main.got().pop().unwrap(), until("its copy", || dark.got().pop()));
    assert_eq!(
        (copy.field("host"), copy.field("authorization"), copy.field("x-is")),
        (Some("shadow.internal"), None, Some("stable"))
    );
    assert_eq!((own.field("host"), own.field("x-is")), (Some("test"), None));
    assert_eq!((own.field("authorization"), own.field("x-pointsman-shadow")), (Some("Basic eA=="), None));
}

#[test]
fn skipped_copies_are_counted_with_their_reason() {
    let (main, dark) = (Upstream::echo(), Upstream::echo());
    let text = SHADOWED.replace("methods =", "max_body = \"1KiB\"\nmethods =");
    let proxy = setup(&main, &dark).start(&text);
    let mut client = proxy.connect();
    assert_eq!(client.post("/", "", &[b'x'; 2000]).status, 200);
    let chunked = format!(
        "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n{}\r\n0\r\n\r\n",
        "x".repeat(2000)
    );
    assert_eq!(client.send(chunked).read_response().status, 200);
    assert_eq!(client.send("DELETE / HTTP/1.1\r\nHost: test\r\n\r\n").read_response().status, 200);
    // The client closes in the middle of its upload.
    Raw::connect(proxy.address()).send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhalf");
    let figures = Figures::settled(&proxy, 4);
    assert_eq!((figures.dropped("body_too_large"), figures.dropped("method")), (2.0, 1.0), "{figures:?}");
    assert_eq!((figures.dropped("incomplete"), figures.sent), (1.0, 0.0), "{figures:?}");
    proxy.rewrite(&format!("[kill]\nall = true\n{text}"));
    assert_eq!(client.get("/", "").status, 200);
    let figures = Figures::settled(&proxy, 5);
    assert_eq!(figures.dropped("killed"), 1.0, "{figures:?}");
    assert_eq!(dark.requests(), 0, "none of them was sent");
    assert_eq!(proxy.metric("pointsman_shadow_held_bytes"), 0.0);
}

#[test]
fn marked_requests_and_upgrades_are_not_copied() {
    let (main, dark) = (Upstream::echo(), Upstream::echo());
    let trusting = format!("[identity]\ntrusted_proxies = [\"127.0.0.0/8\"]\n{SHADOWED}");
    let proxy = setup(&main, &dark).start(&trusting);
    let mut client = proxy.connect();
    assert_eq!(client.get("/", "x-pointsman-shadow: 1\r\n").status, 200);
    assert_eq!(main.got().pop().unwrap().field("x-pointsman-shadow"), Some("1"), "its mark is kept");
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_eq!(client.get("/", websocket).status, 200);
    assert_eq!(Figures::of(&proxy).sampled, 0.0);
    // The mark of an untrusted peer is ignored.
    let proxy = shadowed(&main, &dark);
    assert_eq!(proxy.connect().get("/", "x-pointsman-shadow: 1\r\n").status, 200);
    assert_eq!(Figures::settled(&proxy, 1).sent, 1.0);
}

#[test]
fn a_copy_outlives_its_client_and_a_reload() {
    let (main, dark) = (Upstream::echo(), Upstream::echo().delay(Duration::from_millis(300)));
    let proxy = shadowed(&main, &dark);
    let mut client = proxy.connect();
    assert_eq!(client.post("/", "", b"body").status, 200);
    drop(client);
    let without = SHADOWED
        .split("[route.shadow]")
        .next()
        .unwrap()
        .replace("[upstream.dark]\nendpoints = [\"{scheme}://{dark}\"]\n", "");
    proxy.rewrite(&without);
    until("the copy arrives whole", || dark.got().pop().filter(|got| got.body == b"body"));
    assert_eq!(Raw::connect(proxy.address()).get("/", "").status, 200);
}

#[test]
fn a_shadow_of_itself_ends() {
    let main = Upstream::echo();
    let own = Upstream::echo();
    let proxy = shadowed(&main, &own);
    let looped = SHADOWED.replace("{scheme}://{dark}", &format!("http://{}", proxy.address()));
    proxy.rewrite(&looped);
    assert_eq!(proxy.connect().get("/", "").status, 200);
    let figures = Figures::settled(&proxy, 2);
    assert!(figures.sampled <= 4.0, "copies of copies end: {figures:?}");
}

/// Ways in which the target of copies can be broken.
fn broken_targets() -> Vec<(&'static str, Upstream)> {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    vec![
        ("silent", Upstream::script(Conn::wait)),
        ("slow", Upstream::echo().delay(Duration::from_secs(10))),
        (
            "resetting",
            Upstream::script(|mut conn| {
                let _ = conn.request();
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
                conn.reset();
            }),
        ),
        (
            "endless",
            Upstream::script(|mut conn| {
                let _ = conn.request();
                conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                while conn.send("5\r\nhello\r\n") {}
            }),
        ),
        (
            "huge",
            Upstream::script(|mut conn| {
                let _ = conn.request();
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
                while conn.send([b'x'; 65536]) {}
            }),
        ),
        ("garbage", Upstream::answering_once("who knows\r\n\r\n")),
        (
            "slow reader",
            Upstream::script(|mut conn| {
                while conn.wire.exact(1).is_ok() {
                    std::thread::sleep(Duration::from_secs(1));
                }
            }),
        ),
        ("well", Upstream::answering(answer)),
    ]
}

#[test]
fn a_broken_shadow_does_not_affect_requests() {
    let main = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let text = SHADOWED.replace("methods =", "max_body = \"16MiB\"\ntimeout = \"500ms\"\nmax_in_flight = 8\nmethods =");
    let bodies = [Vec::new(), vec![b'x'; 64 * 1024], vec![b'y'; 10 * 1024 * 1024]];
    for (what, dark) in broken_targets() {
        let proxy = setup(&main, &dark).start(&text);
        let mut client = proxy.connect();
        let began = Clock.now();
        let mut requests = 0;
        for _ in 0..20 {
            for body in &bodies[..2] {
                assert_eq!(client.post("/", "", body).text(), "ok", "{what}");
                requests += 1;
            }
        }
        assert_eq!(client.post("/", "", &bodies[2]).text(), "ok", "{what}");
        let took = Instant::elapsed(&began);
        // If each request waited for its copy, the timeouts of 40 copies would add up to 20 s.
        assert!(took < Duration::from_secs(15), "{what}: {took:?} for {requests} requests");
        let figures = Figures::of(&proxy);
        assert!(figures.in_flight <= 8.0, "{what}: {figures:?}");
        let (held, most) =
            (proxy.metric("pointsman_shadow_held_bytes"), proxy.metric("pointsman_shadow_held_max_bytes"));
        assert!(held <= most && most <= f64::from(64 << 20), "{what}: {held} of {most}");
        let figures = Figures::settled(&proxy, 1);
        assert_eq!(proxy.metric("pointsman_shadow_held_bytes"), 0.0, "{what}: {figures:?}");
        let expected = match what {
            "silent" | "slow" | "slow reader" => figures.dropped("timeout"),
            // The copy ends when enough was read, or at its timeout.
            "endless" => figures.dropped("timeout") + figures.sent,
            "resetting" | "garbage" => figures.dropped("reset"),
            _ => figures.sent,
        };
        assert!(expected > 0.0, "{what}: {figures:?}");
        if what != "well" {
            // A broken shadow throttles its copies, and nothing else.
            assert_eq!(proxy.metric("pointsman_upstream_retries_total{outcome=\"retried\",upstream=\"main\"}"), 0.0);
        }
    }
    // A target that refuses connections.
    let gone = RefusingAddress::new();
    let text = text.replace("{dark}", &gone.address().to_string());
    let proxy = Proxy::with("main", &main).place("scheme", "http").start(&text);
    let mut client = proxy.connect();
    for _ in 0..50 {
        assert_eq!(client.get("/", "").text(), "ok");
    }
    let figures = Figures::settled(&proxy, 1);
    assert!(figures.dropped("connect") > 0.0, "{figures:?}");
    assert!(figures.sampled < 50.0, "fewer requests are copied: {figures:?}");
}

#[test]
fn shadow_figures_add_up_at_any_time() {
    let main = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    for seed in 0..3 {
        let dark = Upstream::script(move |mut conn| {
            let mut random = fastrand::Rng::with_seed(seed * 1000 + conn.number);
            while conn.request().is_ok() {
                let fine = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                match random.u8(0..6) {
                    0 => return conn.reset(),
                    1 => return conn.wait(),
                    2 => drop(conn.send("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")),
                    3 => drop(conn.send("HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\nhalf")),
                    _ => drop(conn.send(fine)),
                }
            }
        });
        let text = SHADOWED.replace("methods =", "timeout = \"100ms\"\nmax_in_flight = 4\nmethods =");
        let proxy = setup(&main, &dark).start(&text);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut client = proxy.connect();
        for _ in 0..300 {
            let answer = match random.u8(0..4) {
                0 => client.post("/", "", &vec![b'x'; random.usize(0..100_000)]),
                1 => client.send("DELETE / HTTP/1.1\r\nHost: test\r\n\r\n").read_response(),
                2 => {
                    let mut gone = proxy.connect();
                    gone.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhalf");
                    drop(gone);
                    continue;
                }
                _ => client.get("/", ""),
            };
            assert_eq!(answer.text(), "ok");
            if random.u8(0..10) == 0 {
                Figures::of(&proxy);
            }
        }
        let figures = Figures::settled(&proxy, 1);
        assert!(figures.sent > 0.0 && figures.dropped.len() > 2, "{figures:?}");
        assert_eq!(proxy.metric("pointsman_shadow_held_bytes"), 0.0);
    }
}

#[test]
fn a_stop_does_not_wait_for_copies() {
    let (main, dark) = (Upstream::echo(), Upstream::script(Conn::wait));
    let proxy = setup(&main, &dark).start(&SHADOWED.replace("methods =", "timeout = \"1m\"\nmethods ="));
    assert_eq!(proxy.connect().get("/", "").status, 200);
    until("the copy is under way", || (dark.accepted() > 0).then_some(()));
    let began = Clock.now();
    proxy.stop();
    // The copy and the drain have a minute each.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

/// The page of the one shadow on the admin listener.
#[track_caller]
fn page(proxy: &Proxy) -> serde_json::Value {
    let mut admin = Raw::connect(proxy.admin());
    let head = format!("GET /shadow HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", proxy.admin());
    let page = admin.send(head).read_response().json();
    page["routes"][0].clone()
}

/// The verdict on a field of the one shadow.
fn verdict(page: &serde_json::Value, path: &str) -> Option<String> {
    let fields = page["comparison"]["fields"].as_array()?;
    fields.iter().find(|field| field["path"] == path)?["verdict"].as_str().map(str::to_owned)
}

/// Answers with a price, and an id that changes with each response.
fn shop(price: u32) -> Upstream {
    Upstream::script(move |mut conn| {
        let mut random = fastrand::Rng::with_seed(conn.number + u64::from(price) * 1000);
        while conn.request().is_ok() {
            let body = format!(
                "{{\"price\":{price},\"request\":\"{}\",\"card\":\"4711\",\"items\":[1,2,3]}}",
                (0..12).map(|_| random.alphanumeric()).collect::<String>()
            );
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
            if !conn.send(head + &body) {
                return;
            }
        }
    })
}

const COMPARED: &str = "[route.shadow.compare]\ncontrol = 100\nredact = [\"$.card\"]\n";

#[test]
fn a_real_difference_is_distinguished_from_noise() {
    let (main, dark) = (shop(10), shop(11));
    let proxy = setup(&main, &dark).start(&format!("{SHADOWED}{COMPARED}"));
    let mut client = proxy.connect();
    let mut sent = 0;
    let page = until("a verdict", || {
        assert_eq!(client.get("/checkout", "").status, 200);
        sent += 1;
        let page = page(&proxy);
        (verdict(&page, "$.price").as_deref() == Some("confirmed")).then_some(page)
    });
    assert_eq!(verdict(&page, "$.request").as_deref(), Some("noisy"), "{page}");
    assert_eq!(verdict(&page, "$.items"), None);
    let comparison = &page["comparison"];
    let price = comparison["fields"].as_array().unwrap().iter().find(|field| field["path"] == "$.price").unwrap();
    assert_eq!(price["ignore"], "ignore = [\"$.price\"]");
    assert_eq!((price["control"]["different"].as_u64(), price["kind"].as_str()), (Some(0), Some("value")), "{price}");
    let confirmed = price["candidate"]["of"].as_u64().unwrap();
    assert!((9..=60).contains(&confirmed), "confirmed after {confirmed} of {sent}");
    assert!(comparison["net_mismatch_upper"].as_f64().unwrap() <= 1.0);
    assert!(comparison["latency_seconds"]["candidate"]["p50"].as_f64().unwrap() > 0.0);
    // The control is a copy too, and is marked as one.
    assert!(main.got().iter().any(|got| got.field("x-pointsman-shadow") == Some("1")));
    Figures::settled(&proxy, 1);
    assert!(proxy.metric_sum("pointsman_shadow_compared_total") >= 9.0);

    // With `ignore`, no difference is left.
    proxy.rewrite(&format!("{SHADOWED}{COMPARED}ignore = [\"$.price\", \"$.request\"]\n"));
    until("equal answers", || {
        assert_eq!(client.get("/checkout", "").status, 200);
        let page = self::page(&proxy);
        let equal = page["comparison"]["equal"].as_u64().unwrap_or(0);
        assert_eq!(page["comparison"]["different"].as_u64().unwrap_or(0), 0, "{page}");
        (equal >= 3).then_some(())
    });
}

#[test]
fn responses_that_cannot_be_compared_are_counted() {
    let large = "x".repeat(1100 * 1024);
    let large = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{large}", large.len());
    let (main, dark) = (Upstream::answering(large.clone()), Upstream::answering(large.clone()));
    let proxy = setup(&main, &dark).start(&format!("{SHADOWED}{COMPARED}"));
    assert_eq!(proxy.connect().get("/", "").status, 200);
    Figures::settled(&proxy, 1);
    until("it is left out", || (page(&proxy)["not_compared"]["too_large"] == 1).then_some(()));
    assert_eq!(proxy.metric("pointsman_shadow_held_bytes"), 0.0);

    // A body that is too large on one side is a difference, on either side.
    for (main, dark) in [(shop(1), Upstream::answering(large.clone())), (Upstream::answering(large), shop(1))] {
        let proxy = setup(&main, &dark).start(&format!("{SHADOWED}{COMPARED}"));
        assert_eq!(proxy.connect().get("/", "").status, 200);
        let page = until("it is compared", || {
            let page = page(&proxy);
            (page["comparison"]["different"] == 1).then_some(page)
        });
        assert_eq!(verdict(&page, "body").as_deref(), Some("unknown"), "{page}");
        assert_eq!((&page["not_compared"], verdict(&page, "transport")), (&serde_json::json!({}), None), "{page}");
    }

    // A shadow that refuses connections differs as well.
    let (main, gone) = (shop(1), RefusingAddress::new());
    let text = format!("{SHADOWED}{COMPARED}").replace("{dark}", &gone.address().to_string());
    let proxy = Proxy::with("main", &main).place("scheme", "http").start(&text);
    assert_eq!(proxy.connect().get("/", "").status, 200);
    let page = until("it is compared", || {
        let page = page(&proxy);
        (page["comparison"]["different"] == 1).then_some(page)
    });
    assert_eq!(verdict(&page, "transport").as_deref(), Some("unknown"), "{page}");
}
