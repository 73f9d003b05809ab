//! The metrics of random samples: whom the weights sent where, and whether that is what they promise.

use std::time::Duration;

use super::Scrape;
use crate::telemetry::text::{Kind, Text};

/// The sample of one route.
#[derive(Clone, Debug)]
pub struct Shares<'a> {
    /// The route's name.
    pub route: &'a str,
    /// When its weights were last changed, since the Unix epoch.
    pub since: Duration,
    /// Its variants.
    pub variants: Vec<Share<'a>>,
    /// Whether the shares are others than the weights promise; nothing where that is not checked.
    pub mismatch: Option<bool>,
    /// The evidence for that, as a power of ten.
    pub evidence_log10: f64,
}

/// What one variant got.
#[derive(Clone, Debug)]
pub struct Share<'a> {
    /// Its name.
    pub variant: &'a str,
    /// The share of callers, or of requests on a route without sticky keys; 0 to 1.
    pub measured: Option<f64>,
    /// Distinct sticky keys, about.
    pub keys: Option<f64>,
}

/// A family: name, help, and the value of each.
type Family<M> = (&'static str, &'static str, fn(&M) -> Option<f64>);

pub(super) fn expose(text: &mut Text, scrape: &Scrape<'_>) {
    let of_variants: [Family<Share<'_>>; 2] = [
        ("pointsman_variant_share_ratio", "The share that a variant got since the weights were changed.", |one| {
            one.measured
        }),
        ("pointsman_variant_keys", "Distinct sticky keys since the weights were changed, about.", |one| one.keys),
    ];
    for (name, help, of) in of_variants {
        text.family(name, Kind::Gauge, help);
        for shares in &scrape.samples {
            for one in &shares.variants {
                if let Some(value) = of(one) {
                    text.sample("", &[("route", shares.route), ("variant", one.variant)], value);
                }
            }
        }
    }
    let of_routes: [Family<Shares<'_>>; 3] = [
        ("pointsman_sample_ratio_mismatch", "Whether variants get other shares than their weights say.", |shares| {
            shares.mismatch.map(|mismatch| f64::from(u8::from(mismatch)))
        }),
        ("pointsman_sample_ratio_evidence_log10", "The evidence for that, as a power of ten; 3 is enough.", |shares| {
            shares.mismatch.map(|_| shares.evidence_log10)
        }),
        ("pointsman_sample_begin_timestamp_seconds", "When the weights of a route were last changed.", |shares| {
            Some(shares.since.as_secs_f64())
        }),
    ];
    for (name, help, of) in of_routes {
        text.family(name, Kind::Gauge, help);
        for shares in &scrape.samples {
            if let Some(value) = of(shares) {
                text.sample("", &[("route", shares.route)], value);
            }
        }
    }
}
