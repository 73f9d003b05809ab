//! Statistics of a release: pure functions of counts. The caller supplies counts and time.

mod absolute;
mod dealing;
mod difference;
mod evidence;
mod level;
mod likelihood;
mod pairs;
mod promotion;
mod rate;
mod restarts;
mod run;
mod sample_ratio;
mod spending;
mod verdict;
mod window;

pub use absolute::AbsoluteKernel;
pub use dealing::Dealing;
pub use difference::{Failures, RateDifference};
pub use evidence::{Evidence, GRID, Kernel, Stratum, Tally};
pub use level::{HasLevel, Level, Observation};
pub use likelihood::{Estimate, Likelihood};
pub use pairs::Pairs;
pub use promotion::{NonInferior, NonInferiority, RateBelow};
pub use rate::{Mismatch, Mismatches};
pub use restarts::{least_events, reaches, restart_share, with_restarts};
pub use run::{RunVerdict, judge_run};
pub use sample_ratio::{Fairness, SampleRatio};
pub use spending::FIELDS_MAX;
pub use verdict::{FieldReport, SAMPLES_MAX, TestDesign, Verdict, Verdicts};
pub use window::{
    ArmPlace, JudgedEvent, JudgedKind, MARK_AGES, PlaceMap, SlotExposures, SlotNumber, WindowNumber, WindowShape,
    mark_age,
};
