//! The metrics of upstreams.

use super::scrape::{CheckFigures, Scrape};
use crate::telemetry::Counter;
use crate::telemetry::family::{CounterFamily, FamilySink, FoldedHistogram, MetricKind};
use crate::telemetry::meter::sum;
use crate::telemetry::{StatusClass, TlsFailure, UnavailableCause, UpstreamMeter};

type Gauges = (&'static str, &'static str, fn(&UpstreamMeter) -> i64);
/// The counters of one family, by the value of one label.
type LabelledCounters<const N: usize> = [(&'static str, fn(&UpstreamMeter) -> &Counter); N];

pub(super) fn expose(out: &mut impl FamilySink, scrape: &Scrape<'_>) {
    attempts(out, scrape);
    refusals(out, scrape);
    connections(out, scrape);
    health(out, scrape);
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
    let counters: [CounterFamily<UpstreamMeter>; 7] = [
        ("pointsman_upstream_connects_total", "Connections opened.", |m| &m.connects),
        ("pointsman_upstream_tls_handshakes_total", "TLS handshakes that succeeded.", |m| &m.tls_handshakes),
        ("pointsman_upstream_connect_failures_total", "Connections that were not established in time.", |m| {
            &m.connect_failures
        }),
        ("pointsman_upstream_failures_total", "Attempts without a response.", |m| &m.failures),
        (
            "pointsman_upstream_rescues_total",
            "Requests of a variant of this upstream that stable answered instead.",
            |m| &m.rescues,
        ),
        (
            "pointsman_upstream_last_resorts_total",
            "Requests of stable that were sent although no endpoint was usable.",
            |m| &m.last_resorts,
        ),
        ("pointsman_upstream_pended_total", "Requests that have waited for a connection.", |m| &m.pended),
    ];
    for (name, help, of) in counters {
        out.family(name, MetricKind::Counter, help);
        for one in scrape.upstreams.iter().filter(|one| one.series.meters.used().next().is_some()) {
            out.sample(&[("upstream", &one.series.upstream)], sum(one.series.meters.used().map(of)));
        }
    }
}

fn refusals(out: &mut impl FamilySink, scrape: &Scrape<'_>) {
    let retries: LabelledCounters<2> = [("budget", |m| &m.retries_over_budget), ("retried", |m| &m.retries)];
    let help = "Attempts after the first: sent, or not allowed by the retry budget.";
    out.family("pointsman_upstream_retries_total", MetricKind::Counter, help);
    labelled(out, scrape, "outcome", &retries);
    let limits: LabelledCounters<3> = [
        ("connections", |m| &m.over_connections),
        ("pending", |m| &m.over_pending),
        ("requests", |m| &m.over_requests),
    ];
    let help = "Requests refused because a limit was reached.";
    out.family("pointsman_upstream_overflow_total", MetricKind::Counter, help);
    labelled(out, scrape, "limit", &limits);
    let help = "Requests that the upstream could not answer, by cause.";
    out.family("pointsman_upstream_unavailable_total", MetricKind::Counter, help);
    for one in &scrape.upstreams {
        for cause in UnavailableCause::ALL {
            let count = sum(one.series.meters.used().map(|meter| &meter.unavailable[cause as usize]));
            if count > 0 {
                out.sample(&[("cause", cause.name()), ("upstream", &one.series.upstream)], count);
            }
        }
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
    let gauges: [Gauges; 3] = [
        ("pointsman_upstream_in_flight", "Attempts in flight.", |m| m.in_flight.value()),
        ("pointsman_upstream_connections", "Open connections.", |m| m.connections.value()),
        ("pointsman_upstream_pending", "Requests that wait for a connection.", |m| m.pending.value()),
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

fn health(out: &mut impl FamilySink, scrape: &Scrape<'_>) {
    out.family("pointsman_upstream_endpoints_state", MetricKind::Gauge, "Endpoints by state.");
    for one in &scrape.upstreams {
        for (state, count) in &one.health.states {
            out.sample(&[("state", state), ("upstream", &one.series.upstream)], *count);
        }
    }
    out.family("pointsman_upstream_ejections_total", MetricKind::Counter, "Ejections of endpoints, by cause.");
    for one in &scrape.upstreams {
        for (cause, count) in one.health.ejections.iter().filter(|(_, count)| *count > 0) {
            out.sample(&[("cause", cause), ("upstream", &one.series.upstream)], *count);
        }
    }
    let help = "Ejected endpoints that were admitted again.";
    out.family("pointsman_upstream_admissions_total", MetricKind::Counter, help);
    for one in &scrape.upstreams {
        out.sample(&[("upstream", &one.series.upstream)], one.health.admissions);
    }
    let help = "Active checks of endpoints by result.";
    out.family("pointsman_health_checks_total", MetricKind::Counter, help);
    let checked = || scrape.upstreams.iter().filter_map(|one| Some((&*one.series.upstream, one.health.checks?)));
    for (upstream, CheckFigures { good, bad, .. }) in checked() {
        for (result, count) in [("bad", bad), ("good", good)] {
            out.sample(&[("result", result), ("upstream", upstream)], count);
        }
    }
    let help = "By how much the latest active check began later than its interval says.";
    out.family("pointsman_health_checks_late_seconds", MetricKind::Gauge, help);
    for (upstream, checks) in checked() {
        out.sample(&[("upstream", upstream)], checks.late_seconds);
    }
    let help = "The used part of the retry budget; at 1 no further try is allowed.";
    out.family("pointsman_upstream_retry_budget_used_ratio", MetricKind::Gauge, help);
    for one in &scrape.upstreams {
        out.sample(&[("upstream", &one.series.upstream)], one.health.budget_used);
    }
}

/// Adds the counters of a family with one label beside `upstream`, whose values are sorted.
fn labelled<const N: usize>(
    out: &mut impl FamilySink,
    scrape: &Scrape<'_>,
    label: &'static str,
    counters: &LabelledCounters<N>,
) {
    for one in scrape.upstreams.iter().filter(|one| one.series.meters.used().next().is_some()) {
        for (value, of) in counters {
            let labels = [(label, *value), ("upstream", &*one.series.upstream)];
            out.sample(&labels, sum(one.series.meters.used().map(of)));
        }
    }
}
