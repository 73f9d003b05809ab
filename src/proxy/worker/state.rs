//! The ground state of a worker: the clock, meters, limits, timers, buffers and logs of one thread. Every part of the
//! data plane may use it. It imports no other room of the proxy but `wire`. State that needs upstreams or mirrors is in
//! `HttpProxy`.

use std::cell::{Cell, Ref, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::{mpsc, watch};

use super::budget::Budget;
use super::client_limits::PerClientLimits;
use super::connection_deadlines::ConnectionList;
use super::http_date::HttpDate;
use super::send_task::LastStarted;
use super::share::ClientShares;
use super::stalled_readers::StalledReaders;
use super::sweeps::{SweepWork, Sweeps};
use super::timers::Timers;
use crate::clock::{Clock, Timestamp, WorkerClock};
use crate::drain::DrainWatch;
use crate::failover::Moment;
use crate::fields::Fields;
use crate::identity::TokenCache;
use crate::limiter::Leases;
use crate::net::ReleaseRequests;
use crate::shadow_compare::JobSender;
use crate::snapshot::Snapshot;
use crate::telemetry::{
    LogBuffer, LogSender, MeterRegistry, SpanAttributes, SpanBuffer, SpanSender, TraceSpan, WorkerMeter,
};

/// Most spare lists of fields of a worker, and those that it keeps when it has nothing to do.
const SPARE_FIELDS_MAX: usize = 256;
const SPARE_FIELDS_KEPT: usize = 8;
/// Size of the buffer that connections read into.
const SCRATCH_BYTES: usize = 64 * 1024;
/// A size above the allocator's own pages: freeing it makes the allocator look for unused pages to return.
const PURGING_BYTES: usize = 1024 * 1024;
/// How often an idle process returns unused pages to the system; each time takes about 60 µs.
const PURGE_EVERY_MS: u64 = 1000;
/// Access log lines go to the writer at this size, or at the next sweep.
const LOG_BYTES: usize = 32 * 1024;

/// Below this limit, a worker sums the counts of all workers for each new request.
const COUNTED_BELOW: u32 = 1024;

/// The parts that a worker is made of.
pub struct WorkerSetup {
    /// Its number, from 0.
    pub index: usize,
    /// How many workers there are.
    pub workers: usize,
    /// A random number, the same for all workers.
    pub seed: u64,
    /// The published snapshots.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// The meters.
    pub registry: Arc<MeterRegistry>,
    /// Connections per client address, over all workers.
    pub client_limits: Arc<PerClientLimits>,
    /// The phases of the drain.
    pub drained: DrainWatch,
    /// The writer of the access log.
    pub log: LogSender,
    /// The exporter of spans.
    pub spans: SpanSender,
    /// The thread that compares the responses of copies.
    pub comparison_jobs: JobSender,
    /// Takes names to resolve again now.
    pub look_ups: mpsc::Sender<Arc<str>>,
    /// The clock.
    pub clock: Clock,
}

/// The ground state of a worker. Everything in it belongs to one thread.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) workers: usize,
    /// Twice the number of workers. 32 bits, because a request divides by it.
    half_shares: u32,
    pub(crate) registry: Arc<MeterRegistry>,
    pub(crate) clock: WorkerClock,
    pub(crate) connections: ConnectionList,
    pub(crate) scratch: RefCell<Box<[u8]>>,
    /// Empty lists of fields, whose memory the next heads use.
    spare_fields: RefCell<Vec<Fields>>,
    http_date: HttpDate,
    pub(crate) budget: Rc<Budget>,
    pub(crate) last_started: Rc<LastStarted>,
    pub(crate) comparison_jobs: JobSender,
    look_ups: mpsc::Sender<Arc<str>>,
    /// The upstreams of which it shall close idle connections.
    pub(crate) releases: Arc<ReleaseRequests>,
    /// Copies in flight.
    pub(crate) copies: Cell<u64>,
    pub(crate) client_limits: Arc<PerClientLimits>,
    /// What each client address has in flight on this worker.
    pub(crate) client_shares: ClientShares,
    /// Response readers that the worker waits for.
    pub(crate) stalled_readers: StalledReaders,
    pub(crate) timers: Timers,
    pub(crate) sweeps: Sweeps,
    /// Open tunnels: upgraded connections and streams.
    pub(crate) tunnels: Cell<u64>,
    pub(crate) random: RefCell<fastrand::Rng>,
    pub(crate) draining: Cell<bool>,
    /// When an accept error was last logged.
    pub(crate) accept_warned_ms: Cell<Option<u64>>,
    /// When an invalid PROXY header was last logged.
    pub(crate) header_warned_ms: Cell<Option<u64>>,
    /// When a failed handshake was last logged, and how many have failed since.
    pub(crate) handshake_warned: Cell<(Option<u64>, u64)>,
    /// Verified tokens.
    pub(crate) tokens: RefCell<TokenCache>,
    /// What it has taken of rate limits in advance.
    pub(crate) leases: RefCell<Leases>,
    /// The current snapshot.
    snapshot: RefCell<Arc<Snapshot>>,
    log: RefCell<LogBuffer>,
    log_sender: LogSender,
    spans: RefCell<SpanBuffer>,
    span_sender: SpanSender,
    started: Timestamp,
    /// The monotonic and the wall clock at the last sweep.
    wall: Cell<(Timestamp, Duration)>,
    now_ms: Cell<u64>,
    /// Milliseconds since the process started, as of the last sweep.
    process_ms: Cell<u64>,
    /// `now_ms` at the end of the last sweep.
    swept_ms: Cell<u64>,
}

