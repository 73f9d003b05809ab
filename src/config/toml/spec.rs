//! Specifications of the tables of the file. The check for unknown keys, the readers and the JSON Schema share them, so
//! that they always agree.

/// The specification of a table.
#[derive(Debug)]
pub(in crate::config) struct TableSpec {
    /// The name in messages, such as `[route.match]`.
    pub(in crate::config) title: &'static str,
    /// The description in the JSON Schema.
    pub(in crate::config) doc: &'static str,
    /// All keys.
    pub(in crate::config) keys: &'static [KeySpec],
    /// Keys that a later version will support.
    pub(in crate::config) later: &'static [&'static str],
}

/// The specification of a key.
#[derive(Debug)]
pub(in crate::config) struct KeySpec {
    pub(in crate::config) name: &'static str,
    pub(in crate::config) form: Shape,
    pub(in crate::config) doc: &'static str,
    pub(in crate::config) presence: KeyPresence,
}

/// Whether a key is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum KeyPresence {
    Required,
    Optional,
    /// Optional; the default in JSON.
    Default(&'static str),
}

/// The values that a key accepts.
#[derive(Debug)]
pub(in crate::config) enum Shape {
    /// A string.
    Text,
    /// A string that matches this regex.
    Pattern(&'static str),
    Boolean,
    /// A whole number in this range.
    Integer(i64, i64),
    /// A number in this range.
    Number(i64, i64),
    /// One of these words.
    Words(&'static [&'static str]),
    /// A value or a list of such values.
    OneOrMore(&'static Shape),
    /// A table with these keys.
    Table(&'static TableSpec),
    /// A table with the same keys as the one around it.
    Itself,
    /// Any number of tables with these keys.
    Tables(&'static TableSpec),
    /// A table whose keys the user chooses.
    Map(&'static Shape),
    /// A table whose keys are names.
    Named(&'static Shape),
    /// One of these shapes.
    Either(&'static [Shape]),
}

/// The pattern of the names of routes, upstreams, segments and variants.
pub(in crate::config) const NAME: &str = "^[a-z0-9][a-z0-9_-]{0,62}$";
/// The pattern of durations.
pub(in crate::config) const DURATION: &str = r"^(\d+(ms|s|m|h|d))+$|\$\{";
/// The pattern of dates, with or without a time, as editors see them.
pub(in crate::config) const DATE: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}";
/// The pattern of sizes.
pub(in crate::config) const SIZE: &str = r"^\d+ *(B|KiB|MiB|GiB)$|\$\{";

impl TableSpec {
    /// The index of a key.
    pub(in crate::config) fn position(&self, name: &str) -> Option<usize> {
        let first = name.bytes().next();
        self.keys.iter().position(|key| key.name.bytes().next() == first && key.name == name)
    }
}

/// A required key.
pub(in crate::config) const fn required(name: &'static str, form: Shape, doc: &'static str) -> KeySpec {
    KeySpec { name, form, doc, presence: KeyPresence::Required }
}

/// An optional key.
pub(in crate::config) const fn optional(name: &'static str, form: Shape, doc: &'static str) -> KeySpec {
    KeySpec { name, form, doc, presence: KeyPresence::Optional }
}

/// An optional key with a default in JSON.
pub(in crate::config) const fn default(
    name: &'static str,
    form: Shape,
    json: &'static str,
    doc: &'static str,
) -> KeySpec {
    KeySpec { name, form, doc, presence: KeyPresence::Default(json) }
}
