//! The metrics of shadows: copies by outcome, and the memory that they use.

use super::scrape::{ComparisonFigures, Scrape};
use crate::telemetry::family::{FamilySink, FoldedHistogram, MetricKind};
use crate::telemetry::{ShadowDrop, ShadowFigures, ShadowSeries, ShadowUncompared, StatusClass};

/// Families with one value: name, kind, help text, and the value.
type ShadowFamily = (&'static str, MetricKind, &'static str, fn(&ShadowFigures) -> u64);

pub(super) fn expose(out: &mut impl FamilySink, scrape: &mut Scrape<'_>) {
    scrape.shadows.retain(|(series, _)| series.meters.used().next().is_some());
    scrape.shadows.sort_by(|(a, _), (b, _)| (&a.route, &a.upstream).cmp(&(&b.route, &b.upstream)));
    let shadows = &scrape.shadows;
    // Read once for all families, so that they add up.
    let figures: Vec<ShadowFigures> = shadows.iter().map(|(series, _)| series.read()).collect();
    let read = || shadows.iter().map(|(series, _)| *series).zip(&figures);
    let families: [ShadowFamily; 3] = [
        ("pointsman_shadow_sampled_total", MetricKind::Counter, "Requests sampled for a shadow.", |f| f.sampled),
        ("pointsman_shadow_in_flight", MetricKind::Gauge, "Copies in flight.", |f| f.in_flight),
        ("pointsman_shadow_sent_total", MetricKind::Counter, "Copies that got a response.", |f| f.sent),
    ];
    for (name, kind, help, of) in families {
        out.family(name, kind, help);
        for (series, figures) in read() {
            out.sample(&labels(series), of(figures));
        }
    }
    out.family("pointsman_shadow_dropped_total", MetricKind::Counter, "Dropped copies, by reason.");
    for (series, figures) in read() {
        for reason in ShadowDrop::ALL {
            let [route, upstream] = labels(series);
            out.sample(&[route, upstream, ("reason", reason.name())], figures.dropped[reason as usize]);
        }
    }
    out.family("pointsman_shadow_completed_total", MetricKind::Counter, "Copies that got a response, by status class.");
    for (series, figures) in read() {
        for class in StatusClass::ALL {
            let [route, upstream] = labels(series);
            out.sample(&[route, upstream, ("status_class", class.name())], figures.completed[class as usize]);
        }
    }
    comparisons(out, shadows);
    findings(out, &mut scrape.findings);
    let name = "pointsman_shadow_duration_seconds";
    out.family(name, MetricKind::Histogram, "From sending a copy to the end of its response.");
    for (series, _) in shadows {
        out.histogram(&labels(series), &FoldedHistogram::of(series.meters.used().map(|meter| &meter.duration)));
    }
    out.family("pointsman_shadow_weight_ratio", MetricKind::Gauge, "The configured share of requests to copy.");
    for (series, weight) in shadows {
        out.sample(&labels(series), *weight);
    }
    let help = "The current share of copies: lower while the shadow's upstream has trouble.";
    out.family("pointsman_shadow_weight_actual_ratio", MetricKind::Gauge, help);
    for (series, weight) in shadows {
        out.sample(&labels(series), series.weight_actual(*weight));
    }
    let bytes = &scrape.registry.shadow_bytes;
    out.family("pointsman_shadow_held_bytes", MetricKind::Gauge, "Bytes that the bodies of all copies use.");
    out.sample(&[], bytes.used());
    out.family(
        "pointsman_shadow_held_max_bytes",
        MetricKind::Gauge,
        "Limit of these bytes; above it, copies are dropped.",
    );
    out.sample(&[], bytes.max());
}

fn comparisons(out: &mut impl FamilySink, shadows: &[(&ShadowSeries, f64)]) {
    out.family(
        "pointsman_shadow_compared_total",
        MetricKind::Counter,
        "Copies whose responses were passed on to be compared.",
    );
    for (series, _) in shadows {
        out.sample(&labels(series), series.meters.used().map(|meter| meter.compared.value()).sum::<u64>());
    }
    let help = "Copies whose responses could not be compared, by reason.";
    out.family("pointsman_shadow_uncompared_total", MetricKind::Counter, help);
    for (series, _) in shadows {
        for why in ShadowUncompared::ALL {
            let [route, upstream] = labels(series);
            let count: u64 = series.meters.used().map(|meter| meter.uncompared[why as usize].value()).sum();
            out.sample(&[route, upstream, ("reason", why.name())], count);
        }
    }
    let help = "Control copies, to the upstream of the request itself, by outcome.";
    out.family("pointsman_shadow_controls_total", MetricKind::Counter, help);
    for (series, _) in shadows {
        for (at, outcome) in ["answered", "failed", "no_place"].into_iter().enumerate() {
            let [route, upstream] = labels(series);
            let count: u64 = series.meters.used().map(|meter| meter.controls[at].value()).sum();
            out.sample(&[route, upstream, ("outcome", outcome)], count);
        }
    }
}

fn findings(out: &mut impl FamilySink, all: &mut [ComparisonFigures]) {
    all.sort_by(|a, b| a.route.cmp(&b.route));
    let help = "Fields that differ in responses, by verdict: confirmed, noisy or unknown.";
    out.family("pointsman_shadow_fields", MetricKind::Gauge, help);
    for one in &*all {
        for (verdict, fields) in one.fields {
            out.sample(&[("route", &one.route), ("upstream", &one.upstream), ("verdict", verdict)], fields);
        }
    }
    let name = "pointsman_shadow_mismatch_ratio";
    out.family(name, MetricKind::Gauge, "The share of responses that differ, beyond the noise of the controls.");
    for one in &*all {
        if let Some(mismatch) = one.mismatch {
            out.sample(&[("route", &one.route), ("upstream", &one.upstream)], mismatch);
        }
    }
    let name = "pointsman_shadow_mismatch_upper_ratio";
    out.family(name, MetricKind::Gauge, "Upper bound of that share, with 99 % confidence.");
    for one in &*all {
        out.sample(&[("route", &one.route), ("upstream", &one.upstream)], one.mismatch_upper);
    }
}

fn labels(series: &ShadowSeries) -> [(&'static str, &str); 2] {
    [("route", &series.route), ("upstream", &series.upstream)]
}
