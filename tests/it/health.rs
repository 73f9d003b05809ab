//! Active checks over sockets: an endpoint that turns bad drains and comes back, backups, reloads, shared checks, and
//! what clients get where none is healthy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use pointsman::control::ReloadOutcome;
use serde_json::Value;

use crate::harness::fleet::state_of;
use crate::harness::upstream::Got;
use crate::harness::{Conn, Proxy, Raw, Setup, Upstream, until};
use crate::upstream_tls::{Authority, Close, Front, config, files};

/// The shortest interval; a verdict after one check. The limit is long, so that a busy machine makes no check bad.
const QUICK: &str = "path = \"/healthz\"\ninterval = \"250ms\"\ntimeout = \"20s\"\nhealthy = 1\nunhealthy = 1\n";

/// Endpoints whose answers to checks are set apart from those to requests.
struct CheckedFleet {
    endpoints: Vec<Upstream>,
    plans: Vec<Arc<Plan>>,
}

/// What an endpoint does, and what it got.
#[derive(Default)]
struct Plan {
    is_ill: AtomicBool,
    holds: AtomicBool,
    checks: AtomicU64,
    requests: AtomicU64,
}

impl CheckedFleet {
    fn of(count: usize) -> Self {
        let plans: Vec<Arc<Plan>> = (0..count).map(|_| Arc::default()).collect();
        let endpoint = |plan: &Arc<Plan>| {
            let plan = Arc::clone(plan);
            Upstream::script(move |conn| serve(conn, &plan))
        };
        Self { endpoints: plans.iter().map(endpoint).collect(), plans }
    }

    fn address(&self, at: usize) -> SocketAddr {
        self.endpoints[at].address()
    }

    fn url(&self, at: usize) -> String {
        format!("\"http://{}\"", self.address(at))
    }

    fn urls(&self) -> String {
        (0..self.endpoints.len()).map(|at| self.url(at)).collect::<Vec<_>>().join(", ")
    }

    fn is_ill(&self, at: usize, is: bool) {
        self.plans[at].is_ill.store(is, SeqCst);
    }

    fn holds(&self, at: usize, is: bool) {
        self.plans[at].holds.store(is, SeqCst);
    }

    fn requests(&self, at: usize) -> u64 {
        self.plans[at].requests.load(SeqCst)
    }

    fn checks(&self, at: usize) -> u64 {
        self.plans[at].checks.load(SeqCst)
    }

    /// Waits until this endpoint is in this state.
    #[track_caller]
    fn becomes(&self, proxy: &Proxy, at: usize, state: &str) {
        until(&format!("endpoint {at} is {state}"), || {
            (state_of(proxy, "main", self.address(at)) == state).then_some(())
        });
    }
}

fn serve(mut conn: Conn, plan: &Plan) {
    while let Ok(Got { target, .. }) = conn.request() {
        let is_check = target == "/healthz";
        (if is_check { &plan.checks } else { &plan.requests }).fetch_add(1, SeqCst);
        if !is_check {
            until("the test releases it", || (!plan.holds.load(SeqCst)).then_some(()));
        }
        let status = if is_check && plan.is_ill.load(SeqCst) { 503 } else { 200 };
        if !conn.send(format!("HTTP/1.1 {status} Reply\r\ncontent-length: 2\r\n\r\nok")) {
            return;
        }
    }
}

/// An upstream `main` with these endpoints and checks, and a route to it.
fn rules(endpoints: &str, health: &str) -> String {
    format!(
        "[upstream.main]\nendpoints = [{endpoints}]\nbalance = \"round_robin\"\n[upstream.main.health]\n{health}\n\
         [[route]]\nname = \"all\"\nmatch = {{ path = \"/*\" }}\nstable = \"main\"\n"
    )
}

/// So many GETs, each on a connection of its own, each of which gets 200.
#[track_caller]
fn all_get_200(proxy: &Proxy, count: usize) {
    for n in 0..count {
        let answer = proxy.connect().get("/", "");
        assert_eq!(answer.status, 200, "GET {n}: {}", answer.text());
    }
}

