//! The state of a route and of its rate limits.

use std::sync::Arc;

use crate::limiter::{RatePace, RateTable};
use crate::route::Needs;
use crate::telemetry::{
    Counter, ExposedCallers, GuardWatch, LimitMeter, PerWorker, RefusalMeter, Sample, ShadowSeries, VariantSeries,
};

/// The state of a route; carried over while a route of this name exists.
#[derive(Debug)]
pub struct RouteState {
    /// The series of each variant; one for a redirect or a fixed response.
    pub series: Box<[Arc<VariantSeries>]>,
    /// The random sample of the weights' decisions, until an overlay renews it ([`RouteStates::sample`](super::RouteStates::sample)); `None` for a route with
    /// one variant.
    pub sample: Option<Arc<Sample>>,
    /// What its guards count; `None` when none watches.
    pub watch: Option<Arc<GuardWatch>>,
    /// The distinct callers that the canaries of its rollout got; `None` without a rollout.
    pub exposed: Option<Arc<ExposedCallers>>,
    /// The series of its shadow, if it has one.
    pub shadow: Option<Arc<ShadowSeries>>,
    /// Its rate limits, in the order of its specification.
    pub limits: Box<[Arc<LimitState>]>,
    /// What it refuses by access rules, and under load.
    pub refusals: Arc<PerWorker<RefusalMeter>>,
    /// The facts about callers that its rules need.
    pub needs: Needs,
}

/// The state of a rate limit. The counts and meters are carried over while its route, `per` and name are the same.
#[derive(Debug)]
pub struct LimitState {
    /// Its rate and burst.
    pub pace: RatePace,
    /// Its counts.
    pub table: Arc<RateTable>,
    /// What it refused.
    pub meters: Arc<PerWorker<LimitMeter>>,
}

/// The figures of a rate limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitCounts {
    /// Requests that were refused.
    pub refused: u64,
    /// Requests beyond the limit that were let through: `dry_run`.
    pub dry_run: u64,
    /// Keys that have a place, also those that have used nothing for long.
    pub keys: usize,
    /// Keys that lost their counts to others.
    pub evicted: u64,
}

impl LimitState {
    /// The figures now. Reads no table: each scrape asks.
    #[must_use]
    pub fn counts(&self) -> LimitCounts {
        let sum = |of: fn(&LimitMeter) -> &Counter| self.meters.used().map(|meter| of(meter).value()).sum();
        LimitCounts {
            refused: sum(|meter| &meter.refused),
            dry_run: sum(|meter| &meter.dry_run),
            keys: self.table.places(),
            evicted: self.table.evicted(),
        }
    }
}

impl RouteState {
    /// How many of its requests were refused under load.
    #[must_use]
    pub fn shed_requests(&self) -> u64 {
        self.refusals.used().map(|meter| meter.shed.value()).sum()
    }

    /// How many of its requests an access rule answered.
    #[must_use]
    pub fn denied_requests(&self) -> u64 {
        self.refusals.used().map(|meter| meter.denied.value()).sum()
    }
}
