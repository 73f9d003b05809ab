//! A guard that has tripped.

use serde_json::Value;

use crate::route::GuardAct;

/// A guard that has tripped.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardTrip {
    /// The index of the variant.
    pub arm: usize,
    /// The name of the guard.
    pub guard: String,
    /// The route, where the guard judges each route on its own, or where a run of failures was.
    pub route: Option<String>,
    /// What follows.
    pub act: GuardAct,
    /// What it saw, in one sentence.
    pub sentence: String,
    /// The counts by which [`replay`](super::replay) decides again, with the revision and the sentence.
    pub evidence: Value,
}
