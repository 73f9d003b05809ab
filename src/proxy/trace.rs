//! Traces: the context that a request brings or begins (W3C Trace Context), and the spans that it leaves.
//!
//! A context is continued whoever sends it: it only names what belongs together. Whether spans are left is believed from
//! trusted peers; for all others the share in `[traces]` decides by the trace's id. Without `[traces]` nothing of this
//! exists, and `traceparent` passes untouched.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Version};

use super::exchange::Exchange;
use super::pool::UpstreamPool;
use super::worker::Worker;
use crate::route::{PathPattern, TraceExport, UpstreamId};
use crate::telemetry::{Ender, ReasonLabel, ShadowEnd, Span, SpanKind, SpanStatus};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The longest `tracestate` that is told to the collector; the upstream gets it whole.
const STATE_BYTES_MAX: usize = 512;

/// The trace of one exchange.
#[derive(Debug)]
pub(super) struct TraceContext {
    id: u128,
    /// The server span.
    span: u64,
    parent: Option<Parent>,
    state: Box<str>,
    sampled: Option<bool>,
    attempts: Vec<Attempt>,
}

/// What a `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parent {
    trace: u128,
    span: u64,
    sampled: bool,
}

#[derive(Debug)]
struct Attempt {
    span: u64,
    began: Instant,
    ended: Option<Instant>,
    upstream: Option<UpstreamId>,
    endpoint: Option<SocketAddr>,
    status: u16,
    error: &'static str,
}

/// The span of a copy for a shadow, until it has ended.
#[derive(Debug)]
pub(super) struct CopySpan {
    trace: u128,
    id: u64,
    parent: u64,
    state: Box<str>,
    kind: CopyKind,
}

/// Which of the copies it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CopyKind {
    /// For the shadow.
    Candidate,
    /// For the request's own upstream.
    Control,
}

impl CopyKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Control => "control",
        }
    }
}

/// What a copy came to.
pub(super) struct CopyOutcome<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) generation: u64,
    pub(super) pool: &'a UpstreamPool,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) end: ShadowEnd,
    pub(super) from: Duration,
    pub(super) took: Duration,
}

impl TraceContext {
    /// Continues the trace that the fields name, or begins one.
    pub(super) fn new(headers: &HeaderMap, random: &mut fastrand::Rng) -> Self {
        let parent = Parent::read(headers);
        let state = parent.map_or_else(String::new, |_| state(headers));
        let id = parent.map_or_else(|| random.u128(1..), |parent| parent.trace);
        let span = random.u64(1..);
        Self { id, span, parent, state: state.into(), sampled: None, attempts: Vec::new() }
    }

    /// The trace's id as it is written.
    pub(super) fn text(&self) -> Box<str> {
        format!("{:032x}", self.id).into()
    }

    fn is_sampled(&mut self, export: &TraceExport, parent_is_trusted: bool) -> bool {
        let id = self.id;
        let decide = |parent: Option<Parent>| match parent {
            Some(parent) if parent_is_trusted => parent.sampled,
            Some(_) | None => export.samples(id),
        };
        *self.sampled.get_or_insert_with(|| decide(self.parent))
    }

    /// The last attempt came to this.
    fn ends(&mut self, now: Instant, error: &'static str) {
        if let Some(attempt) = self.attempts.last_mut().filter(|attempt| attempt.ended.is_none()) {
            (attempt.ended, attempt.error) = (Some(now), error);
        }
    }

    /// The last attempt was answered with this status; it ends with its answer.
    pub(super) fn answered(&mut self, status: u16) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.status = status;
        }
    }
}

/// The last attempt got no answer, for this reason.
pub(super) fn ends(exchange: &mut Exchange, detail: &'static str) {
    if let Some(trace) = &mut exchange.trace {
        trace.ends(exchange.client.worker.clock.now(), detail);
    }
}

/// Begins an attempt: the upstream sees its span as the parent.
pub(super) fn attempt(exchange: &mut Exchange, headers: &mut HeaderMap) {
    let Some(span) = name_span(exchange, headers) else { return };
    let (began, endpoint) = (exchange.client.worker.clock.now(), exchange.endpoint);
    let upstream = exchange.chosen.map(|chosen| chosen.upstream);
    if let Some(trace) = &mut exchange.trace {
        trace.attempts.push(Attempt { span, began, ended: None, upstream, endpoint, status: 0, error: "" });
    }
}

