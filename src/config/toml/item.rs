//! A value and its key. Typed access reports values of the wrong type.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use super::context::Context;
use super::diagnostic::Finding;
use super::document::{Document, Node, Value};
use super::source::Span;
use super::spanned_string::SpannedString;
use super::spec::Shape;
use super::suggest::did_you_mean;
use super::variable_masks::Exposure;
use super::{env, hints};

/// A value and its key.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Item<'d> {
    pub(in crate::config) document: &'d Document<'d>,
    pub(in crate::config) node: &'d Node<'d>,
    pub(in crate::config) key: &'d str,
    /// Whether the value is an element of a list.
    pub(in crate::config) element: bool,
    /// The values that the key accepts; `None` for keys that the user chose.
    pub(in crate::config) form: Option<&'static Shape>,
}

/// A key that the user chose, its place and its value.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Named<'d> {
    pub(in crate::config) name: &'d str,
    pub(in crate::config) span: Span,
    pub(in crate::config) item: Item<'d>,
}

/// Tables whose names the user chose, such as `[upstream.NAME]`.
#[derive(Debug, Default)]
pub(in crate::config) struct NamedTables<'d> {
    pub(in crate::config) valid: Vec<Named<'d>>,
    /// Tables in wrong brackets. Each is an error of its own, but references to its name are correct.
    pub(in crate::config) misplaced: Vec<Named<'d>>,
}

impl NamedTables<'_> {
    /// Adds the tables of another file.
    pub(in crate::config) fn append(&mut self, other: Self) {
        self.valid.extend(other.valid);
        self.misplaced.extend(other.misplaced);
    }
}

/// The values that a key accepts besides a string, for messages: a list, unless this is an element of one, and a table.
fn alternatives(form: &Shape, element: bool) -> &'static str {
    let is_table = |form: &Shape| match form {
        Shape::Table(_) | Shape::Map(_) => true,
        Shape::OneOrMore(_)
        | Shape::Text
        | Shape::Pattern(_)
        | Shape::Boolean
        | Shape::Integer(..)
        | Shape::Number(..)
        | Shape::Words(_)
        | Shape::Itself
        | Shape::Tables(_)
        | Shape::Named(_)
        | Shape::Either(_) => false,
    };
    let all = if let Shape::Either(all) = form { all } else { std::slice::from_ref(form) };
    let takes_list = !element || all.iter().any(|form| matches!(form, Shape::OneOrMore(_)));
    match (takes_list, all.iter().any(is_table)) {
        (true, true) => ", a list or a table",
        (true, false) => " or a list",
        (false, true) => " or a table",
        (false, false) => "",
    }
}

impl<'d> Item<'d> {
    /// The place of the value.
    pub(in crate::config) fn span(&self) -> Span {
        Span { file: self.document.file, start: self.node.start, end: self.node.end }
    }

    /// Reports a value of the wrong type.
    pub(in crate::config) fn mismatch(&self, context: &mut Context<'_>, expected: &str) {
        let finding = self.wrong_type(expected);
        context.report(finding.maybe_help(hints::fix(self.key, expected, &self.node.value)));
    }

    /// Reports a value that is not a number. `fits` decides which numbers are valid.
    pub(in crate::config) fn mismatch_number(
        &self,
        context: &mut Context<'_>,
        expected: &str,
        fits: impl Fn(&str) -> bool,
    ) {
        let help = hints::number(&self.node.value, expected, fits);
        context.report(self.wrong_type(expected).maybe_help(help));
    }

    /// Reports a value of the wrong type, with help.
    pub(in crate::config) fn mismatch_with_help(&self, context: &mut Context<'_>, expected: &str, help: &str) {
        let finding = self.wrong_type(expected);
        context.report(finding.help(help.to_owned()));
    }

