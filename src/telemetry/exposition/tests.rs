//! Compares a whole scrape with the golden file, and checks the rules for all metrics.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use metrics::{Key, Label};

use super::counted::pass_on;
use super::text::PrometheusText;
use super::*;
use crate::drain::Phase;
use crate::route::Reason;
use crate::telemetry::control::{self, ReloadLabel};
use crate::telemetry::family::CountedValue;
use crate::telemetry::guards::{self, GuardName};
use crate::telemetry::{
    ControlRecorder, CountedFamilies, Fallback, GrpcStatus, HandshakeFailure, Labels, ListenerMeter, MeterRegistry,
    PerWorker, Process, ReasonLabel, Refusal, ShadowBytes, ShadowDrop, ShadowEnd, ShadowSeries, StatusClass,
    TlsFailure, UpstreamMeter, UpstreamSeries, VariantSeries, WorkerMeter,
};

const GOLDEN: &str = include_str!("golden.txt");

fn series(route: &str, variant: &str) -> VariantSeries {
    let labels = Labels { route: route.to_owned(), variant: variant.to_owned() };
    VariantSeries { labels, meters: PerWorker::new(2) }
}

fn receiver(name: &str) -> ReceiverFigures {
    ReceiverFigures {
        receiver: name.to_owned(),
        outcomes: [("sent", 12), ("failed", 3), ("dropped", 1)],
        pending: 2,
        oldest_seconds: 61.5,
    }
}

fn shake(worker: &WorkerMeter) {
    worker.tls.handshakes[1][0].add(3);
    worker.tls.failures[HandshakeFailure::Timeout as usize].inc();
}

fn certificate() -> CertificateFigures {
    let (listener, name) = ("https".to_owned(), "shop.example.com".to_owned());
    CertificateFigures { listener, name, seconds_left: 7_776_000, stale: 1 }
}

/// Some counts of the control plane.
fn counted() -> CountedFamilies {
    let recorder = control::new_recorder();
    control::count_reload(&recorder, ReloadLabel::Unchanged);
    (0..6).for_each(|_| control::count_reload(&recorder, ReloadLabel::Applied));
    control::set_applied_at(&recorder, Duration::from_millis(1_763_693_797_042));
    for answered in [Err(()), Ok(()), Ok(()), Ok(())] {
        control::count_lookup(&recorder, "v1.internal", &answered);
    }
    control::set_phase(&recorder, Phase::Running);
    control::set_log_lines_lost(&recorder, 4);
    control::count_failed_hand_over(&recorder);
    (0..2).for_each(|_| control::count_worker_stall(&recorder));
    count_guards(&recorder);
    recorder.read()
}

fn count_guards(recorder: &ControlRecorder) {
    for (act, guard) in [("hold", "sample-ratio"), ("rollback", "errors"), ("warn", "latency")] {
        guards::count_trip(recorder, GuardName { route: "checkout", variant: "canary", guard }, act);
    }
    guards::set_latches(recorder, 1);
    guards::set_events_lost(recorder, 5);
    guards::count_late_events(recorder, 2);
    guards::set_tables_refused(recorder, 1);
}

fn sample(route: &str, mismatch: Option<bool>) -> RouteShares<'_> {
    let variants = [("stable", 0.75, 300.0), ("canary", 0.25, 100.0)].map(|(variant, share, keys)| {
        let known = mismatch.is_some();
        VariantShare { variant, measured: known.then_some(share), keys: known.then_some(keys) }
    });
    let since = Duration::from_millis(1_763_693_700_500);
    RouteShares { route, since, variants: variants.into(), mismatch, evidence_log10: 4.25 }
}

