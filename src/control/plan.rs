//! Prepare and commit: what was loaded takes effect in two steps. `prepare` does all that can fail and changes nothing
//! that is in use; `commit` cannot fail, and publishes once. A rejected reload is one whose plan was never made, or was dropped.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::admin::Prepared;
use super::carry;
use super::controller::Controller;
use super::files::{Rejection, warn, writable};
use super::net::Answered;
use super::outcome::Outcome;
use super::system::BindError;
use crate::config::Loaded;
use crate::route::{Generation, summary};
use crate::snapshot::{Listener, ListeningSocket};
use crate::telemetry::PreparedExport;
use crate::telemetry::control::keep_names;

/// The summary of a reload whose files have other bytes and the same meaning.
const NO_RULE_CHANGED: &str = "no rule: comments, order, tests, or what a file of keys, tokens or countries holds";

/// All that a commit needs. Dropped, it closes what it bound, and sockets that somebody else has bound for this process
/// are still there to be taken. One thing may stay: an access log that did not exist is made, empty, before the plan is
/// whole. It stays if a hand-over reaches its end at that moment and the reload is held; the new process may have the
/// file open, so it is not removed.
pub(super) struct Plan {
    loaded: Loaded,
    /// The first answers of names that are new.
    answers: BTreeMap<String, Answered>,
    listeners: Arc<[Arc<Listener>]>,
    admin: Prepared,
    /// An error is no obstacle: an edit, such as a kill, does not wait for telemetry.
    export: io::Result<PreparedExport>,
}

/// Why there is no plan.
pub(super) enum Unplanned {
    /// These addresses cannot be bound.
    Unbound(Vec<BindError>),
    /// The access log cannot be opened.
    Unwritable(Rejection),
}

impl Unplanned {
    /// Whether every obstacle is an address in use, which the new process of a hand-over may have bound.
    pub(super) fn is_address_in_use(&self) -> bool {
        match self {
            Self::Unbound(errors) => errors.iter().all(|error| error.source.kind() == io::ErrorKind::AddrInUse),
            Self::Unwritable(_) => false,
        }
    }
}

impl From<Unplanned> for Rejection {
    fn from(unplanned: Unplanned) -> Self {
        match unplanned {
            Unplanned::Unbound(errors) => Self::unbound(&errors),
            Unplanned::Unwritable(rejection) => rejection,
        }
    }
}

impl Controller {
    /// Does all that can fail: binds what is new, sets up the export of spans, opens the access log.
    ///
    /// # Errors
    /// What cannot be done. Then everything is as it was.
    pub(super) fn prepare(&self, loaded: Loaded, answers: BTreeMap<String, Answered>) -> Result<Plan, Unplanned> {
        let old = self.store.load();
        // A copy: which sockets are taken is noted when they are in use.
        let mut inherited = self.succession.inherited.clone();
        let wanted = (&*loaded.rules.listeners, &*loaded.tls);
        let listeners = carry::listeners(&old.listeners, wanted, self.ledger.counts.registry.workers, &mut inherited);
        let admin = self.admin.prepare(&loaded.rules.admin, &mut inherited);
        let (listeners, admin) = match (listeners, admin) {
            (Ok(listeners), Ok(admin)) => (listeners, admin),
            (listeners, admin) => {
                let mut errors = listeners.err().unwrap_or_default();
                errors.extend(admin.err().unwrap_or_default());
                return Err(Unplanned::Unbound(errors));
            }
        };
        let export = self.traces.prepare(loaded.rules.traces.as_ref(), carry::collector);
        // Last: where there is no file yet, opening the log makes one.
        if loaded.rules.access_log.sink != old.rules.access_log.sink {
            writable(&loaded.rules.access_log.sink).map_err(Unplanned::Unwritable)?;
        }
        Ok(Plan { loaded, answers, listeners, admin, export })
    }

    /// Carries over what did not change, publishes the next generation, and lets go of what it does not use.
    pub(super) fn commit(&mut self, plan: Plan) -> Outcome {
        let Plan { loaded, answers, listeners, admin, export } = plan;
        let old = self.store.load();
        warn(&loaded.warnings);
        // The writer opens the file again. If the folder has gone since `prepare`, it counts the lines lost and tries again.
        self.log.set_sink(loaded.rules.access_log.sink.clone());
        self.traces.adopt(export.unwrap_or_else(|error| {
            tracing::error!(%error, "spans cannot be exported");
            PreparedExport::default()
        }));
        let wanted = carry::names(&loaded.rules);
        self.names.keep(&wanted, &answers, loaded.rules.dns.max_ttl);
        self.ledger.first_answers(&wanted, &answers);
        let generation = Generation(old.generation.0 + 1);
        let mut summary = summary(old.effective(), loaded.effective());
        summary.extend(carry::certificate_changes(&old.listeners, &listeners));
        if summary.is_empty() {
            summary.push(NO_RULE_CHANGED.to_owned());
        }
        self.last_good = Arc::new(loaded.in_use);
        let addresses = self.ledger.addresses();
        let next = carry::snapshot(
            Some(&old),
            carry::Parts {
                generation,
                rules: Arc::new(loaded.rules),
                overlay: loaded.overlay,
                listeners,
                identity_providers: loaded.identity_providers,
                addresses: &addresses,
                registry: &self.ledger.counts.registry,
                now: self.ledger.clock.wall(),
            },
        );
        keep_names(&self.ledger.counts.recorder, &wanted);
        {
            let mut pages = self.ledger.pages();
            pages.hash = loaded.hash;
            pages.names.retain(|name, _| wanted.contains(name));
            pages.baselines.follow(old.effective(), next.effective(), &next.routes);
            pages.admin = self.admin.adopt(admin);
        }
        let kept = |socket: &Arc<ListeningSocket>| next.listeners.iter().any(|one| Arc::ptr_eq(&one.socket, socket));
        let gone = old.listeners.iter().map(|one| Arc::clone(&one.socket)).filter(|socket| !kept(socket)).collect();
        self.publish_generation(next);
        self.note_sockets();
        self.succession.inherited.tell_unused();
        self.close_soon(gone);
        Outcome::Applied { generation, summary }
    }
}
