//! Standard output, written whole. A reader that has gone (`pointsman schema | head`) is no failure.

use std::io::{ErrorKind, Write};

use anyhow::Context;
use serde_json::Value;

/// Writes `text` to standard output, ended by a line feed.
pub fn print(text: &str) -> anyhow::Result<()> {
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    show(&format!("{text}{newline}")).map(drop)
}

/// Writes `text` to standard output, and returns whether it still has a reader.
pub fn show(text: &str) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// Writes `value` to standard output as indented JSON.
pub fn print_json(value: &Value) -> anyhow::Result<()> {
    print(&format!("{value:#}"))
}

/// Writes `text` to standard error, ended by a line feed. A failure is ignored: there is nowhere to report it.
pub fn print_error(text: &str) {
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(std::io::stderr().lock(), "{text}{newline}");
}

/// Text of at most `chars` letters; of a longer one the beginning, ended by `…`.
#[must_use]
pub fn shortened(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    text.chars().take(chars.saturating_sub(1)).chain(['…']).collect()
}

/// `1 route`, `2 routes`.
#[must_use]
pub fn count(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// Text in lines of at most `columns` letters, broken at blanks; what follows the first is indented.
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let indent = text.len() - text.trim_start().len();
    for word in text.trim_start().split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            last => {
                let indent = if last.is_some() { indent + 4 } else { indent };
                lines.push(format!("{:indent$}{word}", ""));
            }
        }
    }
    lines
}
