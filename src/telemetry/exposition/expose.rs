//! The order of the families, and the text of a scrape.

use super::scrape::{Scrape, WeightedSeries};
use super::text::PrometheusText;
use super::{
    admission, counted, edge, notifications, process, releases, rollouts, samples, shadow, tls, tokens, upstreams,
    variants,
};
use crate::telemetry::Process;
use crate::telemetry::family::{FamilySink, MetricKind};

/// The media type of [`expose`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of a scrape.
#[must_use]
pub fn expose(scrape: Scrape<'_>, process: Option<&Process>) -> String {
    let mut text = PrometheusText::default();
    families(&mut text, scrape);
    if let Some(process) = process {
        process::expose(&mut text, process);
    }
    text.into_string()
}

/// Passes every family to `out`, except those of the process.
pub(super) fn families(out: &mut impl FamilySink, mut scrape: Scrape<'_>) {
    scrape.variants.push(WeightedSeries { series: &scrape.registry.unrouted, weight: None });
    scrape.variants.retain(|one| one.series.meters.used().next().is_some());
    scrape.variants.sort_by(|a, b| a.series.labels.cmp(&b.series.labels));
    scrape.variants.dedup_by(|a, b| std::ptr::eq(a.series, b.series));
    scrape.samples.sort_by_key(|shares| shares.route);
    scrape.releases.retain(|release| release.is_used);
    scrape.releases.sort_by(|a, b| (&a.route, &a.variant).cmp(&(&b.route, &b.variant)));
    scrape.rollouts.sort_by(|a, b| a.rollout.cmp(&b.rollout));
    scrape.receivers.sort_by(|a, b| a.receiver.cmp(&b.receiver));
    scrape.limits.sort_by(|a, b| (&a.route, &a.limit).cmp(&(&b.route, &b.limit)));
    scrape.refusals.sort_by(|a, b| a.route.cmp(&b.route));
    scrape.upstreams.sort_by(|a, b| a.series.upstream.cmp(&b.series.upstream));
    scrape.listeners.sort_by_key(|(name, _)| *name);
    out.family("pointsman_build_info", MetricKind::Gauge, "Always 1; the version is in the label.");
    out.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1_u64);
    variants::expose(out, &scrape);
    samples::expose(out, &scrape);
    releases::expose(out, &mut scrape);
    rollouts::expose(out, &scrape);
    notifications::expose(out, &scrape);
    upstreams::expose(out, &scrape);
    admission::expose(out, &scrape);
    shadow::expose(out, &mut scrape);
    edge::expose(out, &mut scrape);
    tls::expose(out, &scrape);
    tokens::expose(out, &scrape);
    edge::workers(out, &mut scrape);
    counted::expose(out, scrape);
}
