//! Where rules come from, as the controller sees it: something that can be loaded again and again.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::{Color, Diagnostics, Loaded};
use crate::control::resolver::LookupResult;
use crate::control::system::BindError;
use crate::route::LogSink;
use crate::telemetry::openable;
use crate::tls::LastGood;

/// What a reload says where there is nothing to read.
pub(in crate::control) const NO_FILE: &str = "there is no file to read again: the routes come from the command line";

/// Reads, validates and compiles the file and all that it includes, and has no other effect: it falls back to what is in
/// use where a file of certificates does not hold. Called on a thread that may block.
pub type ConfigLoader = Arc<dyn Fn(&LastGood) -> Result<Loaded, Diagnostics> + Send + Sync>;

/// Why there is nothing to apply.
#[derive(Debug)]
pub enum LoadError {
    /// The files do not hold.
    Invalid(Diagnostics),
    /// LoadResult them failed, which is a mistake in the proxy.
    Internal(String),
}

/// What was read.
pub struct LoadResult {
    /// When it began, by the wall clock: what changed later was perhaps not seen.
    pub began_at: Duration,
    /// What it came to.
    pub result: Result<Loaded, LoadError>,
    /// The first answers of names that are new.
    pub answers: BTreeMap<String, LookupResult>,
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

    /// Files that do not hold.
    #[must_use]
    pub fn refused(diagnostics: &Diagnostics) -> Self {
        Self { text: diagnostics.render(Color::Never), json: diagnostics.to_json() }
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

impl From<LoadError> for Rejection {
    fn from(unread: LoadError) -> Self {
        match unread {
            LoadError::Invalid(diagnostics) => Self::refused(&diagnostics),
            LoadError::Internal(error) => {
                let help = "this is a mistake in the proxy; the old configuration goes on";
                Self::new("internal", &format!("reading the configuration failed: {error}"), help)
            }
        }
    }
}

fn diagnostic(code: &str, message: &str, help: &str) -> Value {
    json!({ "severity": "error", "code": code, "message": message, "labels": [], "help": help })
}

/// Says what is probably not meant.
pub fn warn(warnings: &Diagnostics) {
    if !warnings.is_empty() {
        tracing::warn!("{}", warnings.render(Color::Never).trim_end());
    }
}

/// Whether the access log can be written.
pub(in crate::control) fn writable(sink: &LogSink) -> Result<(), Rejection> {
    openable(sink).map_err(|error| {
        let path = if let LogSink::File(path) = sink { path.display().to_string() } else { String::new() };
        let message = format!("the access log `{path}` cannot be opened: {error}");
        let help = "make its folder and let this user write there, or change `sink` in `[access_log]`";
        Rejection::new("access-log", &message, help)
    })
}
