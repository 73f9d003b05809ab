//! Upstream connections of one worker: per endpoint, last in first out, with a limit on idle time. A pool is identified
//! by its upstream's name and endpoints: a reload that changes neither keeps every connection.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::balancer_state::{BalancerState, FirstTurns};
use super::endpoint_queue::{EndpointQueue, FreeFor, Reuse};
use super::h1::connection::Http1Connection;
use super::h2_connection::{Freed, Http2Connection};
use super::load_report::{HasLoad, LoadReport};
use crate::balance::{EndpointLoad, HashRing, OthersGuess};
use crate::failover::{EndpointHealth, UpstreamHealth};
use crate::net::ConnectionSlots;
use crate::proxy::wire::fault::Fault;
use crate::proxy::wire::proxy_header::ProxyAddresses;
use crate::proxy::worker::Worker;
use crate::proxy::worker::response_reader::UpstreamKey;
use crate::route::{Protocol, Upstream};
use crate::snapshot::{EndpointIdentity, EndpointIndex, EndpointState, UpstreamState};
use crate::telemetry::{UpstreamMeter, UpstreamSeries};

/// Idle timeout of upstream connections. Servers commonly close after 60 s; the proxy closes first, so that a request
/// rarely meets a closing connection.
const IDLE_MS_MAX: u64 = 50_000;
/// The most recently used idle connections of an endpoint have that timeout; those above this count, which a burst
/// opened, the shorter [`SPARE_MS_MAX`].
const IDLE_KEPT: usize = 4;
const SPARE_MS_MAX: u64 = 10_000;
/// Interval at which idle connections are swept.
const SWEEP_MS: u64 = 1000;
/// How long the balancer avoids an endpoint after a failed connection, if the upstream has another one. The worker's
/// time is that of its last sweep, so this is at least a second.
const AVOID_MS: u64 = 1100;
/// Least interval between two DNS lookups that failed connections to an endpoint cause.
const RESOLVE_AGAIN_MS: u64 = 1000;

/// A worker's pools, by upstream name.
#[derive(Default)]
pub(crate) struct Pools {
    by_name: RefCell<ahash::HashMap<String, Rc<UpstreamPool>>>,
    swept_ms: Cell<u64>,
    /// The number of other workers, which choose among the same endpoints: each reports its requests in flight.
    other_workers: u32,
}

/// One worker's view of an upstream and its endpoints.
pub(crate) struct UpstreamPool {
    pub(crate) upstream: Upstream,
    pub(crate) endpoints: Box<[Rc<EndpointPool>]>,
    /// The endpoints of the list, with their weights and roles: a pool stays when only these change.
    pub(super) listed: Arc<[Arc<EndpointState>]>,
    pub(crate) balancer: BalancerState,
    /// The last connection attempt to at least one endpoint in rotation failed, as of the last tick.
    pub(super) has_failed_endpoint: Cell<bool>,
    /// The endpoints whose last connection attempt failed, with their indexes.
    pub(super) suspects: RefCell<Vec<usize>>,
    /// The ring for `hash`, of all workers.
    pub(super) ring: Option<Arc<HashRing>>,
    /// The number of other workers; where there are some, each reports its requests in flight.
    pub(super) other_workers: u32,
    /// The requests in flight of the other workers without those of all at endpoints out of rotation, as of the last
    /// tick; only for `hash`.
    pub(super) others_in_flight: Cell<i64>,
    /// What the other workers do while this one has a request.
    pub(super) mirror: OthersGuess,
    /// The endpoints whose loads have changed.
    pub(super) report: Rc<LoadReport<EndpointPool>>,
    /// Which endpoints are ejected or drained, for all workers; and the budget of further tries.
    pub(crate) health: Arc<UpstreamHealth>,
    series: Arc<UpstreamSeries>,
}

