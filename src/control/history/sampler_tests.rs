//! Samples of real meters, without requests: what was counted is in the points, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::watch;

use super::chart::HistoryChart;
use super::kept::{HistoryOf, SampleMoment};
use super::sampler::sample;
use crate::clock::Clock;
use crate::config::load_text;
use crate::control::next_snapshot::{SnapshotInputs, build};
use crate::control::state::{ControlState, Counts};
use crate::identity::IdentityProviders;
use crate::release::{
    ArmCounts, GuardStanding, GuardState, ReleaseStanding, ReleaseState, RolloutPhase, RolloutStanding,
};
use crate::route::{Generation, GuardAct, Reason};
use crate::shadow_compare::Comparator;
use crate::snapshot::Snapshot;
use crate::telemetry::{self, Fallback, MeterRegistry, ReasonLabel, SpanCounts, StatusClass, VariantMeter};

const UPSTREAMS: &str = "\
schema = 1
[[listener]]
address = '127.0.0.1:0'
[upstream.v1]
endpoints = ['http://10.0.0.1:1']
[upstream.v2]
endpoints = ['http://10.0.0.2:1']
";

const ROLLOUT: &str = "\
[rollout.both]
[[rollout.both.stage]]
name = 'half'
weight = 50
[[rollout.both.stage]]
name = 'full'
weight = 100
";

/// A route with a canary that gets a quarter, or that a rollout moves.
fn route(name: &str, canary: &str) -> String {
    format!(
        "[[route]]\nname = '{name}'\nmatch = {{ path = '/{name}/*' }}\nsticky = []\nstable = 'v1'\n\
         canary = {{ upstream = 'v2', {canary} }}\n"
    )
}

/// Two routes of a rollout, and one with a static weight.
fn shop() -> String {
    let staged = "rollout = 'both'";
    [ROLLOUT, &route("cart", staged), &route("pay", staged), &route("docs", "weight = 25")].concat()
}

/// A process without workers, at whose meters the test counts.
struct Process {
    state: ControlState,
    snapshots: watch::Sender<Arc<Snapshot>>,
    /// Since the process started.
    now_ms: u64,
}

impl Process {
    fn start(text: &str) -> Self {
        let registry = Arc::new(MeterRegistry::new(2));
        let (snapshots, follow) = watch::channel(Arc::new(snapshot(None, &registry, text)));
        let recorder = Arc::new(telemetry::control::new_recorder());
        let counts = Counts { registry, spans: Arc::new(SpanCounts::default()), recorder };
        let comparator = Arc::new(Comparator::start(Clock).expect("a thread"));
        let state = ControlState::new(Clock, counts, follow, comparator, Duration::from_secs(10));
        let process = Self { state, snapshots, now_ms: 0 };
        process.show("both", 5.0, 0.0);
        process
    }

    /// Loads this text.
    fn reload(&self, text: &str) {
        let next = snapshot(Some(&self.state.snapshot()), &self.state.counts.registry, text);
        self.snapshots.send_replace(Arc::new(next));
    }

    /// Rollouts and releases stand like this.
    fn show(&self, rollout: &str, weight: f64, evidence: f64) {
        self.state.release.set_rollouts(vec![rollout_standing(rollout, weight, evidence)]);
    }

    /// Guards watch `docs:canary`.
    fn watch(&self, evidence: f64) {
        let [route, variant, revision] = ["docs", "canary", "v2"].map(str::to_owned);
        let guards = vec![guard("errors", evidence, GuardState::Watching)];
        let release = ReleaseStanding { route, variant, revision, weight: 25.0, state: ReleaseState::Watching, guards };
        self.state.release.set_releases(vec![release]);
    }

    fn meter<T>(&self, route: &str, variant: usize, count: impl Fn(&VariantMeter) -> T) -> T {
        let snapshot = self.state.snapshot();
        let id = snapshot.rules.find_named(route).expect("a route");
        count(snapshot.routes[id.0 as usize].series[variant].meters.of(0))
    }

    /// Requests that are dealt by weight, some of which fail.
    fn count(&self, route: &str, variant: usize, requests: u64, errors: u64) {
        let reason = if variant == 0 { Reason::Stable } else { Reason::Weight };
        let index = ReasonLabel::of(reason, Fallback::No).index();
        self.meter(route, variant, |meter| {
            meter.requests[index][StatusClass::Success as usize].add(requests - errors);
            meter.requests[index][StatusClass::ServerError as usize].add(errors);
            (0..requests.min(50)).for_each(|_| meter.duration.record(Duration::from_millis(20)));
        });
        let worker = self.state.counts.registry.worker.of(0);
        worker.requests_begun.add(requests);
        worker.requests_recorded.add(requests);
    }

    /// Waits for so many slots, and takes a sample.
    fn sample(&mut self, slots: u64) {
        self.sample_since(slots, 0);
    }

    /// Nothing was counted before `since_ms`.
    fn sample_since(&mut self, slots: u64, since_ms: u64) {
        self.now_ms += slots * 10_000;
        sample(&self.state, SampleMoment { since_ms, now_ms: self.now_ms });
    }

