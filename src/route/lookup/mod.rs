//! Finds the route of a request by an index over hosts and paths, and checks for routes that can never match.

mod candidate;
mod conflict;
mod edges;
mod index;
mod names;
mod regexes;
mod table;
mod tree;

pub use index::Index;
pub use table::Lookup;
