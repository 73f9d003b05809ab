//! Parses a text, or parts of it, into a document.

use std::borrow::Cow;
use std::ops::Range;

use toml_parser::decoder::{Encoding, ScalarKind};
use toml_parser::lexer::Token;
use toml_parser::parser::{EventReceiver, RecursionGuard, ValidateWhitespace, parse_document};
use toml_parser::{ErrorSink, ParseError, Source as Text, Span as Bytes};

use super::context::Context;
use super::diagnostic::Finding;
use super::document::{ByteRange, Document, DocumentKey, Entry, INDEXED, Node, Origin, TableId, TomlTable, Value};
use super::source::{Span, offset};
use super::spec::TableSpec;
use super::syntax::{DUPLICATE, finding};
use super::tokens::{TokenLimitExceeded, TomlTokens, tokens};
use super::unclosed;

/// The deepest nesting of arrays, inline tables and dotted keys.
const DEPTH_MAX: u32 = 48;

/// The usual number of keys of an inline table.
const INLINE_KEYS: usize = 2;

impl<'t> Document<'t> {
    /// Parses a file whose top-level keys are those of `root`. Reports all syntax errors; returns `None` if there are
    /// any.
    pub(in crate::config) fn parse(
        context: &mut Context<'_>,
        root: &'static TableSpec,
        file: u16,
        text: &'t str,
    ) -> Option<Self> {
        let source = Text::new(text);
        let TomlTokens { all, tables } = match tokens(source) {
            Ok(tokens) => tokens,
            Err(TokenLimitExceeded { at, message }) => {
                let place = Span { file, start: offset(at), end: offset(at + 1) };
                context.report(Finding::error("syntax", place, message));
                return None;
            }
        };
        let mut errors = Errors::default();
        let mut builder = Builder::new(source, tables);
        builder.build(&all, &mut errors);
        let mut last: Option<usize> = None;
        let unclosed = if errors.count == 0 { None } else { unclosed::find(text, &all) };
        // The parser reads all following lines as a part of the unclosed value: its errors there are meaningless.
        let line = unclosed.map(|unclosed| text[..unclosed.at].rfind('\n').map_or(0, |end| end + 1));
        for error in &errors.first {
            let at = error.unexpected().map_or(text.len(), |span| span.start());
            if line.is_some_and(|line| at >= line) {
                continue;
            }
            let same_line =
                last.is_some_and(|last| text.get(last.min(at)..last.max(at)).is_some_and(|t| !t.contains('\n')));
            if !same_line || error.description() == DUPLICATE {
                context.report(finding(root, file, error, text));
            }
            last = Some(at);
        }
        if let Some(unclosed) = unclosed {
            context.report(unclosed.finding(file));
        }
        debug_assert!(errors.count > 0 || builder.frames.is_empty(), "a valid file closes every value");
        if errors.count == 0 { Some(builder.into_document(file)) } else { None }
    }

    /// Parses these parts of a text, as if it had no others; each but one at the begin of the text begins with a header.
    /// `None`: one has errors. They are not reported, because the whole text shows what is wrong.
    pub(in crate::config) fn parse_parts(file: u16, text: &'t str, parts: &[Range<usize>]) -> Option<Self> {
        let mut builder = Builder::new(Text::new(text), parts.len());
        for part in parts {
            let source = Text::new(text.get(part.clone())?);
            let TomlTokens { all, .. } = tokens(source).ok()?;
            (builder.source, builder.base) = (source, offset(part.start));
            let mut errors = Errors::default();
            builder.build(&all, &mut errors);
            if errors.count > 0 {
                return None;
            }
            debug_assert!(builder.frames.is_empty(), "a valid part closes every value");
        }
        Some(builder.into_document(file))
    }
}

/// The syntax errors; only the first ones are kept.
#[derive(Default)]
struct Errors {
    first: Vec<ParseError>,
    count: usize,
}

impl ErrorSink for Errors {
    fn report_error(&mut self, error: ParseError) {
        self.count += 1;
        if self.first.len() < super::diagnostic::KEPT_MAX {
            self.first.push(error);
        }
    }
}

/// An array or inline table that is not closed yet, with its key.
struct Frame<'t> {
    path: Vec<DocumentKey<'t>>,
    start: u32,
    open: Open<'t>,
}

enum Open<'t> {
    Array(Vec<Node<'t>>),
    Inline(TableId),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Header {
    Table,
    Element,
}

/// Builds the tables from the parser's events.
struct Builder<'t> {
    source: Text<'t>,
    /// Where the source begins in the text.
    base: u32,
    headers: Vec<u32>,
    tables: Vec<TomlTable<'t>>,
    current: Option<TableId>,
    path: Vec<DocumentKey<'t>>,
    header: Option<(Header, u32)>,
    frames: Vec<Frame<'t>>,
}

impl<'t> Builder<'t> {
    fn new(source: Text<'t>, tables: usize) -> Self {
        let mut all = Vec::with_capacity(tables + 1);
        all.push(TomlTable::new(Origin::Header, (0, 0), 0));
        let (path, frames) = (Vec::new(), Vec::new());
        Self {
            source,
            base: 0,
            headers: Vec::new(),
            tables: all,
            current: Some(TableId::ROOT),
            path,
            header: None,
            frames,
        }
    }

