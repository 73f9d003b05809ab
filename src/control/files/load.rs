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
/// it falls back to the certificate in use. Called on a thread of its own.
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

/// What is kept of the files that are in effect.
#[derive(Debug)]
pub struct KeptOfFiles {
    /// The certificates and keys in use, which the next load falls back to.
    pub(in crate::control) last_good: Arc<LastGood>,
    /// The warnings that the log has.
    pub(in crate::control) warned: LoggedWarnings,
}

impl KeptOfFiles {
    /// Of the first load; its warnings are logged.
    pub(in crate::control) fn new(in_use: LastGood, warnings: &Diagnostics) -> Self {
        Self { last_good: Arc::new(in_use), warned: LoggedWarnings::first(warnings) }
    }
}

/// The warnings of the configuration in use. They are logged when they change: where a script writes a file of endpoints,
/// there may be a reload every few seconds.
#[derive(Debug, Default)]
pub struct LoggedWarnings {
    text: String,
}

impl LoggedWarnings {
    /// Those of the first load, which are logged.
    pub(in crate::control) fn first(warnings: &Diagnostics) -> Self {
        let mut logged = Self::default();
        logged.log(warnings);
        logged
    }

    /// Logs the warnings of the next load, if they are others.
    pub(in crate::control) fn log(&mut self, warnings: &Diagnostics) {
        if let Some(text) = self.changed(warnings) {
            tracing::warn!("{text}");
        }
    }

    /// The text of the warnings, if there are any and they are others than before.
    fn changed(&mut self, warnings: &Diagnostics) -> Option<&str> {
        let text = warnings.render(Color::Never);
        let text = text.trim_end();
        if text == self.text {
            return None;
        }
        text.clone_into(&mut self.text);
        (!text.is_empty()).then_some(&self.text)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    /// The warnings of a file whose upstreams have one endpoint, with this key.
    fn warnings(upstreams: &[&str], key: &str) -> Diagnostics {
        let upstreams = upstreams
            .iter()
            .map(|name| format!("[upstream.{name}]\nendpoints = [{{ url = 'http://10.0.0.1:1'{key} }}]\n"));
        let text = format!(
            "schema = 1\n[[listener]]\naddress = '127.0.0.1:0'\n{}\
             [[route]]\nname = 'all'\nmatch = {{ path = '/*' }}\nstable = 'web'\n",
            upstreams.collect::<String>()
        );
        load_text("routes.toml", &text, &|_| None).unwrap_or_else(|errors| panic!("{text}\n{errors}")).warnings
    }

    #[test]
    fn warnings_are_logged_when_they_change() {
        let mut logged = LoggedWarnings::default();
        let backup = ", backup = true";
        let first = warnings(&["web"], backup);
        assert!(logged.changed(&first).is_some_and(|text| text.contains("all-backups")), "{first}");
        assert_eq!(logged.changed(&warnings(&["web"], backup)), None, "the same again");
        let more = warnings(&["web", "other"], backup);
        assert!(logged.changed(&more).is_some_and(|text| text.contains("`other`")), "{more}");
        assert_eq!(logged.changed(&warnings(&["web"], "")), None, "none are no news");
        assert!(logged.changed(&more).is_some(), "they are back");
    }
}
