//! The fuzz target `head`: the checks are in bodies/head.rs, which `cargo test` also runs.
#![no_main]

#[path = "../bodies/head.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::any(bytes));
