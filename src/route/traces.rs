//! Traces: the export of spans, and the sampling of traces.

use http::{HeaderName, HeaderValue};

use super::ClientTls;

/// `[traces]`: the export of spans.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceExport {
    /// The host of the collector: a name or an address, as written in the URL.
    pub host: String,
    /// The port of the collector.
    pub port: u16,
    /// The prefix of the path that the protocol defines; empty, or `/x`.
    pub path: String,
    /// The TLS settings, for `https`.
    pub tls: Option<ClientTls>,
    /// The protocol.
    pub protocol: OtlpProtocol,
    /// The share of new traces that are sampled, 0 to 1.
    pub sample: f64,
    /// `service.name`.
    pub service: String,
    /// Further attributes of the resource.
    pub attributes: Vec<(String, String)>,
    /// Headers of every export.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// The protocol of the export (OpenTelemetry Protocol 1.x).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// HTTP/1.1 with Protobuf, by default on port 4318.
    Http,
    /// gRPC over HTTP/2, by default on port 4317.
    Grpc,
}

impl TraceExport {
    /// Whether the trace with this id is sampled, if no trusted peer has decided. Depends on the id only, so that all
    /// services with the same share agree.
    #[must_use]
    pub fn samples(&self, trace_id: u128) -> bool {
        // The lower 7 bytes are random (W3C Trace Context Level 2 §5.1).
        let random = u64::try_from(trace_id & ((1 << 52) - 1)).unwrap_or(0);
        // 52 bits fit a double exactly.
        #[expect(clippy::cast_precision_loss, reason = "52 bits are exact")]
        let share = random as f64 / (1_u64 << 52) as f64;
        share < self.sample
    }
}
