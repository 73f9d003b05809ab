//! Connections, below whatever is spoken on them.

mod socket;

pub use socket::{Socket, is_refusal};
