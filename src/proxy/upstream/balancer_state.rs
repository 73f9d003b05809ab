//! The state of the balancers of an upstream between requests.

use std::cell::Cell;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::route::Balance;
use crate::snapshot::EndpointState;

/// The state of the balancers of an upstream.
pub(crate) struct BalancerState {
    /// Smooth weighted round robin: the current weight of each endpoint.
    pub(crate) current: Box<[Cell<i64>]>,
    /// Cumulative weights, for weighted random choices.
    pub(super) cumulative: Box<[u32]>,
    /// Rendezvous seeds; empty unless the balancer is `hash`.
    pub(super) seeds: Box<[u64]>,
}

impl BalancerState {
    /// The initial state for these endpoints.
    pub(crate) fn new(endpoints: &[Arc<EndpointState>], balance: Balance) -> Self {
        let mut sum = 0_u32;
        let cumulative: Box<[u32]> = endpoints
            .iter()
            .map(|endpoint| {
                sum = sum.saturating_add(endpoint.weight.max(1));
                sum
            })
            .collect();
        debug_assert!(cumulative.is_sorted(), "weights are at least 1");
        let seed = |endpoint: &Arc<EndpointState>| xxh3_64(endpoint.address.to_string().as_bytes());
        let seeds = if balance == Balance::Hash { endpoints.iter().map(seed).collect() } else { Box::default() };
        Self { current: endpoints.iter().map(|_| Cell::new(0)).collect(), cumulative, seeds }
    }
}
