//! The points that charts are drawn from, in the memory of this process: every 10 s one of each rollout and release for 24 h,
//! and of each route with traffic for 1 h. `store.rs` has the series within a budget, `series.rs` one of them; both are
//! pure, and time is the number of a slot. `sampler.rs` takes the samples, `meters.rs` what the workers have counted.

mod chart;
mod codes;
mod kept;
mod meters;
mod packed;
mod point;
mod resample;
mod sampler;
#[cfg(test)]
mod sampler_tests;
mod series;
mod store;
#[cfg(test)]
mod tests;
mod ticks;

pub use chart::{ArmLine, GuardLine, HistoryChart};
pub use kept::{HISTORY_EVERY, History, HistoryOf};
pub use store::HistoryMemory;
pub(super) use ticks::sample_regularly;
