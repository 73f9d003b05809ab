//! Many releases, on all cores, with a line of progress on a terminal.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use crate::clock::Clock;
use crate::rehearsal::{PlayedRun, Rehearsal, play};

/// How often the line of progress is written.
const EVERY: Duration = Duration::from_millis(200);

/// Plays releases; the result does not depend on how many cores there are.
pub(super) fn play_all(rehearsal: &Rehearsal<'_>, runs: u32) -> Vec<PlayedRun> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (next, done) = (AtomicU32::new(0), AtomicU32::new(0));
    let some = || {
        let mut played = Vec::new();
        loop {
            let run = next.fetch_add(1, Relaxed);
            if run >= runs {
                return played;
            }
            played.push((run, play(rehearsal, run)));
            done.fetch_add(1, Relaxed);
        }
    };
    let mut all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(some)).collect();
        show_progress(&done, runs, || threads.iter().all(std::thread::ScopedJoinHandle::is_finished));
        let joined = threads.into_iter().map(|thread| match thread.join() {
            Ok(played) => played,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.flatten().collect::<Vec<_>>()
    });
    all.sort_by_key(|(run, _)| *run);
    all.into_iter().map(|(_, played)| played).collect()
}

/// Writes how far it is, on a terminal.
fn show_progress(done: &AtomicU32, runs: u32, is_over: impl Fn() -> bool) {
    let mut err = std::io::stderr();
    if !err.is_terminal() {
        return;
    }
    let begun = Clock.now();
    let mut shown = false;
    while !is_over() {
        std::thread::park_timeout(EVERY);
        let played = done.load(Relaxed);
        // A failure is ignored: there is nowhere to report it.
        let _ = write!(err, "\r{}\u{1b}[K", progress(played, runs, begun.elapsed()));
        let _ = err.flush();
        shown = true;
    }
    if shown {
        let _ = write!(err, "\r\u{1b}[K");
        let _ = err.flush();
    }
}

fn progress(played: u32, runs: u32, after: Duration) -> String {
    let rest = if played > 0 {
        let rest = after.as_secs_f64() * f64::from(runs.saturating_sub(played)) / f64::from(played);
        format!(", about {rest:.0} s more")
    } else {
        String::new()
    };
    format!("{played} of {runs} releases{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_how_long_it_will_take() {
        assert_eq!(progress(0, 200, Duration::from_secs(1)), "0 of 200 releases");
        assert_eq!(progress(50, 200, Duration::from_secs(10)), "50 of 200 releases, about 30 s more");
    }
}
