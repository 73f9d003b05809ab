//! Tables of keys, made of the JSON Schema, which is made of the same tables that the readers of the file use.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

/// What the patterns of strings are called, by a part that only they have.
const PATTERNS: [(&str, &str); 16] = [
    ("(route|client_ip", "key"),
    ("(s|sec|second", "rate"),
    ("[1-5][0-9][0-9]", "statuses"),
    ("[0-9]{4}-", "date"),
    ("(stable", "threshold"),
    ("xx)", "status"),
    ("(ms|s|m|h|d)", "duration"),
    ("KiB|", "size"),
    ("[a-z0-9][a-z0-9_-]", "name"),
    ("^(https?|h2c)://", "URL"),
    ("^[A-Z]+$", "method"),
    ("^(header|cookie|", "source"),
    ("^(header|trailer)", "field path"),
    ("refused_stream", "condition"),
    ("^/", "path"),
    ("^\\$", "field path"),
];

/// A row of a table.
pub struct Row {
    pub key: String,
    /// The default in Markdown; empty where there is none.
    pub default: String,
    doc: String,
}

/// The schema of the table at this path, such as `route.match`; the empty path is the file.
fn find<'s>(schema: &'s Value, path: &str) -> &'s Value {
    path.split('.').filter(|name| !name.is_empty() && *name != "file").fold(schema, |table, name| {
        let key = table["properties"].get(name).unwrap_or_else(|| panic!("the schema has no `{name}` of `{path}`"));
        inner(key).unwrap_or_else(|| panic!("`{path}` is no table"))
    })
}

/// The table that a key takes: by itself, in a list, by name, or as one of several forms.
fn inner(form: &Value) -> Option<&Value> {
    if form.get("properties").is_some() {
        return Some(form);
    }
    let nested = ["items", "additionalProperties"].iter().filter_map(|key| form.get(key));
    let either = form["anyOf"].as_array().into_iter().flatten();
    nested.chain(either).find_map(inner)
}

fn keys(table: &Value) -> &Map<String, Value> {
    table["properties"].as_object().expect("a table has keys")
}

/// The paths of all tables.
pub fn tables(schema: &Value) -> Vec<String> {
    let mut found = vec!["file".to_owned()];
    collect(schema, "", &mut found);
    found
}

fn collect(table: &Value, path: &str, found: &mut Vec<String>) {
    for (name, form) in keys(table) {
        if let Some(nested) = inner(form) {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            found.push(path.clone());
            collect(nested, &path, found);
        }
    }
}

/// Whether two tables have the same keys. Such a table is described once.
pub fn is_alike(schema: &Value, one: &str, other: &str) -> bool {
    keys(find(schema, one)).keys().eq(keys(find(schema, other)).keys())
}

/// The rows of the table at this path.
pub fn rows(schema: &Value, path: &str) -> Vec<Row> {
    let table = find(schema, path);
    let is_required = |key: &str| table["required"].as_array().is_some_and(|all| all.iter().any(|name| name == key));
    let mut rows = Vec::new();
    for (key, value) in keys(table) {
        let default = if is_required(key) { "**required**".to_owned() } else { default(value) };
        let doc = value["description"].as_str().expect("a description").replace('|', "\\|");
        rows.push(Row { key: key.clone(), default, doc });
    }
    rows
}

/// The table at this path as Markdown. Tables inside link to their own, where `places` has them.
pub fn table(schema: &Value, path: &str, places: &BTreeMap<&str, String>) -> String {
    let mut out = String::from("| key | type | default | meaning |\n|---|---|---|---|\n");
    let values = keys(find(schema, path));
    for Row { key, default, doc, .. } in rows(schema, path) {
        let inside = if matches!(path, "" | "file") { key.clone() } else { format!("{path}.{key}") };
        let link = |table: &Value| {
            let alike = |of: &&str| keys(find(schema, of)).keys().eq(keys(table).keys());
            let own = places.get_key_value(inside.as_str()).filter(|(of, _)| alike(of)).map(|(_, at)| at);
            let place = own.or_else(|| places.iter().find(|(of, _)| alike(of)).map(|(_, at)| at));
            place.cloned()
        };
        writeln!(out, "| `{key}` | {} | {default} | {doc} |", form(&values[&key], &link)).unwrap();
    }
    out
}

fn default(value: &Value) -> String {
    match value.get("default") {
        None => String::new(),
        Some(Value::Object(_)) => "`{}`".to_owned(),
        Some(Value::Array(all)) => {
            let all: Vec<String> = all.iter().map(Value::to_string).collect();
            format!("`[{}]`", all.join(", "))
        }
        Some(value @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_))) => format!("`{value}`"),
    }
}

/// A form in words.
fn form(value: &Value, link: &impl Fn(&Value) -> Option<String>) -> String {
    if let Some(either) = value["anyOf"].as_array() {
        let listed = either.iter().find_map(|one| one.get("items"));
        let single = either.iter().filter(|one| one.get("items").is_none());
        let words: Vec<String> = single.map(|one| form(one, link)).collect();
        if let Some(tables) = listed.filter(|items| items.get("properties").is_some()) {
            return format!("{}, or a list of {}", words.join(" or "), linked("tables", tables, link));
        }
        return words.join(" or ") + if listed.is_some() { ", or a list" } else { "" };
    }
    let number = |kind: &str| {
        let (least, most) = (&value["minimum"], &value["maximum"]);
        if least.is_null() {
            kind.to_owned()
        } else if most == &Value::from(i64::MAX) {
            format!("{kind} ≥ {least}")
        } else {
            format!("{kind}, {least} to {most}")
        }
    };
    match value["type"].as_str() {
        Some("string") => string(value),
        Some("boolean") => "boolean".to_owned(),
        Some("integer") => number("integer"),
        Some("number") => number("number"),
        Some("array") => format!("list of {}", plural(&value["items"], link)),
        Some("object") if value.get("properties").is_some() => linked("table", value, link),
        Some("object") => match value.get("additionalProperties") {
            Some(inside) if inner(inside) == Some(inside) => format!("{} by name", linked("tables", inside, link)),
            Some(inside) if inside.is_object() => format!("map to {}", form(inside, link)),
            _ => "table".to_owned(),
        },
        other => panic!("a type without words: {other:?}"),
    }
}

fn plural(item: &Value, link: &impl Fn(&Value) -> Option<String>) -> String {
    if item.get("properties").is_some() { linked("tables", item, link) } else { form(item, link) + "s" }
}

fn linked(word: &str, table: &Value, link: &impl Fn(&Value) -> Option<String>) -> String {
    link(table).map_or(word.to_owned(), |anchor| format!("[{word}](#{anchor})"))
}

fn string(value: &Value) -> String {
    if let Some(words) = value["enum"].as_array() {
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    let Some(pattern) = value["pattern"].as_str() else { return "string".to_owned() };
    let word = PATTERNS.iter().find(|(part, _)| pattern.contains(part));
    word.unwrap_or_else(|| panic!("a pattern without a word: {pattern}")).1.to_owned()
}
