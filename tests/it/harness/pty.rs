//! The binary on a pseudo-terminal: [`Glass`] shows its output, and the test types keys.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;

use pointsman::clock::Clock;
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use super::PATIENCE;
use super::glass::Glass;
use super::ports;
use crate::process::BINARY;

/// A terminal with the binary on it. Dropping it kills the process.
pub struct Pty {
    child: Child,
    leader: File,
    bytes: Receiver<Vec<u8>>,
    /// The screen as a user sees it.
    pub glass: Glass,
    /// All bytes as they were written.
    pub raw: Vec<u8>,
}

fn size(columns: usize) -> Winsize {
    Winsize { ws_row: 40, ws_col: columns.try_into().unwrap(), ws_xpixel: 0, ws_ypixel: 0 }
}

impl Pty {
    /// Starts the binary with these arguments in `dir`, which is also its folder for temporary files.
    pub fn start(dir: &Path, arguments: &[&str], columns: usize) -> Self {
        Self::with(dir, arguments, columns, |command| {
            command.env_remove("NO_COLOR");
        })
    }

    /// The same; `more` changes the command before it starts.
    #[track_caller]
    pub fn with(dir: &Path, arguments: &[&str], columns: usize, more: impl FnOnce(&mut Command)) -> Self {
        ports::chosen_by_the_system_for(dir, arguments);
        let leader = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&leader).unwrap();
        unlockpt(&leader).unwrap();
        let name = ptsname(&leader, Vec::new()).unwrap();
        let follower = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        tcsetwinsize(&leader, size(columns)).unwrap();
        let end = || -> Stdio { follower.try_clone().unwrap().into() };
        // Makes the terminal the controlling one of the process: keys such as Ctrl-C become signals.
        let mut command = Command::new("setsid");
        command.args(["--ctty", BINARY]).args(arguments).current_dir(dir).env("TMPDIR", dir);
        for variable in ["POINTSMAN_LOG", "POINTSMAN_ADMIN", "POINTSMAN_TOKEN"] {
            command.env_remove(variable);
        }
        command.stdin(end()).stdout(end()).stderr(end());
        more(&mut command);
        let child = command.spawn().unwrap();
        drop((command, follower));
        let leader = File::from(leader);
        let bytes = read(leader.try_clone().unwrap());
        Self { child, leader, bytes, glass: Glass::new(columns), raw: Vec::new() }
    }

    /// Sets the width of the window.
    pub fn resize(&mut self, columns: usize) {
        tcsetwinsize(&self.leader, size(columns)).unwrap();
        self.glass.resize(columns);
    }

    /// Types.
    pub fn press(&mut self, keys: &str) {
        self.leader.write_all(keys.as_bytes()).unwrap();
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until the screen matches.
    #[track_caller]
    pub fn until<T>(&mut self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = Clock.now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let left = deadline.saturating_duration_since(Clock.now());
            match self.bytes.recv_timeout(left) {
                Ok(bytes) => {
                    self.glass.take(&bytes);
                    self.raw.extend(bytes);
                }
                Err(error) => panic!("{what}: {error}\n{}", self.glass.rows().join("\n")),
            }
        }
    }

    /// Waits for a line that contains this, and returns it when it is complete.
    #[track_caller]
    pub fn line_with(&mut self, words: &str) -> String {
        self.until(words, |pty| {
            let mut lines = pty.glass.lines();
            if !pty.raw.ends_with(b"\n") && !pty.raw.ends_with(b"\r") {
                lines.pop();
            }
            lines.into_iter().find(|line| line.contains(words))
        })
    }

    /// Waits for the end and returns the exit code.
    pub fn end(&mut self) -> i32 {
        let deadline = Clock.now() + PATIENCE;
        loop {
            match self.bytes.recv_timeout(deadline.saturating_duration_since(Clock.now())) {
                Ok(bytes) => {
                    self.glass.take(&bytes);
                    self.raw.extend(bytes);
                }
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().unwrap().code().unwrap(),
                Err(RecvTimeoutError::Timeout) => panic!("it does not end:\n{}", self.glass.rows().join("\n")),
            }
        }
    }

    /// Whether the terminal reads lines and echoes keys, as it did at the start.
    pub fn is_as_before(&self) -> bool {
        let modes = tcgetattr(&self.leader).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }
}

fn read(mut leader: File) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = vec![0; 4096];
        // It fails when the other end is closed.
        while let Ok(length @ 1..) = leader.read(&mut bytes) {
            if sender.send(bytes[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
