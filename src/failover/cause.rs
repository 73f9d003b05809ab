//! Why an endpoint counts as failing.

/// What a failure says about its endpoint. The two kinds have different caps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The endpoint does not accept connections.
    NotAccepting,
    /// The endpoint answers badly, or not at all.
    BadAnswer,
}

/// The failure of a try, or the act of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FailureCause {
    /// The connection was refused, or the address is unreachable.
    ConnectRefused,
    /// The connection was not established in time.
    ConnectTimeout,
    /// The TLS handshake failed.
    Tls,
    /// The connection or stream ended before the head of the response.
    Reset,
    /// The response is invalid.
    Protocol,
    /// The head of the response did not come in time.
    Timeout,
    /// A response with 502, 503 or 504, or with another 5xx where `any_5xx` is set.
    Status,
    /// A gRPC status that blames the endpoint.
    Grpc,
    /// The body of the response ended early.
    Body,
    /// `failure_percent`.
    Percent,
    /// A person ejected the endpoint.
    ByHand,
}

impl FailureCause {
    /// All causes, in the order of their index.
    pub const ALL: [Self; 11] = [
        Self::ConnectRefused,
        Self::ConnectTimeout,
        Self::Tls,
        Self::Reset,
        Self::Protocol,
        Self::Timeout,
        Self::Status,
        Self::Grpc,
        Self::Body,
        Self::Percent,
        Self::ByHand,
    ];

    /// What it says about the endpoint.
    #[must_use]
    pub const fn kind(self) -> FailureKind {
        if matches!(self, Self::ConnectRefused | Self::ConnectTimeout | Self::Tls) {
            FailureKind::NotAccepting
        } else {
            FailureKind::BadAnswer
        }
    }

    /// Whether its ejections count towards `max_ejected_percent`.
    pub(super) fn is_capped(self) -> bool {
        self.kind() == FailureKind::BadAnswer && self != Self::ByHand
    }

    /// The name in metrics, logs and responses of the admin listener.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::Grpc => "grpc",
            Self::Body => "body",
            Self::Percent => "failure_percent",
            Self::ByHand => "by_hand",
        }
    }

    /// The cause of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }

    /// The cause at this index plus one; 0 is none.
    pub(super) fn decode(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }

    /// The index plus one.
    pub(super) const fn encode(self) -> u8 {
        self as u8 + 1
    }
}
