//! The start: everything that must succeed before the first request, in order. An error here ends the process.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::admin::{AdminListener, OtherListener, PreparedAdmin, push_regularly};
use super::adoption::wait_for_workers;
use super::controller::Controller;
use super::event::{Event, ProcessEvent, ResolverEvent};
use super::files::{ConfigChecker, ConfigLoader, KeptOfFiles, Rejection, Watcher, run_load, writable};
use super::guard::send_guard_ticks;
use super::hand_over::{InheritedSockets, Succession, restore_endpoints, restore_limits};
use super::health::{Probes, run_checks, send_probe_ticks};
use super::history::sample_regularly;
use super::next_snapshot;
use super::outcome::{ReloadCause, ReloadOutcome};
use super::release::{ActiveKills, FolderSettings, Release};
use super::resolver::{LookupResult, Resolve, WatchedNames};
use super::retired::RetiredSnapshots;
use super::start_error::StartError;
use super::state::{ControlState, Counts, LastReload};
use super::system::{BindError, REST_EVERY_MS, ServiceState, Shutdown, Signals, SystemdNotify, listen_to_signals};
use crate::clock::Clock;
use crate::config::{Diagnostics, Loaded};
use crate::drain::{Drain, DrainWatch};
use crate::journal::JournalFiles;
use crate::route::{Generation, Rules};
use crate::shadow_compare::{Comparator, JobSender};
use crate::snapshot::{Listener, Snapshot, SnapshotStore};
use crate::telemetry::exposition::{FigurePusher, SharedRecorder};
use crate::telemetry::{self, LogSender, LogWriter, MeterRegistry, Screen, SpanSender, TraceExporter};
use crate::tls::{LastGood, Server};

/// The first generation.
const FIRST: Generation = Generation(1);
/// Capacity of the event channel.
const EVENTS_MAX: usize = 1_024;
/// Capacity of the channel for names whose addresses are unreachable.
const LOOK_UPS_MAX: usize = 256;
/// How long the start waits for the first DNS answers.
const FIRST_NAMES_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval of housekeeping.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(1);
/// How long the start waits for the workers, before it checks that none has ended and waits again.
const START_WAIT: Duration = Duration::from_secs(1);
/// How often the start repeats the wait for the workers.
const START_WAITS_MAX: u32 = 10;

/// The settings of the control plane.
pub struct ControlSettings {
    /// Loads the configuration.
    pub load: ConfigLoader,
    /// Checks a text in the place of the file.
    pub check: ConfigChecker,
    /// The routes file; `None` when the routes come from the command line.
    pub file: Option<PathBuf>,
    /// Resolves names.
    pub resolver: Arc<dyn Resolve>,
    /// Number of workers.
    pub workers: usize,
    /// The clock.
    pub clock: Clock,
    /// Whether the proxy handles signals.
    pub signals: Signals,
    /// Time between failing readiness and the start of the drain.
    pub drain_delay: Duration,
    /// How long a drain may take.
    pub drain_deadline: Duration,
    /// How often watched files are also polled; without it, files are reloaded only on request.
    pub poll_interval: Option<Duration>,
    /// The predecessor, if any, and how to start a successor.
    pub succession: Succession,
    /// Notifies systemd.
    pub notify: SystemdNotify,
    /// What standard output is connected to.
    pub screen: Screen,
    /// A metrics recorder of the embedding program.
    pub recorder: Option<SharedRecorder>,
    /// How long the start waits for another process to give the state folder up.
    pub lock_wait: Duration,
    /// How long the answer to a kill or revive waits for the workers and for the disk.
    pub act_patience: Duration,
    /// The files of the journal; `None`: those of the state folder.
    pub journal_files: Option<Arc<dyn JournalFiles>>,
    /// How often charts get a point.
    pub history_every: Duration,
}

/// What the control plane gives a worker.
pub struct WorkerParts {
    /// Its index, from 0.
    pub index: usize,
    /// Number of workers.
    pub workers: usize,
    /// The published snapshots.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// The meters of the process.
    pub registry: Arc<MeterRegistry>,
    /// The drain phases.
    pub drained: DrainWatch,
    /// Receives its access log lines.
    pub log: LogSender,
    /// Receives its spans.
    pub spans: SpanSender,
    /// Receives the responses of copies, to be compared.
    pub comparison_jobs: JobSender,
    /// Receives names whose addresses are unreachable.
    pub look_ups: mpsc::Sender<Arc<str>>,
    /// The clock.
    pub clock: Clock,
}

