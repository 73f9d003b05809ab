//! A field of a response that can differ: its path, and the kind of difference.
//!
//! Paths are folded, so that their number is bounded: array indexes are `[*]`, and a key that looks like an id is
//! `.{id}`. A folded path is a valid pattern for `ignore`.

use std::fmt;

/// The kind of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DifferenceKind {
    /// Another status, gRPC status, or outcome of the transport.
    Status,
    /// A header or trailer with another value, or on one side only.
    Header,
    /// Only in the primary response.
    Missing,
    /// Only in the other response.
    Extra,
    /// A value of another type.
    Type,
    /// Another value of the same type.
    Value,
    /// The same elements or lines in another order.
    Order,
    /// Another number of elements or lines.
    Length,
    /// Bodies that differ and cannot be compared in detail.
    Opaque,
}

/// A field and the kind of its difference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResponseField {
    /// `transport`, `status`, `header:name`, `trailer:name`, `body`, or a path from `$`.
    pub path: Box<str>,
    /// The kind.
    pub kind: DifferenceKind,
}

impl DifferenceKind {
    /// The name in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Header => "header",
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Type => "type",
            Self::Value => "value",
            Self::Order => "order",
            Self::Length => "length",
            Self::Opaque => "opaque",
        }
    }
}

impl fmt::Display for ResponseField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.kind.word())
    }
}