/// A release with one guard, with every state.
fn release(route: &str, is_used: bool) -> ReleaseFigures {
    let states = ["canary_down", "no_rollback_target", "rolled_back", "warned", "watching"];
    let of_guards = [
        "watching",
        "no_data",
        "too_few",
        "waits_for_threshold",
        "warming_up",
        "threshold_void",
        "not_near_full",
        "no_memory",
        "stands",
        "tripped",
    ];
    let guard = GuardFigures {
        guard: "errors".to_owned(),
        evidence_log10: 0.75,
        threshold_log10: 2.5,
        states: of_guards.map(|state| (state, state == "watching")).into(),
    };
    ReleaseFigures {
        route: route.to_owned(),
        variant: "canary".to_owned(),
        is_used,
        states: states.map(|state| (state, state == "warned")).into(),
        guards: vec![guard],
    }
}

/// A rollout in its second stage, with every state.
fn rollout(rollout: &str) -> RolloutFigures {
    let states = [
        "awaiting_approval",
        "baking",
        "complete",
        "frozen",
        "gated",
        "held_canary_down",
        "held_guard",
        "held_inconclusive",
        "held_journal_damaged",
        "held_no_rollback_target",
        "held_no_traffic",
        "held_person",
        "held_plan_changed",
        "held_requires",
        "held_revived",
        "held_stable_changed",
        "killed",
        "pending",
        "ramping",
        "rolled_back",
    ];
    let gates = ["approval", "duration", "webhook"];
    RolloutFigures {
        rollout: rollout.to_owned(),
        weight: 0.1,
        weight_actual: (rollout == "checkout-v2").then_some(0.0981),
        stage: "beta".to_owned(),
        stage_number: 2,
        states: states.map(|state| (state.to_owned(), state == "gated")).into(),
        is_expired: false,
        gates: gates.map(|kind| (kind, kind == "duration")).into(),
    }
}

/// Two shadows, one of them never used.
fn shadows(registry: &MeterRegistry) -> [ShadowSeries; 2] {
    let both =
        ["checkout", "unused"].map(|route| ShadowSeries::new(route, "v3", Duration::ZERO, 2, &registry.shadow_bytes));
    let meter = both[0].meters.of(1);
    (0..4).for_each(|_| meter.sample());
    meter.end(ShadowEnd::Completed(200));
    meter.end(ShadowEnd::Completed(503));
    meter.end(ShadowEnd::Dropped(ShadowDrop::Timeout));
    meter.duration.record(Duration::from_millis(3));
    meter.held_back.add(150_000);
    assert!(registry.shadow_bytes.try_take(1_000));
    both
}

/// Two endpoints, one of them ejected, with every state and cause.
fn health() -> HealthFigures {
    let causes = [
        "connect_refused",
        "connect_timeout",
        "tls",
        "reset",
        "protocol",
        "timeout",
        "status",
        "grpc",
        "body",
        "failure_percent",
        "by_hand",
    ];
    HealthFigures {
        states: vec![
            ("usable", 1),
            ("failing", 0),
            ("ejected", 1),
            ("trial", 0),
            ("drained", 0),
            ("unhealthy", 0),
            ("unknown", 0),
            ("standby", 0),
        ],
        ejections: causes.into_iter().zip(1..).collect(),
        admissions: 65,
        budget_used: 0.25,
        checks: Some(CheckFigures { good: 40, bad: 2, late_seconds: 0.125 }),
    }
}

fn limit(route: &str, limit: &str) -> LimitFigures {
    LimitFigures { route: route.to_owned(), limit: limit.to_owned(), dry_run: 0, refused: 9, keys: 12, evictions: 1 }
}

/// Tries, waits and refusals.
fn struggle(meter: &UpstreamMeter) {
    meter.retries.add(3);
    meter.retries_over_budget.inc();
    meter.rescues.add(2);
    meter.last_resorts.add(4);
    meter.pending.add(5);
    meter.pended.add(6);
    meter.over_pending.add(7);
    meter.unavailable.iter().zip(1..).for_each(|(counter, count)| counter.add(count));
}

fn findings() -> ComparisonFigures {
    let fields = [("confirmed", 1), ("noisy", 2), ("unknown", 0)];
    let (route, upstream) = ("checkout".to_owned(), "v2".to_owned());
    ComparisonFigures { route, upstream, fields, mismatch: Some(0.25), mismatch_upper: 0.375 }
}

