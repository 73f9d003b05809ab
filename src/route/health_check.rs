//! `[upstream.NAME.health]` as plain data: the active checks of endpoints.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

/// The active checks of an upstream's endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HealthCheck {
    /// What is asked, and which answer is good.
    pub probe: HealthProbe,
    /// The time between two checks of an endpoint; each varies by a tenth to both sides.
    pub interval: Duration,
    /// Time limit of one check, from connecting to its answer.
    pub timeout: Duration,
    /// Good checks in a row that make an endpoint healthy, from 1.
    pub healthy: u32,
    /// Bad checks in a row that make it unhealthy, from 1.
    pub unhealthy: u32,
    /// The port of the checks, where it is not that of the endpoint.
    pub port: Option<u16>,
}

/// What a check asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HealthProbe {
    /// `GET path`.
    Http(HttpProbe),
    /// `grpc.health.v1.Health/Check`; only SERVING is good.
    Grpc(GrpcProbe),
    /// A connection, with TLS where the endpoint has it.
    Tcp,
}

/// `path`, `host`, `headers`, `expect`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpProbe {
    /// Path and query, from `/`.
    pub path: String,
    /// `Host`, where it is not that of the endpoint.
    pub host: Option<HeaderValue>,
    /// Further fields.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The good statuses; never empty.
    pub expect: Vec<RangeInclusive<u16>>,
}

/// `grpc`, `service`, `host`, `headers`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GrpcProbe {
    /// The service that is asked for; empty for the server as a whole.
    pub service: String,
    /// `:authority`, where it is not that of the endpoint.
    pub host: Option<HeaderValue>,
    /// Further metadata.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl HttpProbe {
    /// Whether a status is good.
    #[must_use]
    pub fn expects(&self, status: u16) -> bool {
        self.expect.iter().any(|range| range.contains(&status))
    }
}

impl HealthProbe {
    /// The kind as one word: `http`, `grpc` or `tcp`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Grpc(_) => "grpc",
            Self::Tcp => "tcp",
        }
    }
}
