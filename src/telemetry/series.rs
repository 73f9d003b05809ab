//! The series of meters: by worker and (route, variant), by worker and upstream, by worker.
//!
//! The control plane creates a series when a configuration is compiled, and carries it over by its labels, so that a
//! reload resets nothing. A worker's meter in it is allocated at its first use.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::time::{Duration, Instant};

use super::{
    Counter, Gauge, GrpcCounters, GuardMemory, Histogram, PerWorker, SampleMemory, ShadowBytes, StatusClass,
    TlsFailure, TlsFailureLog, TlsMeter, UnavailableCause, memory_bytes,
};
use crate::clock::Clock;
use crate::net::ConnectionSlots;
use crate::route::{Edition, Generation, Reason, TokenFault};

/// The reason of a decision as a label: each [`Reason`], those that may choose another variant than stable also with
/// `fallback`, and `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonLabel(u8);

impl ReasonLabel {
    /// Number of values.
    pub const COUNT: usize = 10;
    /// No decision was made (redirects, local responses, refusals).
    pub const NONE: Self = Self(9);

    /// The label of a decision.
    #[must_use]
    #[inline]
    pub const fn of(reason: Reason, fell_back: Fallback) -> Self {
        let first = match reason {
            // Stable answers these and has no fallback.
            Reason::Kill => return Self(0),
            Reason::Latch => return Self(1),
            Reason::Hold => return Self(2),
            Reason::Target => 3,
            Reason::Weight => 5,
            Reason::Stable => 7,
        };
        Self(first + fell_back as u8)
    }

    /// Its index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The label's value at `index`.
    #[must_use]
    pub fn name(index: usize) -> &'static str {
        const NAMES: [&str; ReasonLabel::COUNT] = [
            "kill",
            "latch",
            "hold",
            "target",
            "target+fallback",
            "weight",
            "weight+fallback",
            "stable",
            "stable+fallback",
            "none",
        ];
        NAMES.get(index).copied().unwrap_or("none")
    }
}

/// Whether stable answered because no endpoint of the chosen variant was reachable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// The chosen variant answered.
    #[default]
    No,
    /// Stable answered instead.
    Yes,
}

/// The meters of one worker for one (route, variant).
#[derive(Debug, Default)]
pub struct VariantMeter {
    /// Requests by reason and status class.
    pub requests: [[Counter; StatusClass::ALL.len()]; ReasonLabel::COUNT],
    /// Failed requests whose status is not 5xx: the upstream aborted the response, the gRPC status blames the server, or
    /// the first try failed and a later one did not. First those outside the random sample, then those in it.
    pub failed_late: [Counter; 2],
    /// From the request head to the last byte of the response.
    pub duration: Histogram,
    /// From the request head to the response head.
    pub first_byte: Histogram,
    /// Requests without a sticky key on a route that uses one (counted on stable).
    pub unkeyed: Counter,
    /// Bytes of request bodies.
    pub request_bytes: Counter,
    /// Bytes of response bodies.
    pub response_bytes: Counter,
    /// gRPC calls by status.
    pub grpc: GrpcCounters,
    /// Upgraded connections and streams.
    pub upgrades: Counter,
    /// Open upgraded connections and streams.
    pub upgrades_open: Gauge,
}

/// The meters of one worker for one upstream.
#[derive(Debug, Default)]
pub struct UpstreamMeter {
    /// Attempts by status class of the response (`none`: no response).
    pub requests: [Counter; StatusClass::ALL.len()],
    /// Attempts in flight.
    pub in_flight: Gauge,
    /// Open connections.
    pub connections: Gauge,
    /// Connections opened.
    pub connects: Counter,
    /// Connections that were not established in time.
    pub connect_failures: Counter,
    /// Attempts without a response head (reset, malformed, timeout).
    pub failures: Counter,
    /// Attempts after the first one.
    pub retries: Counter,
    /// Attempts after the first one that the retry budget did not allow.
    pub retries_over_budget: Counter,
    /// Requests of a variant on this upstream that stable answered instead.
    pub rescues: Counter,
    /// Requests of stable that were sent although no endpoint was usable.
    pub last_resorts: Counter,
    /// Requests that wait for a connection.
    pub pending: Gauge,
    /// Requests that have waited for a connection.
    pub pended: Counter,
    /// Requests refused because `limits.pending` was reached.
    pub over_pending: Counter,
    /// Requests answered with 503, by cause.
    pub unavailable: [Counter; UnavailableCause::ALL.len()],
    /// Requests refused because `limits.requests` was reached.
    pub over_requests: Counter,
    /// Requests refused because `limits.connections` was reached.
    pub over_connections: Counter,
    /// TLS handshakes that succeeded.
    pub tls_handshakes: Counter,
    /// TLS failures, by kind.
    pub tls_failures: [Counter; TlsFailure::ALL.len()],
    /// From sending an attempt to its response head.
    pub latency: Histogram,
}

