//! Which route takes a request: the index over hosts and paths, and routes that can never be told apart.

mod candidate;
mod conflict;
mod edges;
mod index;
mod regexes;
mod table;
mod tree;

pub use index::Index;
pub use table::Lookup;
