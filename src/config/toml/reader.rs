//! Readers: typed access to a table. They report errors and continue, so that one load finds all errors.

use std::cell::Cell;

use super::context::Context;
use super::diagnostic::Finding;
use super::document::{Document, Entry, TableId, TomlTable, Value};
use super::foreign_meaning::Meaning;
use super::item::{Item, NamedTables};
use super::quote::quoted;
use super::source::Span;
use super::spanned_string::SpannedString;
use super::spec::{Shape, TableSpec};
use super::suggest::{did_you_mean, nearest};
use super::{brackets, foreign, hints};

/// At most this many keys of a table are compared with a missing key.
const LOOKED_AT_MAX: usize = 100;

/// The help for an unknown key lists all keys of a table if it has at most `LISTED_MAX`, and otherwise `LIKELY` of them,
/// similar ones first.
const LISTED_MAX: usize = 14;
const LIKELY: usize = 8;

/// Reads one table.
#[derive(Debug)]
pub(in crate::config) struct Reader<'d> {
    document: &'d Document<'d>,
    table: &'d TomlTable<'d>,
    spec: &'static TableSpec,
    name: &'d str,
    /// The keys that were read: one bit for each key of `spec`.
    read_keys: Cell<u64>,
}

impl<'d> Reader<'d> {
    /// Reads the root table of a document.
    pub(in crate::config) fn root(document: &'d Document<'d>, spec: &'static TableSpec) -> Self {
        Self::new(document, TableId::ROOT, spec)
    }

    fn new(document: &'d Document<'d>, id: TableId, spec: &'static TableSpec) -> Self {
        debug_assert!(spec.keys.len() <= 64, "one bit for each key");
        Self { document, table: document.table(id), spec, name: "", read_keys: Cell::new(0) }
    }

    /// Sets the name that the user chose for this table.
    pub(in crate::config) fn with_name(mut self, name: &'d str) -> Self {
        self.name = name;
        self
    }