/// Why a request or connection was refused or closed, process-wide; the label of `pointsman_refused_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The head is malformed (400).
    MalformedHead,
    /// Ambiguous or forbidden framing (400).
    BadFraming,
    /// Missing, repeated or malformed `Host` or `:authority` (400).
    BadHost,
    /// A path without a normal form (400).
    BadPath,
    /// `CONNECT` or `TRACE` (405).
    Method,
    /// An extended `CONNECT` with an unsupported protocol (501).
    Upgrade,
    /// The target is too long (414).
    UriTooLong,
    /// Too many or too large header fields (431).
    HeadersTooLarge,
    /// The head did not arrive in time (408).
    HeaderTimeout,
    /// The body is too large (413).
    BodyTooLarge,
    /// The client sent the body too slowly or stalled (408).
    BodyTooSlow,
    /// The client stopped reading the response.
    ReaderStalled,
    /// The client stopped reading the response while memory or upstream connections were short.
    ReaderShed,
    /// `limits.connections` of the listener.
    Connections,
    /// `limits.connections_per_ip`.
    ConnectionsPerIp,
    /// `limits.connection_rate_per_ip`.
    ConnectionRate,
    /// `limits.requests` of the listener (503).
    Requests,
    /// `limits.requests_per_ip` (503).
    RequestsPerIp,
    /// Open requests use as much memory as allowed (503).
    Memory,
    /// One client address uses as much memory as allowed (503).
    MemoryPerIp,
    /// Too many HTTP/2 resets.
    H2Resets,
    /// `limits.h2_resets_per_ip`.
    H2ResetsPerIp,
    /// Too many HTTP/2 pings.
    H2Pings,
    /// Too many HTTP/2 SETTINGS.
    H2Settings,
    /// Too many CONTINUATION frames.
    H2Continuations,
    /// Any other HTTP/2 protocol error that ended a connection.
    H2Protocol,
    /// A connection without the required PROXY header.
    ProxyHeaderMissing,
    /// A malformed PROXY header.
    ProxyHeaderMalformed,
    /// A PROXY header from a sender that `proxy_protocol.from` does not list (400).
    ProxyHeaderUnexpected,
    /// Cleartext HTTP on a TLS listener (400).
    Cleartext,
    /// A request for a host of another certificate than the connection's (421).
    Misdirected,
    /// The proxy's own `Via` entry more than once (508).
    Loop,
    /// No route (404).
    NoRoute,
    /// The handler failed (500).
    Internal,
}

impl Refusal {
    /// All refusals, in the order of their index.
    pub const ALL: [Self; 34] = [
        Self::MalformedHead,
        Self::BadFraming,
        Self::BadHost,
        Self::BadPath,
        Self::Method,
        Self::Upgrade,
        Self::UriTooLong,
        Self::HeadersTooLarge,
        Self::HeaderTimeout,
        Self::BodyTooLarge,
        Self::BodyTooSlow,
        Self::ReaderStalled,
        Self::ReaderShed,
        Self::Connections,
        Self::ConnectionsPerIp,
        Self::ConnectionRate,
        Self::Requests,
        Self::RequestsPerIp,
        Self::Memory,
        Self::MemoryPerIp,
        Self::H2Resets,
        Self::H2ResetsPerIp,
        Self::H2Pings,
        Self::H2Settings,
        Self::H2Continuations,
        Self::H2Protocol,
        Self::ProxyHeaderMissing,
        Self::ProxyHeaderMalformed,
        Self::ProxyHeaderUnexpected,
        Self::Cleartext,
        Self::Misdirected,
        Self::Loop,
        Self::NoRoute,
        Self::Internal,
    ];

