//! A field of an answer that can differ: its path, and in which way.
//!
//! Paths are folded, so that there are finitely many: array indexes are `[*]`, and a key that looks like an id is `.{id}`.
//! A folded path is a pattern: what is reported can be pasted under `ignore`.

use std::fmt;

/// In which way a field differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DifferenceKind {
    /// Another status, gRPC status, or outcome of the transport.
    Status,
    /// A header or trailer that has another value, or is there on one side only.
    Header,
    /// The primary has it, the other has not.
    Missing,
    /// The other has it, the primary has not.
    Extra,
    /// A value of another type.
    Type,
    /// Another value of the same type.
    Value,
    /// The same elements or lines in another order.
    Order,
    /// Another number of elements or lines.
    Length,
    /// Bodies that differ, and that cannot be looked into.
    Opaque,
}

/// Where answers differ, and in which way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResponseField {
    /// `transport`, `status`, `header:name`, `trailer:name`, `body`, or a path from `$`.
    pub path: Box<str>,
    /// In which way.
    pub kind: DifferenceKind,
}

impl DifferenceKind {
    /// The word for it.
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
