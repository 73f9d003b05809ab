//! The fuzz target `route`: the checks are in bodies/route.rs, which `cargo test` also runs.
#![no_main]

#[path = "../bodies/route.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::any(bytes));
