//! Which of an upstream's endpoints gets a request: least request, peak EWMA, smooth weighted round robin, or a hash ring
//! with bounded load. Pure: the time, the random draws and the loads are arguments.
//!
//! One worker has one state for an upstream and asks no other worker. What it knows of the load of the others is the
//! figure that all report at their ticks.

mod choice;
mod latency;
mod load;
mod others_guess;
mod ring;
mod rotation;
mod round_robin;
#[cfg(test)]
mod tests;

pub use choice::{Chooser, Fleet};
pub use latency::PeakEwma;
pub use load::{EndpointLoad, PLACE_MS_MAX, PLACE_MS_MIN};
pub use others_guess::{OthersGuess, WorkerTraffic};
pub use ring::{HashRing, RingMember};
pub use rotation::{Members, Rotation, RotationPlace};
pub use round_robin::RoundRobin;
