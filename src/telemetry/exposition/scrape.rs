//! The data of a scrape.

use std::time::{Duration, Instant};

use crate::telemetry::{
    CountedFamilies, ListenerMeter, MeterRegistry, PerWorker, ShadowSeries, UpstreamSeries, VariantSeries,
};

/// The data of a scrape, in addition to the registry's own meters.
#[derive(Debug)]
pub struct Scrape<'a> {
    /// The meters of the process.
    pub registry: &'a MeterRegistry,
    /// The time.
    pub now: Instant,
    /// The series of all routes, in any order.
    pub variants: Vec<WeightedSeries<'a>>,
    /// The samples of routes with more than one variant, in any order.
    pub samples: Vec<RouteShares<'a>>,
    /// The releases that guards watch, in any order.
    pub releases: Vec<ReleaseFigures>,
    /// The rollouts, in any order.
    pub rollouts: Vec<RolloutFigures>,
    /// The receivers of notifications, in any order.
    pub receivers: Vec<ReceiverFigures>,
    /// The upstreams.
    pub upstreams: Vec<UpstreamFigures<'a>>,
    /// The rate limits, in any order.
    pub limits: Vec<LimitFigures>,
    /// What routes refuse by access rules and under load, in any order.
    pub refusals: Vec<RouteRefusals>,
    /// The shadows of routes, with the configured share of each, 0 to 1.
    pub shadows: Vec<(&'a ShadowSeries, f64)>,
    /// The results of comparisons, for the routes that have any.
    pub findings: Vec<ComparisonFigures>,
    /// The listeners.
    pub listeners: Vec<(&'a str, &'a PerWorker<ListenerMeter>)>,
    /// The certificates that listeners serve.
    pub certificates: Vec<CertificateFigures>,
    /// The current generation.
    pub generation: u64,
    /// Spans by outcome.
    pub spans: [(&'static str, u64); 3],
    /// The metrics that the control plane has counted.
    pub counted: CountedFamilies,
}

/// A series with its configured share.
#[derive(Clone, Copy, Debug)]
pub struct WeightedSeries<'a> {
    /// The series.
    pub series: &'a VariantSeries,
    /// The share, 0 to 1; `None` for local responses.
    pub weight: Option<f64>,
}

/// The results of comparing the copies of a route.
#[derive(Clone, Debug)]
pub struct ComparisonFigures {
    /// The route.
    pub route: String,
    /// The upstream that gets the copies.
    pub upstream: String,
    /// The number of fields by verdict.
    pub fields: [(&'static str, usize); 3],
    /// The rate of mismatches beyond the noise, 0 to 1; `None` when every control differs.
    pub mismatch: Option<f64>,
    /// The upper bound of that rate with 99 % confidence, 0 to 1.
    pub mismatch_upper: f64,
}

/// An upstream.
#[derive(Clone, Debug)]
pub struct UpstreamFigures<'a> {
    /// Its meters.
    pub series: &'a UpstreamSeries,
    /// Number of endpoints.
    pub endpoints: usize,
    /// Which of them fail.
    pub health: HealthFigures,
}

/// The state of an upstream's endpoints.
#[derive(Clone, Debug, Default)]
pub struct HealthFigures {
    /// The number of endpoints by state.
    pub states: Vec<(&'static str, u64)>,
    /// The number of ejections by cause.
    pub ejections: Vec<(&'static str, u64)>,
    /// The number of ejected endpoints that were admitted again.
    pub admissions: u64,
    /// The part of the retry budget that is used, 0 to 1.
    pub budget_used: f64,
    /// The active checks; `None` where there are none.
    pub checks: Option<CheckFigures>,
}

/// The active checks of an upstream.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckFigures {
    /// Good ones.
    pub good: u64,
    /// Bad ones.
    pub bad: u64,
    /// By how many seconds the latest check began later than its interval says.
    pub late_seconds: f64,
}

/// A rate limit.
#[derive(Clone, Debug)]
pub struct LimitFigures {
    /// The route.
    pub route: String,
    /// Its name in the route.
    pub limit: String,
    /// Requests beyond it that were let through.
    pub dry_run: u64,
    /// Requests beyond it that were refused.
    pub refused: u64,
    /// Keys whose count is not over.
    pub keys: u64,
    /// Keys that were forgotten for others.
    pub evictions: u64,
}

/// What a route refuses.
#[derive(Clone, Debug)]
pub struct RouteRefusals {
    /// The route.
    pub route: String,
    /// Requests that an access rule answered; `None`: it has no such rule.
    pub denied: Option<u64>,
    /// Requests refused under load; `None`: its priority is not low.
    pub shed: Option<u64>,
}

/// The sample of one route.
#[derive(Clone, Debug)]
pub struct RouteShares<'a> {
    /// The route's name.
    pub route: &'a str,
    /// When its weights were last changed, since the Unix epoch.
    pub since: Duration,
    /// Its variants.
    pub variants: Vec<VariantShare<'a>>,
    /// Whether the shares differ from the weights; `None` when that is not checked.
    pub mismatch: Option<bool>,
    /// The evidence for a mismatch, as a power of ten.
    pub evidence_log10: f64,
}

/// The measured share of a variant.
#[derive(Clone, Debug)]
pub struct VariantShare<'a> {
    /// Its name.
    pub variant: &'a str,
    /// The share of callers, or of requests without sticky keys; 0 to 1.
    pub measured: Option<f64>,
    /// Estimated distinct sticky keys.
    pub keys: Option<f64>,
}

/// A certificate that a listener serves.
#[derive(Clone, Debug)]
pub struct CertificateFigures {
    /// The listener.
    pub listener: String,
    /// Its first name.
    pub name: String,
    /// Seconds until it expires; negative when it has expired.
    pub seconds_left: i64,
    /// 1 when its file has a newer, invalid certificate.
    pub stale: u8,
}

/// A release that guards watch.
#[derive(Clone, Debug)]
pub struct ReleaseFigures {
    /// The route.
    pub route: String,
    /// The variant.
    pub variant: String,
    /// Whether it has had an exposure, or a state to show. Series of others are left out.
    pub is_used: bool,
    /// Each state that a release may have, and whether it is the current one.
    pub states: Vec<(&'static str, bool)>,
    /// Its guards.
    pub guards: Vec<GuardFigures>,
}

/// A guard of a release.
#[derive(Clone, Debug)]
pub struct GuardFigures {
    /// Its name.
    pub guard: String,
    /// The decimal logarithm of its evidence.
    pub evidence_log10: f64,
    /// The decimal logarithm at which it trips.
    pub threshold_log10: f64,
    /// Each state that a guard may have, and whether it is the current one.
    pub states: Vec<(&'static str, bool)>,
}

/// A rollout.
#[derive(Clone, Debug)]
pub struct RolloutFigures {
    /// Its name.
    pub rollout: String,
    /// The weight that is set, 0 to 1.
    pub weight: f64,
    /// The measured share of the requests, 0 to 1; `None` before the first.
    pub weight_actual: Option<f64>,
    /// The name of the stage where it is.
    pub stage: String,
    /// The number of that stage, from 1; 0 when the plan has no such stage.
    pub stage_number: u64,
    /// Each state that a rollout may have, and whether it is the current one.
    pub states: Vec<(String, bool)>,
    /// Whether the last day of its plan is over.
    pub is_expired: bool,
    /// What may stand in its way, by kind, and whether it does.
    pub gates: Vec<(&'static str, bool)>,
}

/// A receiver of notifications.
#[derive(Clone, Debug)]
pub struct ReceiverFigures {
    /// Its name, without credentials.
    pub receiver: String,
    /// The messages that arrived, the tries that failed and the messages that were given up, since the process started.
    pub outcomes: [(&'static str, u64); 3],
    /// The messages that wait.
    pub pending: u64,
    /// The age of the oldest that waits, in seconds; 0 when none does.
    pub oldest_seconds: f64,
}