/// A GET whose response the endpoint holds.
#[track_caller]
fn held_by(proxy: &Proxy, fleet: &CheckedFleet, at: usize) -> Raw {
    for _ in 0..50 {
        let before = fleet.requests(at);
        let all = || (0..fleet.endpoints.len()).map(|one| fleet.requests(one)).sum::<u64>();
        let sum = all();
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        until("an endpoint has the request", || (all() > sum).then_some(()));
        if fleet.requests(at) > before {
            return client;
        }
        assert_eq!(client.read_response().status, 200);
    }
    panic!("endpoint {at} got none of 50 requests");
}

#[test]
fn an_endpoint_that_turns_bad_drains_and_comes_back() {
    let fleet = CheckedFleet::of(2);
    let proxy = Proxy::start(&rules(&fleet.urls(), QUICK));
    (0..2).for_each(|at| fleet.becomes(&proxy, at, "usable"));
    fleet.holds(0, true);
    let mut held = held_by(&proxy, &fleet, 0);
    fleet.is_ill(0, true);
    fleet.becomes(&proxy, 0, "unhealthy");
    let before = fleet.requests(0);
    all_get_200(&proxy, 20);
    assert_eq!(fleet.requests(0), before, "it gets no new request");
    fleet.holds(0, false);
    assert_eq!(held.read_response().status, 200, "the request under way finishes");
    fleet.is_ill(0, false);
    fleet.becomes(&proxy, 0, "usable");
    until("it gets requests again", || {
        all_get_200(&proxy, 1);
        (fleet.requests(0) > before).then_some(())
    });
}

#[test]
fn a_backup_serves_only_while_no_primary_is_healthy() {
    let fleet = CheckedFleet::of(2);
    let endpoints = format!("{}, {{ url = {}, backup = true }}", fleet.url(0), fleet.url(1));
    let proxy = Proxy::start(&rules(&endpoints, QUICK));
    fleet.becomes(&proxy, 0, "usable");
    fleet.becomes(&proxy, 1, "standby");
    all_get_200(&proxy, 10);
    assert_eq!((fleet.requests(0), fleet.requests(1)), (10, 0));
    fleet.is_ill(0, true);
    fleet.becomes(&proxy, 1, "usable");
    all_get_200(&proxy, 10);
    assert_eq!((fleet.requests(0), fleet.requests(1)), (10, 10));
    fleet.is_ill(0, false);
    fleet.becomes(&proxy, 1, "standby");
    all_get_200(&proxy, 10);
    assert_eq!((fleet.requests(0), fleet.requests(1)), (20, 10));
}

#[test]
fn a_reload_keeps_the_verdicts_of_endpoints_that_did_not_change() {
    let fleet = CheckedFleet::of(3);
    fleet.is_ill(0, true);
    // A long interval: what is known after a reload is not found anew.
    let slow = QUICK.replace("250ms", "1h");
    let text = |weight| {
        rules(&format!("{}, {}, {{ url = {}, weight = {weight} }}", fleet.url(0), fleet.url(1), fleet.url(2)), &slow)
    };
    let proxy = Proxy::start(&text(1));
    fleet.becomes(&proxy, 0, "unhealthy");
    (1..3).for_each(|at| fleet.becomes(&proxy, at, "usable"));
    let (checks, before) = (fleet.checks(0), fleet.requests(0));
    for weight in 2..6 {
        assert!(matches!(
            proxy.rewrite(&text(weight)),
            ReloadOutcome::Applied { .. } | ReloadOutcome::Unchanged { .. }
        ));
        assert_eq!(state_of(&proxy, "main", fleet.address(0)), "unhealthy");
        all_get_200(&proxy, 10);
    }
    assert_eq!((fleet.checks(0), fleet.requests(0)), (checks, before), "neither checked anew nor tried");
}

