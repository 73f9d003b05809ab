//! One worker: a thread with its own runtime, connections, upstream pools and meters. A request that a worker begins,
//! it ends.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Release;
use std::time::{Duration, Instant};

use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, watch};

use super::acceptor::Acceptors;
use super::budget::Budget;
use super::copies::Lanes;
use super::expiry::{SWEEP, Told, Watchlist};
use super::local::{Beginnings, Local};
use super::open_streams::OpenStreams;
use super::pool::Pools;
use super::sending::LastBegun;
use super::share::Shares;
use super::stalled::{Scarce, Stalled};
use super::timers::Timers;
use super::visitors::Visitors;
use crate::clock::Clock;
use crate::drain::{Drained, Phase};
use crate::identity::TokenCache;
use crate::shadow_compare::TrialSender;
use crate::snapshot::Snapshot;
use crate::telemetry::{Attributes, LogBuffer, LogSender, Registry, Span, SpanBuffer, SpanSender, WorkerMeter};

/// How much of a connection's bytes is read at once.
const SCRATCH_BYTES: usize = 64 * 1024;
/// As large as the allocator has no pages of its own for: freeing it lets the allocator look for pages to give back.
const PURGING_BYTES: usize = 1024 * 1024;
/// How often an idle process gives pages back: each time takes some 60 µs.
const PURGE_EVERY_MS: u64 = 1000;
/// Access log lines are handed over at this size, or at the next sweep.
const LOG_BYTES: usize = 32 * 1024;

/// How long a drain leaves idle connections open, so that a client which is just sending its next request gets an
/// answer (with `Connection: close`) instead of a reset.
pub(super) const IDLE_GRACE: Duration = Duration::from_secs(1);

/// How long copies for shadows may go on when all requests have ended.
const COPY_GRACE: Duration = Duration::from_secs(1);
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
    pub registry: Arc<Registry>,
    /// Who has connections, of all workers together.
    pub visitors: Arc<Visitors>,
    /// When it stops.
    pub drained: Drained,
    /// Where its access log goes.
    pub log: LogSender,
    /// Where its spans go.
    pub spans: SpanSender,
    /// Where the answers of copies are compared.
    pub trials: TrialSender,
    /// Takes names that should be looked up again now.
    pub look_ups: mpsc::Sender<Arc<str>>,
    /// Its clock.
    pub clock: Clock,
}

/// A worker's state. Everything in it belongs to one thread.
pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) workers: usize,
    seed: u64,
    pub(super) registry: Arc<Registry>,
    pub(super) clock: Clock,
    pub(super) watchlist: Watchlist,
    pub(super) scratch: RefCell<Box<[u8]>>,
    pub(super) budget: Rc<Budget>,
    pub(super) pools: Pools,
    /// Connections for copies: those of requests are not for them.
    pub(super) shadow_pools: Pools,
    pub(super) lanes: Lanes,
    pub(super) last_begun: Rc<LastBegun>,
    pub(super) trials: TrialSender,
    look_ups: mpsc::Sender<Arc<str>>,
    /// Copies under way.
    pub(super) copies: Cell<u64>,
    pub(super) visitors: Arc<Visitors>,
    /// What client addresses have under way here.
    pub(super) shares: Shares,
    /// Readers that are waited for.
    pub(super) stalled: Stalled,
    pub(super) timers: Timers,
    pub(super) open_streams: OpenStreams,
    /// Connections and streams that have become tunnels.
    pub(super) tunnels: Cell<u64>,
    pub(super) random: RefCell<fastrand::Rng>,
    pub(super) draining: Cell<bool>,
    /// When an accept error was last told.
    pub(super) accept_warned_ms: Cell<Option<u64>>,
    /// When a bad PROXY header was last told.
    pub(super) header_warned_ms: Cell<Option<u64>>,
    /// When a failed handshake was last told, and how many have failed since.
    pub(super) handshakes_told: Cell<(Option<u64>, u64)>,
    /// Tokens that were verified before.
    pub(super) tokens: RefCell<TokenCache>,
    local: RefCell<Rc<Local>>,
    log: RefCell<LogBuffer>,
    log_sender: LogSender,
    spans: RefCell<SpanBuffer>,
    span_sender: SpanSender,
    started: Instant,
    /// The wall clock, as of the last sweep.
    wall: Cell<(Instant, Duration)>,
    now_ms: Cell<u64>,
}