    /// The name that the user chose for this table.
    pub(in crate::config) const fn name(&self) -> &'d str {
        self.name
    }

    /// The place of the table.
    pub(in crate::config) fn span(&self) -> Span {
        Span { file: self.document.file, start: self.table.start, end: self.table.end }
    }

    /// The name of the table in messages: its header, or a description.
    pub(in crate::config) fn title(&self) -> String {
        let title = self.spec.title.replace("NAME", self.name);
        if title.starts_with('[') { format!("`{title}`") } else { title }
    }

    /// The value of a key.
    pub(in crate::config) fn get(&self, key: &'static str) -> Option<Item<'d>> {
        let position = self.spec.position(key);
        debug_assert!(position.is_some(), "{} has no key {key}", self.spec.title);
        self.read_keys.set(self.read_keys.get() | 1 << position.unwrap_or(63));
        let entry = self.table.get(key)?;
        let form = position.map(|at| &self.spec.keys[at].form);
        Some(Item { document: self.document, node: &entry.node, key: &entry.key, element: false, form })
    }

    /// The place of a key; if the key is missing, the place of the table.
    pub(in crate::config) fn place(&self, key: &str) -> Span {
        self.table.get(key).map_or(self.span(), |e| Span { file: self.document.file, start: e.start, end: e.end })
    }

    /// The value of a required key; reports an error if it is missing.
    pub(in crate::config) fn require(&self, context: &mut Context<'_>, key: &'static str) -> Option<Item<'d>> {
        let found = self.get(key);
        if found.is_none() && !self.misspells(context, key) {
            let message = format!("`{key}` is missing in {}", self.title());
            context.report(Finding::error("missing-key", self.span(), message));
        }
        found
    }

    /// Whether an unknown key is probably a misspelling of this one. Then [`Self::finish`] reports that, and the
    /// missing key needs no other error.
    pub(in crate::config) fn misspells(&self, context: &Context<'_>, key: &str) -> bool {
        let unknown = self.table.entries.iter().take(LOOKED_AT_MAX).filter(|e| self.spec.position(&e.key).is_none());
        context.shows_more_errors() && unknown.filter_map(|entry| self.suggestion(&entry.key)).any(|meant| meant == key)
    }

    /// The key that the user probably meant by an unknown one.
    fn suggestion(&self, unknown: &str) -> Option<&'static str> {
        if self.spec.later.contains(&unknown) {
            return None;
        }
        match foreign::meaning(self.spec.title, unknown) {
            Some(Meaning::Key(key) | Meaning::KeyWithHelp(key, _)) => Some(key),
            Some(Meaning::Elsewhere(_) | Meaning::Unsupported) => None,
            None => nearest(unknown, self.names()),
        }
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.spec.keys.iter().map(|key| key.name)
    }

    /// The string of a key.
    pub(in crate::config) fn text(&self, context: &mut Context<'_>, key: &'static str) -> Option<SpannedString<'d>> {
        self.get(key)?.text(context)
    }

    /// The string of a key whose variables explanations may show.
    pub(in crate::config) fn shown_text(
        &self,
        context: &mut Context<'_>,
        key: &'static str,
    ) -> Option<SpannedString<'d>> {
        self.get(key)?.shown_text(context)
    }

    /// The whole number of a key, in the range of its shape.
    pub(in crate::config) fn integer(&self, context: &mut Context<'_>, key: &'static str) -> Option<i64> {
        let item = self.get(key)?;
        let Some(Shape::Integer(min, max)) = self.form(key) else { return None };
        item.integer(context, *min..=*max)
    }

    /// The whole number of a key, as 32 bits.
    pub(in crate::config) fn count(&self, context: &mut Context<'_>, key: &'static str) -> Option<u32> {
        self.integer(context, key).and_then(|value| u32::try_from(value).ok())
    }

    /// The word of a key, by its index among the words of its shape.
    pub(in crate::config) fn word(&self, context: &mut Context<'_>, key: &'static str) -> Option<usize> {
        let item = self.get(key)?;
        let Some(Shape::Words(words)) = self.form(key) else { return None };
        item.word(context, words)
    }

    fn form(&self, key: &str) -> Option<&'static Shape> {
        self.spec.position(key).map(|at| &self.spec.keys[at].form)
    }

    /// The table of a key.
    pub(in crate::config) fn table(
        &self,
        context: &mut Context<'_>,
        key: &'static str,
        spec: &'static TableSpec,
    ) -> Option<Self> {
        self.get(key)?.table(context, spec)
    }

    /// The tables of a key (`[[key]]`, or a list of inline tables).
    pub(in crate::config) fn tables(
        &self,
        context: &mut Context<'_>,
        key: &'static str,
        spec: &'static TableSpec,
    ) -> Vec<Self> {
        let Some(item) = self.get(key) else { return Vec::new() };
        if let Value::Tables(all) = &item.node.value {
            return all.iter().map(|id| Self::new(self.document, *id, spec)).collect();
        }
        if let Value::Array(all) = &item.node.value {
            return all.iter().filter_map(|node| Item { node, element: true, ..item }.table(context, spec)).collect();
        }
        brackets::list(context, &item, spec).map(|id| Self::new(self.document, id, spec)).into_iter().collect()
    }

    /// Tables whose names the user chose, such as `[upstream.NAME]`.
    pub(in crate::config) fn named(
        &self,
        context: &mut Context<'_>,
        key: &'static str,
        spec: &'static TableSpec,
    ) -> NamedTables<'d> {
        self.get(key).map(|item| brackets::named(context, &item, spec)).unwrap_or_default()
    }

    /// Reports unknown keys. To be called after all known keys were read.
    pub(in crate::config) fn finish(&self, context: &mut Context<'_>) {
        for entry in &self.table.entries {
            if self.spec.position(&entry.key).is_some() {
                continue;
            }
            let at = Span { file: self.document.file, start: entry.start, end: entry.end };
            context.report(self.unknown(context, entry, at));
        }
        #[cfg(debug_assertions)]
        for (at, key) in self.spec.keys.iter().enumerate() {
            debug_assert!(self.read_keys.get() & 1 << at != 0, "{}: `{}` is never read", self.spec.title, key.name);
        }
    }

    fn unknown(&self, context: &Context<'_>, entry: &Entry<'_>, at: Span) -> Finding {
        let key = &*entry.key;
        let place = if self.spec.title.is_empty() { String::new() } else { format!(" in {}", self.title()) };
        let finding = Finding::error("unknown-key", at, format!("unknown key `{key}`{place}"));
        let unsupported = || format!("`{key}` is not supported by this version of Pointsman");
        if self.spec.later.contains(&key) {
            return finding.help(unsupported());
        }
        if self.is_sibling(entry) {
            return finding.help(format!("write `{}`, and `name = {}` in it", self.spec.title, quoted(key)));
        }
        if let Some(help) = hints::by_value(self.spec.title, key, &entry.node.value) {
            return finding.help(help);
        }
        match foreign::meaning(self.spec.title, key) {
            Some(Meaning::Key(meant)) => return finding.help(format!("did you mean `{meant}`?")),
            Some(Meaning::KeyWithHelp(_, help) | Meaning::Elsewhere(help)) => return finding.help(help),
            Some(Meaning::Unsupported) => return finding.help(unsupported()),
            None => {}
        }
        if !context.shows_more_errors() {
            return finding;
        }
        let help =
            did_you_mean(key, self.names()).or_else(|| foreign::default_help(self.spec.title).map(str::to_owned));
        finding.help(help.unwrap_or_else(|| self.list_keys(key)))
    }

    /// Whether an unknown key is another table of this list, with its name in the header.
    fn is_sibling(&self, entry: &Entry<'_>) -> bool {
        let Value::Table(id) = &entry.node.value else { return false };
        let mut keys = self.document.table(*id).entries.iter();
        self.spec.title.starts_with("[[")
            && self.spec.position("name").is_some()
            && entry.key.len() <= 63
            && keys.any(|inner| self.spec.position(&inner.key).is_some())
    }

    /// Help with the keys of this table; of many keys, only some, similar ones first.
    fn list_keys(&self, unknown: &str) -> String {
        let quoted = |names: Vec<&str>| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let mut names: Vec<_> = self.names().collect();
        if names.len() <= LISTED_MAX {
            return format!("the keys are {}", quoted(names));
        }
        let alike = |name: &str| unknown.contains(name) || name.contains(unknown) || name.get(..4) == unknown.get(..4);
        names.sort_by_key(|name| !alike(name));
        names.truncate(LIKELY);
        format!("some of the keys are {}; `pointsman schema` prints all", quoted(names))
    }
}

impl<'d> Item<'d> {
    /// A table with these keys.
    pub(in crate::config) fn table(&self, context: &mut Context<'_>, spec: &'static TableSpec) -> Option<Reader<'d>> {
        let Value::Table(id) = &self.node.value else {
            let help = brackets::as_table(context, self, spec);
            context.report(self.wrong_type("a table").maybe_help(help));
            return None;
        };
        Some(Reader::new(self.document, *id, spec))
    }
}