/// A control plane with its first snapshot, before its workers run.
pub struct StartedControl {
    controller: Controller,
    listeners: Arc<[Arc<Listener>]>,
    admin: PreparedAdmin,
    look_ups: mpsc::Sender<Arc<str>>,
}

fn exporter(rules: &Rules, clock: Clock) -> Result<TraceExporter, StartError> {
    let mut traces = TraceExporter::new(clock);
    let prepared = traces.prepare(rules.traces.as_ref(), next_snapshot::collector_tls);
    traces.adopt(prepared.map_err(|error| StartError::Io("the exporter of spans", error))?);
    Ok(traces)
}

fn log(rules: &Rules, screen: Screen, clock: Clock) -> Result<LogWriter, StartError> {
    writable(&rules.access_log.sink).map_err(StartError::Bind)?;
    let started = LogWriter::start(rules.access_log.sink.clone(), screen, clock);
    started.map_err(|error| StartError::Io("the access log's thread", error))
}

fn start_comparator(clock: Clock) -> Result<Arc<Comparator>, StartError> {
    let started = Comparator::start(clock).map_err(|error| StartError::Io("the thread that compares", error));
    started.map(Arc::new)
}

/// Starts the control plane: loads, resolves, binds, and publishes generation 1.
///
/// # Errors
/// When the file is invalid, an address cannot be bound, or a system call fails.
pub async fn start(settings: ControlSettings) -> Result<StartedControl, StartError> {
    let ControlSettings { load, check, file, resolver, clock, workers, mut succession, .. } = settings;
    settings.signals.outlive_file_limit();
    let began = clock.now();
    let loading = run_load(first(&load), Arc::clone(&resolver), [].into(), FIRST_NAMES_TIMEOUT, clock).await;
    let loaded = loading.result?;
    let (rules, registry) = (Arc::new(loaded.rules), Arc::new(MeterRegistry::new(workers)));
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let listeners = next_snapshot::listeners(&[], &rules.listeners, &loaded.tls, workers, &mut succession.inherited);
    let (log, traces) = (log(&rules, settings.screen, clock)?, exporter(&rules, clock)?);
    let (listeners, unbound) = listeners.map_or_else(|unbound| (Arc::default(), unbound), |bound| (bound, Vec::new()));
    let kills = ActiveKills::of_file(loaded.overlay.clone(), loaded.kills);
    let inputs = next_snapshot::SnapshotInputs {
        generation: FIRST,
        rules: Arc::clone(&rules),
        overlay: loaded.overlay,
        // No worker accepts until all workers can.
        listeners: Arc::default(),
        identity_providers: loaded.identity_providers,
        addresses: &addresses(&loading.answers),
        registry: &registry,
        now: clock.wall(),
        uptime_ms: 0,
    };
    let store = SnapshotStore::new(next_snapshot::build(None, inputs));
    let counts = Counts { registry, spans: traces.counts(), recorder: Arc::new(telemetry::control::new_recorder()) };
    let (comparator, every) = (start_comparator(clock)?, settings.history_every);
    let state = Arc::new(ControlState::new(clock, counts, store.follow(), comparator, every));
    let admin = AdminListener::new(Arc::clone(&state), sender.clone(), check);
    let prepared = prepare(&admin, &state, loaded.admin_tls.as_ref(), &mut succession.inherited, unbound)?;

    let names = watch_names(WatchedNames::new(Arc::clone(&resolver), sender.clone()), &state, &loading.answers);
    // Load balancers must not see a gap when one process takes over from another.
    state.lock().names_settled = succession.predecessor.is_some();
    let look_ups = unreachable(sender.clone());
    let watcher = Watcher::start(settings.poll_interval, clock, sender.clone());
    watcher.follow(&loaded.watched, loading.began_at);
    state.lock().files = loaded.watched;
    state.lock().applied = Arc::new(loaded.applied);
    record_start(&state, [loaded.hash, loaded.base_hash], file, clock.now().duration_since(began));
    let folder = FolderSettings::new(&rules.state.dir, settings.journal_files, settings.lock_wait, clock);
    let (shutdown, drain) = (Shutdown::new(settings.drain_delay, settings.drain_deadline), Drain::new());
    let mut controller = Controller {
        state,
        store,
        log,
        traces,
        pusher: settings.recorder.map(|recorder| Arc::new(FigurePusher::new(recorder))),
        drain,
        sender,
        events,
        load,
        kept: KeptOfFiles::new(loaded.in_use, &loaded.warnings),
        resolver,
        names,
        watcher,
        admin,
        shutdown,
        reloading: None,
        next_reload: None,
        worker_stuck: false,
        reread_for: None,
        retired: RetiredSnapshots::default(),
        closing: Vec::new(),
        succession,
        release: Release::new(kills, folder, settings.act_patience),
        probes: Probes::default(),
        notify: settings.notify,
    };
    controller.resume().await?;
    // Until here a signal ends the process.
    handle_signals(settings.signals, &controller.sender)?;
    Ok(StartedControl { controller, listeners, admin: prepared, look_ups })
}

