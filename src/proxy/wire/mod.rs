//! Scanners, frames, header fields and faults. Pure: no I/O, no clock, no randomness.

pub(super) mod body_error;
mod chunked_body;
mod chunks;
pub(super) mod fault;
pub(super) mod field_rules;
pub(super) mod grammar;
pub(super) mod grpc;
pub(super) mod h2_fields;
pub mod head;
pub(super) mod header_blocks;
pub mod proxy_header;
pub(super) mod raw_query;
pub mod request_body;
pub mod response_body;
pub mod response_head;
pub mod scan;

#[cfg(test)]
mod tests;