impl Worker {
    /// What requests that begin now run under.
    pub(super) fn local(&self) -> Rc<Local> {
        Rc::clone(&self.local.borrow())
    }

    /// Milliseconds since this worker started, as of the last sweep.
    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// How much of a limit, which holds for all workers together, one may use before it counts what the others use: half
    /// of an equal share, and nothing of a small limit.
    #[inline]
    pub(super) fn share_of(&self, limit: u32) -> i64 {
        if limit < COUNTED_BELOW { 0 } else { i64::from(limit) / i64::try_from(self.workers * 2).unwrap_or(2) }
    }

    /// Milliseconds since the process began.
    pub(super) fn uptime_ms(&self) -> u64 {
        let uptime = self.clock.now().saturating_duration_since(self.registry.started);
        u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX)
    }

    /// The wall clock at a moment that the monotonic clock has read. Follows the wall clock at each sweep.
    pub(super) fn wall_at(&self, moment: Instant) -> Duration {
        let (then, wall) = self.wall.get();
        wall + moment.saturating_duration_since(then)
    }

    /// What this worker counts for itself.
    pub(super) fn meter(&self) -> &WorkerMeter {
        self.registry.worker.of(self.index)
    }

    /// Appends to the access log.
    pub(super) fn log(&self, write: impl FnOnce(&mut LogBuffer)) {
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
    pub(super) fn look_up(&self, name: &Arc<str>) {
        let _ = self.look_ups.try_send(Arc::clone(name));
    }

    /// Leaves a span.
    pub(super) fn span(&self, span: &Span<'_>, attributes: impl FnOnce(&mut Attributes<'_>)) {
        let mut spans = self.spans.borrow_mut();
        spans.push(span, attributes);
        if spans.bytes() >= LOG_BYTES {
            self.span_sender.hand_over(&mut spans);
        }
    }

    fn sweep(&self) {
        let now = self.clock.now();
        self.wall.set((now, self.clock.wall()));
        let now_ms = u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(u64::MAX);
        let last_ms = self.now_ms.replace(now_ms);
        let scarce = || if self.budget.is_short() { Scarce::Memory } else { Scarce::Connections(self.pools.crowded()) };
        self.stalled.shed(&self.watchlist, now_ms, self.meter(), scarce);
        self.watchlist.sweep(now_ms);
        self.timers.sweep(now_ms);
        self.open_streams.sweep(now_ms);
        self.pools.sweep(now_ms);
        self.shadow_pools.sweep(now_ms);
        self.visitors.sweep(now.saturating_duration_since(self.registry.started));
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

    fn adopt(&self, snapshot: Arc<Snapshot>) {
        let generation = snapshot.generation.0;
        let old = self.local();
        if !Arc::ptr_eq(&old.snapshot.rules, &snapshot.rules) {
            self.pools.retain(&snapshot.rules.upstreams);
            self.shadow_pools.retain(&snapshot.rules.upstreams);
            self.lanes.retain(&snapshot.routes);
        }
        self.open_streams.follow(&snapshot, self.now_ms());
        let local = Local::new(snapshot, Some(&old), self.beginnings());
        *self.local.borrow_mut() = Rc::new(local);
        self.meter().generation.store(generation, Release);
    }

    const fn beginnings(&self) -> Beginnings {
        Beginnings { seed: self.seed, worker: self.index, workers: self.workers }
    }

    /// Whether `ip` is exempt from the limits per client address.
    pub(super) fn trusts(&self, ip: IpAddr) -> bool {
        self.local.borrow().snapshot.rules.identity.trusts(ip)
    }
}

/// Starts a worker on a thread of its own. The thread ends when the worker has drained.
///
/// # Errors
/// When the system gives no thread or no epoll.
pub fn spawn(setup: WorkerSetup) -> std::io::Result<std::thread::JoinHandle<()>> {
    let name = format!("worker-{}", setup.index);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(name).spawn(move || match runtime() {
        Ok(runtime) => {
            let _ = ready.send(Ok(()));
            run(&runtime, setup);
        }
        Err(error) => {
            let _ = ready.send(Err(error));
        }
    })?;
    started.recv().unwrap_or_else(|_| Err(std::io::Error::other("the worker's thread ended at once")))?;
    Ok(thread)
}

