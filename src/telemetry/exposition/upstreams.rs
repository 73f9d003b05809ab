//! The metrics of upstreams.

use super::scrape::Scrape;
use crate::telemetry::family::{CounterFamily, FamilySink, FoldedHistogram, MetricKind};
use crate::telemetry::meter::sum;
use crate::telemetry::{StatusClass, TlsFailure, UpstreamMeter};

type Gauges = (&'static str, &'static str, fn(&UpstreamMeter) -> i64);

pub(super) fn expose(out: &mut impl FamilySink, scrape: &Scrape<'_>) {
    attempts(out, scrape);
    connections(out, scrape);
}

fn attempts(out: &mut impl FamilySink, scrape: &Scrape<'_>) {
    out.family("pointsman_upstream_requests_total", MetricKind::Counter, "Attempts by status class of the response.");
    for one in &scrape.upstreams {
        for class in StatusClass::ALL {
            let count = sum(one.series.meters.used().map(|meter| &meter.requests[class as usize]));
            if count > 0 {
                out.sample(&[("status_class", class.name()), ("upstream", &one.series.upstream)], count);
            }
        }
    }
    out.family("pointsman_upstream_tls_failures_total", MetricKind::Counter, "TLS failures with upstreams, by cause.");
    for one in &scrape.upstreams {
        for failure in TlsFailure::ALL {
            let count = sum(one.series.meters.used().map(|meter| &meter.tls_failures[failure as usize]));
            if count > 0 {
                out.sample(&[("cause", failure.name()), ("upstream", &one.series.upstream)], count);
            }
        }
    }
    let counters: [CounterFamily<UpstreamMeter>; 5] = [
        ("pointsman_upstream_connects_total", "Connections opened.", |m| &m.connects),
        ("pointsman_upstream_tls_handshakes_total", "TLS handshakes that succeeded.", |m| &m.tls_handshakes),
        ("pointsman_upstream_connect_failures_total", "Connections that were not established in time.", |m| {
            &m.connect_failures
        }),
        ("pointsman_upstream_failures_total", "Attempts without a response.", |m| &m.failures),
        (
            "pointsman_upstream_retries_total",
            "Attempts after the first: the connection was closed, or the endpoint was unreachable.",
            |m| &m.retries,
        ),
    ];
    for (name, help, of) in counters {
        out.family(name, MetricKind::Counter, help);
        for one in scrape.upstreams.iter().filter(|one| one.series.meters.used().next().is_some()) {
            out.sample(&[("upstream", &one.series.upstream)], sum(one.series.meters.used().map(of)));
        }
    }
    out.family(
        "pointsman_upstream_overflow_total",
        MetricKind::Counter,
        "Requests refused because a limit was reached.",
    );
    for one in scrape.upstreams.iter().filter(|one| one.series.meters.used().next().is_some()) {
        let connections = sum(one.series.meters.used().map(|meter| &meter.over_connections));
        let requests = sum(one.series.meters.used().map(|meter| &meter.over_requests));
        out.sample(&[("limit", "connections"), ("upstream", &one.series.upstream)], connections);
        out.sample(&[("limit", "requests"), ("upstream", &one.series.upstream)], requests);
    }
}

fn connections(out: &mut impl FamilySink, scrape: &Scrape<'_>) {
    out.family(
        "pointsman_upstream_latency_seconds",
        MetricKind::Histogram,
        "From sending an attempt to its response head.",
    );
    for one in scrape.upstreams.iter().filter(|one| one.series.meters.used().next().is_some()) {
        let meters = one.series.meters.used().map(|meter| &meter.latency);
        out.histogram(&[("upstream", &one.series.upstream)], &FoldedHistogram::of(meters));
    }
    let gauges: [Gauges; 2] = [
        ("pointsman_upstream_in_flight", "Attempts in flight.", |m| m.in_flight.value()),
        ("pointsman_upstream_connections", "Open connections.", |m| m.connections.value()),
    ];
    for (name, help, of) in gauges {
        out.family(name, MetricKind::Gauge, help);
        for one in scrape.upstreams.iter().filter(|one| one.series.meters.used().next().is_some()) {
            let now: i64 = one.series.meters.used().map(of).sum();
            out.sample(&[("upstream", &one.series.upstream)], now.max(0));
        }
    }
    out.family("pointsman_upstream_endpoints", MetricKind::Gauge, "Endpoints; 0 until a name is resolved.");
    for one in &scrape.upstreams {
        out.sample(&[("upstream", &one.series.upstream)], one.endpoints);
    }
}
