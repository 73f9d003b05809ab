//! The fuzz target `endpoints`: the checks are in bodies/endpoints.rs, which `cargo test` also runs.
#![no_main]

#[path = "../bodies/endpoints.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::any(bytes));
