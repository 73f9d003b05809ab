//! The cost of routing a request: lookup among few and many routes, decision, bucket, normal forms, and the choice of an
//! endpoint among few and many.
//!
//! `cargo bench --bench micro`. Lookups are timed in batches of 64, in two ways: `busy` repeats the same 64 routes,
//! spread over the table, which shows the cost of the index; `idle` repeats no route soon, so that a large table is
//! read from memory and not from a cache. In both, the requests themselves are in the cache, as after reading them.

use std::cell::RefCell;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::Method;
use pointsman::balance::{
    Chooser, EndpointLoad, Fleet, HashRing, PeakEwma, RingMember, Rotation, RotationPlace, RoundRobin,
};
use pointsman::control::with_overlay;
use pointsman::fields::Fields;
use pointsman::identity::IdentityProviders;
use pointsman::route::{
    AccessLog, Action, AdminSpec, Balance, Caller, Dns, Edition, EffectiveConfig, EncodedSlash, Extractor, Facts,
    Generation, HeaderEdits, HostPattern, Identity, Index, Kill, LoadPriority, Masks, Match, Needs, NoTrace, Notify,
    Overlay, PathPattern, Predicate, Reason, RequestHead, Rescue, RetryPolicy, Rewrite, Route, RouteId, RouteLimits,
    RouteLine, RouteSpec, Routed, Rules, Salt, SourceLocation, Split, SplitState, Spread, StateSpec, StickyKey, Stop,
    StringMatch, Target, TenantList, Timeouts, UpstreamId, Variant, VariantId, Weight, decide, normal_host,
    normal_path, summary,
};
use pointsman::snapshot::{RouteState, Snapshot, SnapshotStore};
use pointsman::telemetry::exposition::{FigurePusher, Scrape, WeightedSeries, expose};
use pointsman::telemetry::{
    ControlRecorder, CountedFamilies, DrawUnit, Fallback, Labels, MeterRegistry, PerWorker, ReasonLabel, Sample,
    StatusClass, VariantSeries,
};

/// How many lookups are timed at once.
const BATCH: usize = 64;

fn variant(name: &str, upstream: u32) -> Variant {
    Variant { name: name.into(), upstream: UpstreamId(upstream), rescue: Rescue::default() }
}

/// Canary has this weight, and stable the rest.
fn state(millionths: u32) -> SplitState {
    SplitState::new(&[weight(millionths)]).unwrap_or_default()
}

fn weight(millionths: u32) -> Weight {
    Weight::from_millionths(millionths).unwrap_or_default()
}

fn split(salt: &str) -> Split {
    Split {
        variants: vec![variant("stable", 0), variant("canary", 1)],
        sticky: vec![StickyKey::Tenant, StickyKey::ClientIp],
        sticky_cookie: None,
        salt: Salt::new(salt),
        targets: vec![],
        rewrite: Rewrite::default(),
        shadow: None,
        guards: Box::default(),
        rollout: None,
    }
}

fn route(name: String, host: String, path: PathPattern) -> Route {
    let spec = RouteSpec {
        matches: Match { hosts: vec![HostPattern::Exact(host)], paths: vec![path], ..Match::default() },
        action: Action::Split(split(&name)),
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        timeouts: Timeouts::default(),
        retry: RetryPolicy::default(),
        limits: RouteLimits::default(),
        access: Box::default(),
        rate_limits: Box::default(),
        load: LoadPriority::Normal,
        name,
    };
    Route::new(SourceLocation::default(), spec)
}

/// The kinds of the routes of a table.
const LAYOUTS: [&str; 3] = ["hosts", "prefixes", "exacts"];

/// Routes, and for each the host and path of a request that it matches.
fn table(layout: &str, count: usize) -> (Vec<Route>, Vec<(String, String)>) {
    let one = |n: usize| {
        let (host, pattern, path) = match layout {
            "hosts" => (format!("svc{n}.example.com"), PathPattern::Prefix("/api".into()), "/api/v1/items".to_owned()),
            "prefixes" => {
                let prefix = format!("/team{}/svc{n}", n % 97);
                ("example.com".to_owned(), PathPattern::Prefix(prefix.clone()), format!("{prefix}/v1/items"))
            }
            _ => {
                let path = format!("/team{}/svc{n}", n % 97);
                ("example.com".to_owned(), PathPattern::Exact(path.clone()), path)
            }
        };
        (route(format!("r{n}"), host.clone(), pattern), (host, path))
    };
    (0..count).map(one).unzip()
}