fn run(runtime: &LocalRuntime, setup: WorkerSetup) {
    let WorkerSetup {
        index,
        workers,
        seed,
        mut snapshots,
        registry,
        visitors,
        drained,
        log,
        spans,
        trials,
        look_ups,
        clock,
    } = setup;
    let first = Arc::clone(&snapshots.borrow_and_update());
    // The drain waits for the last lines of the log too.
    let guard = drained.guard();
    let generation = first.generation.0;
    let beginnings = Beginnings { seed, worker: index, workers };
    let worker = Rc::new(Worker {
        index,
        workers,
        seed,
        registry,
        clock,
        watchlist: Watchlist::default(),
        scratch: RefCell::new(vec![0; SCRATCH_BYTES].into()),
        budget: Budget::new(workers),
        pools: Pools::default(),
        shadow_pools: Pools::default(),
        lanes: Lanes::default(),
        trials,
        look_ups,
        copies: Cell::new(0),
        visitors,
        shares: Shares::default(),
        stalled: Stalled::default(),
        timers: Timers::default(),
        open_streams: OpenStreams::default(),
        tunnels: Cell::new(0),
        draining: Cell::new(false),
        accept_warned_ms: Cell::new(None),
        header_warned_ms: Cell::new(None),
        handshakes_told: Cell::default(),
        tokens: RefCell::default(),
        local: RefCell::new(Rc::new(Local::new(first, None, beginnings))),
        last_begun: Rc::default(),
        random: RefCell::new(fastrand::Rng::new()),
        log: RefCell::new(LogBuffer::on(log.screen())),
        log_sender: log,
        spans: RefCell::default(),
        span_sender: spans,
        started: clock.now(),
        wall: Cell::new((clock.now(), clock.wall())),
        now_ms: Cell::new(0),
    });
    runtime.block_on(async {
        let mut acceptors = Acceptors::default();
        acceptors.follow(&worker);
        worker.meter().generation.store(generation, Release);
        let sweeper = tokio::task::spawn_local(sweep(Rc::clone(&worker)));
        serve(&worker, &mut acceptors, snapshots, drained).await;
        sweeper.abort();
        worker.sweep();
        worker.registry.end(worker.index);
        drop(guard);
    });
}

/// Has the allocator give unused pages of all workers back to the system. It has no clock of its own: it does so when it
/// frees pages, and only those that were without use for a while, so that nothing would happen once the process is idle.
/// The piece of memory is never touched.
fn give_pages_back() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(PURGING_BYTES)));
}

async fn sweep(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        worker.sweep();
    }
}

/// Follows snapshots until the drain, then waits for the connections to finish.
async fn serve(
    worker: &Rc<Worker>,
    acceptors: &mut Acceptors,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    mut drained: Drained,
) {
    let mut draining = drained.clone();
    loop {
        tokio::select! {
            biased;
            () = draining.reached(Phase::Draining) => break,
            changed = snapshots.changed() => {
                if changed.is_err() {
                    break;
                }
                let snapshot = Arc::clone(&snapshots.borrow_and_update());
                worker.adopt(snapshot);
                acceptors.follow(worker);
            }
        }
    }
    worker.draining.set(true);
    acceptors.close().await;
    worker.watchlist.tell_all(Told::Drain);
    let idle = async {
        if tokio::time::timeout(IDLE_GRACE, worker.watchlist.emptied()).await.is_err() {
            // Once: whoever is told goes as soon as it is idle, and nobody comes any more.
            worker.watchlist.tell_all(Told::Close);
            worker.watchlist.emptied().await;
        }
    };
    tokio::select! {
        () = idle => finish_copies(worker).await,
        () = drained.reached(Phase::Forced) => {
            worker.meter().forced.add(worker.watchlist.len() as u64);
            worker.meter().forced_upgrades.add(worker.tunnels.get());
            worker.watchlist.tell_all(Told::Cut);
            // One more turn lets the connections see it, be dropped and recorded.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Copies that are under way get a moment; what has not ended then is dropped with the runtime.
async fn finish_copies(worker: &Worker) {
    let until = worker.clock.now() + COPY_GRACE;
    while worker.copies.get() > 0 && worker.clock.now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
