//! The admin listener: its figures are correct, and no browser page can reach it.

#![expect(clippy::unwrap_used, clippy::float_cmp, reason = "a test may fail, and counts are whole")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use serde_json::Value;

use crate::harness::{Answer, Proxy, Raw, RefusingAddress, Upstream, until};

const SHOP: &str = r#"
[upstream.v1]
endpoints = ["http://{v1}", { url = "http://{v2}", weight = 3 }]
revision = "1.2.3"
[upstream.v2]
endpoints = ["h2c://{gone}"]
[[route]]
name = "shop"
match = { path = "/shop/*" }
stable = "v1"
sticky = []
canary = { upstream = "v2", weight = 25 }
[[route]]
name = "moved"
match = { path = "/moved" }
redirect = { to = "https://example.com/", status = 308 }
"#;

struct Scene {
    proxy: Proxy,
    _upstreams: [Upstream; 2],
    _gone: RefusingAddress,
}

fn scene(workers: usize) -> Scene {
    let upstreams = [Upstream::echo(), Upstream::echo()];
    let gone = RefusingAddress::new();
    let setup = Proxy::workers(workers).with("v1", &upstreams[0]).with("v2", &upstreams[1]);
    Scene { proxy: setup.place("gone", gone.address()).start(SHOP), _upstreams: upstreams, _gone: gone }
}

/// One request to the admin listener.
fn ask(proxy: &Proxy, method: &str, path: &str, lines: &str) -> Answer {
    let mut client = Raw::connect(proxy.admin());
    let host = if lines.contains("Host:") { String::new() } else { format!("Host: {}\r\n", proxy.admin()) };
    let head = format!("{method} {path} HTTP/1.1\r\n{host}{lines}\r\n");
    client.send(head).read_response_to(method)
}

/// The samples of a scrape by series, and its families by kind. Every line is parsed strictly.
#[derive(Debug)]
struct Scrape {
    samples: BTreeMap<String, f64>,
    kinds: BTreeMap<String, String>,
}

fn scrape(text: &str) -> Scrape {
    let (mut samples, mut kinds) = (BTreeMap::new(), BTreeMap::new());
    let (mut family, mut helped) = (String::new(), String::new());
    assert!(text.ends_with('\n'), "the last line ends");
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            help.split(' ').next().unwrap().clone_into(&mut helped);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, helped, "HELP comes before TYPE");
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
            assert_eq!(kinds.insert(name.to_owned(), kind.to_owned()), None, "{name} occurs twice");
            name.clone_into(&mut family);
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a sample: {line}"));
            let name = series.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let own = if kinds[&family] == "histogram" { base.unwrap_or(name) } else { name };
            assert_eq!(own, family, "{line} is not in its family");
            if kinds[&family] == "counter" {
                assert!(name.ends_with("_total"), "{name}");
            }
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("not a number: {line}"));
            // Evidence may speak for the variant: its logarithm is negative then.
            assert!(value >= 0.0 || name == "pointsman_guard_evidence_log10" && value.is_finite(), "{line}");
            assert_eq!(samples.insert(series.to_owned(), value), None, "{series} occurs twice");
        }
    }
    Scrape { samples, kinds }
}

impl Scrape {
    fn sum(&self, family: &str) -> f64 {
        let of = |series: &&String| series.split('{').next() == Some(family);
        self.samples.iter().filter(|(series, _)| of(series)).map(|(_, value)| value).sum()
    }

    /// Invariants: histograms are cumulative, and a part is never larger than its whole.
    fn holds(&self) {
        for (name, _) in self.kinds.iter().filter(|(_, kind)| *kind == "histogram") {
            let ends = self.samples.iter().filter(|(series, _)| series.starts_with(&format!("{name}_bucket")));
            let mut by_labels: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
            for (series, count) in ends {
                let (labels, bound) = series.split_once("le=\"").unwrap();
                let bound = bound.split('"').next().unwrap().replace("+Inf", "inf").parse().unwrap();
                by_labels.entry(labels.to_owned()).or_default().push((bound, *count));
            }
            for (labels, mut buckets) in by_labels {
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{labels}: {buckets:?}");
                let rest = labels.trim_start_matches(&format!("{name}_bucket")).trim_end_matches(',');
                let count = self.samples[&format!("{name}_count{rest}}}").replace("{}", "")];
                assert_eq!(buckets.last().map(|(_, count)| *count), Some(count), "{labels}");
            }
        }
        let (accepted, closed) =
            (self.sum("pointsman_connections_accepted_total"), self.sum("pointsman_connections_closed_total"));
        assert!(closed <= accepted, "{closed} of {accepted}");
    }
}

