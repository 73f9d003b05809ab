//! The fuzz target `route`: what holds for any bytes is in bodies/route.rs, which `cargo test` runs too.
#![no_main]

#[path = "../bodies/route.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| body::any(bytes));