impl Worker {
    /// The ground state of a new worker. `first` is the current snapshot.
    pub(crate) fn new(setup: WorkerSetup, first: Arc<Snapshot>) -> Rc<Self> {
        let WorkerSetup {
            index, workers, registry, client_limits, log, spans, comparison_jobs, look_ups, clock, ..
        } = setup;
        let clock = WorkerClock::new(clock, registry.started);
        let now = clock.now();
        Rc::new(Self {
            index,
            workers,
            half_shares: u32::try_from(workers.max(1) * 2).unwrap_or(u32::MAX),
            registry,
            connections: ConnectionList::default(),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into()),
            spare_fields: RefCell::default(),
            http_date: HttpDate::default(),
            budget: Budget::new(workers),
            last_started: Rc::default(),
            comparison_jobs,
            look_ups,
            releases: Arc::new(ReleaseRequests::new(index)),
            copies: Cell::new(0),
            client_limits,
            client_shares: ClientShares::default(),
            stalled_readers: StalledReaders::default(),
            timers: Timers::default(),
            sweeps: Sweeps::default(),
            tunnels: Cell::new(0),
            random: RefCell::new(fastrand::Rng::new()),
            draining: Cell::new(false),
            accept_warned_ms: Cell::new(None),
            header_warned_ms: Cell::new(None),
            handshake_warned: Cell::default(),
            tokens: RefCell::default(),
            leases: RefCell::default(),
            snapshot: RefCell::new(first),
            log: RefCell::new(LogBuffer::on(log.screen())),
            log_sender: log,
            spans: RefCell::default(),
            span_sender: spans,
            started: now,
            wall: Cell::new((now, clock.wall())),
            now_ms: Cell::new(0),
            process_ms: Cell::new(0),
            swept_ms: Cell::new(0),
            clock,
        })
    }

    /// The current snapshot.
    pub(crate) fn snapshot(&self) -> Ref<'_, Arc<Snapshot>> {
        self.snapshot.borrow()
    }

    /// Sets the current snapshot. Only `HttpProxy::adopt` calls this, after it has updated pools and kills.
    pub(crate) fn set_snapshot(&self, snapshot: Arc<Snapshot>) {
        self.snapshot.replace(snapshot);
    }

    /// Milliseconds since this worker started, as of the last sweep.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// How much of a limit for all workers together this worker may use before it sums the counts of all: half of an
    /// equal share; nothing of a small limit.
    #[inline]
    pub(crate) fn share_of(&self, limit: u32) -> i64 {
        if limit < COUNTED_BELOW { 0 } else { i64::from(limit / self.half_shares) }
    }

    /// Milliseconds since the process started.
    pub(crate) fn uptime_ms(&self) -> u64 {
        self.clock.now().nanos() / 1_000_000
    }

    /// Milliseconds since the process started, as of the last sweep: the time of states that all workers share.
    pub(crate) fn process_ms(&self) -> u64 {
        self.process_ms.get()
    }

    /// The time of the process and a random draw, for the health of an endpoint.
    pub(crate) fn moment(&self) -> Moment {
        Moment { now_ms: self.uptime_ms(), draw: self.random.borrow_mut().f64() }
    }

    /// The wall clock at a time of the monotonic clock. Sweeps adjust it when the wall clock is set.
    #[inline]
    pub(crate) fn wall_at(&self, moment: Timestamp) -> Duration {
        let (then, wall) = self.wall.get();
        wall + moment.duration_since(then)
    }

    /// The value of `date` for a response that has none.
    pub(crate) fn http_date(&self) -> HeaderValue {
        let (_, wall) = self.wall.get();
        self.http_date.at(wall)
    }

    /// Appends the value of `date`.
    #[inline]
    pub(crate) fn write_date(&self, out: &mut Vec<u8>) {
        let (_, wall) = self.wall.get();
        self.http_date.write(wall, out);
    }

    /// The meters of this worker.
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

    /// Requests another DNS lookup of a name, unless too many are queued.
    pub(crate) fn look_up(&self, name: &Arc<str>) {
        let _ = self.look_ups.try_send(Arc::clone(name));
    }

    /// Records a span.
    pub(crate) fn span(&self, span: &TraceSpan<'_>, attributes: impl FnOnce(&mut SpanAttributes<'_>)) {
        let mut spans = self.spans.borrow_mut();
        spans.push(span, attributes);
        if spans.bytes() >= LOG_BYTES {
            self.span_sender.hand_over(&mut spans);
        }
    }

    /// Starts a sweep: reads the clocks and returns the worker's time.
    pub(crate) fn tick(&self) -> u64 {
        let now = self.clock.now();
        self.wall.set((now, self.clock.wall()));
        let now_ms = u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(u64::MAX);
        self.now_ms.set(now_ms);
        self.process_ms.set(now.nanos() / 1_000_000);
        now_ms
    }

    /// Ends a sweep: forgets idle client addresses, flushes logs and spans, reports the reserved memory. Last, it
    /// returns unused pages to the system and reports that the worker is alive.
    pub(crate) fn finish_sweep(&self) {
        let now = self.clock.instant();
        let now_ms = self.now_ms.get();
        let last_ms = self.swept_ms.replace(now_ms);
        self.client_limits.sweep(now.saturating_duration_since(self.registry.started));
        self.hand_over(&mut self.log.borrow_mut());
        self.span_sender.hand_over(&mut self.spans.borrow_mut());
        let reserved = i64::try_from(self.budget.used()).unwrap_or(i64::MAX);
        let meter = &self.meter().held_bytes;
        meter.add(reserved - meter.value());
        // After a burst, most of them are of no more use.
        let mut spare = self.spare_fields.borrow_mut();
        let kept = spare.len() / 2;
        spare.truncate(kept.max(SPARE_FIELDS_KEPT));
        drop(spare);
        if self.index == 0 && now_ms / PURGE_EVERY_MS > last_ms / PURGE_EVERY_MS {
            return_unused_pages();
        }
        self.registry.beat(self.index, now);
        let work = self.work();
        if work == SweepWork::Some {
            self.rouse();
        }
        if self.sweeps.note(work) {
            self.registry.rest(self.index);
        }
    }

    /// What the worker has to do, apart from new connections and snapshots. A drain waits for sweeps.
    fn work(&self) -> SweepWork {
        let counts = [self.connections.len() as u64, self.copies.get(), self.tunnels.get()];
        if counts == [0; 3] && self.timers.is_empty() && !self.draining.get() {
            SweepWork::None
        } else {
            SweepWork::Some
        }
    }

    /// Ends a rest, before anything that uses the worker's time: at rest, it is up to five seconds old.
    #[inline]
    pub(crate) fn rouse(&self) {
        if self.sweeps.rouse() {
            self.tick();
            self.registry.rouse(self.index, self.clock.instant());
        }
    }

    /// An empty list of fields, for the next head.
    #[inline]
    pub(crate) fn spare_fields(&self) -> Fields {
        self.spare_fields.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes back the fields of a head that is of no more use.
    #[inline]
    pub(crate) fn take_back_fields(&self, mut fields: Fields) {
        let mut spare = self.spare_fields.borrow_mut();
        if spare.len() < SPARE_FIELDS_MAX {
            fields.clear();
            spare.push(fields);
        }
    }

    /// Whether `ip` is exempt from the limits per client address.
    pub(crate) fn trusts(&self, ip: IpAddr) -> bool {
        self.snapshot().rules.identity.trusts(ip)
    }
}

/// Makes the allocator return unused pages of all workers to the system. The allocator has no clock: it checks the age
/// of unused pages only when memory is freed, which does not happen in an idle process. The allocation is never
/// touched.
fn return_unused_pages() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(PURGING_BYTES)));
}