/// One endpoint's connections.
pub(crate) struct EndpointPool {
    /// The endpoint when the pool was made: its weight and role may have changed since.
    pub(crate) endpoint: Arc<EndpointState>,
    /// Requests in flight and recent latency.
    pub(super) load: EndpointLoad,
    is_listed: Cell<bool>,
    pub(crate) idle: RefCell<Vec<IdleConnection>>,
    pub(super) multiplexed: RefCell<Vec<Http2Connection>>,
    /// The requests of this worker that wait for a connection to it.
    pub(super) queue: Rc<EndpointQueue<Freed>>,
    /// Held while an HTTP/2 connection is opened, so that a burst opens one connection and not a hundred.
    pub(super) opening: tokio::sync::Mutex<()>,
    /// How often opening failed, and the last fault.
    pub(crate) failed: Cell<(u32, Option<Fault>)>,
    /// The last failed opening of an HTTP/2 connection that is charged to the endpoint.
    charged: Cell<Option<u32>>,
    /// The addresses in the PROXY header of its connections.
    pub(crate) proxy_addresses: Option<ProxyAddresses>,
    /// The endpoint accepts no streams: no connection is opened before this time.
    pub(crate) full_until_ms: Cell<u64>,
    /// The last TLS handshake negotiated HTTP/1.1.
    pub(super) agreed_on_h1: Cell<bool>,
    /// The last connection attempt failed: the balancer avoids the endpoint until this time. 0: the last attempt
    /// succeeded.
    avoided_until_ms: Cell<u64>,
    /// A request tries the endpoint after a failure, and the result is not known.
    is_being_tried: Cell<bool>,
    /// Whether the endpoint is in an installed pool, whose idle connections are swept.
    is_installed: Cell<bool>,
    /// Earliest time of the next DNS lookup because of a failed connection.
    resolve_again_ms: Cell<u64>,
}

/// The endpoint to connect to, and its upstream.
#[derive(Clone, Copy)]
pub(crate) struct ConnectTarget<'a> {
    pub(crate) upstream: &'a Rc<UpstreamPool>,
    pub(crate) endpoint: &'a Rc<EndpointPool>,
}

/// An idle HTTP/1.1 connection.
pub(crate) struct IdleConnection {
    connection: Box<Http1Connection>,
    since_ms: u64,
}

impl Pools {
    /// No pools yet, for one of so many workers.
    pub(crate) fn of_workers(workers: usize) -> Self {
        let others = workers.saturating_sub(1);
        Self { other_workers: u32::try_from(others).unwrap_or(0), ..Self::default() }
    }

    /// The pool of this upstream, for all requests from now on: the existing one if nothing changed, else a new one
    /// that takes over the unchanged endpoints.
    pub(crate) fn install(
        &self,
        upstream: &Upstream,
        state: &UpstreamState,
        series: &Arc<UpstreamSeries>,
    ) -> Rc<UpstreamPool> {
        let pool = self.find_or_create(upstream, state, series);
        let replaced = self.by_name.borrow_mut().insert(upstream.name.clone(), Rc::clone(&pool));
        let removed = || replaced.iter().flat_map(|replaced| &replaced.endpoints);
        removed().for_each(|endpoint| endpoint.is_installed.set(false));
        pool.endpoints.iter().for_each(|endpoint| endpoint.is_installed.set(true));
        removed().filter(|endpoint| !endpoint.is_installed.get()).for_each(|endpoint| endpoint.uninstall());
        pool
    }

    /// The same, but a new pool is not installed: it ends with the requests that use it.
    pub(crate) fn find_or_create(
        &self,
        upstream: &Upstream,
        state: &UpstreamState,
        series: &Arc<UpstreamSeries>,
    ) -> Rc<UpstreamPool> {
        let endpoints = &*state.endpoints;
        let by_name = self.by_name.borrow();
        let old = by_name.get(&upstream.name);
        if let Some(same) = old.filter(|old| old.is_for(upstream, &state.endpoints)) {
            return Rc::clone(same);
        }
        let first_turns = if old.is_some() { FirstTurns::Random } else { FirstTurns::InOrder };
        let report = old.map_or_else(Rc::default, |old| Rc::clone(&old.report));
        // A connection keeps the limits on response heads that it was opened with.
        let bounds = |upstream: &Upstream| (upstream.limits.response_headers, upstream.limits.response_header_bytes);
        let old = old.filter(|old| bounds(&old.upstream) == bounds(upstream)).map_or(&[][..], |old| &old.endpoints);
        let known = EndpointIndex::new(EndpointIdentity::Connections, old.len(), |at| &old[at].endpoint);
        let pool_of = |(at, endpoint): (usize, &Arc<EndpointState>)| {
            let kept = known.find(at, endpoint).map(|at| Rc::clone(&old[at]));
            kept.unwrap_or_else(|| Rc::new(EndpointPool::new(Arc::clone(endpoint))))
        };
        let pools: Box<[Rc<EndpointPool>]> = endpoints.iter().enumerate().map(pool_of).collect();
        // The last attempt at an endpoint that was taken over may have failed.
        let suspects: Vec<usize> = (0..).zip(&pools).filter_map(|(at, pool)| pool.is_suspect().then_some(at)).collect();
        let has_failed_endpoint = Cell::new(!suspects.is_empty());
        let (health, series) = (Arc::clone(&state.health), Arc::clone(series));
        Rc::new(UpstreamPool {
            upstream: upstream.clone(),
            endpoints: pools,
            listed: Arc::clone(&state.endpoints),
            balancer: BalancerState::new(first_turns),
            has_failed_endpoint,
            suspects: RefCell::new(suspects),
            ring: state.ring.clone(),
            other_workers: self.other_workers,
            others_in_flight: Cell::new(0),
            mirror: OthersGuess::new(self.other_workers),
            report,
            health,
            series,
        })
    }

