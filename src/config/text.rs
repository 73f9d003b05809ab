//! A string as it was written, with its place.

use std::borrow::Cow;
use std::ops::Deref;

use super::source::Span;

/// A string and its place.
#[derive(Clone, Debug)]
pub(super) struct Text<'d> {
    pub(super) value: Cow<'d, str>,
    pub(super) span: Span,
    /// How it is written, when it has variables.
    pub(super) written: Option<&'d str>,
}

impl<'d> Text<'d> {
    /// A string without variables.
    pub(super) const fn plain(value: Cow<'d, str>, span: Span) -> Self {
        Self { value, span, written: None }
    }

    /// The string as it is shown while it is in use: with its variables as they are written.
    pub(super) fn shown(&self) -> &str {
        self.written.unwrap_or(&self.value)
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.value
    }
}