    fn chart(&self, of: HistoryOf<'_>, points: usize) -> HistoryChart {
        self.state.history.chart(of, points, self.now_ms).unwrap_or_default()
    }
}

fn snapshot(old: Option<&Snapshot>, registry: &MeterRegistry, text: &str) -> Snapshot {
    let loaded = load_text("routes.toml", &[UPSTREAMS, text].concat(), &|_| None);
    let loaded = loaded.unwrap_or_else(|errors| panic!("{text}\n{errors}"));
    let inputs = SnapshotInputs {
        generation: Generation(old.map_or(1, |old| old.generation.0 + 1)),
        rules: Arc::new(loaded.rules),
        overlay: loaded.overlay,
        listeners: Arc::default(),
        identity_providers: IdentityProviders::default(),
        addresses: &[].into(),
        registry,
        now: Duration::from_secs(1),
        uptime_ms: 1_000,
    };
    let next = build(old, inputs);
    Snapshot { edition: crate::route::Edition(old.map_or(1, |old| old.edition.0 + 1)), ..next }
}

fn guard(name: &str, evidence_log10: f64, state: GuardState) -> GuardStanding {
    GuardStanding {
        name: name.to_owned(),
        test: String::new(),
        act: GuardAct::Rollback,
        alpha: Some(0.003),
        state,
        evidence_log10,
        threshold_log10: 2.5,
        tested: ArmCounts::default(),
        stable: ArmCounts::default(),
        estimate: None,
        slow_after: None,
        sentence: String::new(),
    }
}

fn rollout_standing(name: &str, weight: f64, evidence: f64) -> RolloutStanding {
    let query = GuardStanding { threshold_log10: 0.0, ..guard("queue", 0.0, GuardState::Watching) };
    RolloutStanding {
        name: name.to_owned(),
        revision: String::new(),
        variants: Vec::new(),
        owner: None,
        ticket: None,
        phase: RolloutPhase::Running,
        doing: "baking",
        says: String::new(),
        unblock: None,
        blocks: Vec::new(),
        stage: "half".to_owned(),
        stages: Vec::new(),
        weight,
        max_weight: 100.0,
        next_ms: None,
        awaited: Vec::new(),
        guards: vec![guard("errors", evidence, GuardState::Watching), query, guard("late", 0.0, GuardState::NoData)],
        at: String::new(),
        seq: None,
        durable: false,
        expired: false,
        edit: Vec::new(),
    }
}

fn sums(chart: &HistoryChart) -> Vec<u64> {
    chart.arms.iter().map(|arm| arm.requests.iter().flatten().sum()).collect()
}

#[test]
fn a_rollout_has_the_requests_of_its_routes_and_a_route_its_own() {
    let mut process = Process::start(&shop());
    assert_eq!(process.chart(HistoryOf::Rollout("both"), 10), HistoryChart::default(), "nothing is sampled yet");
    process.count("cart", 0, 90, 1);
    process.count("cart", 1, 10, 2);
    process.count("pay", 1, 20, 3);
    process.count("docs", 0, 7, 0);
    process.sample(1);
    process.show("both", 10.0, 1.25);
    process.count("pay", 0, 30, 0);
    process.sample(1);
    process.sample(1);
    let both = process.chart(HistoryOf::Rollout("both"), 10);
    let [stable, canary] = &both.arms[..] else { panic!("two arms: {both:?}") };
    assert_eq!(stable.requests, [Some(90), Some(30), Some(0)]);
    assert_eq!(
        (&canary.requests[..], &canary.errors[..]),
        (&[Some(30), Some(0), Some(0)][..], &[Some(5), Some(0), Some(0)][..])
    );
    assert_eq!(both.share, [Some(0.25), Some(0.0), None]);
    assert_eq!(both.weight, [Some(5.0), Some(10.0), Some(10.0)]);
    assert!(canary.p99_ms[0].is_some_and(|p99| p99 > 10.0) && canary.p99_ms[1].is_none(), "{canary:?}");
    let names: Vec<&str> = both.guards.iter().map(|guard| guard.name.as_str()).collect();
    assert_eq!(names, ["errors", "late"], "a query weighs no evidence");
    assert_eq!(both.guards[0].evidence_log10, [Some(0.0), Some(1.25), Some(1.25)]);
    assert_eq!(both.guards[1].evidence_log10, [None; 3], "it does not judge");
    let cart = process.chart(HistoryOf::Route("cart"), 10);
    assert_eq!(sums(&cart), [90, 10]);
    let names: Vec<&str> = cart.arms.iter().map(|arm| arm.name.as_str()).collect();
    assert_eq!((names, cart.arms[1].share[0]), (vec!["stable", "canary"], Some(0.1)));
    let docs = process.chart(HistoryOf::Route("docs"), 10);
    assert_eq!((sums(&docs), docs.weight[0]), (vec![7, 0], Some(25.0)));
    assert_eq!(process.chart(HistoryOf::Rollout("docs:canary"), 10).points, 0, "no guard watches it");
    assert_eq!(process.chart(HistoryOf::Rollout("cart:canary"), 10).points, 0, "a rollout moves it");
}