    fn build(&mut self, all: &[Token], errors: &mut Errors) {
        let source = self.source;
        let mut checked = ValidateWhitespace::new(self, source);
        let mut guarded = RecursionGuard::new(&mut checked, DEPTH_MAX);
        parse_document(all, &mut guarded, errors);
    }

    fn into_document(self, file: u16) -> Document<'t> {
        debug_assert!(self.headers.is_sorted(), "headers follow each other");
        Document { file, tables: self.tables, headers: self.headers }
    }

    /// A place of the source, in the text.
    fn at(&self, at: usize) -> u32 {
        self.base.saturating_add(offset(at))
    }

    fn bytes(&self, span: Bytes) -> ByteRange {
        (self.at(span.start()), self.at(span.end()))
    }

    /// Adds a table with capacity for `keys` keys.
    fn add(&mut self, origin: Origin, span: ByteRange, keys: usize) -> TableId {
        self.tables.push(TomlTable::new(origin, span, keys));
        TableId(offset(self.tables.len() - 1))
    }

    fn put(&mut self, into: TableId, key: DocumentKey<'t>, node: Node<'t>) {
        self.tables[into.0 as usize].push(key, node);
    }

    fn open_header(&mut self, kind: Header, span: Bytes) {
        self.frames.clear();
        self.path.clear();
        let start = self.at(span.start());
        self.headers.push(start);
        self.header = Some((kind, start));
    }

    fn close_header(&mut self, span: Bytes, errors: &mut dyn ErrorSink) {
        let Some((kind, start)) = self.header.take() else { return };
        let mut path = std::mem::take(&mut self.path);
        self.current = path.pop().and_then(|last| {
            let parent = self.descend(TableId::ROOT, &path, Origin::Implied, errors)?;
            let span = (start, self.at(span.end()));
            match kind {
                Header::Table => self.define(parent, last, span, errors),
                Header::Element => self.element(parent, last, span, errors),
            }
        });
    }

    /// `[parent.key]`.
    fn define(
        &mut self,
        parent: TableId,
        key: DocumentKey<'t>,
        span: ByteRange,
        errors: &mut dyn ErrorSink,
    ) -> Option<TableId> {
        if let Some(existing) = self.tables[parent.0 as usize].get(&key.text) {
            let first = (existing.start, existing.end);
            if let Value::Table(id) = existing.node.value
                && self.tables[id.0 as usize].origin == Origin::Implied
            {
                let table = &mut self.tables[id.0 as usize];
                (table.origin, table.start, table.end) = (Origin::Header, span.0, span.1);
                return Some(id);
            }
            report_duplicate(key.span, first, errors);
            return None;
        }
        let id = self.add(Origin::Header, span, 0);
        self.put(parent, key, Node { start: span.0, end: span.1, value: Value::Table(id) });
        Some(id)
    }

    /// `[[parent.key]]`.
    fn element(
        &mut self,
        parent: TableId,
        key: DocumentKey<'t>,
        span: ByteRange,
        errors: &mut dyn ErrorSink,
    ) -> Option<TableId> {
        // The tables of a list mostly have the same keys: reserve as many as the last one has.
        let last = match self.tables[parent.0 as usize].get(&key.text) {
            Some(Entry { node: Node { value: Value::Tables(all), .. }, .. }) => all.last(),
            Some(_) | None => None,
        };
        let keys = last.map_or(0, |last| self.tables[last.0 as usize].entries.len().min(INDEXED));
        let id = self.add(Origin::Header, span, keys);
        let table = &mut self.tables[parent.0 as usize];
        let Some(at) = table.position(&key.text) else {
            let value = Value::Tables(vec![id]);
            self.put(parent, key, Node { start: span.0, end: span.1, value });
            return Some(id);
        };
        let existing = &mut table.entries[at];
        if let Value::Tables(all) = &mut existing.node.value {
            all.push(id);
            return Some(id);
        }
        report_duplicate(key.span, (existing.start, existing.end), errors);
        None
    }

    /// The table at `path` below `from`; missing tables are created.
    fn descend(
        &mut self,
        from: TableId,
        path: &[DocumentKey<'t>],
        origin: Origin,
        errors: &mut dyn ErrorSink,
    ) -> Option<TableId> {
        let mut at = from;
        for key in path {
            let next = match self.tables[at.0 as usize].get(&key.text) {
                None => {
                    let id = self.add(origin, key.span, 0);
                    let node = Node { start: key.span.0, end: key.span.1, value: Value::Table(id) };
                    self.put(at, key.clone(), node);
                    id
                }
                Some(existing) => match &existing.node.value {
                    Value::Table(id) if self.may_extend(*id, origin) => *id,
                    Value::Tables(all) if origin == Origin::Implied => *all.last()?,
                    Value::Table(_)
                    | Value::Tables(_)
                    | Value::String(_)
                    | Value::Integer(..)
                    | Value::Float(_)
                    | Value::Boolean(_)
                    | Value::Datetime
                    | Value::Array(_) => {
                        report_duplicate(key.span, (existing.start, existing.end), errors);
                        return None;
                    }
                },
            };
            at = next;
        }
        Some(at)
    }

    fn may_extend(&self, id: TableId, by: Origin) -> bool {
        match self.tables[id.0 as usize].origin {
            Origin::Inline => false,
            Origin::Header => by != Origin::Dotted,
            Origin::Implied | Origin::Dotted => true,
        }
    }

    /// Adds a complete value to the innermost open array or inline table, or else to the current table.
    fn complete(&mut self, node: Node<'t>, errors: &mut dyn ErrorSink) {
        let into = match self.frames.last_mut() {
            Some(Frame { open: Open::Array(items), .. }) => {
                items.push(node);
                return;
            }
            Some(Frame { open: Open::Inline(id), .. }) => Some(*id),
            None => self.current,
        };
        let mut path = std::mem::take(&mut self.path);
        if let (Some(into), Some(key)) = (into, path.pop())
            && let Some(table) = self.descend(into, &path, Origin::Dotted, errors)
        {
            match self.tables[table.0 as usize].get(&key.text) {
                Some(existing) => report_duplicate(key.span, (existing.start, existing.end), errors),
                None => self.put(table, key, node),
            }
        }
        path.clear();
        self.path = path;
    }
}

