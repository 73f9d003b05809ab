//! Bytes: scanners, frames, fields and faults. Pure: no I/O, no clock, no randomness.

pub(super) mod answers;
mod chunks;
pub(super) mod fault;
pub(super) mod field_map;
pub(super) mod fields;
pub(super) mod grammar;
pub(super) mod grpc;
pub(super) mod header_blocks;
pub mod proxy_header;
pub(super) mod raw_query;
pub mod scan;