fn lookup(c: &mut Criterion) {
    let fields = Fields::new();
    for layout in LAYOUTS {
        let mut group = c.benchmark_group(format!("lookup/{layout}"));
        for count in [10, 1_000, 100_000] {
            let (routes, requests) = table(layout, count);
            let index = Index::new(&routes);
            group.throughput(Throughput::Elements(BATCH as u64));
            let find = |batch: &mut Vec<(String, String)>| {
                for (host, path) in batch {
                    let head = RequestHead {
                        method: &Method::GET,
                        host,
                        path,
                        query: None,
                        fields: &fields,
                        client_cert: None,
                        listener: "edge",
                    };
                    black_box(index.find(black_box(&routes), &head));
                }
            };
            let mut at = 0;
            let mut next = || {
                at = (at + 61_803) % count;
                requests[at].clone()
            };
            let mut busy: Vec<_> = (0..BATCH).map(|_| next()).collect();
            group.bench_function(BenchmarkId::new("busy", count), |b| b.iter(|| find(&mut busy)));
            group.bench_function(BenchmarkId::new("idle", count), |b| {
                b.iter_batched_ref(|| (0..BATCH).map(|_| next()).collect::<Vec<_>>(), find, BatchSize::PerIteration);
            });
        }
        group.finish();
    }
}

fn build(c: &mut Criterion) {
    let (routes, _) = table("prefixes", 100_000);
    c.bench_function("index/build 100000", |b| b.iter(|| Index::new(black_box(&routes))));
}

/// The cost of the list of changes of a reload: one weight of 100 000 routes.
fn change(c: &mut Criterion) {
    let of = || Rules { routes: table("hosts", 100_000).0, ..rules() };
    let (old, new) = (of(), of());
    let base = Overlay::new(Kill::default(), vec![state(50_000); 100_000]);
    let mut states = vec![state(50_000); 100_000];
    states[99_999] = state(100_000);
    let changed = Overlay::new(Kill::default(), states);
    let old = EffectiveConfig { rules: &old, overlay: &base };
    let new = EffectiveConfig { rules: &new, overlay: &changed };
    c.bench_function("summary/100000", |b| b.iter(|| summary(black_box(old), black_box(new))));
}

/// The cost of a kill or of steps of ramps among 100 000 routes for the control thread: a new overlay, and a snapshot
/// with new samples of the changed routes. Every second overlay reverts the change. The previous snapshot is dropped
/// outside of the measurement, as another thread drops it in the proxy.
fn overlay(c: &mut Criterion) {
    const ROUTES: u32 = 100_000;
    let (routes, _) = table("hosts", ROUTES as usize);
    let base = Overlay::new(Kill::default(), vec![state(50_000); routes.len()]);
    let registry = MeterRegistry::new(2);
    let entity = |route: &Route| {
        let series = ["stable", "canary"].map(|variant| {
            let labels = Labels { route: route.name.clone(), variant: variant.to_owned() };
            Arc::new(VariantSeries { labels, meters: PerWorker::new(2) })
        });
        let sample = Sample::new(Duration::ZERO, 2, DrawUnit::Keys, 2, Arc::clone(&registry.sample_memory));
        let sample = Some(Arc::new(sample));
        Arc::new(RouteState {
            series: series.into(),
            sample,
            shadow: None,
            watch: None,
            exposed: None,
            limits: Box::default(),
            refusals: Arc::new(PerWorker::new(2)),
            needs: Needs::default(),
        })
    };
    let first = Snapshot {
        edition: Edition(1),
        generation: Generation(1),
        routes: routes.iter().map(entity).collect(),
        rules: Arc::new(Rules { routes, ..rules() }),
        overlay: base.clone(),
        listeners: Arc::default(),
        upstreams: Arc::default(),
        identity_providers: IdentityProviders::default(),
    };
    let stepped = |overlay: &Overlay, routes: u32| {
        let ids: Vec<_> = (0..routes).map(|n| RouteId(n * 97 % ROUTES)).collect();
        let step = |id: RouteId| Some((id, overlay.split(id).with_weight(VariantId(1), weight(100_000))?));
        overlay.with(ids.into_iter().filter_map(step))
    };
    let killed = |overlay: &Overlay| {
        let mut state = overlay.split(RouteId(61_803)).clone();
        state.stop(VariantId(1), Stop::Kill);
        overlay.with([(RouteId(61_803), state)])
    };
    let many = stepped(&base, 1_000);
    let store = SnapshotStore::new(first);
    let mut group = c.benchmark_group("overlay/100000");
    for (name, from, change) in [
        ("kill", &base, &killed as &dyn Fn(&Overlay) -> Overlay),
        ("kill of all", &base, &|overlay| overlay.with_kill(Kill { all: true, ..Kill::default() })),
        ("ten steps", &base, &|overlay| stepped(overlay, 10)),
        ("kill beside 1000 steps", &many, &killed),
    ] {
        let mut back = false;
        group.bench_function(name, |b| {
            b.iter_with_large_drop(|| {
                let old = store.load();
                back = !back;
                let overlay = if back { from.clone() } else { change(black_box(from)) };
                store.publish(with_overlay(&old, overlay, &registry, Duration::ZERO));
                old
            });
        });
    }
    group.finish();
}

