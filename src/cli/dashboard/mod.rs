//! `dashboard`: a link for one use that signs in to the dashboard of a running proxy.

mod ask;
mod browser;
mod link;

pub use ask::dashboard;
pub use link::{DashboardLink, LinkHost, LinkOutcome};
