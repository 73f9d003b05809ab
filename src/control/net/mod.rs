//! DNS lookups of upstream names; answers reach the controller as events.

mod resolution;
mod resolve;
mod resolved;

pub use resolution::{Answer, Answered};
pub(super) use resolution::{NO_ANSWER_YET, News, Resolution};
pub(super) use resolve::{Names, first_answers};
pub use resolve::{Resolve, SystemResolver};
