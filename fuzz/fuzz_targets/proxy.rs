//! The fuzz target `proxy`: what holds for any bytes is in bodies/proxy.rs, which `cargo test` runs too.
#![no_main]

#[path = "../bodies/proxy.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::any(bytes));
