//! The metrics of random samples: the measured shares, and whether they match the weights.

use super::scrape::{RouteShares, Scrape, VariantShare};
use crate::telemetry::family::{FamilySink, MetricKind};

/// A family of gauges: name, help text, and the value.
type GaugeFamily<M> = (&'static str, &'static str, fn(&M) -> Option<f64>);

pub(super) fn expose(out: &mut impl FamilySink, scrape: &Scrape<'_>) {
    let of_variants: [GaugeFamily<VariantShare<'_>>; 2] = [
        ("pointsman_variant_share_ratio", "The measured share of a variant since the weights changed.", |one| {
            one.measured
        }),
        ("pointsman_variant_keys", "Estimated distinct sticky keys since the weights changed.", |one| one.keys),
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
        ("pointsman_sample_ratio_mismatch", "1 when the measured shares differ from the weights.", |shares| {
            shares.mismatch.map(|mismatch| f64::from(u8::from(mismatch)))
        }),
        (
            "pointsman_sample_ratio_evidence_log10",
            "The evidence for a mismatch, as a power of ten; 3 is enough.",
            |shares| shares.mismatch.map(|_| shares.evidence_log10),
        ),
        ("pointsman_sample_begin_timestamp_seconds", "When the weights of a route last changed.", |shares| {
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