    /// How many are installed.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_name.borrow().len()
    }

    /// Removes the pools of removed upstreams. Requests in flight keep theirs until they end.
    pub(crate) fn retain(&self, upstreams: &[Upstream]) {
        let mut by_name = self.by_name.borrow_mut();
        if by_name.is_empty() {
            return;
        }
        let kept: ahash::HashSet<&str> = upstreams
            .iter()
            .map(|upstream| upstream.name.as_str())
            .filter(|name| by_name.contains_key(*name))
            .collect();
        by_name.retain(|name, pool| {
            let is_kept = kept.contains(name.as_str());
            if !is_kept {
                pool.endpoints.iter().for_each(|endpoint| endpoint.uninstall());
            }
            is_kept
        });
    }

    /// The upstreams that use three quarters of their connection limit or more, over all workers.
    pub(crate) fn crowded(&self) -> Vec<UpstreamKey> {
        let is_crowded = |pool: &&Rc<UpstreamPool>| {
            let limit = i64::from(pool.upstream.limits.connections);
            pool.sum(|meter| meter.connections.value()) >= limit - limit / 4
        };
        self.by_name.borrow().values().filter(is_crowded).map(|pool| pool.key()).collect()
    }

    /// Closes idle connections of an upstream, since requests of any worker wait for connections to it.
    pub(crate) fn release_idle(&self, upstream: &str, worker: &Worker) {
        let pool = self.by_name.borrow().get(upstream).map(Rc::clone);
        if let Some(pool) = pool {
            pool.release_idle(worker);
        }
    }

    /// The work of each tick of the worker, for the balance of all upstreams.
    pub(crate) fn tick(&self, worker: &Worker) {
        self.by_name.borrow().values().for_each(|pool| pool.tick(worker));
    }

    /// Closes connections that exceed their idle timeout, and those that the upstream closed.
    pub(crate) fn sweep(&self, now_ms: u64) {
        if now_ms < self.swept_ms.get() + SWEEP_MS {
            return;
        }
        self.swept_ms.set(now_ms);
        for pool in self.by_name.borrow().values() {
            for endpoint in &pool.endpoints {
                let mut idle = endpoint.idle.borrow_mut();
                // The list is in the order of last use: after an entry come those that were used later.
                let mut newer = idle.len();
                idle.retain(|idle| {
                    newer -= 1;
                    let stays = !idle.connection.is_stale() && now_ms < idle.since_ms + idle_ms_max(newer);
                    if !stays {
                        idle.connection.close();
                    }
                    stays
                });
                drop(idle);
                endpoint.multiplexed.borrow_mut().retain(|connection| connection.stays(now_ms, IDLE_MS_MAX));
            }
        }
    }
}

/// The idle timeout of a connection, if this many connections were used later.
const fn idle_ms_max(newer: usize) -> u64 {
    if newer < IDLE_KEPT { IDLE_MS_MAX } else { SPARE_MS_MAX }
}

impl UpstreamPool {
    /// Closes idle connections that the upstream has closed.
    pub(super) fn drop_stale(&self) {
        self.endpoints.iter().for_each(|endpoint| endpoint.drop_stale());
    }

    /// Closes as many idle connections as requests wait.
    fn release_idle(&self, worker: &Worker) {
        let slots = self.slots();
        loop {
            let (mut closing, mut idle) = (0, 0);
            for endpoint in &self.endpoints {
                endpoint.release_idle(slots);
                endpoint.multiplexed.borrow_mut().retain(|connection| {
                    let ends = connection.is_idle() && closing < slots.waiting();
                    closing += usize::from(ends);
                    idle += usize::from(!ends && connection.is_idle());
                    !ends
                });
                idle += endpoint.idle.borrow().len();
            }
            if !slots.answer(worker.index, closing, idle) {
                return;
            }
        }
    }

    fn is_for(&self, upstream: &Upstream, endpoints: &Arc<[Arc<EndpointState>]>) -> bool {
        let is_same = || self.listed.iter().zip(&**endpoints).all(|(pool, endpoint)| pool.is_same(endpoint));
        let has_same = Arc::ptr_eq(&self.listed, endpoints) || self.listed.len() == endpoints.len() && is_same();
        has_same && self.upstream == *upstream
    }

