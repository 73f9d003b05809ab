//! The fuzz target `proxy`: the checks are in bodies/proxy.rs, which `cargo test` also runs.
#![no_main]

#[path = "../bodies/proxy.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::any(bytes));
