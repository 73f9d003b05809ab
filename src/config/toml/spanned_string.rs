//! A string with its place.

use std::borrow::Cow;
use std::ops::Deref;

use super::source::Span;

/// A string and its place.
#[derive(Clone, Debug)]
pub(in crate::config) struct SpannedString<'d> {
    pub(in crate::config) value: Cow<'d, str>,
    pub(in crate::config) span: Span,
    /// The string before its variables were expanded, if it has any.
    pub(in crate::config) written: Option<&'d str>,
}

impl<'d> SpannedString<'d> {
    /// A string without variables.
    pub(in crate::config) const fn plain(value: Cow<'d, str>, span: Span) -> Self {
        Self { value, span, written: None }
    }

    /// The string for display: with its variables instead of their values.
    pub(in crate::config) fn shown(&self) -> &str {
        self.written.unwrap_or(&self.value)
    }
}

impl Deref for SpannedString<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.value
    }
}
