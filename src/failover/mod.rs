//! Upstreams that fail: when an endpoint is ejected and admitted, when a request is tried again, and within which
//! budget. Pure: `now` and the random draws are arguments. The state is for the process; all workers share it.

mod backoff;
mod budget;
mod cause;
mod ejection;
mod endpoint;
mod retry;
#[cfg(test)]
mod tests;
mod upstream;
mod window;

pub use backoff::back_off;
pub use budget::RetryBudget;
pub use cause::{FailureCause, FailureKind};
pub use ejection::{Census, KeptReason};
pub use endpoint::{EndpointHealth, EndpointMemory, EndpointStanding, EndpointView};
pub use retry::{ENDPOINTS_MAX, FailedAttempt, GiveUpReason, Reached, Resendable, Retry, Tries, Unconnected};
pub use retry::{is_safe, next, rescues, unconnected};
pub use upstream::{Choice, EndpointKey, FailedTry, HealthCounts, Moment, Sender, Transition, UpstreamHealth};
pub use window::{RecentCounts, RecentWindows};
