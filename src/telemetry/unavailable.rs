//! Why an upstream could not answer a request.

/// Why the proxy answers 503 for an upstream; the label `cause` of `pointsman_upstream_unavailable_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnavailableCause {
    /// A limit of the upstream is reached.
    Limits,
    /// It has no endpoint: no name is resolved, or all are drained.
    NoEndpoint,
    /// All endpoints are ejected.
    Ejected,
    /// The active checks of all endpoints fail.
    Unhealthy,
    /// The last try failed, and the retry budget allowed no further one.
    Budget,
}

impl UnavailableCause {
    /// All causes, in the order of their index.
    pub const ALL: [Self; 5] = [Self::Limits, Self::NoEndpoint, Self::Ejected, Self::Unhealthy, Self::Budget];

    /// The label's value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Limits => "limits",
            Self::NoEndpoint => "no_endpoint",
            Self::Ejected => "ejected",
            Self::Unhealthy => "unhealthy",
            Self::Budget => "budget",
        }
    }
}