#[test]
fn metrics_parse_and_satisfy_their_identities() {
    let Scene { proxy, _upstreams, _gone } = scene(2);
    let mut client = proxy.connect();
    let statuses: Vec<u16> =
        (0..40).map(|n| client.get(["/shop/", "/moved", "/nowhere", "/shop/x"][n % 4], "").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 404).count(), 10);
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.read_response().status, 400);
    drop(client);
    proxy.settles();

    let answer = ask(&proxy, "GET", "/metrics", "");
    assert_eq!(answer.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let scrape = scrape(&answer.text());
    scrape.holds();
    assert_eq!(scrape.sum("pointsman_requests_total"), 41.0);
    assert_eq!(scrape.sum("pointsman_request_duration_seconds_count"), 41.0);
    assert_eq!(scrape.sum("pointsman_requests_in_flight"), 0.0);
    let of = |series: &str| scrape.samples.get(series).copied().unwrap_or(0.0);
    let canary =
        r#"pointsman_requests_total{reason="weight+fallback",route="shop",status_class="2xx",variant="canary"}"#;
    assert!(
        (4.0..=6.0).contains(&of(canary)),
        "{canary} is {}: the canary is unreachable, and stable answers",
        of(canary)
    );
    let moved = r#"pointsman_requests_total{reason="none",route="moved",status_class="3xx",variant="none"}"#;
    assert_eq!(of(moved), 10.0);
    assert_eq!(of("pointsman_refused_total{reason=\"no_route\"}"), 10.0);
    assert_eq!(of("pointsman_refused_total{reason=\"bad_host\"}"), 1.0);
    let tries = scrape.sum("pointsman_upstream_requests_total");
    assert_eq!(tries, 20.0 + of(canary), "one try for each request of the split, and one at stable for the canary's");
    let failed = of("pointsman_upstream_connect_failures_total{upstream=\"v2\"}");
    assert!((1.0..=of(canary)).contains(&failed), "{failed}: an endpoint that has just refused is skipped");
    let weight = r#"pointsman_variant_weight_ratio{route="shop",variant="canary"}"#;
    assert_eq!(of(weight), 0.25);
    for name in ["pointsman_build_info", "process_resident_memory_bytes", "process_start_time_seconds"] {
        assert!(scrape.kinds.contains_key(name), "{name}");
    }
}

