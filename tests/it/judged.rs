//! Conclusions from responses: jobs in, reports out, without sockets.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pointsman::clock::Clock;
use pointsman::compare::{Ending, Failure};
use pointsman::config::load_text;
use pointsman::route::{Generation, RouteId, Rules};
use pointsman::shadow_compare::{CapturedResponse, Comparator, ComparisonJob, ObservedResponse, RouteReport};
use pointsman::telemetry::{ShadowBytes, ShadowHeld};

use crate::harness::until;

const FILE: &str = r#"
schema = 1
[[listener]]
address = "127.0.0.1:0"
[upstream.main]
endpoints = ["http://127.0.0.1:1"]
revision = "1"
[upstream.main2]
endpoints = ["http://127.0.0.1:1"]
revision = "1"
[upstream.dark]
endpoints = ["http://127.0.0.1:2"]
[[route]]
name = "all"
match = { path = "/*" }
stable = "main"
[[route.variant]]
name = "b"
upstream = "main2"
weight = 10
[route.shadow]
upstream = "dark"
weight = 100
methods = ["GET"]
[route.shadow.compare]
control = 100
"#;

fn rules(text: &str) -> Arc<Rules> {
    Arc::new(load_text("routes.toml", text, &|_| None).unwrap().rules)
}

fn outcome(outcome: Result<Box<CapturedResponse>, Failure>) -> ObservedResponse {
    ObservedResponse { outcome, took: Duration::from_millis(1) }
}

fn coded(status: u16, coding: &'static str, body: &[u8]) -> ObservedResponse {
    let headers = [("content-type", "application/json"), ("content-encoding", coding)];
    let headers: HeaderMap = headers
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    outcome(Ok(Box::new(CapturedResponse {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        trailers: None,
        captured: vec![Bytes::copy_from_slice(body)],
        length: body.len() as u64,
        digest: xxhash_rust::xxh3::xxh3_128(body),
        ending: Ending::Complete,
    })))
}

fn answered(status: u16, body: &str) -> ObservedResponse {
    coded(status, "identity", body.as_bytes())
}

/// A comparison thread, and the rules of its jobs.
struct Court {
    comparator: Comparator,
    rules: Arc<Rules>,
    generation: u64,
    route: u32,
    /// The time of its requests.
    at: Duration,
    held: Arc<ShadowBytes>,
}

impl Court {
    fn new(text: &str) -> Self {
        let held = Arc::new(ShadowBytes::new(1 << 20));
        let (comparator, at) = (Comparator::start(Clock).unwrap(), Duration::from_secs(1));
        Self { comparator, rules: rules(text), generation: 1, route: 0, at, held }
    }

    fn reload(&mut self, text: &str) {
        self.rules = rules(text);
        self.generation += 1;
    }

    /// Hands a job over without waiting.
    fn hand_over(&self, primary: ObservedResponse, candidate: ObservedResponse, control: Option<ObservedResponse>) {
        let mut held = ShadowHeld::new(Arc::clone(&self.held));
        assert!(held.try_take(100));
        let job = ComparisonJob {
            rules: Arc::clone(&self.rules),
            generation: Generation(self.generation),
            route: RouteId(self.route),
            at: self.at,
            request_id: "1".into(),
            primary,
            candidate,
            control,
            held,
        };
        assert!(self.comparator.sender().try_send(Box::new(job)));
    }

    /// Hands a job over and waits until it is compared, so that the queue is never full.
    fn send(&self, primary: ObservedResponse, candidate: ObservedResponse, control: Option<ObservedResponse>) {
        self.hand_over(primary, candidate, control);
        until("it is judged", || (self.held.used() == 0).then_some(()));
    }

    fn report(&self) -> RouteReport {
        self.comparator.reports(&self.rules).pop().unwrap()
    }
}

fn verdict(report: &RouteReport, path: &str) -> Option<&'static str> {
    report.fields.iter().find(|field| &*field.path == path).map(|field| field.verdict)
}

