//! The data that families are built from.

use std::time::{Duration, Instant};

use crate::telemetry::{
    CountedFamilies, ListenerMeter, MeterRegistry, PerWorker, ShadowSeries, UpstreamSeries, VariantSeries,
};

/// What a scrape tells besides the registry's own meters.
#[derive(Debug)]
pub struct Scrape<'a> {
    /// The process's meters.
    pub registry: &'a MeterRegistry,
    /// The time.
    pub now: Instant,
    /// The series of all routes, in any order.
    pub variants: Vec<WeightedSeries<'a>>,
    /// The samples of routes with more than one variant, in any order.
    pub samples: Vec<RouteShares<'a>>,
    /// The upstreams.
    pub upstreams: Vec<UpstreamFigures<'a>>,
    /// The shadows of routes, with the share that the file gives each, 0 to 1.
    pub shadows: Vec<(&'a ShadowSeries, f64)>,
    /// What comparing answers has shown, of the routes where any were compared.
    pub findings: Vec<ComparisonFigures>,
    /// The listeners.
    pub listeners: Vec<(&'a str, &'a PerWorker<ListenerMeter>)>,
    /// The certificates that listeners serve.
    pub certificates: Vec<CertificateFigures>,
    /// The generation in use.
    pub generation: u64,
    /// Spans by outcome.
    pub spans: [(&'static str, u64); 3],
    /// What the control plane has counted.
    pub counted: CountedFamilies,
}

/// A series with the share that the file gives it.
#[derive(Clone, Copy, Debug)]
pub struct WeightedSeries<'a> {
    /// The series.
    pub series: &'a VariantSeries,
    /// The share, 0 to 1; none for local answers.
    pub weight: Option<f64>,
}

/// What comparing the answers of a route's copies has shown.
#[derive(Clone, Debug)]
pub struct ComparisonFigures {
    /// The route.
    pub route: String,
    /// The upstream that gets the copies.
    pub upstream: String,
    /// How many fields have each verdict.
    pub fields: [(&'static str, usize); 3],
    /// The rate of mismatches beyond the noise, 0 to 1; nothing where every control differs.
    pub mismatch: Option<f64>,
    /// The rate that it is below with 99 % confidence, 0 to 1.
    pub mismatch_upper: f64,
}

/// An upstream.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamFigures<'a> {
    /// Its meters.
    pub series: &'a UpstreamSeries,
    /// How many endpoints it has.
    pub endpoints: usize,
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
    /// Whether the shares are others than the weights promise; nothing where that is not checked.
    pub mismatch: Option<bool>,
    /// The evidence for that, as a power of ten.
    pub evidence_log10: f64,
}

/// What one variant got.
#[derive(Clone, Debug)]
pub struct VariantShare<'a> {
    /// Its name.
    pub variant: &'a str,
    /// The share of callers, or of requests on a route without sticky keys; 0 to 1.
    pub measured: Option<f64>,
    /// Distinct sticky keys, about.
    pub keys: Option<f64>,
}

/// A certificate that a listener serves.
#[derive(Clone, Debug)]
pub struct CertificateFigures {
    /// The listener.
    pub listener: String,
    /// Its first name.
    pub name: String,
    /// Seconds that it has left; negative when it has expired.
    pub seconds_left: i64,
    /// 1 when its file holds another one that is not good.
    pub stale: u8,
}
