//! HTTP/2 to clients, over the crate `h2`: one task a connection, which drives the requests of all its streams.

pub(super) mod body;
pub(super) mod connection;
pub(super) mod head_gate;
#[cfg(test)]
mod pair;
mod stream;
mod streams;
pub(crate) mod tunnel;
mod turn;
