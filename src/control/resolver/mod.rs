//! Resolves the names of upstreams; results reach the controller as events.

mod events;
mod name_state;
mod resolve;

pub use name_state::{DnsAnswer, LookupResult};
pub(super) use name_state::{NO_ANSWER_YET, NameChange, NameState};
pub use resolve::{Resolve, SystemResolver};
pub(super) use resolve::{WatchedNames, first_answers};
