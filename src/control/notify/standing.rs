//! How the receivers of notifications stand, for output.

use std::sync::{Arc, Mutex, PoisonError};

/// How a receiver stands. The metrics are made of it: nothing else counts notifications.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReceiverStanding {
    /// Its name: kind and host.
    pub name: String,
    /// `webhook`, `slack` or `alertmanager`.
    pub kind: &'static str,
    /// It gets every message; else those of `rollouts`.
    pub is_for_all: bool,
    /// The rollouts that name it.
    pub rollouts: Vec<String>,
    /// The messages that wait.
    pub pending: u64,
    /// Of when the oldest that waits is: RFC 3339.
    pub oldest: Option<String>,
    /// When the next try is, in milliseconds since the Unix epoch; `None` when nothing waits, or one is under way.
    pub next_try_ms: Option<u64>,
    /// The messages that arrived since the process started.
    pub sent: u64,
    /// The tries that failed since the process started.
    pub failed: u64,
    /// The messages that were given up since the process started: they waited for a day, were refused, or were too many.
    pub dropped: u64,
    /// When one arrived last: RFC 3339.
    pub last_sent: Option<String>,
    /// Why the last try failed, in one line without credentials; `None` since one arrived.
    pub error: Option<String>,
    /// The alerts that are active at an Alertmanager.
    pub alerts: u64,
}

/// How the receivers stand, as the admin listener and the metrics read it.
#[derive(Debug, Default)]
pub struct NotifyView(Mutex<Arc<Vec<ReceiverStanding>>>);

impl NotifyView {
    /// How they stand now.
    #[must_use]
    pub fn receivers(&self) -> Arc<Vec<ReceiverStanding>> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The controller sets it.
    pub(in crate::control) fn set(&self, receivers: Vec<ReceiverStanding>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(receivers);
    }
}