/// The data of a proxy with two workers and a few requests.
fn with_scrape<T>(take: impl FnOnce(Scrape<'_>) -> T) -> T {
    let mut registry = MeterRegistry::new(2);
    // Not by the machine's memory, as elsewhere.
    registry.shadow_bytes = ShadowBytes::new(1 << 20).into();
    let now = registry.started + Duration::from_millis(1_500);
    registry.beat(0, registry.started + Duration::from_secs(1));
    registry.beat(1, registry.started + Duration::from_millis(1_250));
    let (stable, canary, idle) =
        (series("checkout", "stable"), series("checkout", "canary"), series("never", "stable"));
    for worker in 0..2 {
        let meter = stable.meters.of(worker);
        let label = ReasonLabel::of(Reason::Stable, Fallback::No).index();
        meter.requests[label][StatusClass::Success as usize].add(3);
        meter.duration.record(Duration::from_micros(250));
        meter.duration.record(Duration::from_micros(251));
        meter.duration.record(Duration::from_mins(1));
        meter.first_byte.record(Duration::from_millis(1));
        meter.request_bytes.add(10);
        meter.response_bytes.add(1_000);
    }
    let label = ReasonLabel::of(Reason::Weight, Fallback::Yes).index();
    canary.meters.of(1).requests[label][StatusClass::ServerError as usize].inc();
    canary.meters.of(1).grpc.inc(GrpcStatus::UNAVAILABLE);
    registry.unrouted.meters.of(0).requests[ReasonLabel::NONE.index()][StatusClass::ClientError as usize].inc();
    let upstreams = ["v1", "v2"].map(|name| UpstreamSeries::new(name, 2));
    let meter = upstreams[0].meters.of(0);
    meter.requests[StatusClass::Success as usize].add(6);
    meter.in_flight.add(2);
    meter.connections.add(1);
    meter.connects.inc();
    meter.over_requests.inc();
    struggle(meter);
    meter.tls_failures[TlsFailure::Certificate as usize].inc();
    meter.latency.record(Duration::from_millis(40));
    let connections = PerWorker::<ListenerMeter>::new(2);
    connections.of(0).connections.add(5);
    connections.of(1).connections.add(-1);
    let worker = registry.worker.of(0);
    worker.accepted.add(7);
    worker.requests_begun.add(9);
    worker.requests_recorded.add(8);
    worker.refuse(Refusal::NoRoute);
    shake(worker);
    worker.log_lines_dropped.add(2);
    let [shadow, unused] = shadows(&registry);
    let weighted = |series, weight| WeightedSeries { series, weight: Some(weight) };
    let scrape = Scrape {
        registry: &registry,
        now,
        variants: vec![weighted(&stable, 0.95), weighted(&canary, 0.05), weighted(&idle, 1.0)],
        samples: vec![sample("search", None), sample("checkout", Some(true))],
        releases: vec![release("never", false), release("checkout", true)],
        rollouts: vec![rollout("search-v2"), rollout("checkout-v2")],
        receivers: vec![receiver("webhook:ci.example.com"), receiver("slack:hooks.slack.com")],
        upstreams: vec![
            UpstreamFigures { series: &upstreams[1], endpoints: 0, health: HealthFigures::default() },
            UpstreamFigures { series: &upstreams[0], endpoints: 2, health: health() },
        ],
        limits: vec![limit("shop", "by-tenant"), limit("checkout", "client_ip")],
        refusals: vec![
            RouteRefusals { route: "shop".to_owned(), denied: None, shed: Some(3) },
            RouteRefusals { route: "checkout".to_owned(), denied: Some(4), shed: None },
        ],
        shadows: vec![(&shadow, 0.2), (&unused, 0.5)],
        findings: vec![findings()],
        listeners: vec![("http", &connections)],
        certificates: vec![certificate()],
        generation: 7,
        spans: [("dropped", 3), ("exported", 5), ("failed", 0)],
        counted: counted(),
    };
    take(scrape)
}

fn scrape() -> String {
    let process = Process {
        cpu: Duration::from_millis(1_230),
        resident_bytes: 1_048_576,
        virtual_bytes: 2_097_152,
        threads: 4,
        open_files: 12,
        open_files_max: Some(1_024),
        started_at: Duration::from_secs(1_763_693_000),
    };
    with_scrape(|scrape| expose(scrape, Some(&process)))
}

#[test]
fn a_scrape_is_the_golden_one() {
    let text = scrape().replace(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), "version=\"VERSION\"");
    if std::env::var_os("BLESS").is_some() {
        let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/src/telemetry/exposition/golden.txt");
        std::fs::write(beside, &text).expect("a writable folder");
        return;
    }
    for (at, (ours, golden)) in text.lines().zip(GOLDEN.lines()).enumerate() {
        assert_eq!(ours, golden, "line {}", at + 1);
    }
    assert_eq!(text.lines().count(), GOLDEN.lines().count());
}

