//! TLS failures with upstreams: counted by kind, and the last one in words.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The kind of a failure; the label of `pointsman_upstream_tls_failures_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFailure {
    /// The certificate is not trusted.
    Certificate,
    /// Not TLS, or malformed TLS.
    Protocol,
    /// The upstream sent an alert.
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

/// A failure with the same cause is logged again after this time.
const QUIET: Duration = Duration::from_secs(10);

/// The last failure. Only accessed on a failure.
#[derive(Debug, Default)]
pub struct TlsFailureLog(Mutex<Option<LastTlsFailure>>);

/// A failure, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastTlsFailure {
    /// When, since the Unix epoch.
    pub at: Duration,
    /// The cause, for people.
    pub cause: String,
    logged_at: Duration,
}

/// Whether a failure is to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureNovelty {
    /// It is new: log it.
    New,
    /// It was logged a moment ago.
    Repeated,
}

impl TlsFailureLog {
    /// Records a failure, and returns whether to log it.
    pub fn record(&self, at: Duration, cause: String) -> FailureNovelty {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let logged_at =
            last.as_ref().filter(|last| last.cause == cause && at < last.logged_at + QUIET).map(|last| last.logged_at);
        *last = Some(LastTlsFailure { at, cause, logged_at: logged_at.unwrap_or(at) });
        if logged_at.is_some() { FailureNovelty::Repeated } else { FailureNovelty::New }
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
    fn the_same_failure_is_logged_from_time_to_time() {
        let log = TlsFailureLog::default();
        let keep = |seconds, cause: &str| log.record(Duration::from_secs(seconds), cause.to_owned());
        let logged: Vec<_> = [(1, "a"), (5, "a"), (10, "a"), (11, "a"), (12, "b"), (13, "a")]
            .map(|(seconds, cause)| keep(seconds, cause) == FailureNovelty::New)
            .into();
        assert_eq!(logged, [true, false, false, true, true, true]);
        assert_eq!(log.last().map(|last| (last.at.as_secs(), last.cause)), Some((13, "a".to_owned())));
    }
}