#[test]
fn without_a_healthy_endpoint_stable_tries_all_and_a_variant_says_unhealthy() {
    let fleet = CheckedFleet::of(2);
    (0..2).for_each(|at| fleet.is_ill(at, true));
    let text = |rescue: &str| {
        format!(
            "[upstream.main]\nendpoints = [{}]\nhealth = {{ {health} }}\n\
             [upstream.canary]\nendpoints = [{}]\nhealth = {{ {health} }}\n\
             [[route]]\nname = \"all\"\nmatch = {{ path = \"/*\" }}\nstable = \"main\"\n\
             canary = {{ upstream = \"canary\", weight = 100{rescue} }}\n",
            fleet.url(0),
            fleet.url(1),
            health = QUICK.trim_end().replace('\n', ", "),
        )
    };
    let proxy = Proxy::start(&text(", rescue = false"));
    fleet.becomes(&proxy, 0, "unhealthy");
    until("the canary is unhealthy", || (state_of(&proxy, "canary", fleet.address(1)) == "unhealthy").then_some(()));
    let answer = proxy.connect().get("/", "");
    assert_eq!(answer.status, 503, "{}", answer.text());
    let status = answer.field("proxy-status").unwrap_or_default();
    assert!(status.contains("details=\"unhealthy\""), "{status}");
    assert_eq!(proxy.logged(1)[0]["detail"], "unhealthy");
    let series = "pointsman_upstream_unavailable_total{cause=\"unhealthy\",upstream=\"canary\"}";
    assert!(proxy.metric(series) > 0.0);
    proxy.rewrite(&text(""));
    all_get_200(&proxy, 3);
    assert_eq!((fleet.requests(0), fleet.requests(1)), (3, 0), "stable answers, as its last resort");
}

#[test]
fn upstreams_that_name_one_address_share_its_check() {
    let fleet = CheckedFleet::of(1);
    let other = format!("[upstream.other]\nendpoints = [{}]\n[upstream.other.health]\n{QUICK}\n", fleet.url(0));
    let proxy = Proxy::start(&(other + &rules(&fleet.urls(), QUICK)));
    let good = |upstream: &str| {
        let status = proxy.status();
        let all = status["upstreams"].as_array().cloned().unwrap_or_default();
        let row = all.into_iter().find(|row| row["name"] == upstream).expect("the upstream");
        row["checks"]["good"].as_f64().expect("a count")
    };
    until("some checks of both", || (good("main") >= 3.0 && good("other") >= 3.0).then_some(()));
    // A check counts for both at once; the server may have one that is not counted yet.
    let (main, other, served) = (good("main"), good("other"), fleet.checks(0) as f64);
    assert!(other - main <= 1.0 && served <= other + 1.0, "{main} and {other} of {served}");
}

#[test]
fn an_expired_certificate_is_the_reason_of_a_bad_check() {
    let (authority, behind) = (Authority::new(), Upstream::echo());
    let dir = files(&[("ca.pem", &authority.pem)]);
    let front = |year| {
        let pair = authority.issue_until("127.0.0.1", year);
        Front::with(&config(&pair, None), (b"http/1.1", behind.address(), Close::Notified))
    };
    let (expired, valid) = (front(2002), front(4000));
    let endpoints = format!("\"https://{}\", \"https://{}\"", expired.address, valid.address);
    let tls = format!("[upstream.main.tls]\nca = \"{}/ca.pem\"\n[[route]]", dir.path().display());
    let proxy = Setup::default().start(&rules(&endpoints, QUICK).replace("[[route]]", &tls));
    let is_check = |got: &Got| got.target == "/healthz";
    until("both are checked", || {
        let state = |front: &Front| state_of(&proxy, "main", front.address);
        let is_checked = behind.got().iter().any(is_check);
        (state(&expired) == "unhealthy" && is_checked && state(&valid) == "usable").then_some(())
    });
    let status = proxy.status();
    let text = status["upstreams"].to_string();
    assert!(text.contains("expired at 2002-01-01"), "{text}");
    let got = behind.got().into_iter().find(is_check).expect("a check");
    assert!(got.field("user-agent").is_some_and(|agent| agent.starts_with("pointsman/")), "{got:?}");
    assert!(status["upstreams"].as_array().is_some_and(|all| all.iter().all(|row| row["checks"] != Value::Null)));
    all_get_200(&proxy, 5);
}