#[test]
fn every_metric_keeps_the_rules() {
    let text = scrape();
    let mut families = BTreeSet::new();
    let mut lines = BTreeSet::new();
    let mut family = ("", "");
    let mut helped = "";
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split_once(' ').expect("a help text").0;
        } else if let Some(head) = line.strip_prefix("# TYPE ") {
            let (name, kind) = head.split_once(' ').expect("a type");
            assert_eq!(name, helped, "HELP precedes TYPE");
            assert!(families.insert(name), "{name} is one family");
            assert!(name.starts_with("pointsman_") || name.starts_with("process_"), "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            assert!(kind != "histogram" || name.ends_with("_seconds"), "{name} has its unit in its name");
            family = (name, kind);
        } else {
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(lines.insert(sample), "{sample} exists once");
            assert!(sample.starts_with(family.0), "{sample} is in its family");
        }
    }
    assert!(!text.contains("never"), "unused series are left out");
}

/// The series of a recorder as lines, without the sums of histograms and durations above their last bound.
fn exact_lines(text: &str) -> BTreeSet<&str> {
    let inexact = |line: &&str| line.contains("_sum{") || line.contains("le=\"30\"") || line.starts_with("process_");
    text.lines().filter(|line| !line.starts_with('#') && !inexact(line)).collect()
}

#[test]
fn another_recorder_gets_the_series_of_a_scrape() {
    let recorder = Arc::new(ControlRecorder::default());
    let pusher = FigurePusher::new(Arc::clone(&recorder) as SharedRecorder);
    // The second push adds nothing.
    with_scrape(|scrape| pusher.begin().figures(scrape));
    with_scrape(|scrape| pusher.begin().figures(scrape));
    let mut text = PrometheusText::default();
    recorder.read().into_rest().into_iter().for_each(|family| pass_on(&mut text, Some(family)));
    assert_eq!(exact_lines(&text.into_string()), exact_lines(&scrape()));
}

#[test]
fn durations_are_pushed_once_and_again_for_a_new_series() {
    let recorder = Arc::new(ControlRecorder::default());
    let pusher = FigurePusher::new(Arc::clone(&recorder) as SharedRecorder);
    let registry = MeterRegistry::new(1);
    let push = |upstreams: &[&UpstreamSeries]| {
        let upstreams = upstreams.iter().map(|series| figures_of(series)).collect();
        pusher.begin().figures(Scrape { upstreams, ..nothing(&registry) });
        let family = recorder.read().take("pointsman_upstream_latency_seconds").expect("a family");
        let durations = |value: &CountedValue| match value {
            CountedValue::Durations(folded) => (folded.counts[4], folded.counts[17], folded.sum_us),
            CountedValue::Figure(_) => panic!("not a histogram: {value:?}"),
        };
        family.series.first().map(|(_, value)| durations(value))
    };
    let record = |series: &UpstreamSeries, took_ms: u64| {
        series.meters.of(0).latency.record(Duration::from_millis(took_ms));
    };
    let series = UpstreamSeries::new("v1", 1);
    record(&series, 4);
    assert_eq!(push(&[&series]), Some((1, 0, 5_000)));
    assert_eq!(push(&[&series]), Some((1, 0, 5_000)));
    record(&series, 4);
    record(&series, 4);
    assert_eq!(push(&[&series]), Some((3, 0, 15_000)));
    assert_eq!(push(&[]), Some((3, 0, 15_000)), "the recorder keeps what it has");
    let next = UpstreamSeries::new("v1", 1);
    record(&next, 4);
    assert_eq!(push(&[&next]), Some((4, 0, 20_000)), "after a pause");
    let next = UpstreamSeries::new("v1", 1);
    record(&next, 1);
    assert_eq!(push(&[&next]), Some((4, 0, 21_000)), "without one");
}

