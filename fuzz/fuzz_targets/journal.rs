//! The fuzz target `journal`: the checks are in bodies/journal.rs, which `cargo test` also runs.
#![no_main]

#[path = "../bodies/journal.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::any(bytes));
