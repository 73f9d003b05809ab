//! The fuzz target `config`: the checks are in bodies/config.rs, which `cargo test` also runs.
#![no_main]

#[path = "../bodies/config.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::any(bytes));
