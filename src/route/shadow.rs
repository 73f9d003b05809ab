//! `[route.shadow]`: the requests of a route that are copied to another upstream, whose answers nobody waits for.

use std::time::Duration;

use http::{HeaderValue, Method};

use super::{HeaderEdits, Salt, SourceLocation, Spread, UpstreamId, VariantId, Weight};

/// `[route.shadow]`.
#[derive(Clone, Debug)]
pub struct Shadow {
    /// Where it stands.
    pub place: SourceLocation,
    /// Who gets the copies.
    pub upstream: UpstreamId,
    /// The share of the requests that are copied.
    pub weight: Weight,
    /// Whether requests are sampled, or whole callers.
    pub sample_by: SampleBy,
    /// The salt of the callers that are sampled: independent of who gets which variant.
    pub salt: Salt,
    /// The methods that are copied; never empty.
    pub methods: Vec<Method>,
    /// The variants whose requests are copied; never empty.
    pub from: Vec<VariantId>,
    /// Copies under way at once, in the whole process; at least 1.
    pub max_in_flight: u32,
    /// The largest body of a request that is copied, in bytes; beyond, the copy is dropped.
    pub max_body_bytes: u64,
    /// For the whole copy, its response included; never zero.
    pub timeout: Duration,
    /// The `Host` of copies; the one that the request came with when not given.
    pub host: Option<HeaderValue>,
    /// Edits to a copy's headers, after those of the route. [`MARKER`] is set besides, whatever they say.
    pub headers: HeaderEdits,
    /// Whether, and how, the copies' responses are compared.
    pub compare: Option<Compare>,
}

/// The field that marks a copy; its value is `1`. A request that a trusted peer marked is never copied again.
pub const MARKER: http::HeaderName = http::HeaderName::from_static("x-pointsman-shadow");

/// What is sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SampleBy {
    /// Requests, spread evenly.
    #[default]
    Request,
    /// Callers, by their sticky key: all of their requests are copied, or none.
    Key,
}

impl SampleBy {
    /// The word in `routes.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Key => "key",
        }
    }
}

/// `[route.shadow.compare]`. Paths are kept as they were written, and are of the grammar: a consumer reads them once.
#[derive(Clone, Debug, PartialEq)]
pub struct Compare {
    /// The share of the copies that are also sent to the request's own upstream again, to learn the noise.
    pub control: Weight,
    /// What is not compared.
    pub ignore: Vec<String>,
    /// Arrays whose order does not count.
    pub unordered: Vec<String>,
    /// By how much numbers may differ; finite, and not negative.
    pub tolerance: Vec<(String, f64)>,
    /// What is redacted before anything is stored.
    pub redact: Vec<String>,
    /// How many redacted samples are kept for each confirmed field.
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
    /// Whether the control gets this copy as well. `spread` is drawn from once for each copy.
    pub fn controls(&self, spread: &mut Spread) -> bool {
        self.control > Weight::ZERO && spread.draw().number() < self.control.millionths()
    }
}