    /// The label's value, and the `Proxy-Status` detail.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MalformedHead => "malformed_head",
            Self::BadFraming => "bad_framing",
            Self::BadHost => "bad_host",
            Self::BadPath => "bad_path",
            Self::Method => "method",
            Self::Upgrade => "upgrade",
            Self::UriTooLong => "uri_too_long",
            Self::HeadersTooLarge => "headers_too_large",
            Self::HeaderTimeout => "header_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTooSlow => "body_too_slow",
            Self::ReaderStalled => "reader_stalled",
            Self::ReaderShed => "reader_shed",
            Self::Connections => "connections",
            Self::ConnectionsPerIp => "connections_per_ip",
            Self::ConnectionRate => "connection_rate",
            Self::Requests => "requests",
            Self::RequestsPerIp => "requests_per_ip",
            Self::Memory => "memory",
            Self::MemoryPerIp => "memory_per_ip",
            Self::H2Resets => "h2_resets",
            Self::H2ResetsPerIp => "h2_resets_per_ip",
            Self::H2Pings => "h2_pings",
            Self::H2Settings => "h2_settings",
            Self::H2Continuations => "h2_continuations",
            Self::H2Protocol => "h2_protocol",
            Self::ProxyHeaderMissing => "proxy_header_missing",
            Self::ProxyHeaderMalformed => "proxy_header_malformed",
            Self::ProxyHeaderUnexpected => "proxy_header_unexpected",
            Self::Cleartext => "cleartext",
            Self::Misdirected => "misdirected",
            Self::Loop => "loop",
            Self::NoRoute => "no_route",
            Self::Internal => "internal",
        }
    }
}

/// A counter for each [`Refusal`].
#[derive(Debug)]
pub struct Refusals([Counter; Refusal::ALL.len()]);

impl Default for Refusals {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl Refusals {
    /// The counter of a refusal.
    #[must_use]
    pub fn of(&self, refusal: Refusal) -> &Counter {
        &self.0[refusal as usize]
    }
}

/// The meters of one worker.
#[derive(Debug, Default)]
pub struct WorkerMeter {
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections closed.
    pub closed: Counter,
    /// Connections closed at the deadline of a drain.
    pub forced: Counter,
    /// Upgraded connections and streams among those.
    pub forced_upgrades: Counter,
    /// Streams of killed variants that were closed (`kill.close_streams`).
    pub killed_streams: Counter,
    /// Accept errors (such as too many open files).
    pub accept_errors: Counter,
    /// Requests that have started.
    pub requests_begun: Counter,
    /// Requests that have been recorded; the others that have started are in flight.
    pub requests_recorded: Counter,
    /// Used bytes of the memory budget, as of the last sweep.
    pub held_bytes: Gauge,
    /// Refusals by [`Refusal`].
    pub refused: Refusals,
    /// Handshakes with clients.
    pub tls: TlsMeter,
    /// Verified tokens.
    pub jwt_verified: Counter,
    /// Rejected tokens, by [`TokenFault`].
    pub jwt_rejected: [Counter; TokenFault::ALL.len()],
    /// Header fields dropped because their name is an alias of one that is set or trusted (`_` for `-`).
    pub alias_headers_dropped: Counter,
    /// Access log lines dropped because the log writer was too slow.
    pub log_lines_dropped: Counter,
    /// The generation that this worker uses.
    pub generation: std::sync::atomic::AtomicU64,
    /// The edition that this worker uses.
    edition: std::sync::atomic::AtomicU64,
    /// Time of the last heartbeat, in milliseconds since the start.
    pub heartbeat_ms: std::sync::atomic::AtomicU64,
    /// Whether this worker has drained and ended; its heartbeat has no meaning then.
    pub ended: std::sync::atomic::AtomicBool,
    /// Whether this worker rests: it has no connections, and counts nothing until it is roused.
    resting: std::sync::atomic::AtomicBool,
}

impl WorkerMeter {
    /// Counts a refusal.
    pub fn refuse(&self, refusal: Refusal) {
        self.refused.of(refusal).inc();
    }
}

/// The meters of one worker for one listener.
#[derive(Debug, Default)]
pub struct ListenerMeter {
    /// Open connections.
    pub connections: Gauge,
    /// Requests in flight.
    pub requests: Gauge,
}

/// The meters of one worker for one rate limit.
#[derive(Debug, Default)]
pub struct LimitMeter {
    /// Requests that were refused.
    pub refused: Counter,
    /// Requests beyond the limit that were let through: `dry_run`.
    pub dry_run: Counter,
}

/// How often a worker at rest beats: it sweeps then, and closes idle connections to upstreams.
pub const REST_BEAT: Duration = Duration::from_secs(5);

/// The variant of requests that no variant answers.
pub const NO_VARIANT: &str = "none";

/// The meters of one worker for what a route refuses.
#[derive(Debug, Default)]
pub struct RefusalMeter {
    /// Requests that an access rule answered.
    pub denied: Counter,
    /// Requests refused under load, because the priority of the route is low.
    pub shed: Counter,
}

/// The labels of a [`VariantSeries`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels {
    /// The route's name; `none` when no route matched.
    pub route: String,
    /// The variant's name; `none` for local responses.
    pub variant: String,
}

