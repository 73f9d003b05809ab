//! Explains decisions to people: `explain`, `what-if`, and replay of access logs.

mod copied;
mod covered;
mod describe;
mod difference;
mod explain;
mod explanation;
mod lacking;
mod nearly;
mod question;
mod replay;
mod sameness;
mod teller;
mod what_if;

pub use copied::Copied;
pub use difference::summary;
pub use explain::{Asked, explain, explain_briefly};
pub use explanation::{Explanation, HeaderEdit, Matched, Outcome, Served};
pub use question::Question;
pub use replay::{Copies, Led, Noted, Replay, Replayed, Seen, replay};
pub use teller::Told;
pub use what_if::{Comparison, Flow, Moved, MovedUpstream, RouteChange, compare};
