//! Tables in the wrong brackets, such as `[[upstream]]` instead of `[upstream.NAME]`, or `[route]` instead of
//! `[[route]]`.

use super::bracket_titles::named_header;
use super::context::Context;
use super::diagnostic::Finding;
use super::document::{Entry, TableId, TomlTable, Value};
use super::grammar::is_weight;
use super::item::{Item, Named, NamedTables};
use super::quote::{bare, quoted};
use super::shorthand;
use super::source::Span;
use super::spec::TableSpec;

/// The longest name that a help line repeats, in bytes.
const NAME_MAX: usize = 63;

/// Reports a value where a list of tables is expected. If it is one table of that kind, returns it, so that its other
/// errors are found, too.
pub(in crate::config) fn list(context: &mut Context<'_>, item: &Item<'_>, spec: &'static TableSpec) -> Option<TableId> {
    let Value::Table(id) = &item.node.value else {
        let help = shorthand::of_element(spec.title, &item.node.value);
        item.mismatch_with_help(context, "a list of tables", &help);
        return None;
    };
    let entries = &item.document.table(*id).entries;
    let known = entries.iter().any(|entry| spec.position(&entry.key).is_some());
    let name_entry =
        entries.iter().find(|entry| matches!(entry.node.value, Value::Table(_)) && entry.key.len() <= NAME_MAX);
    let help = match name_entry.filter(|_| !known && spec.position("name").is_some()) {
        Some(entry) => format!("write `{}`, and `name = {}` in it", spec.title, quoted(&entry.key)),
        None => format!("write `{}`, in double brackets", spec.title),
    };
    item.mismatch_with_help(context, "a list of tables", &help);
    known.then_some(*id)
}

/// Tables by name. Reports tables in wrong brackets, and returns them separately if they have a `name`.
pub(in crate::config) fn named<'d>(
    context: &mut Context<'_>,
    item: &Item<'d>,
    spec: &'static TableSpec,
) -> NamedTables<'d> {
    let (key, document) = (item.key, item.document);
    if let Value::Tables(all) = &item.node.value {
        let mut misplaced = Vec::new();
        for id in all {
            let table = document.table(*id);
            let at = Span { file: document.file, start: table.start, end: table.end };
            let name = name_in(table);
            refuse_list(context, key, at, name.map(|(name, _)| name));
            misplaced.extend(name.map(|(name, entry)| {
                let item = Item { node: &entry.node, key: &entry.key, ..*item };
                Named { name, span: item.span(), item }
            }));
        }
        return NamedTables { valid: Vec::new(), misplaced };
    }
    let all = item.map(context);
    if let Value::Table(id) = &item.node.value {
        let name = name_in(document.table(*id)).map(|(name, _)| name);
        let is_key = |named: &Named<'_>| {
            !named.item.is_table() && (spec.position(named.name).is_some() || name.is_some() && named.name == "name")
        };
        if all.iter().any(is_key) {
            let finding = Finding::error("wrong-type", item.span(), format!("`[{key}]` has no name in the brackets"));
            context.report(finding.help(named_header(key, name)));
            let (valid, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|named| named.item.is_table());
            let name_keys = others.into_iter().filter(|named| named.name == "name");
            let misplaced = name_keys.filter_map(|named| Some(Named { name: name?, ..named })).collect();
            return NamedTables { valid, misplaced };
        }
    }
    NamedTables { valid: all, misplaced: Vec::new() }
}

fn name_in<'d>(table: &'d TomlTable<'d>) -> Option<(&'d str, &'d Entry<'d>)> {
    let entry = table.get("name")?;
    if let Value::String(name) = &entry.node.value { Some((name, entry)) } else { None }
}

fn refuse_list(context: &mut Context<'_>, key: &str, at: Span, name: Option<&str>) {
    let message = format!("`[[{key}]]` is not a list: each table has its name in the brackets");
    context.report(Finding::error("wrong-type", at, message).help(named_header(key, name)));
}

/// Help for another value where this table is expected.
pub(in crate::config) fn as_table(context: &Context<'_>, item: &Item<'_>, spec: &TableSpec) -> Option<String> {
    let key = bare(item.key);
    if item.element && spec.title.starts_with("[[") {
        return Some(shorthand::of_element(spec.title, &item.node.value));
    }
    let written = context.files.text(item.span());
    let inner = match &item.node.value {
        Value::Tables(_) => {
            let title = spec.title.replace("NAME", &key);
            return title.starts_with('[').then(|| format!("write `{title}`, in single brackets, once"));
        }
        // Not the text itself: it may be `:9900`, which the admin listener refuses.
        Value::String(_) if spec.title == "[admin]" => {
            return Some("write `[admin]`, and below it `address = \"127.0.0.1:9900\"`".to_owned());
        }
        Value::String(text) => match shorthand::of_text(spec.title, text) {
            None if spec.title == "[route.match]" && text.contains('(') => {
                return Some("each condition has a key: `match = { host = \"…\", path = \"/x/*\" }`".to_owned());
            }
            found => found,
        },
        Value::Array(all) => shorthand::of_list(spec.title, all),
        Value::Integer(digits, 10) if spec.title == "[route.respond]" => {
            shorthand::is_status(digits).then(|| format!("status = {digits}"))
        }
        Value::Integer(digits, 10) | Value::Float(digits)
            if matches!(spec.title, "[route.canary]" | "[route.shadow]") =>
        {
            is_weight(digits).then(|| format!("upstream = \"…\", weight = {written}"))
        }
        Value::Boolean(false) if spec.title == "[upstream.NAME.outlier]" => Some("consecutive_failures = 0".to_owned()),
        Value::Boolean(false) if spec.title == "[route.retry]" => Some("attempts = 0".to_owned()),
        Value::Integer(digits, 10) if spec.title == "[route.retry]" => Some(format!("attempts = {digits}")),
        Value::Boolean(true) if spec.title == "[upstream.NAME.health]" => Some("path = \"/healthz\"".to_owned()),
        Value::Boolean(_) if spec.title == "[kill]" => Some(format!("all = {written}")),
        Value::Boolean(true) if spec.title == "[listener.tls]" => Some(shorthand::CERTIFICATES.to_owned()),
        Value::Integer(..) | Value::Float(_) | Value::Boolean(_) | Value::Datetime | Value::Table(_) => None,
    }?;
    Some(format!("write `{key} = {{ {inner} }}`"))
}
