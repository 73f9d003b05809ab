//! The fuzz target `head`: what holds for any bytes is in bodies/head.rs, which `cargo test` runs too.
#![no_main]

#[path = "../bodies/head.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::any(bytes));
