//! Scanners, frames, header fields and faults. Pure: no I/O, no clock, no randomness.

mod chunks;
pub(super) mod fault;
pub(super) mod field_rules;
pub(super) mod grammar;
pub(super) mod grpc;
pub(super) mod header_blocks;
pub(super) mod header_fields;
pub mod proxy_header;
pub(super) mod raw_query;
pub mod response_body;
pub mod response_head;
pub mod scan;

#[cfg(test)]
mod tests;