#[test]
fn scrapes_under_load_are_complete_and_count_every_request() {
    let Scene { proxy, _upstreams, _gone } = scene(2);
    let stop = AtomicBool::new(false);
    let asked: u32 = std::thread::scope(|scope| {
        let one = || {
            let (mut client, mut asked) = (proxy.connect(), 0);
            while !stop.load(SeqCst) {
                assert_eq!(client.get("/moved", "").status, 308);
                asked += 1;
            }
            asked
        };
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(one)).collect();
        let mut last = 0.0;
        for _ in 0..30 {
            let scrape = scrape(&ask(&proxy, "GET", "/metrics", "").text());
            scrape.holds();
            let now = scrape.sum("pointsman_requests_total");
            assert!(now >= last, "a counter never falls: {now} after {last}");
            assert!(scrape.sum("pointsman_requests_in_flight") <= 6.0, "no more than the clients can have sent");
            last = now;
        }
        until("requests while it was scraped", || (proxy.metric_sum("pointsman_requests_total") > 100.0).then_some(()));
        stop.store(true, SeqCst);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    proxy.settles();
    assert_eq!(proxy.metric_sum("pointsman_requests_total"), f64::from(asked));
}

#[test]
fn status_reports_the_rules_in_effect() {
    let Scene { proxy, _upstreams, _gone } = scene(1);
    let mut client = proxy.connect();
    (0..80).for_each(|_| drop(client.get("/shop/", "")));
    let answer = ask(&proxy, "GET", "/status", "");
    assert_eq!(answer.field("content-type"), Some("application/json"));
    let status = answer.json();
    assert_eq!(
        (&status["generation"], &status["phase"], &status["ready"]),
        (&1.into(), &"running".into(), &true.into())
    );
    // The file is so new at the start that it may be read twice.
    let last = (status["last_reload"]["outcome"].as_str().unwrap(), status["last_reload"]["cause"].as_str().unwrap());
    assert!([("applied", "start"), ("unchanged", "watch")].contains(&last), "{last:?}");
    let listener = &status["listeners"][0];
    assert_eq!(listener["name"], "http");
    assert_eq!(listener["address"], proxy.address().to_string());
    assert_eq!(listener["connections"], 1);
    let shop = &status["routes"][0];
    assert_eq!((&shop["name"], &shop["action"], &shop["requests"]), (&"shop".into(), &"split".into(), &80.into()));
    assert!(shop["place"].as_str().unwrap().contains("routes.toml:"), "{shop}");
    let variant = |at: usize| &shop["variants"][at];
    assert_eq!((&variant(0)["name"], &variant(0)["weight"]), (&"stable".into(), &75.0.into()));
    assert_eq!((&variant(1)["name"], &variant(1)["weight"]), (&"canary".into(), &25.0.into()));
    let share = variant(1)["share"].as_f64().unwrap();
    assert!((22.0..=28.0).contains(&share), "the measured share of 25 % is {share} %");
    assert_eq!(variant(1)["error_ratio"], 1.0, "the canary is unreachable");
    assert_eq!(variant(0)["error_ratio"], 0.0);
    assert_eq!(status["routes"][1]["action"], "redirect");
    let v1 = &status["upstreams"][0];
    assert_eq!((&v1["name"], &v1["revision"]), (&"v1".into(), &"1.2.3".into()));
    let weights: Vec<&Value> = v1["endpoints"].as_array().unwrap().iter().map(|one| &one["weight"]).collect();
    assert_eq!(weights, [1, 3]);
    assert_eq!(status["upstreams"][1]["endpoints"][0]["protocol"], "h2c");
}

#[test]
fn status_names_the_shadow_of_a_route() {
    let upstream = Upstream::echo();
    let routes = "[upstream.v1]\nendpoints = [\"http://{v1}\"]\n[upstream.v2]\nendpoints = [\"http://127.0.0.1:1\"]\n\
                  [[route]]\nname = \"shop\"\nstable = \"v1\"\nshadow = { upstream = \"v2\", weight = 12.5, compare = { keep = 0 } }\n\
                  [[route]]\nname = \"plain\"\nmatch = { path = \"/plain\" }\nstable = \"v1\"\n";
    let proxy = Proxy::workers(1).with("v1", &upstream).start(routes);
    let status = proxy.status();
    let expected = serde_json::json!({
        "upstream": "v2",
        "weight": 12.5,
        "sample_by": "request",
        "methods": ["GET", "HEAD", "OPTIONS"],
        "from": ["stable"],
        "killed": false,
        "control": 20.0,
    });
    assert_eq!(status["routes"][0]["shadow"], expected);
    assert_eq!(status["routes"][1]["shadow"], Value::Null);
}

#[test]
fn a_reload_can_be_requested() {
    let Scene { proxy, _upstreams, _gone } = scene(1);
    let answer = ask(&proxy, "POST", "/reload", "");
    assert_eq!((answer.status, &answer.json()["outcome"]), (200, &"unchanged".into()));
    let file = proxy.dir().join("routes.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("weight = 25", "weight = 101")).unwrap();
    let answer = ask(&proxy, "POST", "/reload", "");
    let body = answer.json();
    assert_eq!((answer.status, &body["outcome"]), (422, &"rejected".into()));
    assert_eq!(body["diagnostics"][0]["severity"], "error", "{body}");
    let answer = ask(&proxy, "POST", "/reload", "Accept: text/plain\r\n");
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("routes.toml:") && answer.text().contains("101"), "{}", answer.text());
    std::fs::write(&file, text.replace("weight = 25", "weight = 26")).unwrap();
    let answer = ask(&proxy, "POST", "/reload", "");
    assert_eq!(answer.status, 200);
    // The watcher may have been faster; then this reload found no change.
    assert!(matches!(answer.json()["outcome"].as_str(), Some("applied" | "unchanged")), "{}", answer.text());
    assert_eq!(proxy.status()["routes"][0]["variants"][1]["weight"], 26.0);
}

#[test]
fn health_and_readiness_have_pages_of_their_own() {
    let Scene { proxy, _upstreams, _gone } = scene(1);
    for path in ["/healthz", "/readyz", "/metrics", "/status", "/"] {
        assert_eq!(ask(&proxy, "GET", path, "").status, 200, "{path}");
        let head = ask(&proxy, "HEAD", path, "");
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        let refused = ask(&proxy, "POST", path, "Content-Length: 0\r\n");
        assert_eq!((refused.status, refused.field("allow")), (405, Some("GET, HEAD")), "{path}");
    }
    let refused = ask(&proxy, "GET", "/reload", "");
    assert_eq!((refused.status, refused.field("allow")), (405, Some("POST")));
    assert_eq!(ask(&proxy, "DELETE", "/reload", "").status, 405);
    assert_eq!(ask(&proxy, "GET", "/nothing", "").status, 404);
    assert_eq!(proxy.connect().get("/metrics", "").status, 404, "clients of the proxy see none of it");
}

#[test]
fn pages_in_a_browser_cannot_reach_the_admin_listener() {
    let Scene { proxy, _upstreams, _gone } = scene(1);
    let admin = proxy.admin();
    let reloads = || {
        ["applied", "unchanged", "rejected"]
            .map(|outcome| proxy.metric(&format!("pointsman_config_reloads_total{{outcome=\"{outcome}\"}}")))
    };
    let before = reloads();
    for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example"] {
        for (method, path) in [("GET", "/status"), ("POST", "/reload")] {
            assert_eq!(ask(&proxy, method, path, &format!("Host: {host}\r\n")).status, 403, "{host}");
        }
    }
    for line in ["Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"] {
        assert_eq!(ask(&proxy, "POST", "/reload", &format!("{line}\r\n")).status, 403, "{line}");
    }
    assert_eq!(reloads(), before, "no file was read again");
    for line in [format!("Host: localhost:{}", admin.port()), format!("Origin: http://{admin}")] {
        assert_eq!(ask(&proxy, "POST", "/reload", &format!("{line}\r\n")).status, 200, "{line}");
    }
}

