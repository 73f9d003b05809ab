//! The start: everything that must hold before the first request, in order. What fails here fails the process.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::admin::{Admin, Prepared, push_regularly};
use super::carry;
use super::controller::Controller;
use super::event::{Event, NetEvent, ProcessEvent};
use super::files::{Load, Rejection, Unread, Watcher, adopting, read, warn, writable};
use super::hand_over::{Inherited, Succession};
use super::ledger::{Counts, LastReload, Ledger};
use super::net::{Answered, Names, Resolve};
use super::outcome::{Cause, Outcome};
use super::retired::Retired;
use super::system::{BindError, Notify, Signals, State, Stopping, listen_to_signals};
use crate::clock::Clock;
use crate::config::{Color, Diagnostics, Loaded};
use crate::drain::{Drain, Drained};
use crate::route::{Generation, Rules};
use crate::shadow_compare::{Comparator, JobSender};
use crate::snapshot::{Listener, Snapshot, SnapshotStore};
use crate::telemetry::exposition::{FigurePusher, SharedRecorder};
use crate::telemetry::{self, LogSender, LogWriter, Registry, Screen, SpanSender, TraceExporter};
use crate::tls::LastGood;

/// The first generation.
const FIRST: Generation = Generation(1);
/// Events that may wait for the controller.
const EVENTS_MAX: usize = 1_024;
/// Names that may wait to be looked up again.
const LOOK_UPS_MAX: usize = 256;
/// How long the start waits for the first answers of DNS.
const FIRST_NAMES_PATIENCE: Duration = Duration::from_secs(5);
/// How often the workers are looked after.
const WATCHDOG: Duration = Duration::from_secs(1);
/// How often an adoption is waited for at the start, each time for as long as a reload waits.
const START_PATIENCES: u32 = 10;

/// What the control plane is started with.
pub struct Settings {
    /// Loads the configuration.
    pub load: Load,
    /// The file that it begins with; none where the routes come from the command line.
    pub file: Option<PathBuf>,
    /// Resolves names.
    pub resolver: Arc<dyn Resolve>,
    /// How many workers there will be.
    pub workers: usize,
    /// The clock.
    pub clock: Clock,
    /// Whether signals are ours.
    pub signals: Signals,
    /// From the failing readiness to the drain.
    pub drain_delay: Duration,
    /// From the drain to the cut.
    pub drain_deadline: Duration,
    /// How often files are looked at besides being watched; without it they are read again only when somebody asks.
    pub poll_interval: Option<Duration>,
    /// Who was before, and who comes after.
    pub succession: Succession,
    /// Tells systemd.
    pub notify: Notify,
    /// Where standard output is shown.
    pub screen: Screen,
    /// A recorder of the embedding program, which gets all figures.
    pub recorder: Option<SharedRecorder>,
}

/// Why the proxy did not start.
#[derive(Debug)]
pub enum StartError {
    /// The file does not hold.
    Config(Diagnostics),
    /// An address cannot be bound, or the access log not be opened.
    Bind(Rejection),
    /// The system refuses something.
    Io(&'static str, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(diagnostics) => f.write_str(diagnostics.render(Color::Never).trim_end()),
            Self::Bind(rejection) => f.write_str(rejection.text.trim_end()),
            Self::Io(what, error) => write!(f, "error[start]: {what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<Unread> for StartError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Refused(diagnostics) => Self::Config(diagnostics),
            Unread::Broken(error) => Self::Io("reading the configuration", io::Error::other(error)),
        }
    }
}

impl StartError {
    /// The process's exit code: 78 for a bad file, else 1.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 78,
            Self::Bind(_) | Self::Io(..) => 1,
        }
    }
}

/// What a worker gets from the control plane.
pub struct WorkerParts {
    /// Its number, from 0.
    pub index: usize,
    /// How many there are.
    pub workers: usize,
    /// What is published.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// The process's meters.
    pub registry: Arc<Registry>,
    /// When to drain.
    pub drained: Drained,
    /// Takes its access log lines.
    pub log: LogSender,
    /// Takes its spans.
    pub spans: SpanSender,
    /// Compares the answers of copies.
    pub trials: JobSender,
    /// Takes names whose addresses cannot be connected to.
    pub look_ups: mpsc::Sender<Arc<str>>,
    /// The clock.
    pub clock: Clock,
}

/// A control plane with its first snapshot, before its workers run.
pub struct Started {
    controller: Controller,
    listeners: Arc<[Arc<Listener>]>,
    admin: Prepared,
    look_ups: mpsc::Sender<Arc<str>>,
}

fn exporter(rules: &Rules, clock: Clock) -> Result<TraceExporter, StartError> {
    let mut traces = TraceExporter::new(clock);
    let prepared = traces.prepare(rules.traces.as_ref(), carry::collector);
    traces.adopt(prepared.map_err(|error| StartError::Io("the exporter of spans", error))?);
    Ok(traces)
}

