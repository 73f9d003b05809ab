//! Places: where something stands in the files that were read.

/// Where something stands in the files that were read, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceLocation {
    /// The file's name as it was given.
    pub file: std::sync::Arc<str>,
    /// The line, from 1.
    pub line: u32,
}
