//! An act of a person on endpoints of an upstream, and its outcome.

use std::net::SocketAddr;

use tokio::sync::oneshot;

use crate::journal::Actor;

/// An act on an endpoint, or on all addresses of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointAct {
    /// Who acts.
    pub who: Actor,
    /// The name of the upstream.
    pub upstream: String,
    /// `HOST:PORT` as in the file, or an address.
    pub endpoint: String,
    /// What to do.
    pub verb: EndpointVerb,
    /// Why.
    pub reason: String,
    /// Do it even if no usable endpoint is left.
    pub force: bool,
}

/// What a person does with an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointVerb {
    /// It gets no new request; those under way finish.
    Drain,
    /// End that.
    Undrain,
    /// It gets no new request until a person admits it, as if it had failed.
    Eject,
    /// End an ejection, whatever its cause.
    Admit,
}

/// What an act did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointActOutcome {
    /// Whether it changed anything.
    pub changed: bool,
    /// The endpoints that were meant, as they were before a reload that may follow.
    pub addresses: Vec<SocketAddr>,
    /// The number of its record in the journal; `None` when nothing changed, or when the journal cannot be written.
    pub seq: Option<u64>,
}

/// Why an act did nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointActError {
    /// There is no such upstream.
    NoUpstream {
        /// Those that there are, at most 100.
        known: Vec<String>,
        /// A similar name.
        similar: Option<String>,
    },
    /// The upstream has no such endpoint.
    NoEndpoint {
        /// Those that it has, at most 100.
        known: Vec<String>,
        /// A similar name.
        similar: Option<String>,
    },
    /// No usable endpoint would be left.
    LastUsable,
    /// The file drains it, which a person cannot end by a call.
    DrainedByFile,
    /// The proxy is stopping, or another process takes over.
    Stopping,
}

/// Receives the outcome of an act.
pub type EndpointActReply = oneshot::Sender<Result<EndpointActOutcome, EndpointActError>>;

impl EndpointVerb {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Drain, Self::Undrain, Self::Eject, Self::Admit];

    /// The word in calls, commands and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Undrain => "undrain",
            Self::Eject => "eject",
            Self::Admit => "admit",
        }
    }

    /// Whether it takes an endpoint out of service.
    #[must_use]
    pub const fn takes_out(self) -> bool {
        matches!(self, Self::Drain | Self::Eject)
    }
}
