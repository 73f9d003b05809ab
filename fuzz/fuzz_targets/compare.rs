//! The fuzz target `compare`: what holds for any bytes is in bodies/compare.rs, which `cargo test` runs too.
#![no_main]

#[path = "../bodies/compare.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::any(bytes));