#[test]
fn a_release_that_is_watched_from_now_on_begins_without_a_spike() {
    let mut process = Process::start(&shop());
    process.count("docs", 1, 1_000_000, 0);
    process.sample(1);
    process.watch(0.5);
    process.count("docs", 1, 3, 1);
    process.sample(1);
    process.watch(0.75);
    process.sample(1);
    let chart = process.chart(HistoryOf::Rollout("docs:canary"), 10);
    assert_eq!(chart.arms[1].requests, [Some(3), Some(0)]);
    assert_eq!(chart.guards[0].evidence_log10, [Some(0.5), Some(0.75)], "guards may judge late");
    process.state.release.set_releases(Vec::new());
    process.sample(1);
    assert_eq!(process.chart(HistoryOf::Rollout("docs:canary"), 10).points, 0, "no guard watches it any more");
}

#[test]
fn counters_that_begin_anew_leave_a_hole() {
    let (mut process, with) = (Process::start(&shop()), shop());
    process.count("docs", 0, 500, 0);
    process.sample(1);
    process.reload(&with.replace("'docs'", "'papers'"));
    process.reload(&with);
    process.count("docs", 0, 40, 0);
    process.sample(1);
    process.count("docs", 0, 4, 0);
    process.sample(1);
    let docs = process.chart(HistoryOf::Route("docs"), 10);
    assert_eq!(docs.arms[0].requests, [Some(500), None, Some(4)]);
    let rollout = process.chart(HistoryOf::Rollout("both"), 10);
    assert_eq!(rollout.points, 3, "its routes were kept");
}

#[test]
fn what_is_removed_or_renamed_goes_and_what_moves_stays() {
    let (mut process, with) = (Process::start(&shop()), shop());
    for name in ["cart", "pay", "docs"] {
        process.count(name, 0, 5, 0);
    }
    process.sample(1);
    let moved =
        [&route("new", "weight = 5"), &route("docs", "weight = 30"), ROLLOUT, &route("pay", "rollout = 'both'")];
    process.reload(&moved.concat());
    process.show("both", 5.0, 0.0);
    process.count("docs", 0, 6, 0);
    process.sample(1);
    assert_eq!(process.chart(HistoryOf::Route("cart"), 10), HistoryChart::default());
    let docs = process.chart(HistoryOf::Route("docs"), 10);
    assert_eq!((&docs.arms[0].requests[..], docs.weight[1]), (&[Some(5), Some(6)][..], Some(30.0)));
    assert_eq!(sums(&process.chart(HistoryOf::Route("pay"), 10)), [5, 0]);
    process.reload(&with.replace("both", "other"));
    process.show("other", 5.0, 0.0);
    process.sample(1);
    assert_eq!(process.chart(HistoryOf::Rollout("both"), 10), HistoryChart::default());
    assert_eq!(process.chart(HistoryOf::Rollout("other"), 10).points, 1);
}

#[test]
fn a_rest_is_time_without_requests_and_a_late_sample_has_no_spike() {
    let mut process = Process::start(&shop());
    process.count("docs", 0, 6, 0);
    process.sample(1);
    process.state.history.begin_rest();
    process.now_ms += 300_000;
    let resting = process.chart(HistoryOf::Route("docs"), 1_000);
    assert_eq!((resting.points, sums(&resting)[0]), (31, 6), "the rest goes on");
    let since = process.now_ms;
    process.state.history.end_rest(since);
    process.count("docs", 0, 9, 0);
    process.sample_since(1, since);
    let docs = process.chart(HistoryOf::Route("docs"), 1_000);
    assert_eq!((docs.points, docs.arms[0].requests[31], docs.arms[0].requests[30]), (32, Some(9), Some(0)));
    process.count("docs", 0, 30, 0);
    process.sample(3);
    let late = process.chart(HistoryOf::Route("docs"), 1_000);
    assert_eq!(late.arms[0].requests[32..], [Some(10); 3]);
    assert!(process.state.history.memory().bytes < 20_000, "{:?}", process.state.history.memory());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_points_have_what_the_counters_have_counted(
        steps in prop::collection::vec((1..4_u64, prop::collection::vec((0..3_usize, 0..2_usize, 0..3_000_u64), 0..4)), 1..40),
        points in 10..200_usize,
    ) {
        let mut process = Process::start(&shop());
        let mut counted = [[0_u64; 2]; 3];
        let names = ["cart", "pay", "docs"];
        for (slots, counts) in steps {
            for (route, variant, requests) in counts {
                process.count(names[route], variant, requests, requests / 9);
                counted[route][variant] += requests;
            }
            process.sample(slots);
        }
        for (name, counted) in names.iter().zip(&counted) {
            let chart = process.chart(HistoryOf::Route(name), points);
            prop_assert_eq!(if chart.points == 0 { vec![0; 2] } else { sums(&chart) }, counted.to_vec(), "{}", name);
        }
        let both = process.chart(HistoryOf::Rollout("both"), points);
        prop_assert_eq!(sums(&both), [counted[0][0] + counted[1][0], counted[0][1] + counted[1][1]]);
    }
}
