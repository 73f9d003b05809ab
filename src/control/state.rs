//! The state of the control plane, for `/status`, `/metrics` and readiness. The controller writes it; the admin
//! listener and the app read it. It is never on the path of a request.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::history::History;
use super::measure::Baselines;
use super::notify::NotifyView;
use super::outcome::{ReloadCause, ReloadOutcome, kept_summary};
use super::release::ReleaseView;
use super::resolver::{ADDRESSES_MAX, LookupResult, NO_ANSWER_YET, NameChange, NameState};
use crate::clock::Clock;
use crate::config::AppliedFiles;
use crate::drain::Phase;
use crate::shadow_compare::Comparator;
use crate::snapshot::Snapshot;
use crate::telemetry::{self, ControlRecorder, MeterRegistry, SpanCounts};

/// A worker without a heartbeat for longer than this is stuck.
pub const HEARTBEAT_AGE_MAX: Duration = Duration::from_secs(5);

/// The state of the control plane.
pub struct ControlState {
    /// The clock.
    pub clock: Clock,
    /// When the process started (wall clock).
    pub started_at: Duration,
    /// The sources of the metrics.
    pub counts: Counts,
    /// Compares the responses of copies.
    pub comparator: Arc<Comparator>,
    /// Kills in force and the journal.
    pub release: ReleaseView,
    /// How the receivers of notifications stand.
    pub notify: NotifyView,
    /// The points of charts.
    pub history: History,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    data: Mutex<MutableState>,
}

/// The sources of the metrics.
pub struct Counts {
    /// The meters of the workers.
    pub registry: Arc<MeterRegistry>,
    /// The span counters.
    pub spans: Arc<SpanCounts>,
    /// The recorder of the control plane.
    pub recorder: Arc<ControlRecorder>,
}

/// The mutable part, behind a lock.
#[derive(Clone, Default)]
pub struct MutableState {
    /// The drain phase; `None` means running.
    pub phase: Option<Phase>,
    /// The last reload, or the start.
    pub last: Option<LastReload>,
    /// The last reload that changed something; `None` since the start.
    pub changed: Option<LastReload>,
    /// When the current configuration was applied (wall clock).
    pub applied_at: Duration,
    /// The hash of the current configuration.
    pub hash: String,
    /// The hash without the files of endpoints.
    pub(super) base_hash: String,
    /// The routes file; `None` when the routes come from the command line.
    pub file: Option<PathBuf>,
    /// The paths that the configuration depends on.
    pub files: Vec<PathBuf>,
    /// The files that the configuration has read, with their uses.
    pub applied: Arc<AppliedFiles>,
    /// The resolved names.
    pub names: BTreeMap<String, NameState>,
    /// Readiness no longer depends on names: they have resolved, `dns.start_patience` has passed, or this process took
    /// over from another one.
    pub names_settled: bool,
    /// The counts at which the measured shares begin.
    pub baselines: Baselines,
    /// The bound addresses of the admin listener.
    pub admin: Vec<SocketAddr>,
    /// The Unix socket of the admin listener.
    pub admin_socket: AdminSocketState,
    /// Why the last hand-over failed; this process continued to serve.
    pub hand_over_failure: Option<String>,
    /// Number of workers that ended unexpectedly.
    pub workers_lost: usize,
}

/// The Unix socket of the admin listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminSocketState {
    /// Its path; `None` when it is off.
    pub path: Option<PathBuf>,
    /// Why it does not listen; `None` when it does.
    pub trouble: Option<String>,
}

/// A finished reload, or the start.
#[derive(Clone, Debug)]
pub struct LastReload {
    /// What caused it.
    pub cause: ReloadCause,
    /// Its outcome.
    pub outcome: ReloadOutcome,
    /// When it ended (wall clock).
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
}

/// Why the proxy is not ready for traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unready {
    /// It is stopping.
    Stopping,
    /// A worker has ended.
    WorkerLost,
    /// A worker is stuck.
    WorkerStuck(usize),
    /// At the start: this name has no address yet, and `dns.start_patience` has not passed.
    NameAwaited(String),
    /// At the start: no route has an upstream with an address.
    NoAddress,
}

