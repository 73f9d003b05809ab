//! A span in the OTLP format (`opentelemetry/proto/trace/v1/trace.proto`).

use std::time::Duration;

use super::proto::Message;

/// The field of `ScopeSpans` with the spans.
pub(super) const SPANS: u32 = 2;
/// The field of a span with its attributes.
const ATTRIBUTE: u32 = 9;

/// The kind of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// The request from the client.
    Server,
    /// An attempt to send it to an upstream.
    Client,
}

/// The status of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanStatus {
    /// Not set, as the semantic conventions require without an error.
    Unset,
    /// It failed.
    Error,
}

/// A span.
#[derive(Clone, Copy, Debug)]
pub struct TraceSpan<'a> {
    /// The trace.
    pub trace_id: u128,
    /// Its id.
    pub id: u64,
    /// Its parent; `None` for the root.
    pub parent: Option<u64>,
    /// Whether the parent is in another process.
    pub remote_parent: bool,
    /// `tracestate`, unchanged.
    pub state: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its kind.
    pub kind: SpanKind,
    /// Its start, since the Unix epoch.
    pub from: Duration,
    /// Its end.
    pub to: Duration,
    /// Its status.
    pub status: SpanStatus,
}

/// Writes attributes.
pub struct SpanAttributes<'a>(&'a mut Message);

impl SpanAttributes<'_> {
    /// A text.
    pub fn text(&mut self, key: &str, value: &str) {
        self.0.text_attribute(ATTRIBUTE, key, value);
    }

    /// A text, if there is one.
    pub fn maybe(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A true flag; a false one is omitted.
    pub fn truth(&mut self, key: &str) {
        self.0.truth_attribute(ATTRIBUTE, key);
    }

    /// An integer.
    pub fn int(&mut self, key: &str, value: u64) {
        self.0.int_attribute(ATTRIBUTE, key, value);
    }
}

impl TraceSpan<'_> {
    /// Writes it as an element of `ScopeSpans`.
    pub(super) fn write(&self, out: &mut Message, attributes: impl FnOnce(&mut SpanAttributes<'_>)) {
        out.message(SPANS, |span| {
            span.bytes(1, &self.trace_id.to_be_bytes());
            span.bytes(2, &self.id.to_be_bytes());
            if !self.state.is_empty() {
                span.bytes(3, self.state.as_bytes());
            }
            if let Some(parent) = self.parent {
                span.bytes(4, &parent.to_be_bytes());
            }
            span.bytes(5, self.name.as_bytes());
            let kind = match self.kind {
                SpanKind::Server => 2,
                SpanKind::Client => 3,
            };
            span.varint(6, kind);
            let nanos = |at: Duration| u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
            span.fixed64(7, nanos(self.from));
            span.fixed64(8, nanos(self.to));
            attributes(&mut SpanAttributes(span));
            if self.status == SpanStatus::Error {
                span.message(15, |status| status.varint(3, 2));
            }
            // Flags: sampled; whether the parent is remote is known; the parent is remote.
            let remote = if self.remote_parent { 0x200 } else { 0 };
            span.fixed32(16, 0x001 | 0x100 | remote);
        });
    }
}
