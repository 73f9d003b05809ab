//! Tables in the wrong brackets: `[[upstream]]` for `[upstream.NAME]`, `[route]` for `[[route]]`.

use std::borrow::Cow;

use super::compile::FILE;
use super::context::Context;
use super::diagnostic::Finding;
use super::document::{Entry, Table, TableId, Value};
use super::reader::{Item, Named};
use super::source::Span;
use super::spec::{Form, Spec};
use super::{hints, shorthand, value};

/// How many letters of a name are repeated in a help line.
const NAME_MAX: usize = 63;

/// One table where a list of tables is expected: the table, unless names stand in its title.
pub(super) fn list(context: &mut Context<'_>, item: &Item<'_>, spec: &'static Spec) -> Option<TableId> {
    let Value::Table(id) = &item.node.value else {
        let help = shorthand::of_element(spec.title, &item.node.value);
        item.mismatch_with(context, ("a list of tables", help.as_str()));
        return None;
    };
    let entries = &item.document.table(*id).entries;
    let known = entries.iter().any(|entry| spec.position(&entry.key).is_some());
    let called =
        entries.iter().find(|entry| matches!(entry.node.value, Value::Table(_)) && entry.key.len() <= NAME_MAX);
    let help = match called.filter(|_| !known && spec.position("name").is_some()) {
        Some(entry) => format!("write `{}`, and `name = {}` in it", spec.title, hints::quoted(&entry.key)),
        None => format!("write `{}`, in double brackets", spec.title),
    };
    item.mismatch_with(context, ("a list of tables", help.as_str()));
    known.then_some(*id)
}

/// Tables by name. Those in wrong brackets come apart, as far as they say their name.
pub(super) fn named<'d>(
    context: &mut Context<'_>,
    item: &Item<'d>,
    spec: &'static Spec,
) -> (Vec<Named<'d>>, Vec<Named<'d>>) {
    let (key, document) = (item.key, item.document);
    if let Value::Tables(all) = &item.node.value {
        let mut misplaced = Vec::new();
        for id in all {
            let table = document.table(*id);
            let at = Span { file: document.file, start: table.start, end: table.end };
            let name = name_in(table);
            wrong(context, (key, at), name.map(|(name, _)| name));
            misplaced.extend(name.map(|(name, entry)| {
                let item = Item { node: &entry.node, key: &entry.key, ..*item };
                Named { name, span: item.span(), item }
            }));
        }
        return (Vec::new(), misplaced);
    }
    let all = item.map(context);
    if let Value::Table(id) = &item.node.value {
        let name = name_in(document.table(*id)).map(|(name, _)| name);
        let is_key = |named: &Named<'_>| {
            !named.item.is_table() && (spec.position(named.name).is_some() || name.is_some() && named.name == "name")
        };
        if all.iter().any(is_key) {
            let finding = Finding::error("wrong-type", item.span(), format!("`[{key}]` has no name in its title"));
            context.report(finding.help(titled(key, name)));
            let (tables, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|named| named.item.is_table());
            let called = others.into_iter().filter(|named| named.name == "name");
            return (tables, called.filter_map(|named| Some(Named { name: name?, ..named })).collect());
        }
    }
    (all, Vec::new())
}

/// The `name` of a table.
fn name_in<'d>(table: &'d Table<'d>) -> Option<(&'d str, &'d Entry<'d>)> {
    let entry = table.get("name")?;
    if let Value::String(name) = &entry.node.value { Some((name, entry)) } else { None }
}

fn wrong(context: &mut Context<'_>, (key, at): (&str, Span), name: Option<&str>) {
    let message = format!("`[[{key}]]` is no list: each has its name in its title");
    context.report(Finding::error("wrong-type", at, message).help(titled(key, name)));
}

/// `write [upstream.NAME]`.
fn titled(key: &str, name: Option<&str>) -> String {
    // What is no name is reported as such.
    match name.filter(|name| value::is_name(name)) {
        Some(name) => format!("write `[{key}.{name}]`, without `name`"),
        None => format!("write `[{key}.NAME]`"),
    }
}

/// A key as it is written: in quotes where it needs them.
pub(super) fn bare(key: &str) -> Cow<'_, str> {
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_bare { Cow::Borrowed(key) } else { Cow::Owned(hints::quoted(key)) }
}

/// What is wrong when the table at `key`, of which there is one already, is defined again; nothing when it is not a
/// matter of brackets.
pub(super) fn again(text: &str, (start, end): (usize, usize)) -> Option<(String, String)> {
    let key = text.get(start..end)?;
    let before = text.get(..start)?.trim_end_matches([' ', '\t']);
    let after = text.get(end..)?.trim_start_matches([' ', '\t']);
    let double = before.ends_with("[[") && after.starts_with("]]");
    let single = before.ends_with('[') && after.starts_with(']');
    if !(double || single) {
        return None;
    }
    let form = &FILE.keys.iter().find(|known| known.name == key)?.form;
    match (form, double) {
        (Form::Tables(_), _) => {
            let message = format!("`[{key}]` is a list: each stands in double brackets");
            Some((message, format!("write `[[{key}]]`, each time")))
        }
        (Form::Named(_), true) => {
            let message = format!("`[[{key}]]` is no list: each has its name in its title");
            Some((message, titled(key, name_below(after))))
        }
        (Form::Named(_), false) => {
            Some((format!("`[{key}]` has no name in its title"), titled(key, name_below(after))))
        }
        (Form::Table(_), true) => {
            let message = format!("`[[{key}]]` is no list: there is one `[{key}]`");
            Some((message, format!("write all its keys below one `[{key}]`")))
        }
        _ => None,
    }
}

/// The `name` of the table whose title ends here.
fn name_below(text: &str) -> Option<&str> {
    let mut lines = text.lines().skip(1).map(str::trim).take_while(|line| !line.starts_with('['));
    let value = lines.find_map(|line| line.strip_prefix("name")?.trim_start().strip_prefix('='))?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    value[1..].split(quote).next()
}