#[test]
fn failed_controls_do_not_turn_noise_into_differences() {
    for share in ["100", "50"] {
        for failing in [|| outcome(Err(Failure::Reset)), || answered(429, "{}")] {
            let court = Court::new(&FILE.replace("control = 100", &format!("control = {share}")));
            let mut number = 0;
            let mut noise = || {
                number += 1;
                answered(200, &format!("{{\"ts\":{number}}}"))
            };
            for n in 0..300 {
                court.send(noise(), noise(), Some(if n % 2 == 0 { failing() } else { noise() }));
            }
            let report = court.report();
            assert_eq!(verdict(&report, "$.ts"), Some("noisy"), "{share}");
            let field = report.fields.iter().find(|field| &*field.path == "$.ts").unwrap();
            assert_eq!((field.raw, field.noise), ((300, 300), (150, 150)));
            assert_eq!((report.early_controls, report.early, report.controls), (150, 0, 300));
            assert_eq!((report.compared, report.different), (300, 300));
            assert!(report.net_mismatch < Some(1e-9), "all of it is noise: {:?}", report.net_mismatch);
        }
    }
}

#[test]
fn noisy_fields_are_not_in_the_headline() {
    for share in ["100", "20"] {
        let mut court = Court::new(&FILE.replace("control = 100", &format!("control = {share}")));
        let mut number = 0;
        let mut answer = |price: u32| {
            number += 1;
            answered(200, &format!("{{\"request\":{number},\"at\":{number},\"price\":{price}}}"))
        };
        let every = if share == "100" { 1 } else { 5 };
        for n in 0..300_u32 {
            // The first copies have no control: only later ones show noise.
            let control = (n >= 3 && n % every == 0).then(|| answer(1));
            court.send(answer(1), answer(if n % 3 == 0 { 2 } else { 1 }), control);
        }
        let report = court.report();
        let verdicts = ["$.request", "$.at", "$.price"].map(|path| verdict(&report, path));
        assert_eq!(verdicts, [Some("noisy"), Some("noisy"), Some("confirmed")], "{share}");
        assert_eq!((report.compared, report.equal, report.noisy_controls), (300, 0, report.controls));
        let net = report.net_mismatch.expect("the difference is known");
        assert!((net - 1.0 / 3.0).abs() < 1e-9, "{share}: {net}");
        assert!((0.334..0.5).contains(&report.net_mismatch_upper), "{share}: {}", report.net_mismatch_upper);
        let findings = court.comparator.summaries(&court.rules).pop().unwrap();
        assert_eq!((findings.net_mismatch, findings.net_mismatch_upper), (Some(net), report.net_mismatch_upper));
        // Without a control, a difference may be noise.
        court.reload(&FILE.replace("control = 100", "control = 50"));
        court.send(answered(200, "1"), answered(200, "2"), None);
        assert_eq!(court.report().net_mismatch, None);
    }
}

#[test]
fn evidence_counts_from_the_reported_time() {
    let mut court = Court::new(FILE);
    let send = |court: &mut Court, at: u64| {
        court.at = Duration::from_secs(at);
        court.send(answered(200, "1"), answered(200, "1"), None);
    };
    for at in [10, 12, 9, 15] {
        send(&mut court, at);
    }
    assert_eq!((court.report().since, court.report().compared), (Duration::from_secs(9), 4));
    court.reload(&FILE.replace("weight = 100", "weight = 50"));
    send(&mut court, 20);
    assert_eq!((court.report().since, court.report().compared), (Duration::from_secs(9), 5), "it continues");
    court.reload(&FILE.replace("control = 100", "control = 50"));
    send(&mut court, 30);
    assert_eq!((court.report().since, court.report().compared), (Duration::from_secs(30), 1), "it restarts");
}

