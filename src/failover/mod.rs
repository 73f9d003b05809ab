//! Upstreams that fail: when an endpoint is ejected and admitted, when a request is tried again, and within which
//! budget. Pure: `now` and the random draws are arguments. The state is for the process; all workers share it.

mod active;
mod backoff;
mod budget;
mod by_hand;
mod cause;
mod checked;
mod ejection;
mod endpoint;
mod passed_on;
mod retry;
mod setting;
mod standing;
#[cfg(test)]
mod tests;
mod transition;
mod upstream;
mod window;

pub use active::CheckChanges;
pub use backoff::back_off;
pub use budget::RetryBudget;
pub use cause::{FailureCause, FailureKind};
pub use checked::{CheckCounts, CheckOutcome, CheckThresholds, CheckView, CheckedHealth, FailedCheck};
pub use ejection::{Census, KeptReason};
pub use endpoint::{EndpointHealth, EndpointMemory, EndpointView};
pub use retry::{ENDPOINTS_MAX, FailedAttempt, GiveUpReason, Reached, Resendable, Retry, Tries, Unconnected};
pub use retry::{is_safe, next, rescues, unconnected};
pub use setting::{EndpointKey, EndpointSetting};
pub use standing::EndpointStanding;
pub use transition::Transition;
pub use upstream::{ActiveChecks, Choice, FailedTry, HealthCounts, Moment, Sender, UpstreamHealth};
pub use window::{RecentCounts, RecentWindows};