fn report_duplicate(second: ByteRange, first: ByteRange, errors: &mut dyn ErrorSink) {
    let span = |(start, end): ByteRange| Bytes::new_unchecked(start as usize, end as usize);
    errors.report_error(ParseError::new(DUPLICATE).with_unexpected(span(second)).with_context(span(first)));
}

impl EventReceiver for Builder<'_> {
    fn std_table_open(&mut self, span: Bytes, _: &mut dyn ErrorSink) {
        self.open_header(Header::Table, span);
    }

    fn std_table_close(&mut self, span: Bytes, errors: &mut dyn ErrorSink) {
        self.close_header(span, errors);
    }

    fn array_table_open(&mut self, span: Bytes, _: &mut dyn ErrorSink) {
        self.open_header(Header::Element, span);
    }

    fn array_table_close(&mut self, span: Bytes, errors: &mut dyn ErrorSink) {
        self.close_header(span, errors);
    }

    fn inline_table_open(&mut self, span: Bytes, _: &mut dyn ErrorSink) -> bool {
        let span = self.bytes(span);
        let id = self.add(Origin::Inline, span, INLINE_KEYS);
        let path = std::mem::take(&mut self.path);
        self.frames.push(Frame { path, start: span.0, open: Open::Inline(id) });
        true
    }

    fn inline_table_close(&mut self, span: Bytes, errors: &mut dyn ErrorSink) {
        let Some(Frame { path, start, open: Open::Inline(id) }) = self.frames.pop() else { return };
        let end = self.at(span.end());
        self.tables[id.0 as usize].end = end;
        self.path = path;
        self.complete(Node { start, end, value: Value::Table(id) }, errors);
    }

    fn array_open(&mut self, span: Bytes, _: &mut dyn ErrorSink) -> bool {
        let path = std::mem::take(&mut self.path);
        let start = self.at(span.start());
        self.frames.push(Frame { path, start, open: Open::Array(Vec::new()) });
        true
    }

    fn array_close(&mut self, span: Bytes, errors: &mut dyn ErrorSink) {
        let Some(Frame { path, start, open: Open::Array(items) }) = self.frames.pop() else { return };
        self.path = path;
        let end = self.at(span.end());
        self.complete(Node { start, end, value: Value::Array(items) }, errors);
    }

    fn simple_key(&mut self, span: Bytes, encoding: Option<Encoding>, errors: &mut dyn ErrorSink) {
        if self.path.len() >= DEPTH_MAX as usize {
            errors.report_error(ParseError::new("this key nests too deep").with_unexpected(span));
            return;
        }
        let mut text = Cow::Borrowed("");
        if let Some(raw) = self.source.get(span) {
            toml_parser::Raw::new_unchecked(raw.as_str(), encoding, span).decode_key(&mut text, errors);
        }
        let span = self.bytes(span);
        self.path.push(DocumentKey { text, span });
    }

    fn scalar(&mut self, span: Bytes, encoding: Option<Encoding>, errors: &mut dyn ErrorSink) {
        let mut text = Cow::Borrowed("");
        let Some(raw) = self.source.get(span) else { return };
        let raw = toml_parser::Raw::new_unchecked(raw.as_str(), encoding, span);
        let value = match raw.decode_scalar(&mut text, errors) {
            ScalarKind::String => Value::String(text),
            ScalarKind::Boolean(value) => Value::Boolean(value),
            ScalarKind::DateTime => Value::Datetime,
            ScalarKind::Float => Value::Float(text),
            ScalarKind::Integer(radix) => Value::Integer(text, radix.value()),
        };
        let (start, end) = self.bytes(span);
        self.complete(Node { start, end, value }, errors);
    }

    fn newline(&mut self, _: Bytes, _: &mut dyn ErrorSink) {
        if self.frames.is_empty() {
            self.path.clear();
        }
    }
}
