//! Loads a configuration: the function that does it, its result, and why one is rejected.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::{AppliedFiles, Color, Diagnostics, Loaded};
use crate::control::resolver::LookupResult;
use crate::control::system::BindError;
use crate::route::LogSink;
use crate::telemetry::openable;
use crate::tls::LastGood;

/// The message of a reload when the routes come from the command line.
pub(in crate::control) const NO_FILE: &str = "there is no file to read again: the routes come from the command line";

/// Reads, validates and compiles the file and its includes, without other effects. Where a certificate file is invalid,
/// it falls back to the certificate in use. Called on a blocking thread.
pub type ConfigLoader = Arc<dyn Fn(&LastGood) -> Result<Loaded, Diagnostics> + Send + Sync>;

/// Reads, validates and compiles a text in the place of the file, without other effects. It opens only files that
/// are applied. Called on a blocking thread.
pub type ConfigChecker = Arc<dyn Fn(&str, &AppliedFiles) -> Result<Loaded, Diagnostics> + Send + Sync>;

/// Why loading failed.
#[derive(Debug)]
pub enum LoadError {
    /// The files are invalid.
    Invalid(Diagnostics),
    /// The loader panicked: a bug in the proxy.
    Internal(String),
}

/// The result of a load.
pub struct LoadResult {
    /// When the load started (wall clock). It may have missed later changes.
    pub began_at: Duration,
    /// The configuration, or why there is none.
    pub result: Result<Loaded, LoadError>,
    /// The first lookup results of new names.
    pub answers: BTreeMap<String, LookupResult>,
}

/// The code of the diagnostic about a plan that does not fit to where its rollout is.
pub(in crate::control) const ROLLOUT_PLAN: &str = "rollout-plan";

/// Why a configuration was rejected.
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
    /// A rejection without a position in a file.
    #[must_use]
    pub fn new(code: &str, message: &str, help: &str) -> Self {
        Self {
            text: format!("error[{code}]: {message}\n  = help: {help}\n"),
            json: json!([diagnostic(code, message, help)]),
        }
    }

    /// A rejection of invalid files.
    #[must_use]
    pub fn refused(diagnostics: &Diagnostics) -> Self {
        Self { text: diagnostics.render(Color::Never), json: diagnostics.to_json() }
    }

    /// A rejection because addresses cannot be bound.
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
                let help = "this is a bug in the proxy; the running configuration stays in effect";
                Self::new("internal", &format!("reading the configuration failed: {error}"), help)
            }
        }
    }
}

fn diagnostic(code: &str, message: &str, help: &str) -> Value {
    json!({ "severity": "error", "code": code, "message": message, "labels": [], "help": help })
}

/// A rejection because the state folder is another one.
pub(in crate::control) fn other_state_dir(old: &Path, new: &Path) -> Rejection {
    let (old, new) = (old.display(), new.display());
    let message = format!("`[state] dir` is `{new}`, and this process uses `{old}`: its kills and journal are there");
    let help = format!("restart the proxy to use the other folder, or write `dir = \"{old}\"` in `[state]` again");
    Rejection::new("state-dir", &message, &help)
}

/// Logs the warnings of a load.
pub fn warn(warnings: &Diagnostics) {
    if !warnings.is_empty() {
        tracing::warn!("{}", warnings.render(Color::Never).trim_end());
    }
}

/// Checks that the access log can be opened.
pub(in crate::control) fn writable(sink: &LogSink) -> Result<(), Rejection> {
    openable(sink).map_err(|error| {
        let path = if let LogSink::File(path) = sink { path.display().to_string() } else { String::new() };
        let message = format!("the access log `{path}` cannot be opened: {error}");
        let help = "create its folder and allow this user to write there, or change `sink` in `[access_log]`";
        Rejection::new("access-log", &message, help)
    })
}