fn log(rules: &Rules, screen: Screen, clock: Clock) -> Result<LogWriter, StartError> {
    let started = LogWriter::start(rules.access_log.sink.clone(), screen, clock);
    started.map_err(|error| StartError::Io("the access log's thread", error))
}

fn start_comparator(clock: Clock) -> Result<Arc<Comparator>, StartError> {
    let started = Comparator::start(clock).map_err(|error| StartError::Io("the thread that compares", error));
    started.map(Arc::new)
}

/// Starts: reads, resolves, binds, publishes generation 1.
///
/// # Errors
/// When the file does not hold, an address cannot be bound, or the system refuses something.
pub async fn start(settings: Settings) -> Result<Started, StartError> {
    let Settings { load, file, resolver, clock, workers, mut succession, notify, screen, recorder, .. } = settings;
    let began = clock.now();
    let counting = telemetry::control::begin();
    let reading = read(first(&load), Arc::clone(&resolver), [].into(), FIRST_NAMES_PATIENCE, clock).await;
    let loaded = reading.result?;
    let rules = Arc::new(loaded.rules);
    let (sender, events) = mpsc::channel(EVENTS_MAX);

    let registry = Arc::new(Registry::new(workers));
    let listeners = carry::listeners(&[], (&rules.listeners, &loaded.tls), workers, &mut succession.inherited);
    writable(&rules.access_log.sink).map_err(StartError::Bind)?;
    let log = log(&rules, screen, clock)?;
    let traces = exporter(&rules, clock)?;
    let (listeners, unbound) = listeners.map_or_else(|unbound| (Arc::default(), unbound), |bound| (bound, Vec::new()));
    let parts = carry::Parts {
        generation: FIRST,
        rules: Arc::clone(&rules),
        overlay: loaded.overlay,
        // Nobody accepts before everybody can.
        listeners: Arc::default(),
        witnesses: loaded.witnesses,
        addresses: &addresses(&reading.answers),
        registry: &registry,
        now: clock.wall(),
    };
    let store = SnapshotStore::new(carry::snapshot(None, parts));
    let counts = Counts { registry, spans: traces.counts(), recorder: Arc::new(counting) };
    let ledger = Arc::new(Ledger::new(clock, counts, store.follow(), start_comparator(clock)?));
    let admin = Admin::new(Arc::clone(&ledger), sender.clone());
    let prepared = prepare(&admin, &ledger, &mut succession.inherited, unbound)?;

    let mut names = Names::new(Arc::clone(&resolver), sender.clone());
    let wanted = carry::names(&rules);
    names.keep(&wanted, &reading.answers, rules.dns.max_ttl);
    ledger.first_answers(&wanted, &reading.answers);
    // A load balancer must not see a gap where one process takes over from another.
    ledger.pages().names_settled = succession.predecessor.is_some();
    let look_ups = unreachable(sender.clone());
    if settings.signals == Signals::Handle {
        listen_to_signals(sender.clone()).map_err(|error| StartError::Io("the handling of signals", error))?;
    }
    let watcher = Watcher::start(settings.poll_interval, clock, sender.clone());
    watcher.follow(&loaded.watched, reading.began_at);
    warn(&loaded.warnings);
    note_start(&ledger, (loaded.hash, file), clock.now().duration_since(began));
    let (stopping, drain) = (Stopping::new(settings.drain_delay, settings.drain_deadline), Drain::new());
    let controller = Controller {
        ledger,
        store,
        log,
        traces,
        pusher: recorder.map(|recorder| Arc::new(FigurePusher::new(recorder))),
        drain,
        sender,
        events,
        load,
        last_good: Arc::new(loaded.in_use),
        resolver,
        names,
        watcher,
        admin,
        stopping,
        reloading: None,
        next: None,
        stuck: false,
        revisited: None,
        retired: Retired::default(),
        closing: Vec::new(),
        succession,
        notify,
    };
    Ok(Started { controller, listeners, admin: prepared, look_ups })
}

/// The first load: nothing is in use that it could fall back to.
fn first(load: &Load) -> impl FnOnce() -> Result<Loaded, Diagnostics> + Send + use<> {
    let load = Arc::clone(load);
    move || load(&LastGood::default())
}

fn note_start(ledger: &Ledger, (hash, file): (String, Option<PathBuf>), took: Duration) {
    ledger.pages().hash = hash;
    ledger.pages().file = file.map(|file| std::path::absolute(&file).unwrap_or(file));
    let outcome = Outcome::Applied { generation: FIRST, summary: Vec::new() };
    ledger.note(&LastReload { cause: Cause::Start, outcome, at: ledger.clock.wall(), took });
}

