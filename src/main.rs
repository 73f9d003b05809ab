//! The binary: an allocator, and a door to the library.

use std::process::ExitCode;

/// Measured on small requests: less CPU and a flatter heap than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pointsman::cli::main()
}
