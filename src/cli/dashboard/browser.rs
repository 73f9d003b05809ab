//! The browser of this machine.

use std::env;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::clock::Clock;

/// The program that opens a URL.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
/// How long it may take to say that it cannot. One that still runs then is the browser itself.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at it.
const GLANCE: Duration = Duration::from_millis(20);

/// Opens a URL.
///
/// # Errors
/// Why it cannot be opened.
pub(super) fn open(url: &str) -> Result<(), String> {
    // Without a screen it starts a browser in this terminal, if there is one.
    let has_screen =
        ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| env::var_os(name).is_some_and(|at| !at.is_empty()));
    if !has_screen && !cfg!(target_os = "macos") {
        return Err("this session has no screen".to_owned());
    }
    start(OPENER, url)
}

fn start(opener: &str, url: &str) -> Result<(), String> {
    let mut command = Command::new(opener);
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("{opener}: {error}"))?;
    let end = Clock.monotonic() + PATIENCE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("{opener}: {status}")),
            Ok(None) if Clock.monotonic() >= end => return Ok(()),
            Ok(None) => thread::sleep(GLANCE),
            Err(error) => return Err(format!("{opener}: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_or_is_missing_is_reported() {
        assert_eq!(start("true", "http://a"), Ok(()));
        assert!(start("false", "http://a").unwrap_err().contains("exit status: 1"));
        assert!(start("no-such-program-of-anyone", "http://a").unwrap_err().contains("No such file"));
    }
}
