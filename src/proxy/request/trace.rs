//! Records the spans of a request, in its trace context (`worker/trace_context.rs`).
//!
//! Any sender's context is continued, because it only groups spans. Its `sampled` flag counts only from trusted peers;
//! for all others the share in `[traces]` decides by the trace id. Without `[traces]` there are no spans, and
//! `traceparent` passes unchanged.

use std::net::SocketAddr;
use std::time::Duration;

use http::Version;

use super::exchange::Exchange;
use crate::clock::Timestamp;
use crate::fields::Fields;
use crate::proxy::mirror::copy_span::{CopyKind, CopySpan};
use crate::proxy::wire::field_rules::Peer;
use crate::proxy::worker::trace_context::{Attempt, OTHER_METHOD, TraceContext, known_method};
use crate::route::{PathPattern, UpstreamId};
use crate::telemetry::{EndedBy, ReasonLabel, SpanKind, SpanStatus, TraceSpan};

/// Ends the last attempt with an error.
pub(crate) fn end_attempt(exchange: &mut Exchange, detail: &'static str) {
    if let Some(trace) = &mut exchange.trace {
        trace.end_attempt(exchange.client.worker.clock.now(), detail);
    }
}

/// Starts an attempt: its span becomes the parent of the upstream's spans.
pub(crate) fn start_attempt(exchange: &mut Exchange) {
    if exchange.trace.is_none() {
        return;
    }
    let mut fields = std::mem::take(&mut exchange.request.head.fields);
    let span = inject_span(exchange, &mut fields);
    exchange.request.head.fields = fields;
    let Some(span) = span else { return };
    let (began, endpoint) = (exchange.client.worker.clock.now(), exchange.attempt.address());
    let upstream = exchange.routing.chosen.map(|chosen| chosen.upstream);
    if let Some(trace) = &mut exchange.trace {
        trace.attempts.push(Attempt { span, began, ended: None, upstream, endpoint, status: 0, error: "" });
    }
}

/// Starts a copy: its span becomes the parent of the spans of the upstream that gets it.
pub(crate) fn start_copy(exchange: &mut Exchange, fields: &mut Fields, kind: CopyKind) -> Option<Box<CopySpan>> {
    let id = inject_span(exchange, fields)?;
    let trace = exchange.trace.as_ref()?;
    Some(Box::new(CopySpan::new(trace, id, kind)))
}

/// Creates a span id and sets it in `traceparent`. Returns the id if the span is exported.
fn inject_span(exchange: &mut Exchange, fields: &mut Fields) -> Option<u64> {
    let export = exchange.view.snapshot.rules.traces.as_ref()?;
    let peer = peer(exchange);
    let trace = exchange.trace.as_mut()?;
    let sampled = trace.is_sampled(export, peer);
    let span = exchange.client.worker.random.borrow_mut().u64(1..);
    trace.inject(span, fields);
    sampled.then_some(span)
}

fn peer(exchange: &Exchange) -> Peer {
    if exchange.request.trusted { Peer::Trusted } else { Peer::Untrusted }
}

/// Records the spans of an exchange that has ended.
pub(crate) fn record_spans(exchange: &mut Exchange, took: Duration) {
    let Some(export) = &exchange.view.snapshot.rules.traces else { return };
    let Some(mut trace) = exchange.trace.take() else { return };
    if !trace.is_sampled(export, peer(exchange)) {
        return;
    }
    let end = exchange.request.began + took;
    // An attempt that is still open ends with the exchange.
    let detail = if exchange.progress.ender == EndedBy::Done { "" } else { exchange.progress.detail };
    trace.end_attempt(end, detail);
    server(exchange, &trace, took);
    let last = trace.attempts.len().saturating_sub(1);
    for (resends, attempt) in trace.attempts.iter().enumerate() {
        let end = if resends == last { exchange.attempt.retry_end() } else { "" };
        client(exchange, &trace, attempt, &AttemptPlace { resends, end });
    }
}

