//! Every metric, named: the Prometheus text of one scrape. Labels come from the configuration only, never from a
//! client. Series that nothing has been counted in are left out, so that 100 000 routes cost a scrape nothing.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::process::Process;
use super::text::{Kind, Text};
use super::{
    Counter, GrpcStatus, Histogram, Labels, ListenerMeter, PerWorker, ReasonLabel, Refusal, Registry, ShadowSeries,
    StatusClass, TlsFailure, UpstreamMeter, UpstreamSeries, VariantMeter, VariantSeries, WorkerMeter,
};
use crate::drain::Phase;

mod samples;
mod shadow;
mod tls;
mod tokens;

pub use samples::{Share, Shares};
pub use tls::Certificate;

/// What a scrape tells besides the registry's own meters.
#[derive(Debug)]
pub struct Scrape<'a> {
    /// The process's meters.
    pub registry: &'a Registry,
    /// The time.
    pub now: Instant,
    /// The series of all routes, in any order.
    pub variants: Vec<Weighted<'a>>,
    /// The samples of routes with more than one variant, in any order.
    pub samples: Vec<Shares<'a>>,
    /// The upstreams.
    pub upstreams: Vec<Upstream<'a>>,
    /// The shadows of routes, with the share that the file gives each, 0 to 1.
    pub shadows: Vec<(&'a ShadowSeries, f64)>,
    /// What comparing answers has shown, of the routes where any were compared.
    pub findings: Vec<Findings>,
    /// The listeners.
    pub listeners: Vec<(&'a str, &'a PerWorker<ListenerMeter>)>,
    /// The certificates that listeners serve.
    pub certificates: Vec<Certificate>,
    /// What the control plane knows.
    pub control: Control,
}

/// A series with the share that the file gives it.
#[derive(Clone, Copy, Debug)]
pub struct Weighted<'a> {
    /// The series.
    pub series: &'a VariantSeries,
    /// The share, 0 to 1; none for local answers.
    pub weight: Option<f64>,
}

/// What comparing the answers of a route's copies has shown.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The route.
    pub route: String,
    /// The upstream that gets the copies.
    pub upstream: String,
    /// How many fields have each verdict.
    pub fields: [(&'static str, usize); 3],
    /// The rate of mismatches beyond the noise, 0 to 1; nothing where every control differs.
    pub mismatch: Option<f64>,
    /// The rate that it is below with 99 % confidence, 0 to 1.
    pub mismatch_upper: f64,
}

/// An upstream.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    /// Its meters.
    pub series: &'a UpstreamSeries,
    /// How many endpoints it has.
    pub endpoints: usize,
}

