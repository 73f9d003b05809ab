//! The fuzz target `config`: what holds for any bytes is in bodies/config.rs, which `cargo test` runs too.
#![no_main]

#[path = "../bodies/config.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::any(bytes));
