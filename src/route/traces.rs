//! Traces: where spans go, and which requests leave some.

use http::{HeaderName, HeaderValue};

use super::ClientTls;

/// Where spans are sent, by `[traces]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceExport {
    /// The collector's host: a name or an address, as written in its URL.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The path in front of what the protocol demands; empty, or `/x`.
    pub path: String,
    /// How it is verified, when it is spoken to by TLS.
    pub tls: Option<ClientTls>,
    /// How to speak to it.
    pub protocol: OtlpProtocol,
    /// The share of the requests that begin a trace here, 0 to 1.
    pub sample: f64,
    /// `service.name`.
    pub service: String,
    /// Further attributes of the resource.
    pub attributes: Vec<(String, String)>,
    /// Sent with every export.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// How spans are sent (OpenTelemetry Protocol 1.x).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// HTTP/1.1 with Protobuf, by default on port 4318.
    Http,
    /// gRPC over HTTP/2, by default on port 4317.
    Grpc,
}

impl TraceExport {
    /// Whether the trace with this id leaves spans, when nobody who is believed has decided. By the id, so that all who
    /// sample by the same share agree.
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
