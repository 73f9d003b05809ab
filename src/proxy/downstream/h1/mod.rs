//! HTTP/1.1 to clients (RFC 9112): a connection reads, handles and answers one request after another in its own task.
//! `connection.rs` has the loop.

pub(in crate::proxy) mod body;
pub(super) mod connection;
mod input;
mod received;
mod response_head;
mod response_writer;

#[cfg(test)]
pub(in crate::proxy) mod tests;