    /// The key of this upstream.
    pub(crate) fn key(&self) -> UpstreamKey {
        Arc::as_ptr(&self.series).addr()
    }

    /// Records a failed connection attempt: the balancer avoids the endpoint for a while, and its name is resolved
    /// again.
    pub(crate) fn record_connect_failure(&self, endpoint: &EndpointPool, fault: Fault, worker: &Worker) {
        if !endpoint.is_suspect() {
            // A connection pool of one client is none of them.
            let at = self.endpoints.iter().position(|one| std::ptr::eq(&raw const **one, endpoint));
            self.suspects.borrow_mut().extend(at);
        }
        self.has_failed_endpoint.set(true);
        if self.series.refusal_log.is_due(worker.uptime_ms()) {
            let (name, address, error) = (&endpoint.endpoint.name, endpoint.endpoint.address, fault.detail());
            tracing::warn!(
                upstream = self.upstream.name, endpoint = %name, %address, error,
                "endpoint unreachable: the proxy retries every second"
            );
        }
        if let Some(name) = endpoint.record_failure(worker.now_ms()) {
            worker.look_up(name);
        }
    }

    /// The meter of a worker for this upstream.
    pub(crate) fn meter(&self, worker: usize) -> &UpstreamMeter {
        self.series.meters.of(worker)
    }

    /// The sum of a value over all workers.
    pub(crate) fn sum(&self, figure: impl Fn(&UpstreamMeter) -> i64) -> i64 {
        self.series.meters.used().map(figure).sum()
    }

    /// The slots for its connections, and the requests that wait for one.
    pub(super) fn slots(&self) -> &ConnectionSlots {
        &self.series.slots
    }

    /// The series of this upstream, which outlives the pool.
    pub(crate) fn series(&self) -> Arc<UpstreamSeries> {
        Arc::clone(&self.series)
    }
}

impl EndpointPool {
    fn new(endpoint: Arc<EndpointState>) -> Self {
        Self {
            endpoint,
            load: EndpointLoad::default(),
            is_listed: Cell::new(false),
            idle: RefCell::default(),
            multiplexed: RefCell::default(),
            queue: Rc::default(),
            opening: tokio::sync::Mutex::new(()),
            failed: Cell::default(),
            charged: Cell::new(None),
            proxy_addresses: None,
            full_until_ms: Cell::new(0),
            agreed_on_h1: Cell::new(false),
            avoided_until_ms: Cell::new(0),
            is_being_tried: Cell::new(false),
            is_installed: Cell::new(false),
            resolve_again_ms: Cell::new(0),
        }
    }

    /// Charges a failed connection attempt to the endpoint: true for the first of the requests that waited for it. One
    /// HTTP/2 connection that cannot be opened is one failure, however many requests wanted a stream of it.
    pub(crate) fn charge_failed_opening(&self) -> bool {
        let opens_alone = self.protocol() != Protocol::Http1 && !self.agreed_on_h1.get();
        let (failures, _) = self.failed.get();
        !opens_alone || self.charged.replace(Some(failures)) != Some(failures)
    }

    /// Records a failed connection attempt. Returns the name to resolve again now, if any.
    fn record_failure(&self, now_ms: u64) -> Option<&Arc<str>> {
        self.avoided_until_ms.set(now_ms + AVOID_MS);
        self.is_being_tried.set(false);
        let looked_up = self.endpoint.looked_up.as_ref().filter(|_| now_ms >= self.resolve_again_ms.get())?;
        self.resolve_again_ms.set(now_ms + RESOLVE_AGAIN_MS);
        Some(looked_up)
    }

    /// Records a successful connection. Writes nothing unless the last attempt failed, to keep requests cheap.
    pub(crate) fn record_connect_success(&self, upstream: &UpstreamPool, worker: &Worker) {
        if !self.is_suspect() {
            return;
        }
        self.avoided_until_ms.set(0);
        self.is_being_tried.set(false);
        if upstream.series.recovery_log.is_due(worker.uptime_ms()) {
            let (name, address) = (&self.endpoint.name, self.endpoint.address);
            tracing::info!(upstream = upstream.upstream.name, endpoint = %name, %address, "endpoint reachable again");
        }
    }

    /// Whether the last connection attempt failed.
    pub(super) fn is_suspect(&self) -> bool {
        self.avoided_until_ms.get() > 0
    }

    /// Whether the balancer should choose another endpoint.
    pub(super) fn is_avoided(&self, now_ms: u64) -> bool {
        now_ms < self.avoided_until_ms.get()
    }