/// Begins a copy: whoever gets it sees its span as the parent.
pub(super) fn copy(exchange: &mut Exchange, headers: &mut HeaderMap, kind: CopyKind) -> Option<Box<CopySpan>> {
    let id = name_span(exchange, headers)?;
    let trace = exchange.trace.as_ref()?;
    Some(Box::new(CopySpan { trace: trace.id, id, parent: trace.span, state: trace.state.clone(), kind }))
}

/// Names a new span of the trace as the parent of what the upstream does. Gives it if it is to be left.
fn name_span(exchange: &mut Exchange, headers: &mut HeaderMap) -> Option<u64> {
    let export = exchange.local.snapshot.rules.traces.as_ref()?;
    let trace = exchange.trace.as_mut()?;
    let sampled = trace.is_sampled(export, exchange.trusted);
    let span = exchange.client.worker.random.borrow_mut().u64(1..);
    let text = format!("00-{:032x}-{span:016x}-{:02x}", trace.id, u8::from(sampled));
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(TRACEPARENT, value);
    }
    if trace.parent.is_none() {
        // What belongs to a trace that nobody can read belongs to none.
        headers.remove(TRACESTATE);
    }
    sampled.then_some(span)
}

/// `tracestate`, which may stand in several lines.
fn state(headers: &HeaderMap) -> String {
    let lines: Vec<&str> = headers.get_all(TRACESTATE).iter().filter_map(|line| line.to_str().ok()).collect();
    let joined = lines.join(",");
    if joined.len() <= STATE_BYTES_MAX { joined } else { String::new() }
}

