//! Diagnostics: errors and warnings about a file, with their places and help. A load reports all of them at once.

use std::borrow::Cow;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::source::{Excerpt, Span};

/// The most diagnostics of one severity that are kept; further ones are only counted.
pub(in crate::config) const KEPT_MAX: usize = 100;

/// The severity of a diagnostic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is rejected.
    Error,
    /// The file is valid, but probably does not mean what its author expects.
    Warning,
}

impl Severity {
    /// The name in messages and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A place that a diagnostic points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The name of the file, as the user wrote it.
    pub file: Arc<str>,
    /// The bytes that are underlined.
    pub span: Range<usize>,
    /// The line, from 1; 0 for the whole file.
    pub line: u32,
    /// The column in characters, from 1; 0 for the whole file.
    pub column: u32,
    /// A note about the place; may be empty.
    pub text: String,
    pub(in crate::config) end: (u32, u32),
    pub(in crate::config) excerpt: Excerpt,
}

impl Label {
    /// The line and the column after the last character, from 1; an empty place is one character wide.
    #[must_use]
    pub fn end(&self) -> (u32, u32) {
        let least = (self.line, self.column + 1);
        self.end.max(least)
    }
}

/// An error or a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The severity.
    pub severity: Severity,
    /// A stable identifier, such as `unknown-key`.
    pub code: &'static str,
    /// The problem.
    pub message: String,
    /// The places; the first is the main one.
    pub labels: Vec<Label>,
    /// How to fix it; may have several lines.
    pub help: Option<String>,
    /// `check` refuses the file for it, though it is a warning elsewhere: it depends on the date.
    pub(in crate::config) fails_check: bool,
    pub(in crate::config) order: (u16, u32),
}

impl Diagnostic {
    /// As JSON; line and column are null for the whole file.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let labels: Vec<_> = self
            .labels
            .iter()
            .map(|label| {
                let number = |n: u32| Some(n).filter(|n| *n > 0);
                serde_json::json!({
                    "file": &*label.file,
                    "start": label.span.start,
                    "end": label.span.end,
                    "line": number(label.line),
                    "column": number(label.column),
                    "text": label.text,
                })
            })
            .collect();
        serde_json::json!({
            "severity": self.severity.name(),
            "code": self.code,
            "message": self.message,
            "labels": labels,
            "help": self.help,
        })
    }
}

/// All diagnostics of a load, in the order of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    pub(in crate::config) watched: Vec<PathBuf>,
}

impl Diagnostics {
    /// The diagnostics that were kept, errors and warnings mixed, in the order of the files.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// Whether there is no diagnostic.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The number of diagnostics, including those that are only counted.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.errors + self.warnings
    }

    /// The number of errors.
    #[must_use]
    pub const fn errors(&self) -> usize {
        self.errors
    }

    /// The number of diagnostics that are only counted.
    #[must_use]
    pub const fn more(&self) -> usize {
        self.len() - self.list.len()
    }

    /// The paths that were read until the load failed: a change of one of them may fix the errors.
    #[must_use]
    pub fn watched(&self) -> &[PathBuf] {
        &self.watched
    }

    /// As a JSON array.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        self.list.iter().map(Diagnostic::to_json).collect()
    }

    /// As `check` reports them: what depends on the date never stops a start or a reload, but is an error here.
    #[must_use]
    pub fn for_check(mut self) -> Self {
        for one in self.list.iter_mut().filter(|one| one.fails_check && one.severity == Severity::Warning) {
            one.severity = Severity::Error;
            self.errors += 1;
            self.warnings = self.warnings.saturating_sub(1);
        }
        self
    }

    /// Adds all of `other`.
    pub fn append(&mut self, other: Self) {
        self.errors += other.errors;
        self.warnings += other.warnings;
        self.list.extend(other.list);
        self.list.truncate(2 * KEPT_MAX);
    }

    /// Counts a diagnostic; returns whether it is to be kept.
    pub(in crate::config) const fn count(&mut self, severity: Severity) -> bool {
        let of = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *of += 1;
        *of <= KEPT_MAX
    }

    pub(in crate::config) fn keep(&mut self, diagnostic: Diagnostic) {
        self.list.push(diagnostic);
        debug_assert!(self.list.len() <= self.len(), "every diagnostic is counted before it is kept");
    }

    pub(in crate::config) fn sort(&mut self) {
        self.list.sort_by_key(|d| d.order);
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A diagnostic with spans, before they are resolved to lines.
#[derive(Clone, Debug)]
pub(in crate::config) struct Finding {
    pub(in crate::config) severity: Severity,
    pub(in crate::config) code: &'static str,
    pub(in crate::config) message: String,
    pub(in crate::config) labels: Vec<(Span, String)>,
    /// How to fix it. A borrowed text is a constant of the program, so it contains nothing of the file.
    pub(in crate::config) help: Option<Cow<'static, str>>,
    pub(in crate::config) fails_check: bool,
}

impl Finding {
    /// An error at a place.
    pub(in crate::config) fn error(code: &'static str, at: Span, message: impl Into<String>) -> Self {
        let labels = vec![(at, String::new())];
        Self { severity: Severity::Error, code, message: message.into(), labels, help: None, fails_check: false }
    }

    /// A warning at a place.
    pub(in crate::config) fn warning(code: &'static str, at: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, at, message) }
    }

    /// Sets the note at the main place.
    pub(in crate::config) fn label(mut self, text: impl Into<String>) -> Self {
        if let Some(first) = self.labels.first_mut() {
            first.1 = text.into();
        }
        self
    }

    /// Adds another place.
    pub(in crate::config) fn also(mut self, at: Span, text: impl Into<String>) -> Self {
        self.labels.push((at, text.into()));
        self
    }

    /// Sets the help.
    pub(in crate::config) fn help(mut self, help: impl Into<Cow<'static, str>>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Makes a warning an error of `check` alone: it depends on the date.
    pub(in crate::config) const fn fails_check(mut self) -> Self {
        self.fails_check = true;
        self
    }

    /// Sets the help if there is any.
    pub(in crate::config) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.map(Cow::Owned).or(self.help);
        self
    }
}