#[test]
fn counters_are_pushed_once_and_again_for_a_new_series() {
    // `absolute` of its counters takes the larger value, as in other recorders.
    let recorder = Arc::new(ControlRecorder::default());
    let pusher = FigurePusher::new(Arc::clone(&recorder) as SharedRecorder);
    let registry = MeterRegistry::new(1);
    let push = |upstreams: &[&UpstreamSeries]| {
        let upstreams = upstreams.iter().map(|series| figures_of(series)).collect();
        pusher.begin().figures(Scrape { upstreams, ..nothing(&registry) });
        recorder.count(&Key::from_parts("pointsman_upstream_connects_total", vec![Label::new("upstream", "v1")]))
    };
    let connected = |count| {
        let series = UpstreamSeries::new("v1", 1);
        series.meters.of(0).connects.add(count);
        series
    };
    let series = connected(5);
    assert_eq!(push(&[&series]), 5);
    assert_eq!(push(&[&series]), 5);
    series.meters.of(0).connects.add(2);
    assert_eq!(push(&[&series]), 7);
    assert_eq!(push(&[]), 7, "the recorder keeps what it has");
    let series = connected(9);
    assert_eq!(push(&[&series]), 16, "after a pause");
    assert_eq!(push(&[&connected(1)]), 17, "without one");
    let pusher = FigurePusher::new(Arc::clone(&recorder) as SharedRecorder);
    pusher.begin().figures(Scrape { upstreams: vec![figures_of(&series)], ..nothing(&registry) });
    assert_eq!(push(&[]), 26, "another proxy counts on top");
}

#[test]
fn a_push_never_follows_one_with_newer_values() {
    let recorder = Arc::new(ControlRecorder::default());
    let pusher = FigurePusher::new(Arc::clone(&recorder) as SharedRecorder);
    let (registry, generations) = (MeterRegistry::new(1), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let push = pusher.begin();
                    let generation = generations.fetch_add(1, Relaxed) + 1;
                    push.figures(Scrape { generation, ..nothing(&registry) });
                }
            });
        }
    });
    let generation = recorder.read().take("pointsman_config_generation").expect("a family").series;
    assert_eq!(generation.first().map(|(_, value)| *value), Some(CountedValue::Figure(100.0.into())));
}

fn figures_of(series: &UpstreamSeries) -> UpstreamFigures<'_> {
    UpstreamFigures { series, endpoints: 1, health: HealthFigures::default() }
}

/// A scrape without data.
fn nothing(registry: &MeterRegistry) -> Scrape<'_> {
    Scrape {
        registry,
        now: registry.started,
        variants: Vec::new(),
        samples: Vec::new(),
        releases: Vec::new(),
        rollouts: Vec::new(),
        receivers: Vec::new(),
        upstreams: Vec::new(),
        limits: Vec::new(),
        refusals: Vec::new(),
        shadows: Vec::new(),
        findings: Vec::new(),
        listeners: Vec::new(),
        certificates: Vec::new(),
        generation: 1,
        spans: [("dropped", 0), ("exported", 0), ("failed", 0)],
        counted: CountedFamilies::default(),
    }
}
