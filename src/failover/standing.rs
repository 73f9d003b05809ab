//! The state of an endpoint as a word, for people and programs.

/// The state of an endpoint as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointStanding {
    /// It serves.
    Usable,
    /// It fails, but may not be ejected, so it serves.
    Failing,
    /// It gets no request until its time is over.
    Ejected,
    /// Its time is over: the next fitting try decides.
    Trial,
    /// It is drained, by a person or by the file.
    Drained,
    /// Its active checks fail.
    Unhealthy,
    /// It came later, was not checked yet, and a healthy one serves.
    Unknown,
    /// It is a backup, and a primary is usable.
    Standby,
}

impl EndpointStanding {
    /// All states, in the order of their index.
    pub const ALL: [Self; 8] = [
        Self::Usable,
        Self::Failing,
        Self::Ejected,
        Self::Trial,
        Self::Drained,
        Self::Unhealthy,
        Self::Unknown,
        Self::Standby,
    ];

    /// The state as text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::Failing => "failing",
            Self::Ejected => "ejected",
            Self::Trial => "trial",
            Self::Drained => "drained",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
            Self::Standby => "standby",
        }
    }

    /// Whether requests are sent to it in this state.
    #[must_use]
    pub const fn serves(self) -> bool {
        matches!(self, Self::Usable | Self::Failing)
    }
}
