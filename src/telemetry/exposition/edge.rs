//! The metrics of client connections and of workers.

use super::counted::pass_on;
use super::scrape::Scrape;
use crate::telemetry::control::{LOG_LINES_DROPPED, WORKER_STALLS};
use crate::telemetry::family::{CounterFamily, FamilySink, MetricKind};
use crate::telemetry::meter::sum;
use crate::telemetry::{Refusal, WorkerMeter};

pub(super) fn expose(out: &mut impl FamilySink, scrape: &mut Scrape<'_>) {
    out.family("pointsman_connections", MetricKind::Gauge, "Open client connections.");
    for (listener, meters) in &scrape.listeners {
        let open: i64 = meters.used().map(|meter| meter.connections.value()).sum();
        out.sample(&[("listener", listener)], open.max(0));
    }
    let worker = &scrape.registry.worker;
    out.family("pointsman_requests_in_flight", MetricKind::Gauge, "Requests that have started and not ended.");
    let recorded = sum(worker.used().map(|meter| &meter.requests_recorded));
    let begun = sum(worker.used().map(|meter| &meter.requests_begun));
    out.sample(&[], begun.saturating_sub(recorded));
    out.family("pointsman_held_bytes", MetricKind::Gauge, "Memory reserved for requests, of the memory budget.");
    let held: i64 = worker.used().map(|meter| meter.held_bytes.value()).sum();
    out.sample(&[], held.max(0));
    let counters: [CounterFamily<WorkerMeter>; 7] = [
        ("pointsman_connections_accepted_total", "Connections accepted.", |m| &m.accepted),
        ("pointsman_connections_closed_total", "Connections closed.", |m| &m.closed),
        ("pointsman_connections_forced_total", "Connections closed at the deadline of a drain.", |m| &m.forced),
        (
            "pointsman_upgrades_forced_total",
            "Upgraded connections and streams closed at the deadline of a drain.",
            |m| &m.forced_upgrades,
        ),
        ("pointsman_killed_streams_total", "Streams of killed variants that were closed.", |m| &m.killed_streams),
        ("pointsman_accept_errors_total", "Errors on accept, such as too many open files.", |m| &m.accept_errors),
        (
            "pointsman_alias_headers_dropped_total",
            "Header fields dropped because they are an alias of a trusted one.",
            |m| &m.alias_headers_dropped,
        ),
    ];
    for (name, help, of) in counters {
        out.family(name, MetricKind::Counter, help);
        out.sample(&[], sum(worker.used().map(of)));
    }
    out.family(
        "pointsman_refused_total",
        MetricKind::Counter,
        "Requests and connections refused or closed, by reason.",
    );
    let mut refusals = Refusal::ALL;
    refusals.sort_by_key(|refusal| refusal.name());
    for refusal in refusals {
        let count = sum(worker.used().map(|meter| meter.refused.of(refusal)));
        out.sample(&[("reason", refusal.name())], count);
    }
    out.family(LOG_LINES_DROPPED, MetricKind::Counter, "Access log lines dropped, by cause.");
    out.sample(&[("cause", "backlog")], sum(worker.used().map(|meter| &meter.log_lines_dropped)));
    let lost = scrape.counted.take(LOG_LINES_DROPPED);
    lost.iter().flat_map(|family| &family.series).for_each(|(key, value)| out.counted(key, value));
}

pub(super) fn workers(out: &mut impl FamilySink, scrape: &mut Scrape<'_>) {
    let each = || (0..scrape.registry.workers).map(|worker| (worker, worker.to_string()));
    out.family(
        "pointsman_worker_heartbeat_age_seconds",
        MetricKind::Gauge,
        "Time since the last heartbeat of a worker.",
    );
    for (worker, label) in each() {
        if let Some(age) = scrape.registry.heartbeat_age(worker, scrape.now) {
            out.sample(&[("worker", &label)], age.as_secs_f64());
        }
    }
    pass_on(out, scrape.counted.take(WORKER_STALLS));
    out.family("pointsman_worker_generation", MetricKind::Gauge, "The generation that a worker uses.");
    for (worker, label) in each() {
        let generation = scrape.registry.worker.of(worker).generation.load(std::sync::atomic::Ordering::Relaxed);
        out.sample(&[("worker", &label)], generation);
    }
}
