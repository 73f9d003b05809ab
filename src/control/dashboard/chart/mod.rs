//! Charts as SVG: made by the server, styled by the style sheet, readable without script.

mod axis;
mod evidence;
mod key;
mod labels;
mod lines;
mod plot;
mod series;
mod share;
mod span;
mod spark;
mod stages;
mod stroke;
#[cfg(test)]
mod tests;
mod trace;
mod words;

pub use evidence::evidence_chart;
pub use lines::{error_chart, latency_chart};
pub use share::share_chart;
pub use spark::sparkline;
pub use stages::stage_chart;
