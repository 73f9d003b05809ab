//! HTTP/1.1 to an upstream (RFC 9112), without a task or a channel per request: the socket lies in the pool, and the
//! request's own task polls it. `send.rs` has one exchange from its head to the head of its response.

pub(super) mod body;
pub(in crate::proxy) mod connection;
mod request_head;
pub(in crate::proxy) mod request_writer;
pub(in crate::proxy) mod send;
mod upload_task;
