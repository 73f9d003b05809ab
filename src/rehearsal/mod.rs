//! A release in virtual time: the plan as it is, with the real state machine and the real guards, and callers that are made
//! up. Pure: plan, traffic, fault and a seed in, what would happen out.

mod answers;
mod bench;
mod callers;
mod course;
mod crowd;
mod draws;
mod expected;
mod failing_run;
mod fault;
mod fault_words;
mod forecast;
mod play;
mod random;
mod report;
mod scene;
mod timeline;
mod traffic;

pub use draws::assumptions;
pub use fault::{FaultEffect, FaultError, FaultStart, ReleaseFault};
pub use fault_words::{FaultAmount, Slowness};
pub use forecast::{GuardForecast, StageForecast, forecast};
pub use play::{FaultyRun, HealthyRun, PlayedRun, Rehearsal, ReleaseStop, play, play_fault_alone};
pub use report::{FaultyReport, HealthyReport, RehearsalReport, RunQuantiles};
pub use scene::Scene;
pub use timeline::{StageTimes, Timeline, timeline};
pub use traffic::{RolloutTraffic, RolloutTraffic as Traffic, RouteTraffic};
