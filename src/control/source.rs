//! Where rules come from, as the controller sees it: something that can be loaded again and again.

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::socket::BindError;
use crate::route::Rules;

/// Reads, validates and compiles the file and all that it includes. Called on a thread that may block.
pub type Load = Arc<dyn Fn() -> Result<Loaded, Refused> + Send + Sync>;

/// A file that holds.
#[derive(Debug)]
pub struct Loaded {
    /// What it means.
    pub rules: Rules,
    /// What is probably not meant, as text for the log; empty when there is nothing.
    pub warnings: String,
    /// Every file and directory that was read and whose change should be noticed.
    pub watched: Vec<PathBuf>,
    /// The hash of all that was read: equal hashes, equal rules.
    pub hash: String,
}

/// A file that does not hold.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub rejection: Rejection,
    /// What to watch, so that mending it is noticed.
    pub watched: Vec<PathBuf>,
}

/// Why a configuration was not taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// For people: several lines, without colour.
    pub text: String,
    /// For programs: an array of diagnostics.
    pub json: Value,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Rejection {
    /// A rejection that has no place in a file.
    #[must_use]
    pub fn new(code: &str, message: &str, help: &str) -> Self {
        Self {
            text: format!("error[{code}]: {message}\n  = help: {help}\n"),
            json: json!([diagnostic(code, message, help)]),
        }
    }

    /// Addresses that cannot be bound.
    #[must_use]
    pub fn unbound(errors: &[BindError]) -> Self {
        let mut rejection = Self { text: String::new(), json: Value::Null };
        let mut list = Vec::new();
        for error in errors {
            let (message, help) = (error.to_string(), error.help());
            // Writing to a string cannot fail.
            let _ = writeln!(rejection.text, "error[bind]: {message}\n  = help: {help}");
            list.push(diagnostic("bind", &message, &help));
        }
        rejection.json = Value::Array(list);
        rejection
    }
}

fn diagnostic(code: &str, message: &str, help: &str) -> Value {
    json!({ "severity": "error", "code": code, "message": message, "labels": [], "help": help })
}
