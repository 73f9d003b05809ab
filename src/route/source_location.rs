//! Source locations: file and line of a definition.

/// The file and line of a definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceLocation {
    /// The name of the file as given.
    pub file: std::sync::Arc<str>,
    /// The line, from 1.
    pub line: u32,
}
