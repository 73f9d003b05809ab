//! The series of meters: per worker and (route, variant), per worker and upstream, per worker.
//!
//! The control plane makes a series when a configuration is compiled and carries it over by its labels, so that a
//! reload resets nothing. A worker's own meter in it is made at its first use.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::{Duration, Instant};

use super::{
    Counter, Gauge, GrpcCounters, Histogram, PerWorker, SampleMemory, ShadowBytes, StatusClass, TlsFailure,
    TlsFailureLog, TlsMeter, memory_bytes,
};
use crate::clock::Clock;
use crate::route::{Generation, Reason, TokenFault};

/// Why a request was decided as it was, as a label: each [`Reason`], those that may choose another variant than stable
/// also with `fallback`, and `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasonLabel(u8);

impl ReasonLabel {
    /// How many there are.
    pub const COUNT: usize = 9;
    /// No decision was taken (redirects, local answers, refusals).
    pub const NONE: Self = Self(8);

    /// The label of a decision.
    #[must_use]
    #[inline]
    pub const fn of(reason: Reason, fell_back: Fallback) -> Self {
        let first = match reason {
            // Stable answers these, and falls back to nothing.
            Reason::Kill => return Self(0),
            Reason::Latch => return Self(1),
            Reason::Target => 2,
            Reason::Weight => 4,
            Reason::Stable => 6,
        };
        Self(first + fell_back as u8)
    }

