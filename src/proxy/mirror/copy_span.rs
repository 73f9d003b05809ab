//! The span of a copy or a control.

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;

use crate::proxy::upstream::pool::UpstreamPool;
use crate::proxy::worker::Worker;
use crate::proxy::worker::trace_context::{TraceContext, known_method};
use crate::telemetry::{ShadowEnd, SpanKind, SpanStatus, TraceSpan};

/// The span of a copy or a control, from the injection of its id until it ends.
#[derive(Debug)]
pub(crate) struct CopySpan {
    trace: u128,
    id: u64,
    parent: u64,
    state: Box<str>,
    kind: CopyKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyKind {
    /// The copy for the shadow.
    Candidate,
    /// The copy for the request's own upstream.
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

impl CopySpan {
    /// The span with this id, in the trace of the request.
    pub(crate) fn new(trace: &TraceContext, id: u64, kind: CopyKind) -> Self {
        Self { trace: trace.id, id, parent: trace.span, state: trace.state.clone(), kind }
    }
}

/// How a copy ended.
pub(crate) struct CopyOutcome<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) generation: u64,
    pub(crate) pool: &'a UpstreamPool,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) end: ShadowEnd,
    pub(crate) from: Duration,
    pub(crate) took: Duration,
}

/// Records the span of a copy, marked as a copy.
pub(super) fn record_copy(worker: &Worker, copy: &CopySpan, outcome: &CopyOutcome<'_>) {
    let (status, error) = match outcome.end {
        ShadowEnd::Completed(status) => (Some(status), (status >= 400).then(|| status.to_string())),
        ShadowEnd::Dropped(reason) => (None, Some(reason.name().to_owned())),
    };
    let method = known_method(outcome.method);
    let span = TraceSpan {
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
