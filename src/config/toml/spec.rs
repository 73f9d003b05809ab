//! How the tables of the file are described: one table of keys serves the check for unknown keys, the readers and the
//! JSON Schema, so that none of them can drift from the others.

/// A table of the file.
#[derive(Debug)]
pub(in crate::config) struct TableSpec {
    /// How it is called in messages, such as `[route.match]`.
    pub(in crate::config) title: &'static str,
    /// What it is for.
    pub(in crate::config) doc: &'static str,
    /// Its keys.
    pub(in crate::config) keys: &'static [KeySpec],
    /// Keys of the design that a later version brings.
    pub(in crate::config) later: &'static [&'static str],
}

/// A key of a table.
#[derive(Debug)]
pub(in crate::config) struct KeySpec {
    pub(in crate::config) name: &'static str,
    pub(in crate::config) form: Shape,
    pub(in crate::config) doc: &'static str,
    pub(in crate::config) presence: KeyPresence,
}

/// Whether a key must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum KeyPresence {
    Required,
    Optional,
    /// Optional, with this default, as JSON.
    Default(&'static str),
}

/// What a key's value looks like.
#[derive(Debug)]
pub(in crate::config) enum Shape {
    /// A string.
    Text,
    /// A string with a pattern and an example.
    Pattern(&'static str),
    Boolean,
    /// A whole number in these bounds.
    Integer(i64, i64),
    /// A number in these bounds.
    Number(i64, i64),
    /// One of these words.
    Words(&'static [&'static str]),
    /// A value or a list of such values.
    OneOrMore(&'static Shape),
    /// A table with these keys.
    Table(&'static TableSpec),
    /// A table with the same keys as the one that this key is in.
    Itself,
    /// Any number of tables with these keys.
    Tables(&'static TableSpec),
    /// A table whose keys the user chooses.
    Map(&'static Shape),
    /// A table whose keys are names.
    Named(&'static Shape),
    /// One of these forms.
    Either(&'static [Shape]),
}

/// Names of routes, upstreams, segments and variants.
pub(in crate::config) const NAME: &str = "^[a-z0-9][a-z0-9_-]{0,62}$";
/// Durations.
pub(in crate::config) const DURATION: &str = r"^(\d+(ms|s|m|h|d))+$|\$\{";
/// Sizes.
pub(in crate::config) const SIZE: &str = r"^\d+ *(B|KiB|MiB|GiB)$|\$\{";

impl TableSpec {
    /// The key of this name.
    pub(in crate::config) fn position(&self, name: &str) -> Option<usize> {
        let first = name.bytes().next();
        self.keys.iter().position(|key| key.name.bytes().next() == first && key.name == name)
    }
}

/// A key that must be there.
pub(in crate::config) const fn required(name: &'static str, form: Shape, doc: &'static str) -> KeySpec {
    KeySpec { name, form, doc, presence: KeyPresence::Required }
}

/// A key that need not be there.
pub(in crate::config) const fn optional(name: &'static str, form: Shape, doc: &'static str) -> KeySpec {
    KeySpec { name, form, doc, presence: KeyPresence::Optional }
}

/// A key with a default, given as JSON.
pub(in crate::config) const fn default(
    name: &'static str,
    form: Shape,
    json: &'static str,
    doc: &'static str,
) -> KeySpec {
    KeySpec { name, form, doc, presence: KeyPresence::Default(json) }
}