    pub(in crate::config) fn wrong_type(&self, expected: &str) -> Finding {
        let found = match &self.node.value {
            Value::String(_) => "a string",
            Value::Integer(..) => "a whole number",
            Value::Float(_) => "a number",
            Value::Boolean(_) => "true or false",
            Value::Datetime => "a date",
            Value::Array(_) => "a list",
            Value::Tables(_) => "a list of tables",
            Value::Table(_) => "a table",
        };
        let subject = if self.element { format!("each of `{}`", self.key) } else { format!("`{}`", self.key) };
        // An element is no list: what it can be is in the shape of the elements.
        let each = |form: &'static Shape| {
            let Shape::Either(all) = form else { return form };
            all.iter().find(|one| self.element && matches!(one, Shape::OneOrMore(_))).unwrap_or(form)
        };
        let more = match self.form.map(each) {
            Some(Shape::OneOrMore(each)) if !expected.contains("list") => alternatives(each, self.element),
            Some(form) if expected == "a string" => alternatives(form, true),
            Some(_) | None => "",
        };
        let message = format!("{subject} must be {expected}{more}, not {found}");
        Finding::error("wrong-type", self.span(), message)
    }

    /// Reports an invalid value.
    pub(in crate::config) fn refuse(&self, context: &mut Context<'_>, code: &'static str, message: impl Into<String>) {
        context.report(Finding::error(code, self.span(), message));
    }

    /// A string, with its variables expanded. Messages mask the values of its variables.
    pub(in crate::config) fn text(&self, context: &mut Context<'_>) -> Option<SpannedString<'d>> {
        self.expanded(context, Exposure::Masked)
    }

    /// A string whose variables explanations may show, such as an address or a path.
    pub(in crate::config) fn shown_text(&self, context: &mut Context<'_>) -> Option<SpannedString<'d>> {
        self.expanded(context, Exposure::Shown)
    }

    fn expanded(&self, context: &mut Context<'_>, exposure: Exposure) -> Option<SpannedString<'d>> {
        let Value::String(text) = &self.node.value else {
            self.mismatch(context, "a string");
            return None;
        };
        let span = self.span();
        let value = env::expand(context, text, span, exposure)?;
        let written = matches!(value, Cow::Owned(_)).then_some(&**text);
        Some(SpannedString { value, span, written })
    }

    /// `true` or `false`.
    pub(in crate::config) fn boolean(&self, context: &mut Context<'_>) -> Option<bool> {
        let Value::Boolean(value) = &self.node.value else {
            self.mismatch(context, "true or false");
            return None;
        };
        Some(*value)
    }

    /// A whole number in this range.
    pub(in crate::config) fn integer(&self, context: &mut Context<'_>, range: RangeInclusive<i64>) -> Option<i64> {
        let Value::Integer(digits, radix) = &self.node.value else {
            let fits = |digits: &str| digits.parse().is_ok_and(|value| range.contains(&value));
            self.mismatch_number(context, "a whole number", fits);
            return None;
        };
        let value = i64::from_str_radix(digits, *radix).ok();
        let inside = value.filter(|value| range.contains(value));
        if inside.is_none() {
            let (from, to) = range.into_inner();
            let bound = if to == i64::MAX { format!("at least {from}") } else { format!("{from} to {to}") };
            self.refuse(context, "out-of-range", format!("`{}` must be {bound}", self.key));
        }
        inside
    }

    /// One of these words, by its index.
    pub(in crate::config) fn word(&self, context: &mut Context<'_>, words: &'static [&'static str]) -> Option<usize> {
        let known = || words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        if !self.is_text() {
            let help = format!("one of {}", known());
            self.mismatch_with_help(context, "a string", &help);
            return None;
        }
        let text = self.text(context)?;
        let found = words.iter().position(|word| *word == &*text);
        if found.is_none() {
            let message = format!("`{}` cannot be `{}`", self.key, &*text);
            let help = did_you_mean(&text, words.iter().copied());
            let finding = Finding::error("unknown-word", text.span, message).help(format!("one of {}", known()));
            context.report(finding.maybe_help(help));
        }
        found
    }

    /// The items of a list. An empty list is an error: no request could match it.
    pub(in crate::config) fn not_empty(&self, context: &mut Context<'_>) -> Vec<Self> {
        let items = self.one_or_more();
        if items.is_empty() {
            self.refuse(context, "empty-list", format!("`{}` is empty, so nothing could match", self.key));
        }
        items
    }

    /// The items of a list, or the one value instead of a list.
    pub(in crate::config) fn one_or_more(&self) -> Vec<Self> {
        let Value::Array(all) = &self.node.value else { return vec![*self] };
        all.iter().map(|node| Item { node, element: true, ..*self }).collect()
    }

    /// The digits of a decimal number, with or without a fraction.
    pub(in crate::config) fn digits(&self) -> Option<&'d str> {
        if let Value::Float(digits) | Value::Integer(digits, 10) = &self.node.value { Some(digits) } else { None }
    }

    /// Whether the value is a table.
    pub(in crate::config) const fn is_table(&self) -> bool {
        matches!(self.node.value, Value::Table(_))
    }

    /// Whether the value is a table with this key.
    pub(in crate::config) fn has_key(&self, key: &str) -> bool {
        matches!(&self.node.value, Value::Table(id) if self.document.table(*id).get(key).is_some())
    }

    /// Whether the value is a list, of values or of tables.
    pub(in crate::config) const fn is_list(&self) -> bool {
        matches!(self.node.value, Value::Array(_) | Value::Tables(_))
    }

    /// Whether the value is `true` or `false`.
    pub(in crate::config) const fn is_boolean(&self) -> bool {
        matches!(self.node.value, Value::Boolean(_))
    }

    /// Whether the value is a string.
    pub(in crate::config) const fn is_text(&self) -> bool {
        matches!(self.node.value, Value::String(_))
    }

    /// The entries of a table whose keys the user chose, in the order of the file.
    pub(in crate::config) fn map(&self, context: &mut Context<'_>) -> Vec<Named<'d>> {
        let Value::Table(id) = &self.node.value else {
            self.mismatch(context, "a table");
            return Vec::new();
        };
        let document = self.document;
        let entries = document.table(*id).entries.iter();
        entries
            .map(|entry| {
                let span = Span { file: document.file, start: entry.start, end: entry.end };
                let item = Item { document, node: &entry.node, key: &entry.key, element: false, form: None };
                Named { name: &entry.key, span, item }
            })
            .collect()
    }
}
