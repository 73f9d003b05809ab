//! The binary as a process: run to its end, or kept running and observed.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::harness::{PATIENCE, ports};

/// The binary under test. The functions that start it check its ports first.
pub const BINARY: &str = env!("CARGO_BIN_EXE_pointsman");

/// The result of a finished process.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// The binary, with these arguments, in `dir`.
#[track_caller]
pub fn command(dir: &Path, arguments: &[&str]) -> Command {
    if arguments.contains(&"run") {
        ports::chosen_by_the_system_in(dir);
    }
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(dir).stdin(Stdio::null());
    for variable in ["NO_COLOR", "RUST_LOG", "POINTSMAN_ADMIN", "POINTSMAN_TOKEN", "COLUMNS"] {
        command.env_remove(variable);
    }
    command
}

/// Runs the binary to its end.
#[track_caller]
pub fn finish(dir: &Path, arguments: &[&str]) -> Finished {
    let output = command(dir, arguments).output().unwrap();
    Finished {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A running process. Dropping it kills the process.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: String,
}

impl Running {
    /// Starts the binary.
    #[track_caller]
    pub fn start(dir: &Path, arguments: &[&str]) -> Self {
        ports::chosen_by_the_system_for(dir, arguments);
        Self::watch(command(dir, arguments))
    }

    /// Starts this command, which is the binary or ends in it.
    #[track_caller]
    pub fn watch(mut command: Command) -> Self {
        ports::chosen_by_the_system_in(command.get_current_dir().expect("a folder of its own"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        forward(stdout, sender.clone());
        forward(stderr, sender);
        Self { child, lines, seen: String::new() }
    }

    /// The first word after `label` on the next line that begins with it.
    pub fn word_after(&mut self, label: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| {
                panic!("no line begins with `{label}` in\n{}", self.seen);
            });
            self.seen.push_str(&line);
            self.seen.push('\n');
            if let Some(rest) = line.trim_start().strip_prefix(label)
                && let Some(word) = rest.split_whitespace().next()
            {
                return word.to_owned();
            }
        }
    }

    /// The next line that has `words` in it.
    pub fn line_with(&mut self, words: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no `{words}` in\n{}", self.seen));
            self.seen.push_str(&line);
            self.seen.push('\n');
            if line.contains(words) {
                return line;
            }
        }
    }

    /// A line of its status in `/proc`, such as `VmRSS`, or nothing if the system has no such line.
    pub fn fact(&self, name: &str) -> Option<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|text| text.trim().to_owned())
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Its exit code and the rest of its output, on standard output and error.
    pub fn end(mut self) -> (i32, String) {
        let mut rest = String::new();
        // Both end when the process does.
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => rest = rest + &line + "\n",
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("it does not end:\n{rest}"),
            }
        }
        (self.child.wait().unwrap().code().unwrap(), rest)
    }
}

fn forward(from: impl std::io::Read + Send + 'static, to: std::sync::mpsc::Sender<String>) {
    thread::spawn(move || BufReader::new(from).lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One HTTP/1.1 request on its own connection: the status and the body.
pub fn ask(address: &str, head: &str) -> (u16, String) {
    let address = address.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = head.trim_end().replace('\n', "\r\n");
    write!(stream, "{head}\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
}