fn handle_signals(signals: Signals, events: &mpsc::Sender<Event>) -> Result<(), StartError> {
    match signals {
        Signals::Ignore => Ok(()),
        Signals::Handle => {
            listen_to_signals(events.clone()).map_err(|error| StartError::Io("the handling of signals", error))
        }
    }
}

/// The first load: there are no certificates in use to fall back to.
fn first(load: &ConfigLoader) -> impl FnOnce() -> Result<Loaded, Diagnostics> + Send + use<> {
    let load = Arc::clone(load);
    move || load(&LastGood::default())
}

/// Follows the names of the first rules, whose first answers are there.
fn watch_names(
    mut names: WatchedNames,
    state: &ControlState,
    answers: &BTreeMap<String, LookupResult>,
) -> WatchedNames {
    let rules = &state.snapshot().rules;
    let wanted = next_snapshot::names_to_resolve(rules);
    names.follow(&wanted, answers, rules.dns.max_ttl);
    state.record_first_answers(&wanted, answers);
    names
}

fn record_start(state: &ControlState, hashes: [String; 2], file: Option<PathBuf>, took: Duration) {
    {
        let mut data = state.lock();
        [data.hash, data.base_hash] = hashes;
    }
    state.lock().file = file.map(|file| std::path::absolute(&file).unwrap_or(file));
    let outcome = ReloadOutcome::Applied { generation: FIRST, summary: Vec::new() };
    state.record_reload(&LastReload { cause: ReloadCause::Start, outcome, at: state.clock.wall(), took });
}

/// The addresses that are known at the start.
fn addresses(answers: &BTreeMap<String, LookupResult>) -> next_snapshot::Addresses {
    let good = |(name, answered): (&String, &LookupResult)| {
        let answer = answered.as_ref().ok()?;
        Some((name.clone(), answer.addresses.clone()))
    };
    answers.iter().filter_map(good).collect()
}

/// Binds the admin listener. All addresses are tried first, so that the message lists every address that failed.
fn prepare(
    admin: &AdminListener,
    state: &ControlState,
    tls: Option<&Arc<Server>>,
    inherited: &mut InheritedSockets,
    mut unbound: Vec<BindError>,
) -> Result<PreparedAdmin, StartError> {
    match admin.prepare(&state.snapshot().rules, tls, inherited) {
        Ok(prepared) if unbound.is_empty() => return Ok(prepared),
        Ok(_) => {}
        Err(errors) => unbound.extend(errors),
    }
    Err(StartError::Bind(Rejection::unbound(&unbound)))
}

/// Forwards the names that workers cannot connect to as events.
fn unreachable(events: mpsc::Sender<Event>) -> mpsc::Sender<Arc<str>> {
    let (sender, mut names) = mpsc::channel(LOOK_UPS_MAX);
    tokio::spawn(async move {
        while let Some(name) = names.recv().await {
            if events.send(Event::Resolver(ResolverEvent::Unreachable(name))).await.is_err() {
                return;
            }
        }
    });
    sender
}

impl StartedControl {
    /// The state of the control plane.
    #[must_use]
    pub fn state(&self) -> Arc<ControlState> {
        Arc::clone(&self.controller.state)
    }

    /// The sender of events.
    #[must_use]
    pub fn events(&self) -> mpsc::Sender<Event> {
        self.controller.sender.clone()
    }

    /// The parts for worker `index`.
    #[must_use]
    pub fn worker(&self, index: usize) -> WorkerParts {
        let Controller { state, store, log, traces, drain, .. } = &self.controller;
        WorkerParts {
            index,
            workers: state.counts.registry.workers,
            snapshots: store.follow(),
            registry: Arc::clone(&state.counts.registry),
            drained: drain.subscribe(),
            log: log.sender(),
            spans: traces.sender(),
            comparison_jobs: state.comparator.sender(),
            look_ups: self.look_ups.clone(),
            clock: state.clock,
        }
    }

