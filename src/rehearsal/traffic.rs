//! The requests that a release is rehearsed with.

use std::time::Duration;

/// The requests that a release is rehearsed with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolloutTraffic {
    /// One for each route of the rollout, in the order of its members.
    pub routes: Vec<RouteTraffic>,
}

/// The requests of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteTraffic {
    /// The name of the route.
    pub route: String,
    /// Requests a second.
    pub rate: f64,
    /// Distinct callers in an hour.
    pub callers: u64,
    /// The part of stable's requests that count as errors, 0 to 1.
    pub errors: f64,
    /// The time to the head of a response of stable that one request in a hundred exceeds.
    pub p99: Option<Duration>,
}
