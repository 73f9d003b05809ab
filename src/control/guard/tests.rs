//! What is kept of the routes of a rollout, from a file to a trip: with the real watches, without requests.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::{Followed, Keeper, StageSources};
use crate::clock::Clock;
use crate::config::{LoadCache, Loaded, load_text};
use crate::control::next_snapshot::{SnapshotInputs, build, with_overlay};
use crate::identity::IdentityProviders;
use crate::release::{GuardStanding, GuardState, RolloutTrip, StageEvidence, TripAct};
use crate::route::{Generation, KeyHash, Kill, Overlay, Require, RouteId, TryOutcome, VariantId, Weight};
use crate::shadow_compare::Comparator;
use crate::snapshot::Snapshot;
use crate::stats::ArmPlace;
use crate::telemetry::{MeterRegistry, ReportedSignals, StatusClass};
use crate::tls::LastGood;

const HEAD: &str = "\
schema = 1
[[listener]]
address = '127.0.0.1:0'
[upstream.a1]
endpoints = ['http://10.0.0.1:1']
[upstream.a2]
endpoints = ['http://10.0.0.2:1']
revision = 'R'
[upstream.b1]
endpoints = ['http://10.0.0.3:1']
[upstream.b2]
endpoints = ['http://10.0.0.4:1']
[rollout.both]
max_tenants = 50
[[rollout.both.stage]]
name = 'half'
weight = 50
require = { non_inferior = 2.0 }
[[rollout.both.stage]]
name = 'full'
weight = 100
";

const ROUTES: &str = "\
[[route]]
name = 'a'
match = { path = '/a/*' }
sticky = ['client_ip']
stable = 'a1'
canary = { upstream = 'a2', rollout = 'both' }
[[route]]
name = 'b'
match = { path = '/b/*' }
sticky = ['client_ip']
stable = 'b1'
canary = { upstream = 'b2', rollout = 'both' }
";

const OWN_GUARDS: &str = "\
[[rollout.both.guard]]
name = 'errors'
metric = 'error'
worse_than_stable = 1.1
alpha = 0.003
[[rollout.both.guard]]
name = 'each'
metric = 'error'
worse_than_stable = 1.1
alpha = 0.002
scope = 'route'
act = 'hold'
";

/// The guards of a process.
struct Process {
    registry: Arc<MeterRegistry>,
    snapshot: Snapshot,
    keeper: Keeper,
    now_ms: u64,
}

fn text(revision: &str, parts: &[&str]) -> String {
    [&[HEAD.replace('R', revision).as_str()], parts].concat().concat()
}

fn snapshot(old: Option<&Snapshot>, registry: &MeterRegistry, text: &str) -> Snapshot {
    let loaded = load_text("routes.toml", text, &|_| None).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
    built(old, registry, loaded)
}

fn built(old: Option<&Snapshot>, registry: &MeterRegistry, loaded: Loaded) -> Snapshot {
    let inputs = SnapshotInputs {
        generation: Generation(old.map_or(1, |old| old.generation.0 + 1)),
        rules: Arc::new(loaded.rules),
        overlay: loaded.overlay,
        listeners: Arc::default(),
        identity_providers: IdentityProviders::default(),
        addresses: &[("none".to_owned(), vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])].into(),
        registry,
        now: Duration::from_secs(1),
        uptime_ms: 1_000,
    };
    build(old, inputs)
}

impl Process {
    fn new(text: &str) -> Self {
        let registry = Arc::new(MeterRegistry::new(2));
        let snapshot = snapshot(None, &registry, text);
        let mut keeper = Keeper::default();
        keeper.follow(&snapshot, 0);
        Self { registry, snapshot, keeper, now_ms: 0 }
    }

    fn reload(&mut self, text: &str) {
        self.snapshot = snapshot(Some(&self.snapshot), &self.registry, text);
        self.keeper.follow(&self.snapshot, self.now_ms);
    }

