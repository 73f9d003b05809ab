//! Shadow comparison: compares the responses of copies with the responses of their requests on a thread of its own, and
//! reports what the evidence says.
//!
//! The data plane never waits for this room. A job that finds the queue full is dropped and counted; the number of
//! queued jobs is bounded, and their bytes count against the memory limit that all copies share.

mod comparator;
mod depth;
mod job;
mod report;
mod route_evidence;
mod scope;
mod sets;
mod store;

pub use comparator::{Comparator, JobSender};
pub use job::{CapturedResponse, ComparisonJob, ObservedResponse};
pub use report::{
    ComparatorStats, DifferenceSample, Quantiles, ReportedField, RouteReport, ShadowSummary, ShadowTally,
};
