//! The metrics of shadows: copies by what became of them, and what they hold.

use super::scrape::{ComparisonFigures, Scrape};
use crate::telemetry::family::{FamilySink, FoldedHistogram, MetricKind};
use crate::telemetry::{ShadowDrop, ShadowFigures, ShadowSeries, ShadowUncompared, StatusClass};

/// Families of one figure: name, kind, help, and the figure.
type ShadowFamily = (&'static str, MetricKind, &'static str, fn(&ShadowFigures) -> u64);

pub(super) fn expose(out: &mut impl FamilySink, scrape: &mut Scrape<'_>) {
    scrape.shadows.retain(|(series, _)| series.meters.used().next().is_some());
    scrape.shadows.sort_by(|(a, _), (b, _)| (&a.route, &a.upstream).cmp(&(&b.route, &b.upstream)));
    let shadows = &scrape.shadows;
    // One reading for all families, so that they add up.
    let figures: Vec<ShadowFigures> = shadows.iter().map(|(series, _)| series.read()).collect();
    let read = || shadows.iter().map(|(series, _)| *series).zip(&figures);
    let families: [ShadowFamily; 3] = [
        ("pointsman_shadow_sampled_total", MetricKind::Counter, "Requests within the share of a shadow.", |f| {
            f.sampled
        }),
        ("pointsman_shadow_in_flight", MetricKind::Gauge, "Copies that have not ended.", |f| f.in_flight),
        ("pointsman_shadow_sent_total", MetricKind::Counter, "Copies that were sent and answered.", |f| f.sent),
    ];
    for (name, kind, help, of) in families {
        out.family(name, kind, help);
        for (series, figures) in read() {
            out.sample(&labels(series), of(figures));
        }
    }
    out.family("pointsman_shadow_dropped_total", MetricKind::Counter, "Copies that were dropped, by reason.");
    for (series, figures) in read() {
        for reason in ShadowDrop::ALL {
            let [route, upstream] = labels(series);
            out.sample(&[route, upstream, ("reason", reason.name())], figures.dropped[reason as usize]);
        }
    }
    out.family(
        "pointsman_shadow_completed_total",
        MetricKind::Counter,
        "Copies that were answered, by class of status.",
    );
    for (series, figures) in read() {
        for class in StatusClass::ALL {
            let [route, upstream] = labels(series);
            out.sample(&[route, upstream, ("status_class", class.name())], figures.completed[class as usize]);
        }
    }
    comparisons(out, shadows);
    findings(out, &mut scrape.findings);
    let name = "pointsman_shadow_duration_seconds";
    out.family(name, MetricKind::Histogram, "From sending a copy to the end of its answer.");
    for (series, _) in shadows {
        out.histogram(&labels(series), &FoldedHistogram::of(series.meters.used().map(|meter| &meter.duration)));
    }
    out.family("pointsman_shadow_weight_ratio", MetricKind::Gauge, "The share of requests that the file has copied.");
    for (series, weight) in shadows {
        out.sample(&labels(series), *weight);
    }
    let help = "The share that is copied now: less while the shadow's upstream has trouble.";
    out.family("pointsman_shadow_weight_actual_ratio", MetricKind::Gauge, help);
    for (series, weight) in shadows {
        out.sample(&labels(series), series.weight_actual(*weight));
    }
    let bytes = &scrape.registry.shadow_bytes;
    out.family("pointsman_shadow_held_bytes", MetricKind::Gauge, "Bytes of bodies that all copies hold.");
    out.sample(&[], bytes.used());
    out.family(
        "pointsman_shadow_held_max_bytes",
        MetricKind::Gauge,
        "How many they may hold; beyond, copies are dropped.",
    );
    out.sample(&[], bytes.max());
}

fn comparisons(out: &mut impl FamilySink, shadows: &[(&ShadowSeries, f64)]) {
    out.family(
        "pointsman_shadow_compared_total",
        MetricKind::Counter,
        "Copies whose answers were handed over to be compared.",
    );
    for (series, _) in shadows {
        out.sample(&labels(series), series.meters.used().map(|meter| meter.compared.value()).sum::<u64>());
    }
    let help = "Copies that were answered and could not be compared, by reason.";
    out.family("pointsman_shadow_uncompared_total", MetricKind::Counter, help);
    for (series, _) in shadows {
        for why in ShadowUncompared::ALL {
            let [route, upstream] = labels(series);
            let count: u64 = series.meters.used().map(|meter| meter.uncompared[why as usize].value()).sum();
            out.sample(&[route, upstream, ("reason", why.name())], count);
        }
    }
    let help = "Control copies, to the requests' own upstream, by outcome.";
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
    let help = "Fields in which answers differ, by what the evidence says: confirmed, noisy or unknown.";
    out.family("pointsman_shadow_fields", MetricKind::Gauge, help);
    for one in &*all {
        for (verdict, fields) in one.fields {
            out.sample(&[("route", &one.route), ("upstream", &one.upstream), ("verdict", verdict)], fields);
        }
    }
    let name = "pointsman_shadow_mismatch_ratio";
    out.family(name, MetricKind::Gauge, "How many answers differ, beyond what controls do.");
    for one in &*all {
        if let Some(mismatch) = one.mismatch {
            out.sample(&[("route", &one.route), ("upstream", &one.upstream)], mismatch);
        }
    }
    let name = "pointsman_shadow_mismatch_upper_ratio";
    out.family(name, MetricKind::Gauge, "What that rate is below, with 99 % confidence.");
    for one in &*all {
        out.sample(&[("route", &one.route), ("upstream", &one.upstream)], one.mismatch_upper);
    }
}

fn labels(series: &ShadowSeries) -> [(&'static str, &str); 2] {
    [("route", &series.route), ("upstream", &series.upstream)]
}
