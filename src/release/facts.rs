//! What the control plane knows at a tick, beside exposures and events.

use std::time::Duration;

use crate::stats::{Failures, SlotNumber, WindowNumber};

/// One variant of a route, stable included.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmFacts {
    /// The name of the variant.
    pub name: String,
    /// `upstream=revision`; without a revision the upstream alone.
    pub revision: String,
    /// The share of the callers that the weights give it, 0 to 1; 0 while it is stopped.
    pub share: f64,
    /// A rollout moves its share: thresholds are taken when it enters a stage, not with each step of a ramp.
    pub by_rollout: bool,
}

/// What the control plane has read at a tick.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TickFacts {
    /// The time, in milliseconds since the process started.
    pub now_ms: u64,
    /// By route: stable's judged first tries since the watch began, and those of them that failed.
    pub stable: Vec<Failures>,
    /// By route, then by variant: the run of failures; that of stable is empty.
    pub runs: Vec<RunFacts>,
    /// By route, then by signal: stable's quantile over the time that the signal's threshold asks for, with the number of
    /// times that it is taken from; `None` for signals without one.
    pub stable_quantiles: Vec<Option<StableQuantile>>,
    /// Events that were lost, since the process started.
    pub events_lost: u64,
    /// The tables of the watch found no memory.
    pub is_starved: bool,
}

/// A quantile of stable's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StableQuantile {
    /// Its value.
    pub value: Duration,
    /// The number of times.
    pub answers: u64,
}

/// A run of failures of a variant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFacts {
    /// Another number: it began anew.
    pub number: u32,
    /// The number of failures.
    pub length: u32,
    /// A part of the key of each, at most the last 64.
    pub keys: Vec<u32>,
}

/// The slot that opens now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Its window.
    pub window: WindowNumber,
    /// Its number.
    pub slot: SlotNumber,
}
