//! The fuzz target `fields`: the checks are in bodies/fields.rs, which `cargo test` also runs.
#![no_main]

#[path = "../bodies/fields.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::any(bytes));
