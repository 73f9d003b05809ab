//! What the data plane reports to the guards of a route: which requests are exposures, and which ends of a first try are
//! events. The workers have a watch of the test, so that nothing else reads its events.

mod calls;
mod errors;
mod exposures;
mod fields;
mod repeats;
mod slow;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pointsman::app::Spawn;
use pointsman::control::WorkerParts;
use pointsman::proxy::{self, PerClientLimits, WorkerSetup};
use pointsman::route::{Guard, GuardAct, GuardTest, Guards, Signal, SlowThreshold, StatusRange};
use pointsman::snapshot::{RouteState, Snapshot};
use pointsman::stats::{ArmPlace, JudgedEvent, JudgedKind, SlotNumber, WindowNumber, WindowShape};
use pointsman::telemetry::{GuardWatch, MeterRegistry};
use tokio::sync::watch;

use crate::harness::{Fleet, Proxy, Setup, Upstream};

/// The signals of the test's watch.
const ERROR: u8 = 0;
const NOT_FOUND: u8 = 1;
const EXHAUSTED: u8 = 2;
const PURCHASE: u8 = 3;
const SLOW: u8 = 4;

const CANARY: ArmPlace = ArmPlace { stratum: 0, arm: 1 };

fn signals() -> Vec<Signal> {
    vec![
        Signal::Error,
        Signal::Status(vec![StatusRange { from: 404, to: 404 }]),
        Signal::Grpc(1 << 8),
        Signal::Event("purchase".to_owned()),
        Signal::SlowerThan(SlowThreshold::OfStable { quantile: 0.99, over: Duration::from_mins(10) }),
    ]
}

/// A proxy whose first route has a watch of the test.
struct Watched {
    proxy: Proxy,
    watch: Arc<GuardWatch>,
    registry: Arc<MeterRegistry>,
}

impl Watched {
    #[track_caller]
    fn start(setup: Setup, rules: &str) -> Self {
        let registry = Arc::new(MeterRegistry::new(1));
        let made: Arc<Mutex<Option<Arc<GuardWatch>>>> = Arc::default();
        let setup = setup.spawned({
            let (registry, made) = (Arc::clone(&registry), Arc::clone(&made));
            move || spawn(Arc::clone(&registry), Arc::clone(&made))
        });
        let proxy = setup.start(rules);
        let watch = made.lock().unwrap().clone().expect("the worker runs");
        let watched = Self { proxy, watch, registry };
        watched.open();
        watched
    }

    /// A canary of this fleet for all callers, with these lines of its route and of the variant.
    #[track_caller]
    fn canary(fleet: &Fleet, stable: &Upstream, route: &str, variant: &str) -> Self {
        Self::canary_with(fleet, stable, "", [route, variant])
    }

    /// The same, after these tables.
    #[track_caller]
    fn canary_with(fleet: &Fleet, stable: &Upstream, tables: &str, [route, variant]: [&str; 2]) -> Self {
        let rules = format!(
            "{tables}[upstream.v1]\nendpoints = [\"http://{{v1}}\"]\n[upstream.v2]\nendpoints = {}\n\
             outlier = {{ consecutive_failures = 0 }}\n\
             [[route]]\nname = \"shop\"\nmatch = {{ path = \"/*\" }}\nstable = \"v1\"\nsticky = [\"client_ip\"]\n{route}\n\
             canary = {{ upstream = \"v2\", weight = 100{variant} }}\n",
            fleet.urls()
        );
        Self::start(Setup::default().with("v1", stable), &rules)
    }

    /// Opens a slot of the next window, in which each caller counts again.
    fn open(&self) {
        self.watch.open(WindowNumber(self.watch.window().0 + 1), SlotNumber(self.watch.slot().0 + 1));
    }

    /// The events since the last call: variant and signal.
    fn events(&self) -> Vec<(u16, u8)> {
        let mut all = Vec::new();
        self.registry.guard_memory.events.take(|watched| match watched.event() {
            Some(JudgedEvent { kind: JudgedKind::Signal { signal, .. }, place, .. }) => all.push((place.arm, signal)),
            Some(JudgedEvent { kind: JudgedKind::FirstKey, .. }) | None => {}
        });
        all
    }

    /// The exposures of the open slot at a place.
    fn exposed(&self, place: ArmPlace) -> u64 {
        self.watch.exposures(self.watch.slot()).keys(place)
    }
}

/// A watch of these rules' first route.
fn watch_of(snapshot: &Snapshot, registry: &MeterRegistry) -> Arc<GuardWatch> {
    let guard = Guard {
        name: "errors".to_owned(),
        variant: None,
        signal: Some(0),
        test: GuardTest::WorseThanStable(1.1),
        alpha: 0.003,
        act: GuardAct::Rollback,
        near_full: false,
    };
    let guards = Guards { signals: signals(), all: vec![guard], ..Guards::default() };
    let split = snapshot.rules.routes[0].split().expect("the first route forwards");
    let (strata, arms) = (1 + split.targets.len(), split.variants.len());
    Arc::new(GuardWatch::new(WindowShape { strata, arms, signals: guards.signals.len() }, &guards, registry))
}

/// Spawns workers whose snapshots have the watch of the test.
fn spawn(registry: Arc<MeterRegistry>, made: Arc<Mutex<Option<Arc<GuardWatch>>>>) -> Spawn {
    let client_limits = Arc::new(PerClientLimits::default());
    Box::new(move |parts| {
        let first = Arc::clone(&parts.snapshots.borrow());
        let guard_watch = watch_of(&first, &registry);
        *made.lock().unwrap() = Some(Arc::clone(&guard_watch));
        let snapshots = watched(parts.snapshots, guard_watch);
        let WorkerParts { index, workers, registry, drained, log, spans, comparison_jobs, look_ups, clock, .. } = parts;
        let client_limits = Arc::clone(&client_limits);
        let setup = WorkerSetup {
            index,
            workers,
            seed: 1,
            snapshots,
            registry,
            client_limits,
            drained,
            log,
            spans,
            comparison_jobs,
            look_ups,
            clock,
        };
        proxy::spawn(setup)
    })
}

/// The snapshots with this watch of the first route, for as long as there are snapshots.
fn watched(
    mut published: watch::Receiver<Arc<Snapshot>>,
    guard_watch: Arc<GuardWatch>,
) -> watch::Receiver<Arc<Snapshot>> {
    let with_watch = move |snapshot: &Snapshot| {
        let mut routes = snapshot.routes.to_vec();
        let RouteState { series, sample, shadow, exposed, limits, refusals, needs, .. } = &*routes[0];
        let (series, sample, shadow, needs) = (series.clone(), sample.clone(), shadow.clone(), *needs);
        let (exposed, limits, refusals) = (exposed.clone(), limits.clone(), Arc::clone(refusals));
        let watch = Some(Arc::clone(&guard_watch));
        routes[0] = Arc::new(RouteState { series, sample, shadow, watch, exposed, limits, refusals, needs });
        Arc::new(Snapshot { routes: routes.into(), ..snapshot.clone() })
    };
    let (sender, snapshots) = watch::channel(with_watch(&published.borrow_and_update()));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    std::thread::spawn(move || {
        runtime.block_on(async {
            while published.changed().await.is_ok() {
                sender.send_replace(with_watch(&published.borrow_and_update()));
            }
        });
    });
    snapshots
}