    /// Marks the endpoint as chosen. After a failure only this request tries it, until the result is known.
    pub(super) fn mark_tried(&self, now_ms: u64) {
        if self.is_suspect() {
            self.avoided_until_ms.set(now_ms + AVOID_MS);
            self.is_being_tried.set(true);
        }
    }

    /// Whether the result of a try after a failure is not known.
    pub(crate) fn is_being_tried(&self) -> bool {
        self.is_being_tried.get()
    }

    /// A pool of the same endpoint for one client: its connections begin with a PROXY header with these addresses.
    pub(crate) fn with_proxy_addresses(&self, ends: ProxyAddresses) -> Self {
        let mut pool = Self::new(Arc::clone(&self.endpoint));
        pool.proxy_addresses = Some(ends);
        pool
    }

    /// The endpoint's protocol.
    pub(crate) fn protocol(&self) -> Protocol {
        self.endpoint.protocol
    }

    /// Takes the most recently used connection that is still open. The newest, so that the oldest fall idle and are
    /// closed.
    pub(super) fn pop(&self) -> Option<Box<Http1Connection>> {
        loop {
            let IdleConnection { connection, .. } = self.idle.borrow_mut().pop()?;
            if !connection.is_stale() {
                return Some(connection);
            }
        }
    }

    /// Returns a connection to the pool. It is closed if the pool was replaced meanwhile: nothing would sweep it.
    pub(super) fn push(&self, connection: Box<Http1Connection>, now_ms: u64) {
        let kept = if connection.slots().is_wanted() { self.pass_on(connection) } else { Some(connection) };
        let Some(connection) = kept else { return };
        if !self.is_installed.get() {
            return connection.close();
        }
        let mut idle = self.idle.borrow_mut();
        debug_assert!(idle.last().is_none_or(|last| last.since_ms <= now_ms), "the list is in the order of last use");
        idle.push(IdleConnection { connection, since_ms: now_ms });
    }

    /// Gives a free connection to a request that waits, or closes it for one that cannot use it. Returns it if none
    /// waits.
    #[cold]
    fn pass_on(&self, connection: Box<Http1Connection>) -> Option<Box<Http1Connection>> {
        match self.queue.next_for_connection(connection.slots()) {
            FreeFor::Waiter(next) => next.give(Freed::Connection(connection)),
            FreeFor::Other => connection.close(),
            FreeFor::None => return Some(connection),
        }
        None
    }

    /// Closes idle connections, those that have been idle longest first, while requests wait.
    fn release_idle(&self, slots: &ConnectionSlots) {
        let mut idle = self.idle.borrow_mut();
        // The drop of one grants its slot, and so counts down the requests that wait.
        let released = idle.iter().take(slots.waiting()).count();
        for IdleConnection { connection, .. } in idle.drain(..released) {
            connection.close();
        }
    }

    /// The endpoint is in no installed pool any more: closes its idle connections. Requests in flight keep theirs.
    fn uninstall(&self) {
        self.is_installed.set(false);
        self.idle.borrow_mut().drain(..).for_each(|idle| idle.connection.close());
        self.multiplexed.borrow_mut().retain(|connection| !connection.is_idle());
    }

    /// Closes idle connections that the upstream has closed, and so makes room under the limit on connections.
    fn drop_stale(&self) {
        self.idle.borrow_mut().retain(|idle| !idle.connection.is_stale());
    }

    /// The first HTTP/2 connection with a free stream, so that the connections that a burst opened fall idle after it.
    /// Only a connection that `reuse` allows.
    pub(super) fn multiplexed(&self, reuse: &Reuse) -> Option<Http2Connection> {
        let connections = self.multiplexed.borrow();
        let mut allowed = connections.iter().filter(|connection| reuse.allows_stream(&connection.peer));
        allowed.find(|connection| connection.has_room()).cloned()
    }
}

impl HasLoad for EndpointPool {
    fn load(&self) -> &EndpointLoad {
        &self.load
    }

    fn health(&self) -> &EndpointHealth {
        &self.endpoint.health
    }

    fn is_listed(&self) -> &Cell<bool> {
        &self.is_listed
    }
}

impl Drop for EndpointPool {
    fn drop(&mut self) {
        let withdrawn = self.load.withdraw();
        if withdrawn != 0 {
            self.endpoint.health.report_load(withdrawn);
        }
        self.idle.get_mut().drain(..).for_each(|idle| idle.connection.close());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_connections_have_a_shorter_idle_timeout() {
        assert_eq!([0, 3].map(idle_ms_max), [IDLE_MS_MAX; 2]);
        assert_eq!([4, 1000].map(idle_ms_max), [SPARE_MS_MAX; 2]);
    }
}
