//! `[route.shadow]`: copies requests of a route to another upstream; the proxy discards the responses.

use std::time::Duration;

use http::{HeaderValue, Method};

use super::{HeaderEdits, Salt, Spread, UpstreamId, VariantId, Weight};

/// `[route.shadow]`.
#[derive(Clone, Debug)]
pub struct Shadow {
    /// The upstream that gets the copies.
    pub upstream: UpstreamId,
    /// The share of the requests that are copied.
    pub weight: Weight,
    /// Whether single requests or all requests of a caller are sampled.
    pub sample_by: SampleBy,
    /// The salt for sampling callers: independent of the variant that a caller gets.
    pub salt: Salt,
    /// The methods that are copied; never empty.
    pub methods: Vec<Method>,
    /// The variants whose requests are copied; never empty.
    pub from: Vec<VariantId>,
    /// Copies in flight in the whole process; at least 1.
    pub max_in_flight: u32,
    /// The largest request body that is copied, in bytes; above, the copy is dropped.
    pub max_body_bytes: u64,
    /// Time limit of a copy including its response; never zero.
    pub timeout: Duration,
    /// The `Host` of copies; by default that of the request.
    pub host: Option<HeaderValue>,
    /// Edits to the headers of a copy, after those of the route. [`MARKER`] is always set.
    pub headers: HeaderEdits,
    /// How the responses of copies are compared, if they are.
    pub compare: Option<Compare>,
}

/// The header that marks a copy; its value is `1`. A request with this header from a trusted peer is never copied
/// again.
pub const MARKER: http::HeaderName = http::HeaderName::from_static("x-pointsman-shadow");

/// The unit of sampling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SampleBy {
    /// Requests, spread evenly.
    #[default]
    Request,
    /// Callers, by sticky key: all requests of a caller are copied, or none.
    Key,
}

impl SampleBy {
    /// The name in `routes.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Key => "key",
        }
    }
}

/// `[route.shadow.compare]`. Paths are kept as text; they are valid, and the consumer parses them.
#[derive(Clone, Debug, PartialEq)]
pub struct Compare {
    /// The share of the copies that are also sent to the upstream of the request, as a control that measures noise.
    pub control: Weight,
    /// Fields that are not compared.
    pub ignore: Vec<String>,
    /// Arrays whose order is ignored.
    pub unordered: Vec<String>,
    /// The allowed difference of numbers; finite, and not negative.
    pub tolerance: Vec<(String, f64)>,
    /// Fields that are redacted before samples are stored.
    pub redact: Vec<String>,
    /// The number of samples that are kept for each confirmed field.
    pub keep: u32,
}

impl Default for Compare {
    fn default() -> Self {
        Self {
            control: Weight::from_millionths(200_000).unwrap_or_default(),
            ignore: Vec::new(),
            unordered: Vec::new(),
            tolerance: Vec::new(),
            redact: Vec::new(),
            keep: 50,
        }
    }
}

impl Compare {
    /// Whether this copy is also sent as a control. Call once for each copy: draws from `spread`.
    pub fn controls(&self, spread: &mut Spread) -> bool {
        self.control > Weight::ZERO && spread.draw().number() < self.control.millionths()
    }
}