    /// Its place.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The label's value at place `index`.
    #[must_use]
    pub fn name(index: usize) -> &'static str {
        const NAMES: [&str; ReasonLabel::COUNT] = [
            "kill",
            "latch",
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

/// Whether stable answered because the chosen variant had no endpoint that could be connected to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// The chosen variant answered.
    #[default]
    No,
    /// Stable answered instead.
    Yes,
}

/// What a worker counts for one (route, variant).
#[derive(Debug, Default)]
pub struct VariantMeter {
    /// Requests by reason and status class.
    pub requests: [[Counter; StatusClass::ALL.len()]; ReasonLabel::COUNT],
    /// Requests that failed although their status is no 5xx: the upstream broke off, or the call's gRPC status says that
    /// the server is to blame. First those outside the random sample, then those in it.
    pub failed_late: [Counter; 2],
    /// From the request's head to the response's last byte.
    pub duration: Histogram,
    /// From the request's head to the response's head.
    pub first_byte: Histogram,
    /// Requests without a sticky key on a route that wants one (counted on stable).
    pub unkeyed: Counter,
    /// Bytes of request bodies.
    pub request_bytes: Counter,
    /// Bytes of response bodies.
    pub response_bytes: Counter,
    /// gRPC calls by status.
    pub grpc: GrpcCounters,
    /// Connections and streams that were upgraded.
    pub upgrades: Counter,
    /// Those of them that are open.
    pub upgrades_open: Gauge,
}

/// What a worker counts for one upstream.
#[derive(Debug, Default)]
pub struct UpstreamMeter {
    /// Attempts, by status class of the answer (`none`: no answer).
    pub requests: [Counter; StatusClass::ALL.len()],
    /// Attempts in flight.
    pub in_flight: Gauge,
    /// Open connections.
    pub connections: Gauge,
    /// Connections opened.
    pub connects: Counter,
    /// Connections that could not be opened in time.
    pub connect_failures: Counter,
    /// Attempts that were answered by no head (reset, garbage, time-out).
    pub failures: Counter,
    /// Attempts sent again because a pooled connection had died unread.
    pub retries: Counter,
    /// Requests refused because `limits.requests` was reached.
    pub over_requests: Counter,
    /// Requests refused because `limits.connections` was reached.
    pub over_connections: Counter,
    /// TLS handshakes that succeeded.
    pub tls_handshakes: Counter,
    /// TLS that failed, by kind.
    pub tls_failures: [Counter; TlsFailure::ALL.len()],
    /// From sending an attempt to its response head.
    pub latency: Histogram,
}

/// Why something was refused or cut, process-wide; the label of `pointsman_refused_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The head is not of the grammar (400).
    MalformedHead,
    /// Ambiguous or forbidden framing (400).
    BadFraming,
    /// No, two or a malformed `Host` or `:authority` (400).
    BadHost,
    /// A path without a normal form (400).
    BadPath,
    /// `CONNECT` or `TRACE` (405).
    Method,
    /// An extended `CONNECT` to a protocol that is not known here (501).
    Upgrade,
    /// The target is too long (414).
    UriTooLong,
    /// Too many or too large header fields (431).
    HeadersTooLarge,
    /// The head did not arrive in time (408).
    HeaderTimeout,
    /// The body is too large (413).
    BodyTooLarge,
    /// The body's sender stalled or was too slow (408).
    BodyTooSlow,
    /// The response's reader stalled.
    ReaderStalled,
    /// The response's reader stalled while memory or upstream connections ran short.
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
    /// The requests under way take up as much memory as they may (503).
    Memory,
    /// One client address takes up as much memory as it may (503).
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
    /// A connection from one that must begin with a PROXY header, and did not.
    ProxyHeaderMissing,
    /// A PROXY header that is not of the grammar.
    ProxyHeaderMalformed,
    /// A PROXY header from one whom `proxy_protocol.from` does not name (400).
    ProxyHeaderUnexpected,
    /// Cleartext HTTP where TLS is spoken (400).
    Cleartext,
    /// A request for a host of another certificate than the connection's (421).
    Misdirected,
    /// Our own `Via` more than once (508).
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

/// A count for each [`Refusal`].
#[derive(Debug)]
pub struct Refusals([Counter; Refusal::ALL.len()]);

impl Default for Refusals {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl Refusals {
    /// The count of one.
    #[must_use]
    pub fn of(&self, refusal: Refusal) -> &Counter {
        &self.0[refusal as usize]
    }
}

/// What a worker counts for itself.
#[derive(Debug, Default)]
pub struct WorkerMeter {
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections closed.
    pub closed: Counter,
    /// Connections cut when a drain's deadline passed.
    pub forced: Counter,
    /// Upgraded connections and streams among what was cut then.
    pub forced_upgrades: Counter,
    /// Streams of killed variants that were closed (`kill.close_streams`).
    pub killed_streams: Counter,
    /// Accept errors (such as too many open files).
    pub accept_errors: Counter,
    /// Requests begun.
    pub requests_begun: Counter,
    /// Requests recorded. Begun minus recorded are in flight.
    pub requests_recorded: Counter,
    /// Bytes of the memory budget that are taken, as of the last sweep.
    pub held_bytes: Gauge,
    /// Refusals by [`Refusal`].
    pub refused: Refusals,
    /// Handshakes with clients.
    pub tls: TlsMeter,
    /// Tokens that were believed.
    pub jwt_verified: Counter,
    /// Tokens that were not, by [`TokenFault`].
    pub jwt_rejected: [Counter; TokenFault::ALL.len()],
    /// Header fields dropped because their name aliases one that is set or trusted (`_` for `-`).
    pub alias_headers_dropped: Counter,
    /// Access log lines dropped because the writer could not keep up.
    pub log_lines_dropped: Counter,
    /// The generation that this worker decides with.
    pub generation: std::sync::atomic::AtomicU64,
    /// Milliseconds since start at which this worker last ran its heartbeat.
    pub heartbeat_ms: std::sync::atomic::AtomicU64,
    /// Whether this worker has drained and ended. Its heartbeat means nothing from then on.
    pub ended: std::sync::atomic::AtomicBool,
}

impl WorkerMeter {
    /// Counts a refusal.
    pub fn refuse(&self, refusal: Refusal) {
        self.refused.of(refusal).inc();
    }
}

/// What a worker counts for one listener.
#[derive(Debug, Default)]
pub struct ListenerMeter {
    /// Open connections.
    pub connections: Gauge,
    /// Requests in flight.
    pub requests: Gauge,
}

/// The labels of a [`VariantSeries`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels {
    /// The route's name; `none` when no route took the request.
    pub route: String,
    /// The variant's name; `none` for local answers.
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
    /// What went wrong last under TLS.
    pub tls_failure_log: TlsFailureLog,
    /// When it was last logged that an endpoint cannot be connected to.
    pub refusal_log: LogThrottle,
    /// When it was last logged that an endpoint can be connected to again.
    pub recovery_log: LogThrottle,
}

/// When a line was last logged, by any worker.
#[derive(Debug, Default)]
pub struct LogThrottle(std::sync::atomic::AtomicU64);

impl LogThrottle {
    /// A line of one kind is logged this often.
    const EVERY_MS: u64 = 10_000;

