//! The JSON Schema (2020-12) of the file, for editors. It is generated from the specifications that the readers use.

use serde_json::{Map, Value, json};

use super::compile::FILE;
use super::toml::spec::{KeyPresence, KeySpec, NAME, Shape, TableSpec};

/// The JSON Schema of `routes.toml`.
#[must_use]
pub fn schema() -> Value {
    let mut root = Map::new();
    root.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".into(), json!("Pointsman routes file"));
    let Value::Object(rest) = table(&FILE) else { return Value::Object(root) };
    root.extend(rest);
    Value::Object(root)
}

fn table(spec: &'static TableSpec) -> Value {
    let properties: Map<String, Value> =
        spec.keys.iter().map(|key| (key.name.to_owned(), property(spec, key))).collect();
    let required: Vec<_> =
        spec.keys.iter().filter(|key| key.presence == KeyPresence::Required).map(|key| key.name).collect();
    let mut schema = Map::new();
    schema.insert("description".into(), json!(spec.doc));
    schema.insert("type".into(), json!("object"));
    schema.insert("properties".into(), Value::Object(properties));
    if !required.is_empty() {
        schema.insert("required".into(), json!(required));
    }
    schema.insert("additionalProperties".into(), json!(false));
    Value::Object(schema)
}

fn property(spec: &'static TableSpec, key: &'static KeySpec) -> Value {
    let mut schema = shape(spec, &key.form);
    if let Value::Object(schema) = &mut schema {
        schema.insert("description".into(), json!(key.doc));
        if let KeyPresence::Default(text) = key.presence
            && let Ok(value) = serde_json::from_str::<Value>(text)
        {
            schema.insert("default".into(), value);
        }
    }
    schema
}