/// The cost of a scrape: the text of 10 000 routes with two variants, on two workers, where all are used and where one
/// in a hundred is. The same through the facade, to a recorder with a map.
fn scrape(c: &mut Criterion) {
    const ROUTES: usize = 10_000;
    let mut group = c.benchmark_group("scrape/10000");
    group.sample_size(20);
    for (name, one_in) in [("all used", 1), ("few used", 100)] {
        let registry = MeterRegistry::new(2);
        let series: Vec<VariantSeries> = (0..2 * ROUTES).map(|n| series_of(n, one_in)).collect();
        let weighted = |series| WeightedSeries { series, weight: Some(0.5) };
        let facts = || Scrape {
            registry: &registry,
            now: registry.started,
            variants: series.iter().map(weighted).collect(),
            samples: Vec::new(),
            releases: Vec::new(),
            rollouts: Vec::new(),
            receivers: Vec::new(),
            limits: Vec::new(),
            refusals: Vec::new(),
            upstreams: Vec::new(),
            shadows: Vec::new(),
            findings: Vec::new(),
            listeners: Vec::new(),
            certificates: Vec::new(),
            generation: 7,
            spans: [("dropped", 3), ("exported", 5), ("failed", 0)],
            counted: CountedFamilies::default(),
        };
        group.bench_function(name, |b| b.iter(|| expose(black_box(facts()), None)));
        let pusher = FigurePusher::new(Arc::new(ControlRecorder::default()));
        group.bench_function(format!("{name}, to a recorder"), |b| {
            b.iter(|| pusher.begin().figures(black_box(facts())));
        });
    }
    group.finish();
}

/// The series of variant `n`; one route in `one_in` has been used.
fn series_of(n: usize, one_in: usize) -> VariantSeries {
    let variant = if n.is_multiple_of(2) { "stable" } else { "canary" };
    let labels = Labels { route: format!("team-{}-service-{}", n / 2 % 97, n / 2), variant: variant.to_owned() };
    let series = VariantSeries { labels, meters: PerWorker::new(2) };
    if (n / 2).is_multiple_of(one_in) {
        for worker in 0..2 {
            let meter = series.meters.of(worker);
            let reason = ReasonLabel::of(Reason::Weight, Fallback::No).index();
            for (class, requests) in
                [(StatusClass::Success, 9_000), (StatusClass::ClientError, 90), (StatusClass::ServerError, 9)]
            {
                meter.requests[reason][class as usize].add(requests);
            }
            for ms in [1, 3, 9, 27, 81, 243] {
                meter.duration.record(Duration::from_millis(ms));
                meter.first_byte.record(Duration::from_millis(ms / 2));
            }
            meter.request_bytes.add(123_456);
            meter.response_bytes.add(123_456_789);
        }
    }
    series
}

fn rules() -> Rules {
    Rules {
        listeners: vec![],
        admin: AdminSpec::default(),
        state: StateSpec::default(),
        identity: Identity {
            tenant: vec![Extractor::Query("tenant".into())],
            user: vec![Extractor::Cookie("uid".into())],
            trusted_proxies: vec![],
        },
        segments: vec![],
        upstreams: vec![],
        routes: vec![],
        index: Index::default(),
        access_log: AccessLog::default(),
        dns: Dns::default(),
        traces: None,
        rollouts: Vec::new(),
        freeze: Vec::new(),
        prometheus: None,
        notify: Notify::default(),
        masks: Masks::default(),
    }
}

fn decision(c: &mut Criterion) {
    let rules = rules();
    let mut fields = Fields::new();
    fields.append(&http::header::COOKIE, &http::HeaderValue::from_static("theme=dark; uid=user-17"));
    let query = Some("tenant=acme");
    let head = RequestHead {
        method: &Method::GET,
        host: "example.com",
        path: "/checkout",
        query,
        fields: &fields,
        client_cert: None,
        listener: "edge",
    };
    let peer = std::net::IpAddr::from([192, 0, 2, 1]);
    let caller = rules.identity.caller(peer, &head, Facts::default());
    let anonymous = Caller { tenant: None, user: None, ..caller.clone() };
    let mut targeted = split("checkout");
    let target = |predicate| Target {
        line: RouteLine::default(),
        predicates: vec![predicate],
        segment: None,
        serve: VariantId(1),
        weight: None,
    };
    let canary = http::HeaderName::from_static("x-canary");
    targeted.targets = vec![
        target(Predicate::Header(canary, StringMatch::Exact("always".into()))),
        target(Predicate::Cookie("preview".into(), StringMatch::Exact("v2".into()))),
        target(Predicate::Tenant(TenantList::new(["globex".into()]))),
    ];
    let plain = split("checkout");
    let in_force = Overlay::new(Kill::default(), vec![state(50_000)]);
    let mut spread = Spread::default();
    c.bench_function("caller", |b| b.iter(|| rules.identity.caller(black_box(peer), &head, Facts::default())));
    for (name, split, caller) in
        [("by tenant", &plain, &caller), ("by address", &plain, &anonymous), ("after 3 targets", &targeted, &caller)]
    {
        c.bench_function(&format!("decision/{name}"), |b| {
            let request = Routed { route: RouteId(0), split, head: &head, caller, cookie_identity: None };
            b.iter(|| decide(&rules, &in_force, black_box(&request), &mut spread, &mut NoTrace));
        });
    }
}