#[test]
fn a_failed_candidate_is_not_compared_by_its_body() {
    let court = Court::new(FILE);
    for n in 0..40 {
        let candidate = if n % 2 == 0 { answered(500, "oh") } else { answered(200, "{\"a\":2}") };
        court.send(answered(200, "{\"a\":1}"), candidate, Some(answered(200, "{\"a\":1}")));
    }
    let report = court.report();
    let rates =
        |path: &str| report.fields.iter().find(|field| &*field.path == path).map(|field| (field.raw, field.noise));
    assert_eq!(rates("status"), Some(((20, 40), (0, 40))));
    assert_eq!(rates("$.a"), Some(((20, 20), (0, 40))));
    assert_eq!((verdict(&report, "status"), verdict(&report, "$.a")), (Some("confirmed"), Some("confirmed")));
    assert_eq!(report.early, 20);
}

#[test]
fn bodies_that_could_not_be_read_are_not_equal() {
    let court = Court::new(&format!("{FILE}ignore = [\"header:content-encoding\"]\n"));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"{\"other\":1}").unwrap();
    let zipped = encoder.finish().unwrap();
    let large = || {
        let mut seen = answered(200, "{\"a\":1}");
        seen.outcome.as_mut().unwrap().length = 400_000;
        seen
    };
    for _ in 0..20 {
        court.send(large(), coded(200, "gzip", &zipped), None);
    }
    let report = court.report();
    assert_eq!((report.unread, report.compared, report.equal, report.different), (20, 0, 0, 0));
    assert_eq!(report.net_mismatch_upper, 1.0, "nothing is known");
    // A difference in another field still counts.
    court.send(large(), coded(404, "gzip", &zipped), None);
    let mut differs = coded(200, "gzip", &zipped);
    let kept = differs.outcome.as_mut().unwrap();
    kept.headers.insert("x-other", HeaderValue::from_static("1"));
    court.send(large(), differs, None);
    let report = court.report();
    assert_eq!((report.unread, report.compared, report.equal, report.different), (21, 2, 0, 2));
}

