//! The state: what the control plane knows and tells (`/status`, `/metrics`, readiness). The controller writes it,
//! anybody may read it; it is never on a request's way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::measure::Baselines;
use super::outcome::{ReloadCause, ReloadOutcome, kept_summary};
use super::resolver::{LookupResult, NO_ANSWER_YET, NameChange, NameState};
use crate::clock::Clock;
use crate::drain::Phase;
use crate::shadow_compare::Comparator;
use crate::snapshot::Snapshot;
use crate::telemetry::{self, ControlRecorder, MeterRegistry, SpanCounts};

/// A worker that has been silent for so long is stuck.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);

/// What the control plane knows.
pub struct ControlState {
    /// The clock.
    pub clock: Clock,
    /// When the process started, by the wall clock.
    pub started_at: Duration,
    /// Where metrics come from.
    pub counts: Counts,
    /// Compares what copies were answered.
    pub comparator: Arc<Comparator>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    data: Mutex<MutableState>,
}

/// Sources of metrics.
pub struct Counts {
    /// Meters of the workers.
    pub registry: Arc<MeterRegistry>,
    /// Span counters.
    pub spans: Arc<SpanCounts>,
    /// Control-plane recorder.
    pub recorder: Arc<ControlRecorder>,
}

/// What changes.
#[derive(Clone, Default)]
pub struct MutableState {
    /// How far a stop has come.
    pub phase: Option<Phase>,
    /// The last reload, the start included.
    pub last: Option<LastReload>,
    /// The last reload that changed anything; none since the start.
    pub changed: Option<LastReload>,
    /// When the configuration in use was applied, by the wall clock.
    pub applied_at: Duration,
    /// The hash of the configuration in use.
    pub hash: String,
    /// The routes file; nothing where the routes come from the command line.
    pub file: Option<PathBuf>,
    /// What the names resolved to.
    pub names: BTreeMap<String, NameState>,
    /// Readiness does not depend on names any more: they were waited for, or the process before this one was ready.
    pub names_settled: bool,
    /// Where the measured shares begin.
    pub baselines: Baselines,
    /// Where the admin listener is bound.
    pub admin: Vec<SocketAddr>,
    /// Why the last hand-over failed, while this process continued to serve.
    pub hand_over_failure: Option<String>,
    /// Whether workers have ended that should not have.
    pub workers_lost: usize,
}

/// The last reload.
#[derive(Clone, Debug)]
pub struct LastReload {
    /// Why the files were read.
    pub cause: ReloadCause,
    /// What became of it.
    pub outcome: ReloadOutcome,
    /// When it ended, by the wall clock.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
}

/// Why the proxy should get no traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unready {
    /// It is stopping.
    Stopping,
    /// A worker has ended.
    WorkerLost,
    /// A worker is stuck.
    WorkerStuck(usize),
    /// At the start: a name has no address yet, and is still waited for.
    NameAwaited(String),
    /// At the start: no route has an address to send requests to.
    NoAddress,
}

impl ControlState {
    /// An empty state.
    #[must_use]
    pub fn new(
        clock: Clock,
        counts: Counts,
        snapshots: watch::Receiver<Arc<Snapshot>>,
        comparator: Arc<Comparator>,
    ) -> Self {
        let (started_at, data) = (clock.wall(), Mutex::default());
        Self { clock, started_at, counts, comparator, snapshots, data }
    }

    /// The snapshot now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// What changes. Held for a look or an entry only.
    pub fn lock(&self) -> MutexGuard<'_, MutableState> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since the start.
    #[must_use]
    pub fn uptime(&self, now: Instant) -> Duration {
        now.duration_since(self.counts.registry.started)
    }

    /// How far a stop has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.lock().phase.unwrap_or(Phase::Running)
    }

    /// Notes the first answers of the names that are wanted and were not known.
    pub fn record_first_answers(&self, wanted: &BTreeSet<String>, answers: &BTreeMap<String, LookupResult>) {
        let new: Vec<&String> = wanted.iter().filter(|name| !self.lock().names.contains_key(*name)).collect();
        for name in new {
            let late = Err(NO_ANSWER_YET.to_owned());
            self.record_lookup(name, answers.get(name).unwrap_or(&late));
        }
    }

    /// Notes the result of a lookup, logs it where it is change, and returns whether the addresses changed.
    pub fn record_lookup(&self, name: &str, answered: &LookupResult) -> bool {
        telemetry::control::count_lookup(&self.counts.recorder, name, answered);
        let change = self.lock().names.entry(name.to_owned()).or_default().note(answered);
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

    /// The addresses of a name, as a plain list for the log.
    pub(super) fn address_list(&self, name: &str) -> String {
        self.lock().names.get(name).map(NameState::address_list).unwrap_or_default()
    }

    /// The last good answers.
    #[must_use]
    pub fn addresses(&self) -> HashMap<String, Vec<std::net::IpAddr>> {
        self.lock().names.iter().map(|(name, resolution)| (name.clone(), resolution.addresses.clone())).collect()
    }

    /// Enters a reload, here and in the log.
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

    /// The worker that has been silent for the longest, when that is too long. A worker that drains gives heartbeats
    /// until it ends; one that has ended is not waited for.
    #[must_use]
    pub fn stuck_worker(&self) -> Option<(usize, Duration)> {
        let now = self.clock.now();
        let silences = (0..self.counts.registry.workers)
            .filter_map(|worker| Some((worker, self.counts.registry.silence(worker, now)?)));
        silences.filter(|(_, silence)| *silence > SILENCE_MAX).max_by_key(|(_, silence)| *silence)
    }

    /// Whether the process works.
    ///
    /// # Errors
    /// When a worker has ended or is stuck: only a restart helps.
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

    /// Whether the proxy should get traffic.
    ///
    /// # Errors
    /// When it should not.
    pub fn ready(&self) -> Result<(), Unready> {
        if self.phase() > Phase::Running {
            return Err(Unready::Stopping);
        }
        self.healthy()?;
        self.check_names()
    }

    /// Whether the names of the first configuration were waited for: all of them have addresses, or `dns.start_patience`
    /// has passed and some route can be served. One name that has no address does not keep all routes from being served.
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
            Self::WorkerStuck(worker) => write!(f, "worker {worker} has not run for {} s", SILENCE_MAX.as_secs()),
        }
    }
}