    /// Waits until these workers use the first snapshot, then supervises them.
    ///
    /// # Errors
    /// When a worker ends or does not start in time.
    pub async fn supervise(self, threads: Arc<Vec<JoinHandle<()>>>) -> Result<Controller, StartError> {
        let state = self.state();
        let first = state.snapshot().edition;
        let deadline = || state.clock.now() + START_WAIT;
        for _ in 0..START_WAITS_MAX {
            let ended = threads.iter().any(JoinHandle::is_finished);
            if !ended && wait_for_workers(&state, first, deadline()).await >= state.counts.registry.workers {
                return self.open(threads).await;
            }
        }
        let error = io::Error::other("not all of them started in time");
        Err(StartError::Io("the workers", error))
    }

    /// Starts accepting, once the predecessor permits it.
    async fn open(self, threads: Arc<Vec<JoinHandle<()>>>) -> Result<Controller, StartError> {
        let Self { mut controller, listeners, admin, look_ups: _ } = self;
        if let Some(predecessor) = &controller.succession.predecessor {
            let may = predecessor.wait_for_permission(&controller.succession.inherited).await;
            let states = may.map_err(|error| StartError::Io("the hand-over", error))?;
            let snapshot = controller.store.load();
            restore_endpoints(&snapshot, &states.endpoints, controller.state.uptime_ms());
            restore_limits(&snapshot, &states.limits, controller.state.uptime_ns());
        }
        controller.succession.inherited.settle();
        let is_taking_over = controller.succession.predecessor.is_some();
        if is_taking_over {
            // The process before may have killed more since this one began to start.
            controller.read_journal().await;
        }
        controller.publish_listeners(listeners);
        let admin = controller.admin.adopt(admin);
        controller.state.lock().admin = admin;
        controller.mark_used_sockets();
        if is_taking_over {
            controller.begin_take_over();
        } else {
            controller.begin_service(OtherListener::Keep);
        }
        if let Some(pusher) = &controller.pusher {
            tokio::spawn(push_regularly(Arc::clone(pusher), Arc::clone(&controller.state)));
        }
        let following = || (Arc::clone(&controller.state), controller.store.follow(), controller.sender.clone());
        let (state, snapshots, events) = following();
        tokio::spawn(send_guard_ticks(state, snapshots, events));
        let (state, snapshots, events) = following();
        tokio::spawn(send_probe_ticks(state, snapshots, events));
        tokio::spawn(sample_regularly(Arc::clone(&controller.state), controller.store.follow()));
        let (snapshots, drained) = (controller.store.follow(), controller.drain.subscribe());
        tokio::spawn(run_checks(Arc::clone(&controller.state), snapshots, drained));
        let (watchdog, registry) = (controller.notify.watchdog(), Arc::clone(&controller.state.counts.registry));
        tokio::spawn(send_housekeeping_ticks(threads, watchdog, registry, controller.sender.clone()));
        Ok(controller)
    }
}

impl Controller {
    /// The process before has said farewell: this one is the service.
    pub(super) fn begin_service_after_hand_over(&mut self) {
        self.begin_service(OtherListener::Replace);
        if let Some(attempt) = self.succession.hand_over_next.take() {
            self.hand_over(attempt);
        }
    }

    fn begin_service(&mut self, other: OtherListener) {
        self.admin.open_socket(other);
        self.notify.send(ServiceState::MainPid(std::process::id()), None);
        self.notify.send(ServiceState::Ready, Some(&format!("serving generation {FIRST}")));
    }
}

/// Sends the ticks for housekeeping. `watchdog` is systemd's watchdog interval.
async fn send_housekeeping_ticks(
    threads: Arc<Vec<JoinHandle<()>>>,
    watchdog: Option<Duration>,
    registry: Arc<MeterRegistry>,
    events: mpsc::Sender<Event>,
) {
    let within = |every: Duration| watchdog.map_or(every, |watchdog| every.min(watchdog / 3));
    loop {
        let ended = threads.iter().filter(|thread| thread.is_finished()).count();
        if events.send(Event::Process(ProcessEvent::Housekeeping { ended })).await.is_err() {
            return;
        }
        if registry.is_at_rest() {
            // The end of the rest ends the wait.
            let _ = timeout(within(Duration::from_millis(REST_EVERY_MS)), registry.roused()).await;
        } else {
            tokio::time::sleep(within(HOUSEKEEPING_EVERY)).await;
        }
    }
}

/// The names of the listeners and their bound addresses.
#[must_use]
pub fn bound(snapshot: &Snapshot) -> Vec<(String, SocketAddr)> {
    snapshot.listeners.iter().map(|listener| (listener.spec.name.clone(), listener.bound)).collect()
}