    /// A request of a caller on a route, by its name, to a variant.
    fn send(&self, route: &str, arm: u16, key: u64, fails: Fails) {
        let at = self.snapshot.rules.routes.iter().position(|one| one.name == route).unwrap();
        let watch = self.snapshot.routes[at].watch.as_ref().expect("a watch");
        let worker = usize::from(key.is_multiple_of(2));
        let ticket = watch.expose(worker, ArmPlace { stratum: 0, arm }, KeyHash::of((key + 1) << 12)).unwrap();
        match fails {
            Fails::Yes => {
                let outcome = TryOutcome { status: 500, grpc: None, is_error: true };
                watch.report(worker, &ticket, outcome, &mut ReportedSignals::default());
            }
            Fails::No => watch.record_success(worker, &ticket),
        }
    }

    /// Ten callers of each route and variant in a tick; those of the canary of `bad` fail, one in four.
    fn run(&mut self, ticks: u64, routes: &[&str], bad: &str) -> Vec<RolloutTrip> {
        let mut trips = Vec::new();
        for _ in 0..ticks {
            for (at, route) in (0_u64..).zip(routes) {
                for one in 0..20 {
                    let (key, arm) = ((self.now_ms * 64 + one) * 8 + at, u16::from(one.is_multiple_of(2)));
                    let is_bad = arm == 1 && *route == bad && one % 8 == 0;
                    self.send(route, arm, key, if is_bad { Fails::Yes } else { Fails::No });
                }
            }
            trips.extend(self.tick());
        }
        trips
    }

    fn tick(&mut self) -> Vec<RolloutTrip> {
        self.now_ms += 100;
        self.keeper.tick(&self.registry.guard_memory, self.now_ms);
        self.keeper.take_rollout_trips("both")
    }

    fn guard(&self, name: &str) -> GuardStanding {
        let all = self.keeper.rollout_guards("both");
        let known: Vec<String> = all.iter().map(|one| one.name.clone()).collect();
        all.into_iter().find(|one| one.name == name).unwrap_or_else(|| panic!("{name}: {known:?}"))
    }

    fn evidence(&mut self) -> StageEvidence {
        let comparator = Comparator::start(Clock).unwrap();
        let from = StageSources { snapshot: &self.snapshot, comparator: &comparator, now_ms: self.now_ms };
        let require = Require { non_inferior: Some(2.0), shadow_mismatch: Some(0.01), ..Require::default() };
        self.keeper.stage_evidence(from, "both", &require)
    }
}

/// How a request ends.
#[derive(Clone, Copy)]
enum Fails {
    Yes,
    No,
}

#[test]
fn a_fault_of_one_route_trips_the_guards_of_the_rollout() {
    let mut process = Process::new(&text("1", &[ROUTES, OWN_GUARDS]));
    assert!(process.keeper.routes().iter().all(|route| route.releases.is_empty()), "the rollout is no static weight");
    assert!(process.run(30, &["a", "b"], "none").is_empty());
    let trips = process.run(200, &["a", "b"], "b");
    let found = |guard: &str| trips.iter().find(|trip| trip.guard == guard).expect("a trip");
    assert_eq!((found("errors").act, found("errors").counts_errors), (TripAct::Rollback, true));
    assert_eq!((found("each").act, found("each").route.as_deref()), (TripAct::Hold, Some("b")));
    assert_eq!(trips.len(), 2, "each once: {trips:?}");
    assert!((process.guard("each (a)").threshold_log10 - 1_000_f64.log10()).abs() < 1e-9, "half of alpha");
    assert_eq!(process.guard("each (a)").tested.events, 0);
    assert!(process.run(50, &["a", "b"], "b").is_empty(), "not again");
    process.keeper.begin_rollout_anew("both", process.now_ms);
    assert_ne!(process.guard("errors").state, GuardState::Tripped);
    assert!(!process.run(200, &["a", "b"], "b").is_empty(), "but after it began anew");
}

