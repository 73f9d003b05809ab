//! The metrics of routes and their variants.

use super::scrape::Scrape;
use crate::telemetry::family::{CounterFamily, FamilySink, FoldedHistogram, MetricKind};
use crate::telemetry::meter::{Histogram, sum};
use crate::telemetry::{GrpcStatus, Labels, ReasonLabel, StatusClass, VariantMeter, VariantSeries};

type Histograms = (&'static str, &'static str, fn(&VariantMeter) -> &Histogram);

pub(super) fn expose(out: &mut impl FamilySink, scrape: &Scrape<'_>) {
    out.family("pointsman_requests_total", MetricKind::Counter, "Requests by route, variant, reason and status class.");
    for one in &scrape.variants {
        requests(out, one.series);
    }
    out.family("pointsman_grpc_requests_total", MetricKind::Counter, "gRPC calls by status.");
    for one in &scrape.variants {
        calls(out, one.series);
    }
    let histograms: [Histograms; 2] = [
        ("pointsman_request_duration_seconds", "From the request head to the last byte of the response.", |m| {
            &m.duration
        }),
        ("pointsman_time_to_first_byte_seconds", "From the request head to the response head.", |m| &m.first_byte),
    ];
    for (name, help, of) in histograms {
        out.family(name, MetricKind::Histogram, help);
        for one in &scrape.variants {
            let labels = [("route", one.series.labels.route.as_str()), ("variant", &one.series.labels.variant)];
            out.histogram(&labels, &FoldedHistogram::of(one.series.meters.used().map(of)));
        }
    }
    let counters: [CounterFamily<VariantMeter>; 4] = [
        ("pointsman_request_body_bytes_total", "Bytes of request bodies and of upgraded connections.", |m| {
            &m.request_bytes
        }),
        ("pointsman_response_body_bytes_total", "Bytes of response bodies and of upgraded connections.", |m| {
            &m.response_bytes
        }),
        ("pointsman_upgrades_total", "Upgraded connections and streams.", |m| &m.upgrades),
        ("pointsman_unkeyed_total", "Requests without a sticky key on routes that use one.", |m| &m.unkeyed),
    ];
    for (name, help, of) in counters {
        out.family(name, MetricKind::Counter, help);
        for one in &scrape.variants {
            let labels = [("route", one.series.labels.route.as_str()), ("variant", &one.series.labels.variant)];
            out.sample(&labels, sum(one.series.meters.used().map(of)));
        }
    }
    out.family("pointsman_upgrades_open", MetricKind::Gauge, "Open upgraded connections and streams.");
    for one in &scrape.variants {
        let labels = [("route", one.series.labels.route.as_str()), ("variant", &one.series.labels.variant)];
        let open: i64 = one.series.meters.used().map(|meter| meter.upgrades_open.value()).sum();
        out.sample(&labels, open);
    }
    out.family("pointsman_variant_weight_ratio", MetricKind::Gauge, "The configured share of a variant.");
    for one in &scrape.variants {
        if let Some(weight) = one.weight {
            let labels = [("route", one.series.labels.route.as_str()), ("variant", &one.series.labels.variant)];
            out.sample(&labels, weight);
        }
    }
}

fn requests(out: &mut impl FamilySink, series: &VariantSeries) {
    for reason in 0..ReasonLabel::COUNT {
        for class in StatusClass::ALL {
            let count = sum(series.meters.used().map(|meter| &meter.requests[reason][class as usize]));
            if count > 0 {
                let labels = [
                    ("reason", ReasonLabel::name(reason)),
                    ("route", &series.labels.route),
                    ("status_class", class.name()),
                    ("variant", &series.labels.variant),
                ];
                out.sample(&labels, count);
            }
        }
    }
}

fn calls(out: &mut impl FamilySink, series: &VariantSeries) {
    for status in GrpcStatus::all() {
        let count: u64 = series.meters.used().map(|meter| meter.grpc.value(status)).sum();
        if count > 0 {
            let Labels { route, variant } = &series.labels;
            out.sample(&[("grpc_status", status.name()), ("route", route), ("variant", variant)], count);
        }
    }
}