fn shape(of: &'static TableSpec, shape_of: &'static Shape) -> Value {
    match shape_of {
        Shape::Text => json!({ "type": "string" }),
        Shape::Pattern(pattern) => json!({ "type": "string", "pattern": pattern }),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Integer(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Number(i64::MIN, i64::MAX) => json!({ "type": "number" }),
        Shape::Number(min, max) => json!({ "type": "number", "minimum": min, "maximum": max }),
        Shape::Words(words) => json!({ "type": "string", "enum": words }),
        Shape::OneOrMore(item) => {
            let item = shape(of, item);
            json!({ "anyOf": [item, { "type": "array", "items": item }] })
        }
        Shape::Table(spec) => table(spec),
        Shape::Itself => table_without_itself(of),
        Shape::Tables(spec) => json!({ "type": "array", "items": table(spec) }),
        Shape::Map(value) => json!({ "type": "object", "additionalProperties": shape(of, value) }),
        Shape::Named(value) => {
            let names = json!({ "pattern": NAME });
            json!({ "type": "object", "propertyNames": names, "additionalProperties": shape(of, value) })
        }
        Shape::Either(forms) => {
            let all: Vec<_> = forms.iter().map(|one| shape(of, one)).collect();
            json!({ "anyOf": all })
        }
    }
}

/// A table inside a table with the same keys. The schema of deeper levels is left open, so that it is finite.
fn table_without_itself(spec: &'static TableSpec) -> Value {
    let keys = spec.keys.iter().map(|key| {
        let value = if matches!(key.form, Shape::Itself) {
            json!({ "description": key.doc, "type": "object" })
        } else {
            property(spec, key)
        };
        (key.name.to_owned(), value)
    });
    let properties: Map<String, Value> = keys.collect();
    json!({ "description": spec.doc, "type": "object", "properties": properties, "additionalProperties": false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::toml::context::Context;
    use crate::config::toml::document::{Document, TableId, Value as Written};
    use crate::tls::LastGood;

    /// Finds the errors of a value. Supports the keywords that [`schema`] uses.
    fn find_errors(schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_i64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        for (keyword, rule) in schema.as_object().unwrap() {
            let is_valid = match keyword.as_str() {
                "$schema" | "title" | "description" | "default" => true,
                "type" => rule == kind || (rule == "number" && kind == "integer"),
                "enum" => rule.as_array().unwrap().contains(value),
                "pattern" => {
                    value.as_str().is_none_or(|s| regex::Regex::new(rule.as_str().unwrap()).unwrap().is_match(s))
                }
                "minimum" => value.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()),
                "maximum" => value.as_f64().is_none_or(|n| n <= rule.as_f64().unwrap()),
                "required" => rule.as_array().unwrap().iter().all(|key| value.get(key.as_str().unwrap()).is_some()),
                "anyOf" => rule.as_array().unwrap().iter().any(|schema| {
                    let mut inside = Vec::new();
                    find_errors(schema, value, at, &mut inside);
                    inside.is_empty()
                }),
                "items" => {
                    value.as_array().into_iter().flatten().for_each(|item| find_errors(rule, item, at, found));
                    true
                }
                "properties" => {
                    for (key, value) in value.as_object().into_iter().flatten() {
                        if let Some(schema) = rule.get(key) {
                            find_errors(schema, value, &format!("{at}.{key}"), found);
                        }
                    }
                    true
                }
                "propertyNames" => {
                    let keys = value.as_object().into_iter().flatten();
                    keys.for_each(|(key, _)| find_errors(rule, &json!(key), &format!("{at}.{key}"), found));
                    true
                }
                "additionalProperties" => {
                    let known = schema.get("properties");
                    for (key, value) in value.as_object().into_iter().flatten() {
                        if known.is_some_and(|known| known.get(key).is_some()) {
                            continue;
                        }
                        if rule == &Value::Bool(false) {
                            found.push(format!("{at}.{key}: unknown"));
                        } else {
                            find_errors(rule, value, &format!("{at}.{key}"), found);
                        }
                    }
                    true
                }
                other => panic!("the checker does not support `{other}`"),
            };
            if !is_valid {
                found.push(format!("{at}: {value} does not match {keyword} {rule}"));
            }
        }
    }

    fn json_of(document: &Document<'_>, id: TableId) -> Value {
        let entries = document.table(id).entries.iter();
        Value::Object(entries.map(|e| (e.key.to_string(), json_of_value(document, &e.node.value))).collect())
    }

    fn json_of_value(document: &Document<'_>, value: &Written<'_>) -> Value {
        match value {
            Written::String(text) => json!(text),
            Written::Integer(digits, radix) => json!(i64::from_str_radix(digits, *radix).unwrap()),
            Written::Float(digits) => json!(digits.parse::<f64>().unwrap()),
            Written::Boolean(value) => json!(value),
            Written::Datetime => Value::Null,
            Written::Array(all) => all.iter().map(|node| json_of_value(document, &node.value)).collect(),
            Written::Tables(all) => all.iter().map(|id| json_of(document, *id)).collect(),
            Written::Table(id) => json_of(document, *id),
        }
    }

    fn check(text: &str) -> Vec<String> {
        let last_good = LastGood::default();
        let mut context = Context::new(&|_| None, &last_good);
        let document = Document::parse(&mut context, &FILE, 0, text).unwrap();
        let mut found = Vec::new();
        find_errors(&schema(), &json_of(&document, TableId::ROOT), "", &mut found);
        found
    }

    #[test]
    fn the_shipped_example_is_valid() {
        assert_eq!(check(include_str!("../../routes.toml")), Vec::<String>::new());
    }

    #[test]
    fn errors_are_found() {
        let found = check("schema = 2\n[[listener]]\naddres = 'x'\n[upstream.A]\nendpoints = 1\n");
        for part in [
            ".schema: 2 does not match maximum",
            "does not match required",
            ".addres: unknown",
            ".upstream.A: \"A\" does not match pattern",
            ".endpoints: 1 does not match anyOf",
        ] {
            assert!(found.iter().any(|fault| fault.contains(part)), "{part} in {found:#?}");
        }
    }

    #[test]
    fn every_key_has_a_description() {
        fn walk(schema: &Value) {
            for (key, value) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                assert!(value["description"].as_str().is_some_and(|doc| doc.ends_with('.')), "{key}: {value}");
            }
            match schema {
                Value::Object(all) => all.values().for_each(walk),
                Value::Array(all) => all.iter().for_each(walk),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        walk(&schema());
    }

    #[test]
    fn defaults_are_those_of_the_code() {
        let schema = schema();
        let limits = &schema["properties"]["listener"]["items"]["properties"]["limits"]["properties"];
        let defaults = crate::route::Limits::default();
        for (key, value) in [
            ("connections", defaults.connections),
            ("connections_per_ip", defaults.connections_per_ip),
            ("connection_rate_per_ip", defaults.connection_rate_per_ip),
            ("headers", defaults.headers),
            ("requests", defaults.requests),
            ("h2_streams", defaults.h2_streams),
            ("h2_resets", defaults.h2_resets),
            ("h2_resets_per_ip", defaults.h2_resets_per_ip),
            ("h2_pings", defaults.h2_pings),
            ("h2_settings", defaults.h2_settings),
            ("h2_continuations", defaults.h2_continuations),
            ("body_rate", defaults.body_rate),
        ] {
            assert_eq!(limits[key]["default"], json!(value), "{key}");
        }
        assert_eq!(limits["header_bytes"]["default"], json!(format!("{}KiB", defaults.header_bytes >> 10)));
        assert_eq!(limits["uri_bytes"]["default"], json!(format!("{}KiB", defaults.uri_bytes >> 10)));
        let timeout = &schema["properties"]["route"]["items"]["properties"]["timeout"]["properties"];
        assert_eq!(timeout["request"]["default"], json!("30s"));
    }
}
