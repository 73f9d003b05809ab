//! The fuzz target `compare`: the checks are in bodies/compare.rs, which `cargo test` also runs.
#![no_main]

#[path = "../bodies/compare.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::any(bytes));
