//! The traffic of the routes of a rollout: given on the command line, measured by a running proxy, or assumed.

mod figures;
mod measured;

#[cfg(test)]
pub use figures::{FigureSource, TrafficFigure};
pub use figures::{KnownTraffic, MissingFigures, known_traffic};
pub use measured::{ProxyTraffic, measured_traffic};
