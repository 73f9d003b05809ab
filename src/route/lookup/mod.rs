//! Which route takes a request: the index over hosts and paths, and the check for routes that can never answer because
//! an earlier one takes all their requests.

mod candidate;
mod conflict;
mod edges;
mod index;
mod regexes;
mod table;
mod tree;

pub use index::Index;
pub use table::Lookup;
