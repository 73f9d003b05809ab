//! The metrics of shadows: copies by what became of them, and what they hold.

use super::{Findings, Scrape, histogram};
use crate::telemetry::text::{Kind, Text};
use crate::telemetry::{ShadowDrop, ShadowFigures, ShadowSeries, ShadowUncompared, StatusClass};

/// Families of one figure: name, kind, help, and the figure.
type Family = (&'static str, Kind, &'static str, fn(&ShadowFigures) -> u64);

pub(super) fn expose(text: &mut Text, scrape: &mut Scrape<'_>) {
    scrape.shadows.retain(|(series, _)| series.meters.used().next().is_some());
    scrape.shadows.sort_by(|(a, _), (b, _)| (&a.route, &a.upstream).cmp(&(&b.route, &b.upstream)));
    let shadows = &scrape.shadows;
    // One reading for all families, so that they add up.
    let figures: Vec<ShadowFigures> = shadows.iter().map(|(series, _)| series.read()).collect();
    let read = || shadows.iter().map(|(series, _)| *series).zip(&figures);
    let families: [Family; 3] = [
        ("pointsman_shadow_sampled_total", Kind::Counter, "Requests within the share of a shadow.", |f| f.sampled),
        ("pointsman_shadow_in_flight", Kind::Gauge, "Copies that have not ended.", |f| f.in_flight),
        ("pointsman_shadow_sent_total", Kind::Counter, "Copies that were sent and answered.", |f| f.sent),
    ];
    for (name, kind, help, of) in families {
        text.family(name, kind, help);
        for (series, figures) in read() {
            text.sample("", &labels(series), of(figures));
        }
    }
    text.family("pointsman_shadow_dropped_total", Kind::Counter, "Copies that were dropped, by reason.");
    for (series, figures) in read() {
        for reason in ShadowDrop::ALL {
            let [route, upstream] = labels(series);
            text.sample("", &[route, upstream, ("reason", reason.name())], figures.dropped[reason as usize]);
        }
    }
    text.family("pointsman_shadow_completed_total", Kind::Counter, "Copies that were answered, by class of status.");
    for (series, figures) in read() {
        for class in StatusClass::ALL {
            let [route, upstream] = labels(series);
            text.sample("", &[route, upstream, ("status_class", class.name())], figures.completed[class as usize]);
        }
    }
    comparisons(text, shadows);
    findings(text, &mut scrape.findings);
    let name = "pointsman_shadow_duration_seconds";
    text.family(name, Kind::Histogram, "From sending a copy to the end of its answer.");
    for (series, _) in shadows {
        histogram(text, &labels(series), series.meters.used().map(|meter| &meter.duration));
    }
    text.family("pointsman_shadow_weight_ratio", Kind::Gauge, "The share of requests that the file has copied.");
    for (series, weight) in shadows {
        text.sample("", &labels(series), weight);
    }
    let help = "The share that is copied now: less while the shadow's upstream has trouble.";
    text.family("pointsman_shadow_weight_actual_ratio", Kind::Gauge, help);
    for (series, weight) in shadows {
        text.sample("", &labels(series), series.weight_actual(*weight));
    }
    let bytes = &scrape.registry.shadow_bytes;
    text.family("pointsman_shadow_held_bytes", Kind::Gauge, "Bytes of bodies that all copies hold.");
    text.sample("", &[], bytes.used());
    text.family("pointsman_shadow_held_max_bytes", Kind::Gauge, "How many they may hold; beyond, copies are dropped.");
    text.sample("", &[], bytes.max());
}

fn comparisons(text: &mut Text, shadows: &[(&ShadowSeries, f64)]) {
    text.family(
        "pointsman_shadow_compared_total",
        Kind::Counter,
        "Copies whose answers were handed over to be compared.",
    );
    for (series, _) in shadows {
        text.sample("", &labels(series), series.meters.used().map(|meter| meter.compared.value()).sum::<u64>());
    }
    let help = "Copies that were answered and could not be compared, by reason.";
    text.family("pointsman_shadow_uncompared_total", Kind::Counter, help);
    for (series, _) in shadows {
        for why in ShadowUncompared::ALL {
            let [route, upstream] = labels(series);
            let count: u64 = series.meters.used().map(|meter| meter.uncompared[why as usize].value()).sum();
            text.sample("", &[route, upstream, ("reason", why.name())], count);
        }
    }
    let help = "Control copies, to the requests' own upstream, by outcome.";
    text.family("pointsman_shadow_controls_total", Kind::Counter, help);
    for (series, _) in shadows {
        for (at, outcome) in ["answered", "failed", "no_place"].into_iter().enumerate() {
            let [route, upstream] = labels(series);
            let count: u64 = series.meters.used().map(|meter| meter.controls[at].value()).sum();
            text.sample("", &[route, upstream, ("outcome", outcome)], count);
        }
    }
}

fn findings(text: &mut Text, all: &mut [Findings]) {
    all.sort_by(|a, b| a.route.cmp(&b.route));
    let help = "Fields in which answers differ, by what the evidence says: confirmed, noisy or unknown.";
    text.family("pointsman_shadow_fields", Kind::Gauge, help);
    for one in &*all {
        for (verdict, fields) in one.fields {
            text.sample("", &[("route", &one.route), ("upstream", &one.upstream), ("verdict", verdict)], fields);
        }
    }
    let name = "pointsman_shadow_mismatch_ratio";
    text.family(name, Kind::Gauge, "How many answers differ, beyond what controls do.");
    for one in &*all {
        if let Some(mismatch) = one.mismatch {
            text.sample("", &[("route", &one.route), ("upstream", &one.upstream)], mismatch);
        }
    }
    let name = "pointsman_shadow_mismatch_upper_ratio";
    text.family(name, Kind::Gauge, "What that rate is below, with 99 % confidence.");
    for one in &*all {
        text.sample("", &[("route", &one.route), ("upstream", &one.upstream)], one.mismatch_upper);
    }
}

fn labels(series: &ShadowSeries) -> [(&str, &str); 2] {
    [("route", &series.route), ("upstream", &series.upstream)]
}
