//! The parsed document, with the place of every key and value. All tables are in one list and refer to each other by
//! index, so that no code recurses as deeply as the file nests.

use std::borrow::Cow;

use ahash::HashMap;

use super::source::offset;

/// A table with more keys than this has an index.
pub(super) const INDEXED: usize = 24;

/// The index of a table in [`Document::tables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct TableId(pub(super) u32);

impl TableId {
    /// The table at the root of every document.
    pub(in crate::config) const ROOT: Self = Self(0);
}

/// A parsed file.
#[derive(Debug)]
pub(in crate::config) struct Document<'t> {
    pub(in crate::config) file: u16,
    pub(super) tables: Vec<TomlTable<'t>>,
    /// Where the headers of tables begin, in order.
    pub(super) headers: Vec<u32>,
}

/// A table, from a header, an inline table or a dotted key.
#[derive(Debug)]
pub(in crate::config) struct TomlTable<'t> {
    pub(in crate::config) entries: Vec<Entry<'t>>,
    pub(in crate::config) start: u32,
    pub(in crate::config) end: u32,
    pub(super) origin: Origin,
    index: Option<Box<HashMap<Cow<'t, str>, u32>>>,
}

/// A key, its place and its value.
#[derive(Debug)]
pub(in crate::config) struct Entry<'t> {
    pub(in crate::config) key: Cow<'t, str>,
    pub(in crate::config) start: u32,
    pub(in crate::config) end: u32,
    pub(in crate::config) node: Node<'t>,
}

/// A value and its place.
#[derive(Debug)]
pub(in crate::config) struct Node<'t> {
    pub(in crate::config) start: u32,
    pub(in crate::config) end: u32,
    pub(in crate::config) value: Value<'t>,
}

/// A value.
#[derive(Debug)]
pub(in crate::config) enum Value<'t> {
    String(Cow<'t, str>),
    Integer(Cow<'t, str>, u32),
    Float(Cow<'t, str>),
    Boolean(bool),
    Datetime,
    Array(Vec<Node<'t>>),
    Tables(Vec<TableId>),
    Table(TableId),
}

/// The syntax that created a table. It decides what can be added to the table later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A parent in a header.
    Implied,
    /// Its own header.
    Header,
    /// A parent in a dotted key.
    Dotted,
    /// Braces.
    Inline,
}

impl<'t> Document<'t> {
    /// Where the headers of tables begin, in order.
    pub(in crate::config) fn headers(&self) -> &[u32] {
        &self.headers
    }

    pub(in crate::config) fn table(&self, id: TableId) -> &TomlTable<'t> {
        &self.tables[id.0 as usize]
    }
}

impl<'t> TomlTable<'t> {
    pub(super) fn new(origin: Origin, span: ByteRange, keys: usize) -> Self {
        Self { entries: Vec::with_capacity(keys), start: span.0, end: span.1, origin, index: None }
    }

    pub(super) fn position(&self, key: &str) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(key).map(|at| *at as usize),
            None => self.entries.iter().position(|entry| entry.key == key),
        }
    }

    /// The entry of a key.
    pub(in crate::config) fn get(&self, key: &str) -> Option<&Entry<'t>> {
        self.position(key).map(|at| &self.entries[at])
    }

    pub(super) fn push(&mut self, key: DocumentKey<'t>, node: Node<'t>) {
        if self.entries.len() == INDEXED {
            let all = self.entries.iter().enumerate().map(|(at, entry)| (entry.key.clone(), offset(at)));
            self.index = Some(Box::new(all.collect()));
        }
        if let Some(index) = &mut self.index {
            index.insert(key.text.clone(), offset(self.entries.len()));
            debug_assert_eq!(index.len(), self.entries.len() + 1, "the index has every key of the table once");
        }
        debug_assert!(key.span.0 <= key.span.1 && node.start <= node.end, "a span ends behind its start");
        self.entries.push(Entry { key: key.text, start: key.span.0, end: key.span.1, node });
    }
}

/// Start and end in the text.
pub(super) type ByteRange = (u32, u32);

/// A key and its place.
#[derive(Clone, Debug)]
pub(super) struct DocumentKey<'t> {
    pub(super) text: Cow<'t, str>,
    pub(super) span: ByteRange,
}