/// The meters of one (route, variant).
#[derive(Debug)]
pub struct VariantSeries {
    /// Its labels.
    pub labels: Labels,
    /// Its meters.
    pub meters: PerWorker<VariantMeter>,
}

/// The meters of one upstream.
#[derive(Debug)]
pub struct UpstreamSeries {
    /// Its name.
    pub upstream: String,
    /// Its meters.
    pub meters: PerWorker<UpstreamMeter>,
    /// The last TLS failure.
    pub tls_failure_log: TlsFailureLog,
    /// Limits the log lines about unreachable endpoints.
    pub refusal_log: LogThrottle,
    /// Limits the log lines about endpoints that are reachable again.
    pub recovery_log: LogThrottle,
    /// Its connections, and the requests that wait for one.
    pub slots: ConnectionSlots,
}

/// Limits how often a line is logged, across all workers.
#[derive(Debug, Default)]
pub struct LogThrottle(std::sync::atomic::AtomicU64);

impl LogThrottle {
    /// Interval between two lines of one kind.
    const EVERY_MS: u64 = 10_000;

    /// Whether to log the line now, `now_ms` milliseconds after the process started.
    #[must_use]
    pub fn is_due(&self, now_ms: u64) -> bool {
        let Self(next_ms) = self;
        let next = next_ms.load(Relaxed);
        now_ms >= next && next_ms.compare_exchange(next, now_ms + Self::EVERY_MS, Relaxed, Relaxed).is_ok()
    }
}

impl UpstreamSeries {
    /// Creates the meters of an upstream.
    #[must_use]
    pub fn new(upstream: &str, workers: usize) -> Self {
        let (meters, tls_failure_log) = (PerWorker::new(workers), TlsFailureLog::default());
        let (refusal_log, recovery_log) = (LogThrottle::default(), LogThrottle::default());
        let (upstream, slots) = (upstream.to_owned(), ConnectionSlots::new(upstream));
        Self { upstream, meters, tls_failure_log, refusal_log, recovery_log, slots }
    }
}

/// The meters of the process, created once at the start.
#[derive(Debug)]
pub struct MeterRegistry {
    /// Number of workers.
    pub workers: usize,
    /// Each worker's own meter.
    pub worker: PerWorker<WorkerMeter>,
    /// Requests that no route matched.
    pub unrouted: Arc<VariantSeries>,
    /// The memory limit of all copies.
    pub shadow_bytes: Arc<ShadowBytes>,
    /// The memory limit of all samples.
    pub sample_memory: Arc<SampleMemory>,
    /// What the guards of all routes share.
    pub guard_memory: Arc<GuardMemory>,
    /// When it was created; heartbeats count from here.
    pub started: Instant,
    /// Woken when a worker uses another snapshot.
    pub adoption: tokio::sync::Notify,
    /// Woken when the rest of a worker ends.
    activity: tokio::sync::Notify,
}