#[test]
fn differences_beyond_the_listed_ones_are_counted() {
    let court = Court::new(FILE);
    let body = |value: u32| {
        let members: Vec<_> = (0..400).map(|n| format!("\"f{n}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    };
    court.send(answered(200, &body(1)), answered(200, &body(1)), None);
    assert_eq!(court.report().truncated, 0);
    court.send(answered(200, &body(1)), answered(200, &body(2)), None);
    court.send(answered(200, &body(1)), answered(200, &body(1)), Some(answered(200, &body(2))));
    let report = court.report();
    assert_eq!((report.truncated, report.fields.len()), (2, 256));
}

#[test]
fn evidence_restarts_when_its_subject_changes() {
    let mut court = Court::new(FILE);
    let send = |court: &Court| court.send(answered(200, "1"), answered(200, "2"), Some(answered(200, "1")));
    let edits: [(&str, &str); 9] = [
        ("methods = [\"GET\"]", "methods = [\"GET\"]\nhost = \"other\""),
        ("methods = [\"GET\"]", "methods = [\"GET\"]\nheaders = { set = { x-a = \"1\" } }"),
        ("methods = [\"GET\"]", "methods = [\"GET\", \"HEAD\"]"),
        ("methods = [\"GET\"]", "methods = [\"GET\"]\nfrom = [\"stable\", \"b\"]"),
        ("stable = \"main\"", "stable = \"main2\""),
        ("127.0.0.1:2\"", "127.0.0.1:3\""),
        ("127.0.0.1:1\"]\nrevision = \"1\"\n[upstream.main2]", "127.0.0.1:4\"]\nrevision = \"1\"\n[upstream.main2]"),
        ("revision = \"1\"\n[upstream.main2]", "revision = \"2\"\n[upstream.main2]"),
        ("control = 100", "control = 100\nignore = [\"$.b\"]"),
    ];
    for (from, to) in edits {
        court.reload(FILE);
        send(&court);
        send(&court);
        assert_eq!(court.report().compared, 2, "before {to}");
        let edited = FILE.replace(from, to);
        assert_ne!(edited, FILE, "{from}");
        court.reload(&edited);
        assert_eq!(court.comparator.reports(&court.rules).len(), 0, "{to}");
        send(&court);
        assert_eq!(court.report().compared, 1, "{to}");
    }
    // Unrelated changes: other routes, the share, the limit of copies.
    court.reload(FILE);
    send(&court);
    for (from, to) in [
        ("weight = 100", "weight = 50\nmax_in_flight = 5"),
        ("weight = 10\n", "weight = 20\n"),
        (
            "[upstream.main2]\nendpoints = [\"http://127.0.0.1:1\"]",
            "[upstream.main2]\nendpoints = [\"http://127.0.0.1:9\"]",
        ),
    ] {
        let before = court.report().compared;
        let edited = FILE.replace(from, to);
        assert_ne!(edited, FILE, "{from}");
        court.reload(&edited);
        send(&court);
        assert_eq!(court.report().compared, before + 1, "{to}");
    }
}

#[test]
fn evidence_of_removed_routes_is_dropped_without_a_request() {
    let mut court = Court::new(FILE);
    for n in 0..20 {
        court.reload(&FILE.replace("name = \"all\"", &format!("name = \"all{n}\"")));
        court.send(answered(200, "1"), answered(200, "2"), None);
        assert_eq!(court.comparator.stats().routes, 1);
    }
    // A job that was under way is late: its route is gone.
    let (newest, generation) = (Arc::clone(&court.rules), court.generation);
    (court.rules, court.generation) = (rules(FILE), 1);
    court.send(answered(200, "1"), answered(200, "2"), None);
    (court.rules, court.generation) = (newest, generation);
    assert_eq!(court.comparator.stats().routes, 1);
    assert_eq!(court.report().compared, 1);
}

#[test]
fn the_number_of_evidence_entries_is_limited() {
    let route = FILE.split("[[route]]").nth(1).unwrap();
    let routes = |numbers: std::ops::Range<u32>| {
        let one = |number| {
            let named = route.replace("\"all\"", &format!("\"all{number}\""));
            format!("[[route]]{}", named.replace("/*", &format!("/{number}/*")))
        };
        format!("{}{}", FILE.split("[[route]]").next().unwrap(), numbers.map(one).collect::<String>())
    };
    let mut court = Court::new(&routes(0..258));
    for route in (0..258).chain([0, 257]) {
        court.route = route;
        court.send(answered(200, "1"), answered(200, "2"), None);
    }
    let figures = court.comparator.stats();
    assert_eq!((figures.routes, figures.refused, figures.failed), (256, 3, 0));
    // When some routes are removed, others get their entries.
    court.reload(&routes(200..258));
    court.route = 57;
    court.send(answered(200, "1"), answered(200, "2"), None);
    assert_eq!(court.comparator.stats().refused, 3);
    assert_eq!(court.comparator.reports(&court.rules).len(), 57);
}

#[test]
fn queries_do_not_wait_for_a_comparison() {
    let court = Court::new(FILE);
    let body = |value: u32| {
        let members: Vec<_> = (0..9_000).map(|n| format!("\"field_{n}\":\"{value}\"")).collect();
        format!("{{{}}}", members.join(","))
    };
    // One of several tries: the machine may be busy.
    let waits_less = (0..20).any(|_| {
        court.hand_over(answered(200, &body(1)), answered(200, &body(2)), Some(answered(200, &body(3))));
        let began = Clock.now();
        let mut longest = Duration::ZERO;
        while court.held.used() > 0 {
            let asked = Clock.now();
            assert_eq!(court.comparator.stats().failed, 0);
            longest = longest.max(asked.elapsed());
        }
        longest < began.elapsed() / 4
    });
    assert!(waits_less);
}
