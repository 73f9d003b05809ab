//! Statistics of a release: pure functions of counts. The caller supplies counts and time.

mod difference;
mod evidence;
mod level;
mod likelihood;
mod pairs;
mod rate;
mod sample_ratio;
mod spending;
mod verdict;

pub use difference::{Failures, RateDifference};
pub use evidence::{Evidence, GRID, Kernel, Stratum, Tally};
pub use level::{HasLevel, Level, Observation};
pub use likelihood::{Estimate, Likelihood};
pub use pairs::Pairs;
pub use rate::{Mismatch, Mismatches};
pub use sample_ratio::{Fairness, SampleRatio};
pub use spending::FIELDS_MAX;
pub use verdict::{FieldReport, SAMPLES_MAX, TestDesign, Verdict, Verdicts};
