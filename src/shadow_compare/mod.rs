//! A dark launch, judged: what copies were answered is compared with what the requests were, on a thread of its own, and
//! what that adds up to can be read as a report.
//!
//! Nobody waits here. A trial that finds no room is dropped and counted; what waits is bounded in number, and its bytes
//! are those that all copies share.

mod about;
mod book;
mod judge;
mod reach;
mod report;
mod sets;
mod shelf;
mod trial;

pub use judge::{Judge, TrialSender};
pub use report::{Figures, Findings, Quantiles, Reported, RouteReport, Sampled};
pub use trial::{Kept, Seen, Trial};