#[test]
fn many_pages_at_once_are_all_answered() {
    let Scene { proxy, _upstreams, _gone } = scene(1);
    std::thread::scope(|scope| {
        for at in 0..3 * 16 {
            let path = ["/metrics", "/status", "/shadow"][at % 3];
            let proxy = &proxy;
            scope.spawn(move || assert_eq!(ask(proxy, "GET", path, "").status, 200, "{path}"));
        }
        for path in ["/healthz", "/readyz"] {
            assert_eq!(ask(&proxy, "GET", path, "").status, 200, "{path} among them");
        }
    });
}

#[test]
fn a_burst_of_requests_for_a_page_is_answered_or_refused_at_once() {
    let Scene { proxy, _upstreams, _gone } = scene(1);
    let mut clients: Vec<_> = (0..48).map(|_| Raw::connect(proxy.admin())).collect();
    for client in &mut clients {
        client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(ask(&proxy, "GET", path, "").status, 200, "{path} among them");
    }
    for client in &mut clients {
        let answer = client.read_response_to("GET");
        match answer.status {
            200 => {}
            503 => assert_eq!(answer.text(), "too many requests for this page at once; try again\n"),
            other => panic!("answered with {other}"),
        }
    }
    assert_eq!(ask(&proxy, "GET", "/metrics", "").status, 200, "after them");
}
