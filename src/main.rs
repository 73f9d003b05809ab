//! The binary: the allocator, and the call into the library.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// Measured on small requests: less CPU and a flatter heap than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Options that the allocator reads from the environment. `MIMALLOC_PURGE_DELAY`: how long, in milliseconds, an unused
/// page is kept. Pages that are returned at once are soon requested again under HTTP/2 and gRPC: 1 to 2.6 page faults a
/// request, and a tenth to a quarter of the CPU time. A delay of 10 ms saves most of that; 100 ms saves little more and
/// takes 30 MB more with 100 000 routes. The allocator returns pages when other pages are freed after the delay, which
/// never happens in an idle process: the sweep of a worker does it (`proxy/worker/state.rs`), or the process would keep
/// the memory of its last burst. `MIMALLOC_ALLOW_THP`: no huge pages. With them the heap grows in steps of 2 MiB, which
/// the kernel clears while requests wait: under load one worker took 29 MiB instead of 15, and p99 during a reload of
/// 100 000 routes was 8 to 62 ms instead of 10 to 12; requests cost the same.
const ALLOCATOR_OPTIONS: [(&str, &str); 2] = [("MIMALLOC_PURGE_DELAY", "10"), ("MIMALLOC_ALLOW_THP", "0")];

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|command| command == "run") {
        set_allocator_options();
    }
    pointsman::cli::main()
}

/// Executes the same process again with the allocator's options set, unless they are set already. When `exec` fails,
/// the process continues without them.
fn set_allocator_options() {
    let missing = || ALLOCATOR_OPTIONS.into_iter().filter(|(name, _)| std::env::var_os(name).is_none());
    let mut given = std::env::args_os();
    if let (true, Ok(program), Some(called)) = (missing().count() > 0, std::env::current_exe(), given.next()) {
        let _ = Command::new(program).arg0(called).args(given).envs(missing()).exec();
    }
}