/// The share of the process's memory limit that the bodies of copies may use (1/16), and its bounds in bytes.
const SHADOW_PART: u64 = 16;
const SHADOW_BYTES: (u64, u64) = (4 << 20, 64 << 20);

impl MeterRegistry {
    /// A registry for this many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let labels = Labels { route: "none".to_owned(), variant: NO_VARIANT.to_owned() };
        Self {
            workers,
            worker: PerWorker::new(workers),
            unrouted: Arc::new(VariantSeries { labels, meters: PerWorker::new(workers) }),
            shadow_bytes: Arc::new(ShadowBytes::new(
                (memory_bytes() / SHADOW_PART).clamp(SHADOW_BYTES.0, SHADOW_BYTES.1),
            )),
            sample_memory: Arc::new(SampleMemory::new(SampleMemory::BYTES)),
            guard_memory: Arc::new(GuardMemory::new(workers)),
            started: Clock.now(),
            adoption: tokio::sync::Notify::new(),
            activity: tokio::sync::Notify::new(),
        }
    }

    /// Records a heartbeat of a worker.
    pub fn beat(&self, worker: usize, now: Instant) {
        let ms = u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(u64::MAX);
        self.worker.of(worker).heartbeat_ms.store(ms, Relaxed);
    }

    /// Records that a worker rests: it has counted nothing for some seconds.
    pub fn rest(&self, worker: usize) {
        self.worker.of(worker).resting.store(true, SeqCst);
    }

    /// Records that the rest of a worker ends, and wakes those who wait for it.
    pub fn rouse(&self, worker: usize, now: Instant) {
        self.beat(worker, now);
        self.worker.of(worker).resting.store(false, SeqCst);
        self.activity.notify_waiters();
    }

    /// Whether all workers rest: then nothing new is counted.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        (0..self.workers).all(|worker| self.worker.of(worker).resting.load(SeqCst))
    }

    /// Waits until a worker does not rest.
    pub async fn roused(&self) {
        loop {
            // Made before the look: a rest that ends after it is not missed.
            let activity = self.activity.notified();
            if !self.is_at_rest() {
                return;
            }
            activity.await;
        }
    }

    /// Records that a worker has drained and ended. A worker that ends in another way has no more heartbeats.
    pub fn end(&self, worker: usize) {
        self.worker.of(worker).ended.store(true, Release);
    }

    /// Time since a heartbeat of a worker was due, at rest, or since the last one; `None` once it has drained and ended.
    #[must_use]
    pub fn heartbeat_age(&self, worker: usize, now: Instant) -> Option<Duration> {
        let meter = self.worker.of(worker);
        let is_resting = meter.resting.load(SeqCst);
        let beat = Duration::from_millis(meter.heartbeat_ms.load(Relaxed));
        let every = if is_resting { REST_BEAT } else { Duration::ZERO };
        let age = now.duration_since(self.started).saturating_sub(beat).saturating_sub(every);
        (!meter.ended.load(Acquire)).then_some(age)
    }

    /// Records that a worker uses this edition of this generation, and wakes those who wait for it.
    pub fn adopt(&self, worker: usize, generation: Generation, edition: Edition) {
        let meter = self.worker.of(worker);
        meter.generation.store(generation.0, Relaxed);
        meter.edition.store(edition.0, Release);
        self.adoption.notify_waiters();
    }

    /// The number of workers that use `edition` or a later one, or have drained and ended.
    #[must_use]
    pub fn adopted(&self, edition: Edition) -> usize {
        let meters = (0..self.workers).map(|worker| self.worker.of(worker));
        meters.filter(|meter| meter.ended.load(Acquire) || meter.edition.load(Acquire) >= edition.0).count()
    }
}

#[cfg(test)]
mod tests;
