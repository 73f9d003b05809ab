//! Prepare and commit: a loaded configuration takes effect in two steps. `prepare` does everything that can fail and
//! changes nothing in use; `commit` cannot fail, and publishes once. A rejected reload is one whose plan was not made,
//! or was dropped.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::admin::{OtherListener, PreparedAdmin};
use super::controller::Controller;
use super::files::{Rejection, writable};
use super::next_snapshot;
use super::outcome::ReloadOutcome;
use super::resolver::LookupResult;
use super::system::BindError;
use crate::config::Loaded;
use crate::route::{EffectiveConfig, Generation, summary};
use crate::snapshot::{Listener, ListeningSocket, Snapshot};
use crate::telemetry::PreparedExport;
use crate::telemetry::control::retain_names;

/// The summary of a reload whose files have other bytes and the same rules.
const NO_RULE_CHANGED: &str = "no rule changed (only comments, order, tests, or data files)";

/// The inputs of a commit. Dropping it closes what `prepare` bound; inherited sockets stay available. One effect may
/// remain: `prepare` creates a missing access log, empty, as its last step. The file stays when a hand-over completes
/// at that moment and the reload is held; the new process may have it open, so it is not removed.
pub(super) struct ReloadPlan {
    loaded: Loaded,
    /// The first lookup results of new names.
    answers: BTreeMap<String, LookupResult>,
    listeners: Arc<[Arc<Listener>]>,
    admin: PreparedAdmin,
    /// An error does not stop the reload: an edit, such as a kill, does not wait for telemetry.
    export: io::Result<PreparedExport>,
}

/// Why `prepare` failed.
pub(super) enum PrepareError {
    /// These addresses cannot be bound.
    Unbound(Vec<BindError>),
    /// The access log cannot be opened.
    Unwritable(Rejection),
}

impl PrepareError {
    /// Whether every error is an address in use, which the new process of a hand-over may have bound.
    pub(super) fn is_address_in_use(&self) -> bool {
        match self {
            Self::Unbound(errors) => errors.iter().all(|error| error.source.kind() == io::ErrorKind::AddrInUse),
            Self::Unwritable(_) => false,
        }
    }
}

impl From<PrepareError> for Rejection {
    fn from(unplanned: PrepareError) -> Self {
        match unplanned {
            PrepareError::Unbound(errors) => Self::unbound(&errors),
            PrepareError::Unwritable(rejection) => rejection,
        }
    }
}

impl Controller {
    /// Does everything that can fail: binds new addresses, sets up the span export, opens the access log.
    ///
    /// # Errors
    /// What failed. Nothing in use has changed then.
    pub(super) fn prepare(
        &self,
        loaded: Loaded,
        answers: BTreeMap<String, LookupResult>,
    ) -> Result<ReloadPlan, PrepareError> {
        let old = self.store.load();
        // A copy: `mark_used_sockets` records which sockets are in use after the commit.
        let mut inherited = self.succession.inherited.clone();
        let workers = self.state.counts.registry.workers;
        let specs = &loaded.rules.listeners;
        let listeners = next_snapshot::listeners(&old.listeners, specs, &loaded.tls, workers, &mut inherited);
        let admin = self.admin.prepare(&loaded.rules, loaded.admin_tls.as_ref(), &mut inherited);
        let (listeners, admin) = match (listeners, admin) {
            (Ok(listeners), Ok(admin)) => (listeners, admin),
            (listeners, admin) => {
                let mut errors = listeners.err().unwrap_or_default();
                errors.extend(admin.err().unwrap_or_default());
                return Err(PrepareError::Unbound(errors));
            }
        };
        debug_assert_eq!(listeners.len(), loaded.rules.listeners.len(), "one listener for each specification");
        debug_assert_eq!(loaded.overlay.routes(), loaded.rules.routes.len(), "an overlay of these rules");
        let export = self.traces.prepare(loaded.rules.traces.as_ref(), next_snapshot::collector_tls);
        // Last, because opening the log creates a missing file.
        if loaded.rules.access_log.sink != old.rules.access_log.sink {
            writable(&loaded.rules.access_log.sink).map_err(PrepareError::Unwritable)?;
        }
        Ok(ReloadPlan { loaded, answers, listeners, admin, export })
    }

