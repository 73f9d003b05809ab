//! The controller: one task, the only publisher of snapshots. Everything that happens to the proxy reaches it as an
//! [`Event`] through one channel, so that nothing races: it handles reloads, DNS answers and signals one after the
//! other. Long work (reading files, waiting for workers) runs elsewhere and comes back as an event. This file has the
//! loop; each group of events has a file of handlers; `publish.rs` publishes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::admin::push_last;
use super::event::Event;
use super::files::{ConfigLoader, KeptOfFiles, PendingReload, Watcher};
use super::hand_over::Succession;
use super::health::Probes;
use super::release::Release;
use super::resolver::{Resolve, WatchedNames};
use super::retired::RetiredSnapshots;
use super::state::ControlState;
use super::system::{Shutdown, Stopped, SystemdNotify};
use crate::drain::{Drain, Phase};
use crate::snapshot::{ListeningSocket, SnapshotStore};
use crate::telemetry::exposition::FigurePusher;
use crate::telemetry::{LogWriter, TraceExporter, WorkerMeter};

/// How long workers may take to record the requests that were cut, before the access log is closed.
const LAST_RECORDS_TIMEOUT: Duration = Duration::from_millis(100);

/// How long notifications that are under way at the end may take: those that have not arrived are sent after the next start.
const LAST_MESSAGES_TIMEOUT: Duration = Duration::from_secs(1);

/// The controller and its state.
pub struct Controller {
    pub(super) state: Arc<ControlState>,
    pub(super) store: SnapshotStore,
    pub(super) log: LogWriter,
    pub(super) traces: TraceExporter,
    /// Set when the embedding program supplied a metrics recorder.
    pub(super) pusher: Option<Arc<FigurePusher>>,
    pub(super) drain: Drain,
    pub(super) sender: mpsc::Sender<Event>,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) load: ConfigLoader,
    /// What is kept of the files that are in effect.
    pub(super) kept: KeptOfFiles,
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) names: WatchedNames,
    pub(super) watcher: Watcher,
    pub(super) admin: super::admin::AdminListener,
    pub(super) shutdown: Shutdown,
    pub(super) reloading: Option<PendingReload>,
    pub(super) next_reload: Option<PendingReload>,
    pub(super) worker_stuck: bool,
    /// The time at which a certificate became valid and the files were reloaded for it.
    pub(super) reread_for: Option<Duration>,
    pub(super) retired: RetiredSnapshots,
    pub(super) closing: Vec<Arc<ListeningSocket>>,
    pub(super) succession: Succession,
    pub(super) release: Release,
    pub(super) probes: Probes,
    pub(super) notify: SystemdNotify,
}

impl Controller {
    /// Handles events until the proxy has stopped.
    pub async fn run(mut self) -> Stopped {
        let stopped = loop {
            let draining = self.shutdown.phase() >= Phase::Draining;
            tokio::select! {
                biased;
                event = self.events.recv() => {
                    // The controller owns a sender, so `recv` never returns `None`.
                    if let Some(stopped) = event.and_then(|event| self.handle(event)) {
                        break stopped;
                    }
                }
                () = self.drain.finished(), if draining => break self.shutdown.finished(),
            }
        };
        self.advance_phase(Phase::Forced);
        if stopped == Stopped::AtOnce {
            // The requests that were cut are still to be recorded.
            let _ = tokio::time::timeout(LAST_RECORDS_TIMEOUT, self.drain.finished()).await;
        }
        self.finish_notifications(if stopped == Stopped::AtOnce {
            LAST_RECORDS_TIMEOUT
        } else {
            LAST_MESSAGES_TIMEOUT
        })
        .await;
        self.save_evidence();
        self.release.ledger.stop(Duration::from_secs(2));
        self.log.stop(self.state.clock, Duration::from_secs(2));
        self.traces.stop(Duration::from_secs(2));
        if let Some(pusher) = &self.pusher {
            push_last(pusher, &self.state).await;
        }
        let sum = |of: fn(&WorkerMeter) -> u64| self.state.counts.registry.worker.used().map(of).sum();
        let cut = sum(|meter| meter.forced.value());
        let upgrades = sum(|meter| meter.forced_upgrades.value());
        self.shutdown.log_end(self.state.clock.now(), cut, upgrades);
        stopped
    }

    fn handle(&mut self, event: Event) -> Option<Stopped> {
        match event {
            Event::Files(event) => self.handle_files(event),
            Event::Resolver(event) => self.handle_resolver(event),
            Event::Release(event) => self.handle_release(event),
            Event::Health(event) => self.handle_health(event),
            Event::Notify(event) => self.handle_notify(event),
            Event::Process(event) => return self.handle_process(event),
        }
        None
    }
}
