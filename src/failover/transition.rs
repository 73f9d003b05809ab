//! What changes of an endpoint.

use super::cause::FailureCause;
use super::ejection::KeptReason;

/// A change of an endpoint, for the log. Each is reported once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It is ejected.
    Ejected {
        /// Why.
        cause: FailureCause,
        /// For how long, in milliseconds; `None`: until a person admits it.
        for_ms: Option<u64>,
        /// The number of this ejection in a row.
        nth: u32,
    },
    /// It fails, but may not be ejected.
    Failing {
        /// Why it fails.
        cause: FailureCause,
        /// Why it is kept.
        kept: KeptReason,
    },
    /// It is no longer ejected.
    Admitted,
    /// It fails no longer.
    Recovered,
    /// A person has drained it.
    Drained,
    /// A person has ended that.
    Undrained,
    /// Its active checks fail.
    Unhealthy,
    /// Its active checks are good.
    Healthy,
}