/// What the control plane knows.
#[derive(Clone, Debug)]
pub struct Control {
    /// The generation in use.
    pub generation: u64,
    /// Whether the last reload was applied or found nothing new.
    pub last_reload_succeeded: bool,
    /// When the configuration in use was applied, since the Unix epoch.
    pub applied_at: Duration,
    /// Reloads by outcome.
    pub reloads: Vec<(&'static str, u64)>,
    /// Lookups by name: successes and failures.
    pub lookups: Vec<(String, [u64; 2])>,
    /// How far a stop has come.
    pub phase: Phase,
    /// Access log lines that the sink did not take.
    pub log_lines_lost: u64,
    /// Hand-overs after which this process went on serving.
    pub hand_overs_failed: u64,
    /// How often a worker was found stuck.
    pub worker_stalls: u64,
    /// Spans by what became of them.
    pub spans: [(&'static str, u64); 3],
}

/// Families of one kind: name, help, and the meter of each.
type Counters<M> = (&'static str, &'static str, fn(&M) -> &Counter);
type Histograms<M> = (&'static str, &'static str, fn(&M) -> &Histogram);
type Gauges<M> = (&'static str, &'static str, fn(&M) -> i64);

/// The media type of what [`expose`] makes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of a scrape.
#[must_use]
pub fn expose(mut scrape: Scrape<'_>, process: Option<&Process>) -> String {
    scrape.variants.push(Weighted { series: &scrape.registry.unrouted, weight: None });
    scrape.variants.retain(|one| one.series.meters.used().next().is_some());
    scrape.variants.sort_by(|a, b| a.series.labels.cmp(&b.series.labels));
    scrape.variants.dedup_by(|a, b| std::ptr::eq(a.series, b.series));
    scrape.samples.sort_by_key(|shares| shares.route);
    scrape.upstreams.sort_by(|a, b| a.series.upstream.cmp(&b.series.upstream));
    scrape.listeners.sort_by_key(|(name, _)| *name);
    let mut text = Text::default();
    text.family("pointsman_build_info", Kind::Gauge, "Always 1; the version is in the label.");
    text.sample("", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    variants(&mut text, &scrape);
    samples::expose(&mut text, &scrape);
    upstreams(&mut text, &scrape);
    upstream_connections(&mut text, &scrape);
    shadow::expose(&mut text, &mut scrape);
    edge(&mut text, &scrape);
    tls::expose(&mut text, &scrape);
    tokens::expose(&mut text, &scrape);
    workers(&mut text, &scrape);
    control(&mut text, &scrape.control);
    if let Some(process) = process {
        of_process(&mut text, process);
    }
    text.into_string()
}

fn variants(text: &mut Text, scrape: &Scrape<'_>) {
    text.family("pointsman_requests_total", Kind::Counter, "Requests by route, variant, reason and class of status.");
    for one in &scrape.variants {
        requests(text, one.series);
    }
    text.family("pointsman_grpc_requests_total", Kind::Counter, "gRPC calls by what they ended with.");
    for one in &scrape.variants {
        calls(text, one.series);
    }
    let histograms: [Histograms<VariantMeter>; 2] = [
        ("pointsman_request_duration_seconds", "From a request's head to the last byte of its answer.", |m| {
            &m.duration
        }),
        ("pointsman_time_to_first_byte_seconds", "From a request's head to the head of its answer.", |m| &m.first_byte),
    ];
    for (name, help, of) in histograms {
        text.family(name, Kind::Histogram, help);
        for one in &scrape.variants {
            let labels = [("route", one.series.labels.route.as_str()), ("variant", &one.series.labels.variant)];
            histogram(text, &labels, one.series.meters.used().map(of));
        }
    }
    let counters: [Counters<VariantMeter>; 4] = [
        ("pointsman_request_body_bytes_total", "Bytes of request bodies, and of what upgrades carry.", |m| {
            &m.request_bytes
        }),
        ("pointsman_response_body_bytes_total", "Bytes of response bodies, and of what upgrades carry.", |m| {
            &m.response_bytes
        }),
        ("pointsman_upgrades_total", "Connections and streams that were upgraded.", |m| &m.upgrades),
        ("pointsman_unkeyed_total", "Requests without a sticky key on routes that want one.", |m| &m.unkeyed),
    ];
    for (name, help, of) in counters {
        text.family(name, Kind::Counter, help);
        for one in &scrape.variants {
            let labels = [("route", one.series.labels.route.as_str()), ("variant", &one.series.labels.variant)];
            text.sample("", &labels, sum(one.series.meters.used().map(of)));
        }
    }
    text.family("pointsman_upgrades_open", Kind::Gauge, "Upgraded connections and streams that are open.");
    for one in &scrape.variants {
        let labels = [("route", one.series.labels.route.as_str()), ("variant", &one.series.labels.variant)];
        let open: i64 = one.series.meters.used().map(|meter| meter.upgrades_open.value()).sum();
        text.sample("", &labels, open);
    }
    text.family("pointsman_variant_weight_ratio", Kind::Gauge, "The share that the configuration gives a variant.");
    for one in &scrape.variants {
        if let Some(weight) = one.weight {
            let labels = [("route", one.series.labels.route.as_str()), ("variant", &one.series.labels.variant)];
            text.sample("", &labels, weight);
        }
    }
}

fn requests(text: &mut Text, series: &VariantSeries) {
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
                text.sample("", &labels, count);
            }
        }
    }
}

fn calls(text: &mut Text, series: &VariantSeries) {
    for status in GrpcStatus::all() {
        let count: u64 = series.meters.used().map(|meter| meter.grpc.value(status)).sum();
        if count > 0 {
            let Labels { route, variant } = &series.labels;
            text.sample("", &[("grpc_status", status.name()), ("route", route), ("variant", variant)], count);
        }
    }
}

fn upstreams(text: &mut Text, scrape: &Scrape<'_>) {
    text.family("pointsman_upstream_requests_total", Kind::Counter, "Attempts by class of the answer's status.");
    for one in &scrape.upstreams {
        for class in StatusClass::ALL {
            let count = sum(one.series.meters.used().map(|meter| &meter.requests[class as usize]));
            if count > 0 {
                text.sample("", &[("status_class", class.name()), ("upstream", &one.series.upstream)], count);
            }
        }
    }
    text.family("pointsman_upstream_tls_failures_total", Kind::Counter, "TLS with upstreams that failed, by cause.");
    for one in &scrape.upstreams {
        for failure in TlsFailure::ALL {
            let count = sum(one.series.meters.used().map(|meter| &meter.tls_failures[failure as usize]));
            if count > 0 {
                text.sample("", &[("cause", failure.name()), ("upstream", &one.series.upstream)], count);
            }
        }
    }
    let counters: [Counters<UpstreamMeter>; 5] = [
        ("pointsman_upstream_connects_total", "Connections opened.", |m| &m.connects),
        ("pointsman_upstream_tls_handshakes_total", "TLS handshakes that succeeded.", |m| &m.tls_handshakes),
        ("pointsman_upstream_connect_failures_total", "Connections that were not opened in time.", |m| {
            &m.connect_failures
        }),
        ("pointsman_upstream_failures_total", "Attempts that got no answer.", |m| &m.failures),
        (
            "pointsman_upstream_retries_total",
            "Attempts beyond the first: the connection had died, or the endpoint could not be connected to.",
            |m| &m.retries,
        ),
    ];
    for (name, help, of) in counters {
        text.family(name, Kind::Counter, help);
        for one in scrape.upstreams.iter().filter(|one| one.series.meters.used().next().is_some()) {
            text.sample("", &[("upstream", &one.series.upstream)], sum(one.series.meters.used().map(of)));
        }
    }
    text.family("pointsman_upstream_overflow_total", Kind::Counter, "Requests refused because a limit was reached.");
    for one in scrape.upstreams.iter().filter(|one| one.series.meters.used().next().is_some()) {
        let connections = sum(one.series.meters.used().map(|meter| &meter.over_connections));
        let requests = sum(one.series.meters.used().map(|meter| &meter.over_requests));
        text.sample("", &[("limit", "connections"), ("upstream", &one.series.upstream)], connections);
        text.sample("", &[("limit", "requests"), ("upstream", &one.series.upstream)], requests);
    }
}

fn upstream_connections(text: &mut Text, scrape: &Scrape<'_>) {
    text.family("pointsman_upstream_latency_seconds", Kind::Histogram, "From sending an attempt to its answer's head.");
    for one in scrape.upstreams.iter().filter(|one| one.series.meters.used().next().is_some()) {
        let meters = one.series.meters.used().map(|meter| &meter.latency);
        histogram(text, &[("upstream", &one.series.upstream)], meters);
    }
    let gauges: [Gauges<UpstreamMeter>; 2] = [
        ("pointsman_upstream_in_flight", "Attempts in flight.", |m| m.in_flight.value()),
        ("pointsman_upstream_connections", "Open connections.", |m| m.connections.value()),
    ];
    for (name, help, of) in gauges {
        text.family(name, Kind::Gauge, help);
        for one in scrape.upstreams.iter().filter(|one| one.series.meters.used().next().is_some()) {
            let now: i64 = one.series.meters.used().map(of).sum();
            text.sample("", &[("upstream", &one.series.upstream)], now.max(0));
        }
    }
    text.family("pointsman_upstream_endpoints", Kind::Gauge, "Endpoints; 0 while no name could be resolved.");
    for one in &scrape.upstreams {
        text.sample("", &[("upstream", &one.series.upstream)], one.endpoints);
    }
}

fn edge(text: &mut Text, scrape: &Scrape<'_>) {
    text.family("pointsman_connections", Kind::Gauge, "Open connections of clients.");
    for (listener, meters) in &scrape.listeners {
        let open: i64 = meters.used().map(|meter| meter.connections.value()).sum();
        text.sample("", &[("listener", listener)], open.max(0));
    }
    let worker = &scrape.registry.worker;
    text.family("pointsman_requests_in_flight", Kind::Gauge, "Requests begun and not yet recorded.");
    let recorded = sum(worker.used().map(|meter| &meter.requests_recorded));
    let begun = sum(worker.used().map(|meter| &meter.requests_begun));
    text.sample("", &[], begun.saturating_sub(recorded));
    text.family("pointsman_held_bytes", Kind::Gauge, "Memory set aside for requests, of the budget that refuses more.");
    let held: i64 = worker.used().map(|meter| meter.held_bytes.value()).sum();
    text.sample("", &[], held.max(0));
    let counters: [Counters<WorkerMeter>; 7] = [
        ("pointsman_connections_accepted_total", "Connections accepted.", |m| &m.accepted),
        ("pointsman_connections_closed_total", "Connections closed.", |m| &m.closed),
        ("pointsman_connections_forced_total", "Connections cut at a drain's deadline.", |m| &m.forced),
        ("pointsman_upgrades_forced_total", "Upgraded connections and streams cut at a drain's deadline.", |m| {
            &m.forced_upgrades
        }),
        ("pointsman_killed_streams_total", "Streams of killed variants that were closed.", |m| &m.killed_streams),
        ("pointsman_accept_errors_total", "Failures to accept, such as too many open files.", |m| &m.accept_errors),
        (
            "pointsman_alias_headers_dropped_total",
            "Header fields dropped because they alias one that is trusted.",
            |m| &m.alias_headers_dropped,
        ),
    ];
    for (name, help, of) in counters {
        text.family(name, Kind::Counter, help);
        text.sample("", &[], sum(worker.used().map(of)));
    }
    text.family("pointsman_refused_total", Kind::Counter, "What was refused or cut, by reason.");
    let mut refusals = Refusal::ALL;
    refusals.sort_by_key(|refusal| refusal.name());
    for refusal in refusals {
        let count = sum(worker.used().map(|meter| meter.refused.of(refusal)));
        text.sample("", &[("reason", refusal.name())], count);
    }
    text.family("pointsman_access_log_dropped_total", Kind::Counter, "Access log lines dropped, by cause.");
    text.sample("", &[("cause", "backlog")], sum(worker.used().map(|meter| &meter.log_lines_dropped)));
    text.sample("", &[("cause", "sink")], scrape.control.log_lines_lost);
}

fn workers(text: &mut Text, scrape: &Scrape<'_>) {
    let each = || (0..scrape.registry.workers).map(|worker| (worker, worker.to_string()));
    text.family("pointsman_worker_heartbeat_age_seconds", Kind::Gauge, "Since a worker last ran.");
    for (worker, label) in each() {
        if let Some(silence) = scrape.registry.silence(worker, scrape.now) {
            text.sample("", &[("worker", &label)], silence.as_secs_f64());
        }
    }
    text.family("pointsman_worker_stalls_total", Kind::Counter, "How often a worker was found not to run for seconds.");
    text.sample("", &[], scrape.control.worker_stalls);
    text.family("pointsman_worker_generation", Kind::Gauge, "The generation that a worker decides with.");
    for (worker, label) in each() {
        let generation = scrape.registry.worker.of(worker).generation.load(std::sync::atomic::Ordering::Relaxed);
        text.sample("", &[("worker", &label)], generation);
    }
}

fn control(text: &mut Text, control: &Control) {
    text.family("pointsman_config_generation", Kind::Gauge, "The number of the configuration in use.");
    text.sample("", &[], control.generation);
    text.family("pointsman_config_last_reload_success", Kind::Gauge, "Whether the files hold: 1, or 0 when refused.");
    text.sample("", &[], u8::from(control.last_reload_succeeded));
    text.family(
        "pointsman_config_last_reload_timestamp_seconds",
        Kind::Gauge,
        "When the configuration in use was applied.",
    );
    text.sample("", &[], control.applied_at.as_secs_f64());
    text.family("pointsman_config_reloads_total", Kind::Counter, "Reloads by outcome.");
    for (outcome, count) in &control.reloads {
        text.sample("", &[("outcome", outcome)], count);
    }
    text.family("pointsman_dns_resolutions_total", Kind::Counter, "Lookups of names by outcome.");
    for (name, [succeeded, failed]) in &control.lookups {
        text.sample("", &[("name", name), ("outcome", "failed")], failed);
        text.sample("", &[("name", name), ("outcome", "succeeded")], succeeded);
    }
    text.family("pointsman_hand_overs_failed_total", Kind::Counter, "Hand-overs after which this process served on.");
    text.sample("", &[], control.hand_overs_failed);
    text.family("pointsman_trace_spans_total", Kind::Counter, "Spans by what became of them.");
    for (outcome, count) in &control.spans {
        text.sample("", &[("outcome", outcome)], count);
    }
    text.family("pointsman_drain_phase", Kind::Gauge, "How far a stop has come: 1 for the phase that it is in.");
    let phases =
        [(Phase::Draining, "draining"), (Phase::Forced, "forced"), (Phase::Lame, "lame"), (Phase::Running, "running")];
    for (phase, name) in phases {
        text.sample("", &[("phase", name)], u8::from(control.phase == phase));
    }
}

fn of_process(text: &mut Text, process: &Process) {
    text.family("process_cpu_seconds_total", Kind::Counter, "User and system CPU time.");
    text.sample("", &[], process.cpu.as_secs_f64());
    text.family("process_resident_memory_bytes", Kind::Gauge, "Resident memory.");
    text.sample("", &[], process.resident_bytes);
    text.family("process_virtual_memory_bytes", Kind::Gauge, "Virtual memory.");
    text.sample("", &[], process.virtual_bytes);
    text.family("process_open_fds", Kind::Gauge, "Open file descriptors.");
    text.sample("", &[], process.open_files);
    if let Some(max) = process.open_files_max {
        text.family("process_max_fds", Kind::Gauge, "Most file descriptors that may be open.");
        text.sample("", &[], max);
    }
    text.family("process_start_time_seconds", Kind::Gauge, "When the process started, since the Unix epoch.");
    text.sample("", &[], process.started_at.as_secs_f64());
    text.family("process_threads", Kind::Gauge, "Threads.");
    text.sample("", &[], process.threads);
}

fn sum<'a>(counters: impl Iterator<Item = &'a Counter>) -> u64 {
    counters.map(Counter::value).sum()
}

/// The histograms of all workers as one, cumulative, in seconds.
fn histogram<'a>(text: &mut Text, labels: &[(&str, &str)], histograms: impl Iterator<Item = &'a Histogram>) {
    let mut counts = [0_u64; Histogram::BOUNDS_US.len() + 1];
    let mut sum_us = 0_u64;
    for (one, us) in histograms.map(Histogram::read) {
        counts.iter_mut().zip(one).for_each(|(sum, count)| *sum += count);
        sum_us += us;
    }
    let mut below = 0;
    let bounds = Histogram::BOUNDS_US.iter().map(|bound| seconds(*bound)).chain(["+Inf".to_owned()]);
    for (bound, count) in bounds.zip(counts) {
        below += count;
        let with_bound: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
        text.sample("_bucket", &with_bound, below);
    }
    text.sample("_sum", labels, seconds(sum_us));
    text.sample("_count", labels, below);
}

/// Microseconds as seconds, exactly.
fn seconds(us: u64) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(text, "{}.{:06}", us / 1_000_000, us % 1_000_000);
    let short = text.trim_end_matches('0').trim_end_matches('.').len();
    text.truncate(short);
    text
}

#[cfg(test)]
mod tests;