    /// Whether the line is to be logged now, so many milliseconds since the process began.
    #[must_use]
    pub fn is_due(&self, now_ms: u64) -> bool {
        let Self(next_ms) = self;
        let next = next_ms.load(Relaxed);
        now_ms >= next && next_ms.compare_exchange(next, now_ms + Self::EVERY_MS, Relaxed, Relaxed).is_ok()
    }
}

impl UpstreamSeries {
    /// The meters of the upstream of this name.
    #[must_use]
    pub fn new(upstream: &str, workers: usize) -> Self {
        let (meters, tls_failure_log) = (PerWorker::new(workers), TlsFailureLog::default());
        let (refusal_log, recovery_log) = (LogThrottle::default(), LogThrottle::default());
        Self { upstream: upstream.to_owned(), meters, tls_failure_log, refusal_log, recovery_log }
    }
}

/// The process's meters, made once at start.
#[derive(Debug)]
pub struct MeterRegistry {
    /// How many workers there are.
    pub workers: usize,
    /// Each worker's own meter.
    pub worker: PerWorker<WorkerMeter>,
    /// Requests that no route took.
    pub unrouted: Arc<VariantSeries>,
    /// What the copies for all shadows may hold.
    pub shadow_bytes: Arc<ShadowBytes>,
    /// What the samples of all routes may take up.
    pub sample_memory: Arc<SampleMemory>,
    /// When it was made; heartbeats count from here.
    pub started: Instant,
}

/// The part of the memory that this process may use which the bodies of copies may hold, and its bounds.
const SHADOW_PART: u64 = 16;
const SHADOW_BYTES: (u64, u64) = (4 << 20, 64 << 20);

impl MeterRegistry {
    /// A registry for this many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        let labels = Labels { route: "none".to_owned(), variant: "none".to_owned() };
        Self {
            workers,
            worker: PerWorker::new(workers),
            unrouted: Arc::new(VariantSeries { labels, meters: PerWorker::new(workers) }),
            shadow_bytes: Arc::new(ShadowBytes::new(
                (memory_bytes() / SHADOW_PART).clamp(SHADOW_BYTES.0, SHADOW_BYTES.1),
            )),
            sample_memory: Arc::new(SampleMemory::new(SampleMemory::BYTES)),
            started: Clock.now(),
        }
    }

    /// A worker says that it is alive.
    pub fn beat(&self, worker: usize, now: Instant) {
        let ms = u64::try_from(now.duration_since(self.started).as_millis()).unwrap_or(u64::MAX);
        self.worker.of(worker).heartbeat_ms.store(ms, Relaxed);
    }

    /// A worker has drained and ends. A worker that ends in any other way does not come here: it goes silent.
    pub fn end(&self, worker: usize) {
        self.worker.of(worker).ended.store(true, Release);
    }

    /// How long ago a worker last gave a heartbeat; nothing once it has drained and ended.
    #[must_use]
    pub fn silence(&self, worker: usize, now: Instant) -> Option<Duration> {
        let meter = self.worker.of(worker);
        let beat = Duration::from_millis(meter.heartbeat_ms.load(Relaxed));
        (!meter.ended.load(Acquire)).then(|| now.duration_since(self.started).saturating_sub(beat))
    }

    /// How many workers decide with `generation` or a later one.
    #[must_use]
    pub fn adopted(&self, generation: Generation) -> usize {
        (0..self.workers).filter(|worker| self.worker.of(*worker).generation.load(Acquire) >= generation.0).count()
    }
}
