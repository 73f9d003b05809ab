//! Carries the counts of rate limits over, by route, `per` and name.

use std::sync::Arc;

use super::previous::Previous;
use crate::limiter::{RateMemory, RatePace, RateScope, RateTable};
use crate::route::{RateKey, RateLimit, Route};
use crate::snapshot::{LimitState, RouteState};
use crate::telemetry::PerWorker;

/// The inputs for new limits.
pub(super) struct LimitInputs {
    memory: Arc<RateMemory>,
    workers: usize,
    now_ns: u64,
}

impl LimitInputs {
    /// The inputs for limits beside those of the last snapshot: all tables share one memory.
    pub(super) fn new(old: &[Arc<RouteState>], workers: usize, now_ns: u64) -> Self {
        let known = old.iter().flat_map(|route| &route.limits).next();
        Self { memory: known.map(|limit| Arc::clone(limit.table.memory())).unwrap_or_default(), workers, now_ns }
    }
}

/// The states of the limits of a route: the same `Arc` where nothing has changed.
pub(super) fn limit_states(
    old: Previous<'_, Route, RouteState>,
    route: &Route,
    inputs: &LimitInputs,
) -> Box<[Arc<LimitState>]> {
    let carried = |limit: &RateLimit| {
        let (spec, state) = old?;
        let same = |old: &RateLimit| old.name == limit.name && old.per == limit.per;
        state.limits.get(spec.rate_limits.iter().position(same)?)
    };
    let one = |limit: &RateLimit| {
        let pace = RatePace::new(limit.rate, limit.burst);
        match carried(limit) {
            Some(old) if old.pace == pace => Arc::clone(old),
            Some(old) => {
                old.table.follow(&pace, inputs.now_ns);
                Arc::new(LimitState { pace, table: Arc::clone(&old.table), meters: Arc::clone(&old.meters) })
            }
            None => {
                let scope = if limit.per == RateKey::Route { RateScope::Whole } else { RateScope::ByKey };
                let table = Arc::new(RateTable::new(scope, fastrand::u64(..), &inputs.memory));
                Arc::new(LimitState { pace, table, meters: Arc::new(PerWorker::new(inputs.workers)) })
            }
        }
    };
    route.rate_limits.iter().map(one).collect()
}