    /// What changes, in lines. Rollouts are compared where they stand, not at their first stage.
    fn summary_of(&self, old: &Snapshot, loaded: &Loaded) -> Vec<String> {
        let foresight = self.release.foresight();
        let before = self.release.rollouts.over(self.release.kills.file_overlay(), &old.rules);
        let after = foresight.with_rollouts(&loaded.rules, &loaded.overlay);
        let running = EffectiveConfig { rules: &old.rules, overlay: &before };
        summary(running, EffectiveConfig { rules: &loaded.rules, overlay: &after })
    }

    /// Carries over what did not change, publishes the next generation, and closes what it does not use.
    pub(super) fn commit(&mut self, plan: ReloadPlan) -> ReloadOutcome {
        let ReloadPlan { loaded, answers, listeners, admin, export } = plan;
        let old = self.store.load();
        self.kept.warned.log(&loaded.warnings);
        // The log writer opens the file again. If the folder was removed since `prepare`, the writer counts the lost
        // lines and retries.
        self.log.set_sink(loaded.rules.access_log.sink.clone());
        self.traces.adopt(export.unwrap_or_else(|error| {
            tracing::error!(%error, "spans cannot be exported");
            PreparedExport::default()
        }));
        let wanted = next_snapshot::names_to_resolve(&loaded.rules);
        self.names.follow(&wanted, &answers, loaded.rules.dns.max_ttl);
        self.state.record_first_answers(&wanted, &answers);
        let generation = Generation(old.generation.0 + 1);
        let mut summary = self.summary_of(&old, &loaded);
        summary.extend(next_snapshot::certificate_changes(&old.listeners, &listeners));
        summary.extend(self.release.latched_words(&loaded.rules));
        if summary.is_empty() {
            summary.push(NO_RULE_CHANGED.to_owned());
        }
        self.kept.last_good = Arc::new(loaded.in_use);
        self.release.kills.follow_file(loaded.overlay, loaded.kills);
        // Kills by people stay, whatever the file says, and so do latches.
        self.release.latches.keep_holds_of(&loaded.rules);
        self.follow_rollouts(&loaded.rules);
        let overlay = self.release.overlay(&loaded.rules);
        let addresses = self.state.addresses();
        let next = next_snapshot::build(
            Some(&old),
            next_snapshot::SnapshotInputs {
                generation,
                rules: Arc::new(loaded.rules),
                overlay,
                listeners,
                identity_providers: loaded.identity_providers,
                addresses: &addresses,
                registry: &self.state.counts.registry,
                now: self.state.clock.wall(),
                uptime_ms: self.state.uptime_ms(),
            },
        );
        retain_names(&self.state.counts.recorder, &wanted);
        let admin = self.admin.adopt(admin);
        {
            let mut data = self.state.lock();
            data.hash = loaded.hash;
            data.base_hash = loaded.base_hash;
            data.files = loaded.watched;
            data.applied = Arc::new(loaded.applied);
            data.names.retain(|name, _| wanted.contains(name));
            data.baselines.follow(old.effective(), next.effective(), &next.routes);
            data.admin = admin;
        }
        let kept = |socket: &Arc<ListeningSocket>| next.listeners.iter().any(|one| Arc::ptr_eq(&one.socket, socket));
        let gone = old.listeners.iter().map(|one| Arc::clone(&one.socket)).filter(|socket| !kept(socket)).collect();
        self.publish_generation(next);
        self.note_published();
        self.follow_receivers();
        // A new revision stands before its first stage: the journal says so at once.
        self.step_rollouts();
        self.show_release();
        self.admin.open_socket(OtherListener::Keep);
        self.mark_used_sockets();
        self.succession.inherited.log_unused();
        self.close_soon(gone);
        ReloadOutcome::Applied { generation, summary }
    }
}