impl ControlState {
    /// The initial state. Charts get a point every `history_every`.
    #[must_use]
    pub fn new(
        clock: Clock,
        counts: Counts,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        comparator: Arc<Comparator>,
        history_every: Duration,
    ) -> Self {
        let (started_at, data) = (clock.wall(), Mutex::default());
        let (release, notify) = (ReleaseView::default(), NotifyView::default());
        let history = History::new(started_at, history_every);
        Self { clock, started_at, counts, comparator, release, notify, history, snapshots, data }
    }

    /// The current snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Locks the mutable part. Hold the guard only for a read or a write.
    pub fn lock(&self) -> MutexGuard<'_, MutableState> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the start.
    #[must_use]
    pub fn uptime(&self, now: Instant) -> Duration {
        now.duration_since(self.counts.registry.started)
    }

    /// Milliseconds since the start, now: the time of upstreams' health.
    #[must_use]
    pub fn uptime_ms(&self) -> u64 {
        let uptime = self.clock.now().saturating_duration_since(self.counts.registry.started);
        u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX)
    }

    /// Nanoseconds since the start, now: the time of rate limits.
    #[must_use]
    pub fn uptime_ns(&self) -> u64 {
        let uptime = self.clock.now().saturating_duration_since(self.counts.registry.started);
        u64::try_from(uptime.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The drain phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.lock().phase.unwrap_or(Phase::Running)
    }

    /// Records the first lookup results of names that were not known before.
    pub fn record_first_answers(&self, wanted: &BTreeSet<String>, answers: &BTreeMap<String, LookupResult>) {
        let new: Vec<&String> = wanted.iter().filter(|name| !self.lock().names.contains_key(*name)).collect();
        for name in new {
            let late = Err(NO_ANSWER_YET.to_owned());
            self.record_lookup(name, answers.get(name).unwrap_or(&late));
        }
    }

    /// Records the result of a lookup, logs it when the state of the name changes, and returns whether its addresses
    /// changed.
    pub fn record_lookup(&self, name: &str, answered: &LookupResult) -> bool {
        telemetry::control::count_lookup(&self.counts.recorder, name, answered);
        let (change, left_out) = {
            let mut data = self.lock();
            let known = data.names.entry(name.to_owned()).or_default();
            (known.record(answered), known.record_left_out(answered))
        };
        if let Some(left_out) = left_out {
            tracing::warn!(name, left_out, "name has more addresses than are used: the first {ADDRESSES_MAX} serve");
        }
        let error = answered.as_ref().err().map_or("", String::as_str);
        match change {
            NameChange::None | NameChange::Addresses => {}
            NameChange::Recovered => tracing::info!(name, "name resolved again: its addresses are unchanged"),
            NameChange::Kept => tracing::warn!(name, error, "name cannot be resolved: its last addresses stay in use"),
            NameChange::Unknown => {
                tracing::warn!(name, error, "name cannot be resolved: its endpoints are missing until it resolves");
            }
        }
        change == NameChange::Addresses
    }

    /// The addresses of a name as a comma-separated list, for the log.
    pub(super) fn address_list(&self, name: &str) -> String {
        self.lock().names.get(name).map(NameState::address_list).unwrap_or_default()
    }

    /// The addresses of all names, from the last successful lookups.
    #[must_use]
    pub fn addresses(&self) -> HashMap<String, Vec<std::net::IpAddr>> {
        self.lock().names.iter().map(|(name, resolution)| (name.clone(), resolution.addresses.clone())).collect()
    }

    /// Records a reload and logs it.
    pub(super) fn record_reload(&self, last: &LastReload) {
        let (cause, took_ms) = (last.cause.name(), u64::try_from(last.took.as_millis()).unwrap_or(u64::MAX));
        let before = self.lock().last.as_ref().map(|before| before.outcome.clone());
        match &last.outcome {
            ReloadOutcome::Unchanged { generation, kept } => {
                let generation = generation.0;
                if let Some(kept) = kept_summary(kept) {
                    tracing::warn!(cause, generation, "{kept}");
                }
                if matches!(before, Some(ReloadOutcome::Rejected(_))) {
                    tracing::info!(cause, took_ms, generation, "reloaded: the files are valid again, nothing changed");
                } else {
                    tracing::info!(cause, took_ms, generation, "reload: nothing changed");
                }
            }
            ReloadOutcome::Applied { generation, summary } => {
                let changes = summary.join("; ");
                let generation = generation.0;
                match last.cause {
                    ReloadCause::Start => tracing::info!(cause, took_ms, generation, "started"),
                    ReloadCause::Watch | ReloadCause::Signal | ReloadCause::Call => {
                        tracing::info!(cause, took_ms, generation, changes, "reloaded");
                    }
                }
            }
            ReloadOutcome::Rejected(rejection) => {
                tracing::error!(
                    cause,
                    took_ms,
                    "rejected: the running configuration stays in effect:\n{}",
                    rejection.text
                );
            }
        }
        if last.cause != ReloadCause::Start {
            telemetry::control::count_reload(&self.counts.recorder, last.outcome.label());
        }
        let is_applied = matches!(last.outcome, ReloadOutcome::Applied { .. });
        if is_applied {
            telemetry::control::set_applied_at(&self.counts.recorder, last.at);
        }
        let mut data = self.lock();
        if is_applied {
            data.applied_at = last.at;
            data.changed = Some(last.clone()).filter(|last| last.cause != ReloadCause::Start);
        }
        data.last = Some(last.clone());
    }

    /// Waits until a worker does not rest, guards wait for something, or there is another snapshot.
    pub async fn wait_for_work(&self, snapshots: &mut watch::Receiver<Arc<Snapshot>>) {
        tokio::select! {
            biased;
            () = self.counts.registry.roused() => {}
            () = self.release.judging_begins() => {}
            // An error: the controller has ended, and takes no events any more.
            _ = snapshots.changed() => {}
        }
    }

    /// The worker with the oldest heartbeat, when it is stuck. A draining worker gives heartbeats until it ends; an
    /// ended one does not count.
    #[must_use]
    pub fn stuck_worker(&self) -> Option<(usize, Duration)> {
        let now = self.clock.now();
        let ages = (0..self.counts.registry.workers)
            .filter_map(|worker| Some((worker, self.counts.registry.heartbeat_age(worker, now)?)));
        ages.filter(|(_, age)| *age > HEARTBEAT_AGE_MAX).max_by_key(|(_, age)| *age)
    }

    /// Whether the process works: the result of `/healthz`.
    ///
    /// # Errors
    /// When a worker has ended or is stuck; only a restart helps.
    pub fn healthy(&self) -> Result<(), Unready> {
        let lost = self.lock().workers_lost;
        if lost > 0 && self.phase_is_before_draining() {
            return Err(Unready::WorkerLost);
        }
        match self.stuck_worker() {
            Some((worker, _)) if self.phase_is_before_draining() => Err(Unready::WorkerStuck(worker)),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the proxy is ready for traffic: the result of `/readyz`.
    ///
    /// # Errors
    /// Why it is not ready.
    pub fn ready(&self) -> Result<(), Unready> {
        if self.phase() > Phase::Running {
            return Err(Unready::Stopping);
        }
        self.healthy()?;
        self.check_names()
    }

    /// Whether readiness may stop waiting for names: all of them have addresses, or `dns.start_patience` has passed and
    /// at least one route can be served. One name without an address does not keep the other routes from being served.
    fn check_names(&self) -> Result<(), Unready> {
        let (snapshot, now) = (self.snapshot(), self.clock.now());
        let mut data = self.lock();
        if data.names_settled {
            return Ok(());
        }
        let awaited = data.names.iter().find(|(_, resolution)| resolution.addresses.is_empty());
        if let Some((name, _)) = awaited {
            if self.uptime(now) < snapshot.rules.dns.start_patience {
                return Err(Unready::NameAwaited(name.clone()));
            }
            if !snapshot.serves_any_route() {
                return Err(Unready::NoAddress);
            }
        }
        data.names_settled = true;
        Ok(())
    }

    fn phase_is_before_draining(&self) -> bool {
        self.phase() < Phase::Draining
    }
}

impl std::fmt::Display for Unready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stopping => f.write_str("the proxy is stopping"),
            Self::WorkerLost => f.write_str("a worker has ended"),
            Self::NameAwaited(name) => write!(f, "the name {name} has no address yet"),
            Self::NoAddress => f.write_str("no route has an upstream with an address"),
            Self::WorkerStuck(worker) => write!(f, "worker {worker} has not run for {} s", HEARTBEAT_AGE_MAX.as_secs()),
        }
    }
}
