//! A worker's ground state: the clock, meters, limits, timers, buffers and logs of one thread. Every part of the data plane
//! may use it. It imports no other room of the proxy but `wire`. What the requests of the worker share besides is in the
//! `HttpProxy`.

use std::cell::{Cell, Ref, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::budget::Budget;
use super::client_limits::PerClientLimits;
use super::connection_deadlines::ConnectionList;
use super::send_task::LastStarted;
use super::share::ClientShares;
use super::stalled_readers::StalledReaders;
use super::timers::Timers;
use crate::clock::Clock;
use crate::drain::DrainWatch;
use crate::identity::TokenCache;
use crate::shadow_compare::JobSender;
use crate::snapshot::Snapshot;
use crate::telemetry::{
    LogBuffer, LogSender, MeterRegistry, SpanAttributes, SpanBuffer, SpanSender, TraceSpan, WorkerMeter,
};

/// How much of a connection's bytes is read at once.
const SCRATCH_BYTES: usize = 64 * 1024;
/// As large as the allocator has no pages of its own for: freeing it lets the allocator look for pages to give back.
const PURGING_BYTES: usize = 1024 * 1024;
/// How often an idle process gives pages back: each time takes some 60 µs.
const PURGE_EVERY_MS: u64 = 1000;
/// Access log lines are handed over at this size, or at the next sweep.
const LOG_BYTES: usize = 32 * 1024;

/// Below this limit, the requests of all workers are counted for each new one.
const COUNTED_BELOW: u32 = 1024;

/// What a worker is made of.
pub struct WorkerSetup {
    /// Its number, from 0.
    pub index: usize,
    /// How many workers there are.
    pub workers: usize,
    /// A random number, the same for all workers.
    pub seed: u64,
    /// The snapshots that it follows.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Where it counts.
    pub registry: Arc<MeterRegistry>,
    /// Who has connections, of all workers together.
    pub client_limits: Arc<PerClientLimits>,
    /// When it stops.
    pub drained: DrainWatch,
    /// Where its access log goes.
    pub log: LogSender,
    /// Where its spans go.
    pub spans: SpanSender,
    /// Where the answers of copies are compared.
    pub trials: JobSender,
    /// Takes names that should be looked up again now.
    pub look_ups: mpsc::Sender<Arc<str>>,
    /// Its clock.
    pub clock: Clock,
}

/// A worker's ground state. Everything in it belongs to one thread.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) workers: usize,
    pub(crate) registry: Arc<MeterRegistry>,
    pub(crate) clock: Clock,
    pub(crate) connections: ConnectionList,
    pub(crate) scratch: RefCell<Box<[u8]>>,
    pub(crate) budget: Rc<Budget>,
    pub(crate) last_started: Rc<LastStarted>,
    pub(crate) trials: JobSender,
    look_ups: mpsc::Sender<Arc<str>>,
    /// Copies under way.
    pub(crate) copies: Cell<u64>,
    pub(crate) client_limits: Arc<PerClientLimits>,
    /// What client addresses have under way here.
    pub(crate) client_shares: ClientShares,
    /// Readers that are waited for.
    pub(crate) stalled_readers: StalledReaders,
    pub(crate) timers: Timers,
    /// Connections and streams that have become tunnels.
    pub(crate) tunnels: Cell<u64>,
    pub(crate) random: RefCell<fastrand::Rng>,
    pub(crate) draining: Cell<bool>,
    /// When an accept error was last told.
    pub(crate) accept_warned_ms: Cell<Option<u64>>,
    /// When a bad PROXY header was last told.
    pub(crate) header_warned_ms: Cell<Option<u64>>,
    /// When a failed handshake was last told, and how many have failed since.
    pub(crate) handshake_warned: Cell<(Option<u64>, u64)>,
    /// Tokens that were verified before.
    pub(crate) tokens: RefCell<TokenCache>,
    /// The snapshot in force.
    snapshot: RefCell<Arc<Snapshot>>,
    log: RefCell<LogBuffer>,
    log_sender: LogSender,
    spans: RefCell<SpanBuffer>,
    span_sender: SpanSender,
    started: Instant,
    /// The wall clock, as of the last sweep.
    wall: Cell<(Instant, Duration)>,
    now_ms: Cell<u64>,
    /// The worker's time at the end of the last sweep.
    swept_ms: Cell<u64>,
}

