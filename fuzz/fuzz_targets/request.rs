//! The fuzz target `request`: the checks are in bodies/request.rs, which `cargo test` also runs.
#![no_main]

#[path = "../bodies/request.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::any(bytes));
