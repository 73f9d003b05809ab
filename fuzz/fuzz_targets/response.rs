//! The fuzz target `response`: the checks are in bodies/response.rs, which `cargo test` also runs.
#![no_main]

#[path = "../bodies/response.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::any(bytes));
