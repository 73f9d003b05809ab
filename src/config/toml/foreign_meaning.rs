//! What a key of another proxy means here.

/// The meaning of a key of another proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Meaning {
    /// A key of the same table.
    Key(&'static str),
    /// A key of the same table, and how to write it.
    KeyWithHelp(&'static str, &'static str),
    /// Something in another table, and how to write it.
    Elsewhere(&'static str),
    /// A feature that this version does not have.
    Unsupported,
}

/// Words, separated by spaces, in lower case and with `_` for `-`; and their meaning.
pub(in crate::config) type ForeignEntry = (&'static str, Meaning);