#[test]
fn a_caller_on_both_routes_counts_once() {
    let mut process = Process::new(&text("1", &[ROUTES]));
    for _ in 0..100 {
        for one in 0..20 {
            let key = process.now_ms * 64 + one;
            for route in ["a", "b"] {
                process.send(route, u16::from(one.is_multiple_of(2)), key, Fails::No);
            }
        }
        for route in ["a", "b"] {
            process.send(route, 1, 7, Fails::Yes);
        }
        assert!(process.tick().is_empty());
    }
    let errors = process.guard("errors");
    assert_eq!(errors.tested.events, 1, "{}", errors.sentence);
    // 100 ticks, ten keys of each arm in a tick, and the one that fails: once a second.
    assert!((1_000..1_020).contains(&errors.tested.exposures), "{}", errors.sentence);
}

#[test]
fn evidence_stays_when_a_route_joins_or_leaves_and_goes_with_the_revision() {
    const THIRD: &str = "\
[[route]]
name = 'c'
match = { path = '/c/*' }
sticky = ['client_ip']
stable = 'a1'
canary = { upstream = 'a2', rollout = 'both' }
";
    let mut process = Process::new(&text("1", &[ROUTES]));
    process.run(30, &["a", "b"], "none");
    process.run(2, &["a", "b"], "b");
    let log10 = |process: &Process| process.guard("errors").evidence_log10;
    let before = log10(&process);
    assert!(before > 0.3, "{before}");
    let watches = |process: &Process| process.snapshot.routes.iter().map(|one| one.watch.clone()).collect::<Vec<_>>();
    let callers = |process: &Process| watches(process).iter().flatten().map(|watch| watch.callers().id()).max();
    let (old, old_callers) = (watches(&process), callers(&process));
    for parts in [&[ROUTES, THIRD][..], &[THIRD, ROUTES], &[ROUTES]] {
        process.reload(&text("1", parts));
        // A window begins: its test has some weight.
        assert!((log10(&process) - before).abs() < 0.1, "{} {before}", log10(&process));
        assert_eq!(callers(&process), old_callers, "the same marks");
    }
    for (old, new) in old.iter().zip(watches(&process)) {
        assert_eq!(old.as_ref().map(|watch| watch.id()), new.map(|watch| watch.id()));
    }
    // The caller that failed before counts no more after a reload.
    process.reload(&text("1", &[ROUTES, THIRD]));
    assert_eq!(process.run(200, &["a", "b", "c"], "c").len(), 1);
    process.reload(&text("2", &[ROUTES, THIRD]));
    assert!(log10(&process) < 0.1, "another revision");
    assert_ne!(callers(&process), old_callers, "and another sample of first keys");
    process.run(30, &["a", "b", "c"], "none");
    assert_eq!(process.run(200, &["a", "b", "c"], "a").len(), 1);
}