/// The addresses that are known at the start.
fn addresses(answers: &BTreeMap<String, Answered>) -> carry::Addresses {
    let good = |(name, answered): (&String, &Answered)| {
        let answer = answered.as_ref().ok()?;
        Some((name.clone(), answer.addresses.clone()))
    };
    answers.iter().filter_map(good).collect()
}

/// Binds the admin listener. All addresses were tried before any is complained about, so that the message is about all
/// of them.
fn prepare(
    admin: &Admin,
    ledger: &Ledger,
    inherited: &mut Inherited,
    mut unbound: Vec<BindError>,
) -> Result<Prepared, StartError> {
    match admin.prepare(&ledger.snapshot().rules.admin, inherited) {
        Ok(prepared) if unbound.is_empty() => return Ok(prepared),
        Ok(_) => {}
        Err(errors) => unbound.extend(errors),
    }
    Err(StartError::Bind(Rejection::unbound(&unbound)))
}

/// Takes the names that workers cannot connect to, and passes them on to the controller.
fn unreachable(events: mpsc::Sender<Event>) -> mpsc::Sender<Arc<str>> {
    let (sender, mut names) = mpsc::channel(LOOK_UPS_MAX);
    tokio::spawn(async move {
        while let Some(name) = names.recv().await {
            if events.send(Event::Net(NetEvent::Unreachable(name))).await.is_err() {
                return;
            }
        }
    });
    sender
}

impl Started {
    /// What the control plane knows.
    #[must_use]
    pub fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.controller.ledger)
    }

    /// Where events go.
    #[must_use]
    pub fn events(&self) -> mpsc::Sender<Event> {
        self.controller.sender.clone()
    }

    /// What worker number `index` gets.
    #[must_use]
    pub fn worker(&self, index: usize) -> WorkerParts {
        let Controller { ledger, store, log, traces, drain, .. } = &self.controller;
        WorkerParts {
            index,
            workers: ledger.counts.registry.workers,
            snapshots: store.follow(),
            registry: Arc::clone(&ledger.counts.registry),
            drained: drain.subscribe(),
            log: log.sender(),
            spans: traces.sender(),
            trials: ledger.comparator.sender(),
            look_ups: self.look_ups.clone(),
            clock: ledger.clock,
        }
    }

    /// Waits until these workers decide with the first snapshot, and looks after them from now on.
    ///
    /// # Errors
    /// When a worker ends or does not get there.
    pub async fn watch_over(self, threads: Arc<Vec<JoinHandle<()>>>) -> Result<Controller, StartError> {
        let ledger = self.ledger();
        for _ in 0..START_PATIENCES {
            let ended = threads.iter().any(JoinHandle::is_finished);
            if !ended && adopting(Arc::clone(&ledger), FIRST).await >= ledger.counts.registry.workers {
                return self.open(threads).await;
            }
        }
        let error = io::Error::other("not all of them began to serve");
        Err(StartError::Io("the workers", error))
    }

    /// Opens the doors, when the process before has stepped aside.
    async fn open(self, threads: Arc<Vec<JoinHandle<()>>>) -> Result<Controller, StartError> {
        let Self { mut controller, listeners, admin, look_ups: _ } = self;
        if let Some(predecessor) = &controller.succession.predecessor {
            let may = predecessor.ready(&controller.succession.inherited).await;
            may.map_err(|error| StartError::Io("the hand-over", error))?;
        }
        controller.succession.inherited.settle();
        controller.publish_listeners(listeners);
        let admin = controller.admin.adopt(admin);
        controller.ledger.pages().admin = admin;
        controller.note_sockets();
        if let Some(predecessor) = controller.succession.predecessor.take() {
            predecessor.serving().await;
        }
        controller.notify.tell(State::MainPid(std::process::id()), None);
        controller.notify.tell(State::Ready, Some(&format!("serving generation {FIRST}")));
        if let Some(pusher) = &controller.pusher {
            tokio::spawn(push_regularly(Arc::clone(pusher), Arc::clone(&controller.ledger)));
        }
        tokio::spawn(watchdog(threads, controller.notify.watchdog(), controller.sender.clone()));
        Ok(controller)
    }
}

/// `every`: how often systemd wants to hear something at the latest.
async fn watchdog(threads: Arc<Vec<JoinHandle<()>>>, every: Option<Duration>, events: mpsc::Sender<Event>) {
    let mut ticks = tokio::time::interval(every.map_or(WATCHDOG, |every| WATCHDOG.min(every / 3)));
    loop {
        ticks.tick().await;
        let ended = threads.iter().filter(|thread| thread.is_finished()).count();
        if events.send(Event::Process(ProcessEvent::Watchdog { ended })).await.is_err() {
            return;
        }
    }
}

/// The addresses that clients connect to, by the listeners' names.
#[must_use]
pub fn bound(snapshot: &Snapshot) -> Vec<(String, SocketAddr)> {
    snapshot.listeners.iter().map(|listener| (listener.spec.name.clone(), listener.bound)).collect()
}
