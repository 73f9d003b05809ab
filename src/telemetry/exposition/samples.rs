//! The metrics of random samples: whom the weights sent where, and whether that is what they promise.

use super::scrape::{RouteShares, Scrape, VariantShare};
use crate::telemetry::family::{FamilySink, MetricKind};

/// A family of gauges: name, help, and the value of each.
type GaugeFamily<M> = (&'static str, &'static str, fn(&M) -> Option<f64>);

pub(super) fn expose(out: &mut impl FamilySink, scrape: &Scrape<'_>) {
    let of_variants: [GaugeFamily<VariantShare<'_>>; 2] = [
        ("pointsman_variant_share_ratio", "The share that a variant got since the weights were changed.", |one| {
            one.measured
        }),
        ("pointsman_variant_keys", "Distinct sticky keys since the weights were changed, about.", |one| one.keys),
    ];
    for (name, help, of) in of_variants {
        out.family(name, MetricKind::Gauge, help);
        for shares in &scrape.samples {
            for one in &shares.variants {
                if let Some(value) = of(one) {
                    out.sample(&[("route", shares.route), ("variant", one.variant)], value);
                }
            }
        }
    }
    let of_routes: [GaugeFamily<RouteShares<'_>>; 3] = [
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
        out.family(name, MetricKind::Gauge, help);
        for shares in &scrape.samples {
            if let Some(value) = of(shares) {
                out.sample(&[("route", shares.route)], value);
            }
        }
    }
}