impl Worker {
    /// The ground state of a new worker. `first` is the snapshot in force.
    pub(crate) fn new(setup: WorkerSetup, first: Arc<Snapshot>) -> Rc<Self> {
        let WorkerSetup { index, workers, registry, client_limits, log, spans, trials, look_ups, clock, .. } = setup;
        Rc::new(Self {
            index,
            workers,
            registry,
            connections: ConnectionList::default(),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into()),
            budget: Budget::new(workers),
            last_started: Rc::default(),
            trials,
            look_ups,
            copies: Cell::new(0),
            client_limits,
            client_shares: ClientShares::default(),
            stalled_readers: StalledReaders::default(),
            timers: Timers::default(),
            tunnels: Cell::new(0),
            random: RefCell::new(fastrand::Rng::new()),
            draining: Cell::new(false),
            accept_warned_ms: Cell::new(None),
            header_warned_ms: Cell::new(None),
            handshake_warned: Cell::default(),
            tokens: RefCell::default(),
            snapshot: RefCell::new(first),
            log: RefCell::new(LogBuffer::on(log.screen())),
            log_sender: log,
            spans: RefCell::default(),
            span_sender: spans,
            started: clock.now(),
            wall: Cell::new((clock.now(), clock.wall())),
            now_ms: Cell::new(0),
            swept_ms: Cell::new(0),
            clock,
        })
    }

    /// The snapshot in force.
    pub(crate) fn snapshot(&self) -> Ref<'_, Arc<Snapshot>> {
        self.snapshot.borrow()
    }

    /// Sets the snapshot in force. Only `HttpProxy::adopt` calls this, after pools and kills have followed.
    pub(crate) fn set_snapshot(&self, snapshot: Arc<Snapshot>) {
        self.snapshot.replace(snapshot);
    }

    /// Milliseconds since this worker started, as of the last sweep.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// How much of a limit, which holds for all workers together, one may use before it counts what the others use: half
    /// of an equal share, and nothing of a small limit.
    #[inline]
    pub(crate) fn share_of(&self, limit: u32) -> i64 {
        if limit < COUNTED_BELOW { 0 } else { i64::from(limit) / i64::try_from(self.workers * 2).unwrap_or(2) }
    }

    /// Milliseconds since the process began.
    pub(crate) fn uptime_ms(&self) -> u64 {
        let uptime = self.clock.now().saturating_duration_since(self.registry.started);
        u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX)
    }

    /// The wall clock at a moment that the monotonic clock has read. Follows the wall clock at each sweep.
    pub(crate) fn wall_at(&self, moment: Instant) -> Duration {
        let (then, wall) = self.wall.get();
        wall + moment.saturating_duration_since(then)
    }

    /// What this worker counts for itself.
    pub(crate) fn meter(&self) -> &WorkerMeter {
        self.registry.worker.of(self.index)
    }

    /// Appends to the access log.
    pub(crate) fn log(&self, write: impl FnOnce(&mut LogBuffer)) {
        let mut log = self.log.borrow_mut();
        write(&mut log);
        if log.bytes.len() >= LOG_BYTES {
            self.hand_over(&mut log);
        }
    }

    fn hand_over(&self, log: &mut LogBuffer) {
        if log.bytes.is_empty() {
            return;
        }
        let capacity = log.bytes.len();
        let lines = std::mem::take(&mut log.lines);
        let bytes = std::mem::replace(&mut log.bytes, Vec::with_capacity(capacity));
        if self.log_sender.try_send(bytes).is_err() {
            self.meter().log_lines_dropped.add(lines);
        }
    }

    /// Asks for the addresses of a name. When too many wait already, that is for another time.
    pub(crate) fn look_up(&self, name: &Arc<str>) {
        let _ = self.look_ups.try_send(Arc::clone(name));
    }

    /// Leaves a span.
    pub(crate) fn span(&self, span: &TraceSpan<'_>, attributes: impl FnOnce(&mut SpanAttributes<'_>)) {
        let mut spans = self.spans.borrow_mut();
        spans.push(span, attributes);
        if spans.bytes() >= LOG_BYTES {
            self.span_sender.hand_over(&mut spans);
        }
    }

    /// Begins a sweep: reads the clocks and returns the worker's time.
    pub(crate) fn tick(&self) -> u64 {
        let now = self.clock.now();
        self.wall.set((now, self.clock.wall()));
        let now_ms = u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(u64::MAX);
        self.now_ms.set(now_ms);
        now_ms
    }

    /// Ends a sweep: forgets client_limits, hands over logs and spans, reports the held bytes. Last, it gives unused pages
    /// back and reports that the worker is alive.
    pub(crate) fn finish_sweep(&self) {
        let (now, _) = self.wall.get();
        let now_ms = self.now_ms.get();
        let last_ms = self.swept_ms.replace(now_ms);
        self.client_limits.sweep(now.saturating_duration_since(self.registry.started));
        self.hand_over(&mut self.log.borrow_mut());
        self.span_sender.hand_over(&mut self.spans.borrow_mut());
        let held = i64::try_from(self.budget.used()).unwrap_or(i64::MAX);
        let meter = &self.meter().held_bytes;
        meter.add(held - meter.value());
        if self.index == 0 && now_ms / PURGE_EVERY_MS > last_ms / PURGE_EVERY_MS {
            give_pages_back();
        }
        self.registry.beat(self.index, now);
    }

    /// Whether `ip` is exempt from the limits per client address.
    pub(crate) fn trusts(&self, ip: IpAddr) -> bool {
        self.snapshot().rules.identity.trusts(ip)
    }
}

/// Has the allocator give unused pages of all workers back to the system. It has no clock of its own: it does so when it
/// frees pages, and only those that were without use for a while, so that nothing would happen once the process is idle.
/// The piece of memory is never touched.
fn give_pages_back() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(PURGING_BYTES)));
}
