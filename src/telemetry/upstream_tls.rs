//! What goes wrong under TLS with upstreams: counted by kind, and the last case in words.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The kind of a failure; the label of `pointsman_upstream_tls_failures_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFailure {
    /// The certificate was not believed.
    Certificate,
    /// What came was not TLS, or not as it must be.
    Protocol,
    /// The other side refused us, with an alert.
    Alert,
    /// It took too long.
    Timeout,
}

impl TlsFailure {
    /// All of them, in the order of their index.
    pub const ALL: [Self; 4] = [Self::Certificate, Self::Protocol, Self::Alert, Self::Timeout];

    /// The label's value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Protocol => "protocol",
            Self::Alert => "alert",
            Self::Timeout => "timeout",
        }
    }
}

/// The same words are not said again within this.
const QUIET: Duration = Duration::from_secs(10);

/// What went wrong last. Touched only when something does.
#[derive(Debug, Default)]
pub struct TlsFailureLog(Mutex<Option<LastTlsFailure>>);

/// A failure in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastTlsFailure {
    /// When, since the Unix epoch.
    pub at: Duration,
    /// What, for people.
    pub cause: String,
    said: Duration,
}

/// Whether a failure is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureNovelty {
    /// It is: tell it.
    New,
    /// It was told a moment ago.
    Repeated,
}

impl TlsFailureLog {
    /// Keeps a failure, and says whether it should be told.
    pub fn record(&self, at: Duration, cause: String) -> FailureNovelty {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said = last.as_ref().filter(|last| last.cause == cause && at < last.said + QUIET).map(|last| last.said);
        *last = Some(LastTlsFailure { at, cause, said: said.unwrap_or(at) });
        if said.is_some() { FailureNovelty::Repeated } else { FailureNovelty::New }
    }

    /// The last failure.
    #[must_use]
    pub fn last(&self) -> Option<LastTlsFailure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_is_told_now_and_then() {
        let log = TlsFailureLog::default();
        let keep = |seconds, cause: &str| log.record(Duration::from_secs(seconds), cause.to_owned());
        let told: Vec<_> = [(1, "a"), (5, "a"), (10, "a"), (11, "a"), (12, "b"), (13, "a")]
            .map(|(seconds, cause)| keep(seconds, cause) == FailureNovelty::New)
            .into();
        assert_eq!(told, [true, false, false, true, true, true]);
        assert_eq!(log.last().map(|last| (last.at.as_secs(), last.cause)), Some((13, "a".to_owned())));
    }
}