impl Parent {
    /// Reads the one `traceparent`: version, trace, span, flags. A later version may have more to say behind these.
    fn read(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(TRACEPARENT).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else { return None };
        let text = line.to_str().ok()?;
        let mut parts = text.split('-');
        let version = hex(parts.next()?, 2)?;
        let (trace, span, flags) = (hex(parts.next()?, 32)?, hex(parts.next()?, 16)?, hex(parts.next()?, 2)?);
        let more = parts.next().is_some();
        let valid = version != 0xff && (version > 0 || !more) && trace != 0 && span != 0;
        let span = u64::try_from(span).ok()?;
        valid.then_some(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

/// So many digits, in lower case.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let fits = text.len() == digits && text.bytes().all(lower);
    fits.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// Leaves the spans of an exchange that has ended.
pub(super) fn leave(exchange: &mut Exchange, took: Duration) {
    let Some(export) = &exchange.local.snapshot.rules.traces else { return };
    let Some(mut trace) = exchange.trace.take() else { return };
    if !trace.is_sampled(export, exchange.trusted) {
        return;
    }
    let end = exchange.began + took;
    // An attempt without an end of its own ended with the exchange.
    let detail = if exchange.ending.ender == Ender::Done { "" } else { exchange.ending.detail };
    trace.ends(end, detail);
    server(exchange, &trace, took);
    for (resends, attempt) in trace.attempts.iter().enumerate() {
        client(exchange, &trace, (attempt, resends));
    }
}

fn server(exchange: &Exchange, trace: &TraceContext, took: Duration) {
    let cut = !matches!(exchange.ending.ender, Ender::Done | Ender::Client);
    let failed = exchange.status >= 500 || exchange.status == 0 || cut && exchange.status < 400;
    let route = exchange.route.map(|id| exchange.local.snapshot.rules.route(id));
    let pattern = route.and_then(|route| pattern(&route.matches.paths));
    let method = known(&exchange.method);
    let name = pattern.as_ref().map_or_else(|| method.to_owned(), |pattern| format!("{method} {pattern}"));
    let span = Span {
        trace_id: trace.id,
        id: trace.span,
        parent: trace.parent.map(|parent| parent.span),
        remote_parent: trace.parent.is_some(),
        state: &trace.state,
        name: &name,
        kind: SpanKind::Server,
        from: exchange.began_wall,
        to: exchange.began_wall + took,
        status: if failed { SpanStatus::Error } else { SpanStatus::Unset },
    };
    let status = exchange.status.to_string();
    exchange.client.worker.span(&span, |attributes| {
        attributes.text("http.request.method", method);
        if method == OTHER {
            attributes.text("http.request.method_original", exchange.method.as_str());
        }
        attributes.text("url.scheme", exchange.scheme());
        attributes.text("url.path", exchange.path());
        attributes.maybe("http.route", pattern.as_deref());
        let host = exchange.host.normal();
        attributes.maybe("server.address", (!host.is_empty()).then_some(host));
        attributes.int("server.port", u64::from(exchange.client.listener.bound.port()));
        attributes.text("client.address", &exchange.client_ip.to_string());
        attributes.text("network.peer.address", &exchange.client.peer.ip().to_string());
        attributes.int("network.peer.port", u64::from(exchange.client.peer.port()));
        attributes.text("network.protocol.name", "http");
        attributes.text("network.protocol.version", version(exchange.version));
        if exchange.status > 0 {
            attributes.int("http.response.status_code", u64::from(exchange.status));
        }
        if failed {
            let detail = if exchange.ending.detail.is_empty() { &status } else { exchange.ending.detail };
            attributes.text("error.type", detail);
        }
        if let Some(upload) = &exchange.upload {
            attributes.int("http.request.body.size", upload.bytes.get());
        }
        attributes.int("http.response.body.size", exchange.response_bytes);
        if let Some(code) = exchange.call.as_ref().and_then(|call| call.status.code()) {
            attributes.text("rpc.system", "grpc");
            attributes.int("rpc.grpc.status_code", u64::from(code));
        }
        decided(exchange, exchange.chosen.map(|chosen| chosen.upstream), attributes);
    });
}

/// Which variant it got, and why, by the conventions for feature flags.
fn decided(exchange: &Exchange, upstream: Option<UpstreamId>, attributes: &mut crate::telemetry::Attributes<'_>) {
    attributes.int("pointsman.generation", exchange.local.snapshot.generation.0);
    if let Some(chosen) = &exchange.chosen {
        attributes.maybe("feature_flag.key", exchange.route_name());
        attributes.text("feature_flag.provider.name", "pointsman");
        attributes.maybe("feature_flag.result.variant", exchange.variant_name());
        let reason = ReasonLabel::name(ReasonLabel::of(chosen.reason(), chosen.fallback).index());
        attributes.text("feature_flag.result.reason", reason);
        let upstream = upstream.and_then(|id| exchange.local.snapshot.rules.upstreams.get(id.0 as usize));
        attributes.maybe("pointsman.upstream", upstream.map(|upstream| upstream.name.as_str()));
    }
}

fn client(exchange: &Exchange, trace: &TraceContext, (attempt, resends): (&Attempt, usize)) {
    let at = |moment: Instant| exchange.began_wall + moment.saturating_duration_since(exchange.began);
    let failed = attempt.status >= 400 || !attempt.error.is_empty() || attempt.status == 0;
    let method = known(&exchange.method);
    let span = Span {
        trace_id: trace.id,
        id: attempt.span,
        parent: Some(trace.span),
        remote_parent: false,
        state: &trace.state,
        name: method,
        kind: SpanKind::Client,
        from: at(attempt.began),
        to: at(attempt.ended.unwrap_or(attempt.began)),
        status: if failed { SpanStatus::Error } else { SpanStatus::Unset },
    };
    let status = attempt.status.to_string();
    exchange.client.worker.span(&span, |attributes| {
        attributes.text("http.request.method", method);
        if let Some(endpoint) = attempt.endpoint {
            attributes.text("server.address", &endpoint.ip().to_string());
            attributes.int("server.port", u64::from(endpoint.port()));
            let scheme = scheme(exchange, attempt.upstream, endpoint);
            attributes.text("url.full", &format!("{scheme}://{endpoint}{}", exchange.path()));
        }
        if attempt.status > 0 {
            attributes.int("http.response.status_code", u64::from(attempt.status));
        }
        if failed {
            attributes.text("error.type", if attempt.error.is_empty() { &status } else { attempt.error });
        }
        if resends > 0 {
            attributes.int("http.request.resend_count", resends as u64);
        }
        decided(exchange, attempt.upstream, attributes);
    });
}

/// Leaves the span of a copy, marked as one.
pub(super) fn leave_copy(worker: &Worker, copy: &CopySpan, outcome: &CopyOutcome<'_>) {
    let (status, error) = match outcome.end {
        ShadowEnd::Completed(status) => (Some(status), (status >= 400).then(|| status.to_string())),
        ShadowEnd::Dropped(reason) => (None, Some(reason.name().to_owned())),
    };
    let method = known(outcome.method);
    let span = Span {
        trace_id: copy.trace,
        id: copy.id,
        parent: Some(copy.parent),
        remote_parent: false,
        state: &copy.state,
        name: method,
        kind: SpanKind::Client,
        from: outcome.from,
        to: outcome.from + outcome.took,
        status: if error.is_some() { SpanStatus::Error } else { SpanStatus::Unset },
    };
    worker.span(&span, |attributes| {
        attributes.truth("pointsman.shadow");
        attributes.text("pointsman.shadow.copy", copy.kind.name());
        attributes.text("http.request.method", method);
        if let Some(endpoint) = outcome.endpoint {
            attributes.text("server.address", &endpoint.ip().to_string());
            attributes.int("server.port", u64::from(endpoint.port()));
            let known = outcome.pool.endpoints.iter().find(|known| known.endpoint.address == endpoint);
            let scheme = known.map_or("http", |known| known.endpoint.protocol.scheme());
            let scheme = if scheme == "https" { scheme } else { "http" };
            attributes.text("url.full", &format!("{scheme}://{endpoint}{}", outcome.path));
        }
        if let Some(status) = status {
            attributes.int("http.response.status_code", u64::from(status));
        }
        attributes.maybe("error.type", error.as_deref());
        attributes.int("pointsman.generation", outcome.generation);
        attributes.text("pointsman.upstream", &outcome.pool.upstream.name);
    });
}

fn scheme(exchange: &Exchange, upstream: Option<UpstreamId>, address: SocketAddr) -> &'static str {
    let upstream = upstream.and_then(|id| exchange.local.snapshot.upstreams.get(id.0 as usize));
    let endpoint = upstream.and_then(|state| state.endpoints.iter().find(|endpoint| endpoint.address == address));
    let tls = endpoint.is_some_and(|endpoint| endpoint.protocol.scheme() == "https");
    if tls { "https" } else { "http" }
}

const OTHER: &str = "_OTHER";

/// The method, if everybody knows it: what clients make up makes no new kinds of spans.
fn known(method: &Method) -> &str {
    let all = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ];
    if all.contains(method) { method.as_str() } else { OTHER }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

/// The pattern that took the request, where there is but one.
fn pattern(paths: &[PathPattern]) -> Option<String> {
    let [path] = paths else { return None };
    Some(match path {
        PathPattern::Exact(path) => path.clone(),
        PathPattern::Prefix(path) => format!("{path}/*"),
        PathPattern::Regex(regex) => regex.as_str().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_as_the_recommendation_says() {
        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        const SPAN: &str = "00f067aa0ba902b7";
        let read = |lines: &[String]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(TRACEPARENT, HeaderValue::from_str(line).expect("a value"));
            }
            Parent::read(&headers)
        };
        let trace = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
        let parent = |sampled| Some(Parent { trace, span: 0x00f0_67aa_0ba9_02b7, sampled });
        let check = |line: String, expected| assert_eq!(read(std::slice::from_ref(&line)), expected, "{line}");
        check(format!("00-{TRACE}-{SPAN}-01"), parent(true));
        check(format!("00-{TRACE}-{SPAN}-00"), parent(false));
        check(format!("00-{TRACE}-{SPAN}-03"), parent(true));
        check(format!("cc-{TRACE}-{SPAN}-01"), parent(true));
        check(format!("cc-{TRACE}-{SPAN}-01-what-will-be"), parent(true));
        for wrong in [
            String::new(),
            "x".to_owned(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!("+0-{TRACE}-{SPAN}-01"),
        ] {
            check(wrong, None);
        }
        let line = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(read(&[line.clone(), line]), None, "two are none");
    }
}