#[test]
fn evidence_and_tenants_outlive_the_process_and_old_files_are_read() {
    let mut process = Process::new(&text("1", &[ROUTES]));
    process.run(30, &["a", "b"], "none");
    process.run(2, &["a", "b"], "b");
    let exposed = process.snapshot.routes[0].exposed.clone().expect("counts");
    for tenant in 0..20_u64 {
        exposed.add_tenant(0, tenant.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    }
    let tenants = process.keeper.tenants("both");
    assert!(tenants.is_some_and(|tenants| (18..=22).contains(&tenants)), "{tenants:?}");
    let saved = process.keeper.save().expect("evidence");
    let before = process.guard("errors").evidence_log10;
    let mut next = Process::new(&text("1", &[ROUTES]));
    next.keeper.restore(&saved).unwrap();
    assert!((next.guard("errors").evidence_log10 - before).abs() < 0.3, "{before}");
    assert_eq!(next.keeper.tenants("both"), tenants);
    next.keeper.begin_rollout_anew("both", 0);
    assert!(next.guard("errors").evidence_log10 < 0.1);
    assert_eq!(next.keeper.tenants("both"), tenants, "tenants stay exposed");
    let mut other = Process::new(&text("2", &[ROUTES]));
    other.keeper.restore(&saved).unwrap();
    assert!(other.guard("errors").evidence_log10 < 0.1);
    assert_eq!(other.keeper.tenants("both"), None);
    // A file from before there were rollouts, and one that is malformed.
    let mut old = Process::new(&text("1", &[ROUTES]));
    old.keeper.restore(br#"{"a":{"releases":[{"variant":"canary","revision":"a2=1","guards":[]}]}}"#).unwrap();
    assert!(old.guard("errors").evidence_log10 < 0.1);
    assert!(Process::new(&text("1", &[ROUTES])).keeper.restore(b"[3]").is_err());
}

#[test]
fn a_stage_counts_keys_from_its_entry_and_no_data_is_no_success() {
    let mut process = Process::new(&text("1", &[ROUTES]));
    let nothing = process.evidence();
    assert_eq!((nothing.answered, nothing.keys, nothing.stable_rate), (0, 0, None));
    assert!(nothing.non_inferior.is_some_and(|test| test.evidence_log10.abs() < 1e-9));
    assert_eq!(nothing.shadow.map(|shadow| shadow.compared), Some(0));
    let exposed = process.snapshot.routes[1].exposed.clone().expect("counts");
    let key = |number: u64| KeyHash::of(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    for number in 0..30 {
        exposed.add_key(1, key(number));
    }
    process.now_ms += 1_000;
    let keys = process.evidence().keys;
    assert!((28..=32).contains(&keys), "{keys}");
    process.keeper.enter_stage("both", process.now_ms);
    assert_eq!(process.evidence().keys, 0);
    process.run(100, &["a", "b"], "none");
    assert_eq!(process.evidence().stable_rate, Some(0.0));
    let meter = |at: usize, variant: VariantId| {
        let series = process.snapshot.routes[at].series[usize::from(variant.0)].clone();
        move |class: StatusClass| series.meters.of(0).requests[0][class as usize].inc()
    };
    meter(0, VariantId(1))(StatusClass::Success);
    meter(1, VariantId(1))(StatusClass::ServerError);
    meter(1, VariantId(1))(StatusClass::None);
    meter(1, VariantId::STABLE)(StatusClass::Success);
    assert_eq!(process.evidence().answered, 2, "answered, by a canary");
}

#[test]
fn a_static_weight_beside_a_rollout_is_a_release_of_its_own() {
    let beside = ROUTES.replace(
        "stable = 'b1'\ncanary = { upstream = 'b2', rollout = 'both' }",
        "guard = 'rollback'\nstable = 'b1'\n[[route.variant]]\nname = 'old'\nupstream = 'a1'\nweight = 10\n\
         [[route.variant]]\nname = 'new'\nupstream = 'b2'\nrollout = 'both'",
    );
    let head = text("1", &[&beside]).replace("max_tenants = 50", "max_tenants = 50\nmax_weight = 90");
    let mut process = Process::new(&head);
    let names: Vec<String> =
        process.keeper.routes().iter().flat_map(|route| &route.releases).map(|one| one.key.release.clone()).collect();
    assert_eq!(names, ["b:old"]);
    process.run(30, &["a"], "none");
    let mut found = Vec::new();
    for tick in 0..200_u64 {
        for one in 0..20 {
            process.send("b", 0, tick * 1_000 + one, Fails::No);
        }
        process.send("b", 1, tick * 1_000 + 500, Fails::Yes);
        process.now_ms += 100;
        let ticked = process.keeper.tick(&process.registry.guard_memory, process.now_ms);
        found.extend(ticked.into_iter().flat_map(|tick| tick.trips.into_iter().map(move |trip| (tick.at, trip))));
    }
    // The canary of the rollout has no callers: its shares are not as dealt, and that is all.
    assert!(process.keeper.take_rollout_trips("both").iter().all(|trip| trip.guard == "sample-ratio"));
    let errors: Vec<_> = found.iter().filter(|(_, trip)| trip.guard == "errors").collect();
    assert_eq!(errors.len(), 1, "{found:?}");
    let (at, trip) = errors[0];
    let route = &process.keeper.routes()[*at];
    assert_eq!((route.name.as_str(), trip.arm), ("b", 1));
    let standings = process.keeper.guards(route, VariantId(1));
    assert!(standings.iter().any(|one| one.name == "errors" && one.state == GuardState::Tripped), "{standings:?}");
    process.keeper.resume(*at, VariantId(1), process.now_ms);
    let route = &process.keeper.routes()[*at];
    assert!(process.keeper.guards(route, VariantId(1)).iter().all(|one| one.state != GuardState::Tripped));
}

#[test]
fn an_overlay_is_followed_by_the_routes_that_it_changes_alone() {
    let one = |name: &str| {
        format!(
            "[[route]]\nname = '{name}'\nmatch = {{ path = '/{name}' }}\nsticky = ['client_ip']\nstable = 'a1'\n\
             canary = {{ upstream = 'a2', weight = 5 }}\n"
        )
    };
    let routes: String = ["c", "d", "e"].map(one).concat();
    let mut process = Process::new(&text("1", &[ROUTES, &routes]));
    let mut follow = |overlay: Overlay| {
        let next = with_overlay(&process.snapshot, overlay, &process.registry, Duration::from_secs(2));
        let followed = process.keeper.follow_shares(&next, 10);
        process.snapshot = next;
        followed
    };
    let base = snapshot(None, &MeterRegistry::new(2), &text("1", &[ROUTES, &routes])).overlay;
    let with = |at: u32| {
        let weight = Weight::from_millionths(90_000).unwrap();
        let state = base.split(RouteId(at)).with_weight(VariantId(1), weight).unwrap();
        base.with([(RouteId(at), state)])
    };
    assert_eq!(follow(base.clone()), 0, "nothing has changed");
    assert_eq!(follow(with(3)), 1);
    assert_eq!(follow(with(4)), 2, "one goes back");
    assert_eq!(follow(with(0)), 2, "the rollout, and one goes back");
    let all = base.with_kill(Kill { all: true, ..Kill::default() });
    assert_eq!(follow(all), 4, "the rollout and each route");
}

const BETA: &str = "[[route.variant]]\nname = 'beta'\nupstream = 'b2'\nweight = 3\n";

/// A version of a file: the kinds of its routes, `None` for one that it does not have.
#[derive(Clone, Debug)]
struct Version {
    routes: Vec<Option<u8>>,
    is_reversed: bool,
}

fn version() -> impl Strategy<Value = Version> {
    let route = prop_oneof![4 => (0_u8..7).prop_map(Some), 1 => Just(None)];
    let routes = proptest::collection::vec(route, 6);
    (routes, prop_oneof![9 => Just(false), 1 => Just(true)])
        .prop_map(|(routes, is_reversed)| Version { routes, is_reversed })
}

impl Version {
    fn text(&self) -> String {
        let one = |(n, kind): (usize, &Option<u8>)| {
            let canary = |weight: u8| format!("canary = {{ upstream = 'a2', weight = {weight} }}\n");
            let more = match kind.as_ref()? {
                0 => String::new(),
                1 => canary(5),
                2 => canary(10),
                3 => format!("{}{BETA}", canary(5)),
                4 => BETA.to_owned(),
                5 => format!("guard = 'off'\n{}", canary(5)),
                _ => format!("{}[[route.target]]\nheader = {{ x-a = '1' }}\nserve = 'canary'\n", canary(5)),
            };
            let head = "sticky = ['client_ip']\nstable = 'a1'\n";
            Some(format!("[[route]]\nname = 'r{n}'\nmatch = {{ path = '/{n}' }}\n{head}{more}"))
        };
        let mut routes: Vec<String> = self.routes.iter().enumerate().filter_map(one).collect();
        if self.is_reversed {
            routes.reverse();
        }
        let (upstreams, _) = HEAD.split_once("[rollout.both]").unwrap();
        [upstreams, routes.concat().as_str()].concat()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is kept of the routes that a reload does not change is the same, and each release is shown as long as it is watched.
    #[test]
    fn a_reload_of_few_routes_is_followed_like_a_reload_of_all(
        versions in proptest::collection::vec(version(), 1..6),
        last in version(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (path, cache, registry) = (folder.path().join("routes.toml"), LoadCache::default(), MeterRegistry::new(1));
        let (mut few, mut all) = (Keeper::default(), Keeper::default());
        let mut shown: BTreeSet<String> = BTreeSet::new();
        let mut old: Option<Snapshot> = None;
        for version in versions.iter().chain([&last, &last]) {
            std::fs::write(&path, version.text()).unwrap();
            let loaded = cache.load(&path, &|_| None, &LastGood::default());
            let loaded = loaded.unwrap_or_else(|errors| panic!("{}\n{errors}", version.text()));
            let next = built(old.as_ref(), &registry, loaded);
            let followed = few.follow(&next, 5);
            all.follow_anew(&next, 5);
            prop_assert_eq!(few.shown(), all.shown());
            let names = |keeper: &Keeper, at: usize| keeper.routes()[at].release_names();
            match followed {
                Followed::All => shown = (0..few.routes().len()).flat_map(|at| names(&few, at)).collect(),
                Followed::Few(few_routes) => {
                    few_routes.ended.iter().for_each(|name| {
                        shown.remove(name);
                    });
                    shown.extend(few_routes.routes.iter().flat_map(|at| names(&few, *at)));
                }
            }
            let watched: BTreeSet<String> = (0..all.routes().len()).flat_map(|at| names(&all, at)).collect();
            prop_assert_eq!(&shown, &watched);
            old = Some(next);
        }
    }
}

#[test]
fn of_many_routes_with_traffic_those_with_events_are_judged_at_once_and_the_others_in_turn() {
    const COUNT: usize = 1_050;
    let one = |name: usize| {
        format!(
            "[[route]]\nname = 'r{name}'\nmatch = {{ path = '/{name}' }}\nsticky = ['client_ip']\nstable = 'a1'\n\
             canary = {{ upstream = 'a2', weight = 5 }}\n"
        )
    };
    let head = HEAD.split("[rollout").next().unwrap();
    let mut process = Process::new(&[head.to_owned(), (0..COUNT).map(one).collect()].concat());
    let mut tick = |events: &[usize]| -> BTreeSet<usize> {
        for at in events {
            process.send(&format!("r{at}"), 1, process.now_ms, Fails::Yes);
        }
        process.now_ms += 100;
        let ticked = process.keeper.tick(&process.registry.guard_memory, process.now_ms);
        ticked.into_iter().map(|tick| tick.at).collect()
    };
    assert_eq!(tick(&(0..COUNT).collect::<Vec<_>>()).len(), COUNT, "each has an event");
    let turns: Vec<BTreeSet<usize>> = (0..10).map(|_| tick(&[7, 900])).collect();
    assert!(turns.iter().all(|turn| turn.contains(&7) && turn.contains(&900) && turn.len() <= 107));
    assert_eq!(turns.iter().flatten().collect::<BTreeSet<_>>().len(), COUNT, "each route once in ten ticks");
    let watch = process.snapshot.routes[9].watch.as_ref().unwrap();
    let ticket = watch.expose(0, ArmPlace { stratum: 0, arm: 1 }, KeyHash::of(1 << 12)).unwrap();
    watch.fail(0, &ticket);
    let mut in_turn = (0..4).map(|_| process.keeper.tick(&process.registry.guard_memory, process.now_ms));
    assert!(in_turn.all(|ticked| ticked.iter().any(|tick| tick.at == 9)), "each tick follows a run of failures");
    process.keeper.follow_closely(8);
    let soon = (0..2).map(|_| process.keeper.tick(&process.registry.guard_memory, process.now_ms));
    assert_eq!(soon.filter(|ticked| ticked.iter().any(|tick| tick.at == 8)).count(), 1, "in the next tick");
}
