//! Source locations: file and line of a definition.

/// A line of a route, counted from its header, which is 0: it stays the same when the route moves in its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteLine(pub u32);

/// The file and line of a definition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceLocation {
    /// The name of the file as given.
    pub file: std::sync::Arc<str>,
    /// The line, from 1.
    pub line: u32,
}
