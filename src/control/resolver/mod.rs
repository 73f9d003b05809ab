//! Resolves the names of upstreams; results reach the controller as events.

mod events;
mod name_state;
mod resolve;

pub(super) use name_state::{ADDRESSES_MAX, NO_ANSWER_YET, NameChange, NameState};
pub use name_state::{DnsAnswer, LookupResult};
pub use resolve::{Resolve, SystemResolver};
pub(super) use resolve::{WatchedNames, first_answers};