fn bucket(c: &mut Criterion) {
    let salt = Salt::new("checkout-v2");
    c.bench_function("bucket/uuid", |b| b.iter(|| salt.bucket(black_box("0190f3c2-7b1e-7cc0-9f7e-2f6f1c1f7a11"))));
}

fn normal(c: &mut Criterion) {
    for path in ["/checkout/v1/items/4711", "/files/caf%C3%A9/a%20b", "/a/b/../c/./d"] {
        c.bench_function(&format!("normal_path{path}"), |b| {
            b.iter(|| normal_path(black_box(path), EncodedSlash::Keep).map(|p| p.len()));
        });
    }
    c.bench_function("normal_host", |b| b.iter(|| normal_host(black_box("shop.example.com:8080")).map(|h| h.len())));
}

/// Endpoints with a request in flight at every third one.
struct Loads(Vec<EndpointLoad>);

impl Fleet for &Loads {
    fn load(&self, at: usize) -> u32 {
        self.0[at].own()
    }

    fn own_load(&self, at: usize) -> u32 {
        self.0[at].own()
    }

    fn latency(&self, at: usize) -> &PeakEwma {
        &self.0[at].latency
    }

    fn in_flight(&self) -> u32 {
        u32::try_from(self.0.len() / 3).unwrap_or(u32::MAX)
    }
}

fn loads(count: usize) -> Loads {
    let one = |at: usize| {
        let load = EndpointLoad::default();
        load.latency.observe(5.0, 0);
        if at.is_multiple_of(3) {
            load.begin();
        }
        load
    };
    Loads((0..count).map(one).collect())
}

fn ring_of(count: usize) -> HashRing {
    let address = |at: usize| SocketAddr::from(([10, 0, 0, 1], u16::try_from(at).unwrap_or(0)));
    HashRing::new(RingMember::all((0..count).map(|at| (address(at), 1))))
}

fn rotation_of(count: usize, out: Option<usize>) -> Rotation {
    let place = |at| RotationPlace { weight: 1, serves: Some(at) != out, ramp: 1.0 };
    Rotation::new(1, (0..count).map(place))
}

/// The choice of an endpoint: among all, with one out of rotation, and where this worker avoids a third of them. And what
/// a change of the rotation, and of the endpoints, costs once.
fn choice(c: &mut Criterion) {
    let balances = [
        ("least_request", Balance::LeastRequest),
        ("peak_ewma", Balance::PeakEwma),
        ("round_robin", Balance::RoundRobin),
        ("hash", Balance::Hash),
    ];
    for (name, balance) in balances {
        let mut group = c.benchmark_group(format!("choice/{name}"));
        for count in [10, 1_000, 10_000] {
            let (loads, ring) = (loads(count), ring_of(count));
            for (case, out, avoided) in
                [("all", None, 0), ("one ejected", Some(count / 2), 0), ("a third avoided", None, 3)]
            {
                let rotation = rotation_of(count, out);
                let turns = RefCell::new(RoundRobin::default());
                turns.borrow_mut().set_members(&rotation.members, &mut || fastrand::u64(..));
                let chooser = Chooser { balance, fleet: &loads, ring: Some(&ring), turns: Some(&turns), now_ms: 50 };
                let (mut random, mut key) = (fastrand::Rng::with_seed(7), 0_u64);
                group.bench_function(BenchmarkId::new(case, count), |b| {
                    b.iter(|| {
                        key += 1;
                        let accept = |at: usize| avoided == 0 || !at.is_multiple_of(avoided);
                        chooser.choose(black_box(&rotation.members), accept, &mut || random.u64(..), || key)
                    });
                });
            }
        }
        group.finish();
    }
    c.bench_function("rotation/made anew 10000", |b| b.iter(|| rotation_of(black_box(10_000), Some(7))));
    c.bench_function("ring/made 10000", |b| b.iter(|| ring_of(black_box(10_000))));
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = lookup, build, change, overlay, scrape, decision, bucket, normal, choice
}
criterion_main!(benches);
