//! A rollback that was rehearsed on live traffic, as it was measured.

use std::sync::Arc;
use std::time::Duration;

use crate::journal::{Actor, Record};

/// A rollback that was rehearsed, as it was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct RehearsedRollback {
    /// Who has rehearsed it.
    pub who: Actor,
    /// Why.
    pub reason: String,
    /// The record of the rollback.
    pub rollback: Arc<Record>,
    /// The time until no worker sends a request to the canary any more; `None` when that took too long.
    pub in_force: Option<Duration>,
    /// The time until the last request to the canary ended; zero when none ended after the trip.
    pub last_request: Duration,
    /// How many requests to the canary ended after the trip.
    pub requests_after: u64,
    /// Requests to the canary that had not ended when the measurement was over.
    pub still_open: u64,
    /// The time until the record of the rollback was on the disk; `None` when it is not.
    pub durable: Option<Duration>,
}