fn server(exchange: &Exchange, trace: &TraceContext, took: Duration) {
    let cut = !matches!(exchange.progress.ender, EndedBy::Done | EndedBy::Client);
    let failed =
        exchange.response.status >= 500 || exchange.response.status == 0 || cut && exchange.response.status < 400;
    let route = exchange.routing.route.map(|id| exchange.view.snapshot.rules.route(id));
    let pattern = route.and_then(|route| pattern(&route.matches.paths));
    let method = known_method(&exchange.request.head.method);
    let name = pattern.as_ref().map_or_else(|| method.to_owned(), |pattern| format!("{method} {pattern}"));
    let span = TraceSpan {
        trace_id: trace.id,
        id: trace.span,
        parent: trace.parent.map(|parent| parent.span),
        remote_parent: trace.parent.is_some(),
        state: &trace.state,
        name: &name,
        kind: SpanKind::Server,
        from: exchange.request.began_wall,
        to: exchange.request.began_wall + took,
        status: if failed { SpanStatus::Error } else { SpanStatus::Unset },
    };
    let status = exchange.response.status.to_string();
    exchange.client.worker.span(&span, |attributes| {
        attributes.text("http.request.method", method);
        if method == OTHER_METHOD {
            attributes.text("http.request.method_original", exchange.request.head.method.as_str());
        }
        attributes.text("url.scheme", exchange.scheme());
        attributes.text("url.path", exchange.path());
        attributes.maybe("http.route", pattern.as_deref());
        let host = exchange.request.host();
        attributes.maybe("server.address", (!host.is_empty()).then_some(host));
        attributes.int("server.port", u64::from(exchange.client.listener.bound.port()));
        attributes.text("client.address", &exchange.request.client_ip.to_string());
        attributes.text("network.peer.address", &exchange.client.peer.ip().to_string());
        attributes.int("network.peer.port", u64::from(exchange.client.peer.port()));
        attributes.text("network.protocol.name", "http");
        attributes.text("network.protocol.version", version(exchange.request.head.version));
        if exchange.response.status > 0 {
            attributes.int("http.response.status_code", u64::from(exchange.response.status));
        }
        if failed {
            let detail = if exchange.progress.detail.is_empty() { &status } else { exchange.progress.detail };
            attributes.text("error.type", detail);
        }
        if let Some(upload) = &exchange.prepared.upload {
            attributes.int("http.request.body.size", upload.bytes.get());
        }
        attributes.int("http.response.body.size", exchange.response.bytes);
        if let Some(code) = exchange.call.as_ref().and_then(|call| call.status.code()) {
            attributes.text("rpc.system", "grpc");
            attributes.int("rpc.grpc.status_code", u64::from(code));
        }
        add_decision(exchange, exchange.routing.chosen.map(|chosen| chosen.upstream), attributes);
    });
}

/// Adds the decision, by the semantic conventions for feature flags.
fn add_decision(
    exchange: &Exchange,
    upstream: Option<UpstreamId>,
    attributes: &mut crate::telemetry::SpanAttributes<'_>,
) {
    attributes.int("pointsman.generation", exchange.view.snapshot.generation.0);
    if let Some(chosen) = &exchange.routing.chosen {
        attributes.maybe("feature_flag.key", exchange.route_name());
        attributes.text("feature_flag.provider.name", "pointsman");
        attributes.maybe("feature_flag.result.variant", exchange.variant_name());
        let reason = ReasonLabel::name(ReasonLabel::of(chosen.reason(), chosen.fallback).index());
        attributes.text("feature_flag.result.reason", reason);
        let upstream = upstream.and_then(|id| exchange.view.snapshot.rules.upstreams.get(id.0 as usize));
        attributes.maybe("pointsman.upstream", upstream.map(|upstream| upstream.name.as_str()));
    }
}

/// The place of an attempt among those of its request.
struct AttemptPlace {
    /// The attempts before it.
    resends: usize,
    /// Why there is none after it, although it failed; empty otherwise.
    end: &'static str,
}

fn client(exchange: &Exchange, trace: &TraceContext, attempt: &Attempt, place: &AttemptPlace) {
    let at = |moment: Timestamp| exchange.request.began_wall + moment.duration_since(exchange.request.began);
    let failed = attempt.status >= 400 || !attempt.error.is_empty() || attempt.status == 0;
    let method = known_method(&exchange.request.head.method);
    let span = TraceSpan {
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
        if place.resends > 0 {
            attributes.int("http.request.resend_count", place.resends as u64);
        }
        attributes.maybe("pointsman.retry.end", Some(place.end).filter(|end| !end.is_empty()));
        add_decision(exchange, attempt.upstream, attributes);
    });
}

fn scheme(exchange: &Exchange, upstream: Option<UpstreamId>, address: SocketAddr) -> &'static str {
    let upstream = upstream.and_then(|id| exchange.view.snapshot.upstreams.get(id.0 as usize));
    let endpoint = upstream.and_then(|state| state.endpoints.iter().find(|endpoint| endpoint.address == address));
    let tls = endpoint.is_some_and(|endpoint| endpoint.protocol.scheme() == "https");
    if tls { "https" } else { "http" }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

/// The pattern of the route, if it has only one.
fn pattern(paths: &[PathPattern]) -> Option<String> {
    let [path] = paths else { return None };
    Some(match path {
        PathPattern::Exact(path) => path.clone(),
        PathPattern::Prefix(path) => format!("{path}/*"),
        PathPattern::Regex(regex) => regex.as_str().to_owned(),
    })
}
