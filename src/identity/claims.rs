//! Claims as plain text: strings, integers and booleans, by name or by their path through objects.

use serde_json::{Map, Value};

use crate::route::Claims;

/// The longest path, in names.
const DEPTH_MAX: usize = 4;
/// The most values of one token.
const VALUES_MAX: usize = 1024;

/// The claims in the content of a token. Values that are not text, integers or booleans are skipped: a rounded number
/// could match another caller. Returns `None` if there are too many values: an incomplete set of claims could match
/// another caller, too.
#[must_use]
pub fn flatten(content: &Map<String, Value>) -> Option<Claims> {
    let mut flat = Flat { claims: Claims::default(), values: 0 };
    flat.object("", content, 1)?;
    Some(flat.claims)
}

struct Flat {
    claims: Claims,
    values: usize,
}

impl Flat {
    fn object(&mut self, path: &str, members: &Map<String, Value>, depth: usize) -> Option<()> {
        for (name, value) in members {
            let inner;
            let path = if path.is_empty() {
                name.as_str()
            } else {
                inner = format!("{path}.{name}");
                &inner
            };
            match value {
                Value::Object(members) if depth < DEPTH_MAX => self.object(path, members, depth + 1)?,
                Value::Array(values) => {
                    for text in values.iter().filter_map(text) {
                        self.count()?;
                        self.claims.add_member(path, &text);
                    }
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                    if let Some(text) = text(value) {
                        self.count()?;
                        self.claims.add(path, &text);
                    }
                }
            }
        }
        Some(())
    }

    /// Counts a value; `None` above the limit.
    fn count(&mut self) -> Option<()> {
        self.values += 1;
        (self.values <= VALUES_MAX).then_some(())
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        Value::Number(_) | Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_name_and_path() {
        let content = serde_json::json!({
            "sub": "u1", "n": 7, "big": u64::MAX, "neg": -1, "yes": true, "pi": 3.25, "huge": 1e30, "none": null,
            "realm": { "tenant": "acme", "roles": ["a", 2, null, ["x"], {"y": 1}] },
            "https://example.com/tenant": "globex", "empty": "",
            "a": { "b": { "c": { "d": "deep", "e": { "f": "deeper" } } } },
        });
        let claims = flatten(content.as_object().unwrap()).unwrap();
        for (name, value) in [
            ("sub", Some("u1")),
            ("n", Some("7")),
            ("big", Some("18446744073709551615")),
            ("neg", Some("-1")),
            ("yes", Some("true")),
            ("pi", None),
            ("huge", None),
            ("none", None),
            ("realm", None),
            ("realm.tenant", Some("acme")),
            ("realm.roles", None),
            ("https://example.com/tenant", Some("globex")),
            ("empty", Some("")),
            ("a.b.c.d", Some("deep")),
            ("a.b.c.e.f", None),
        ] {
            assert_eq!(claims.one(name), value, "{name}");
        }
        assert_eq!(claims.all("realm.roles").collect::<Vec<_>>(), ["a", "2"]);
    }

    #[test]
    fn a_token_with_too_many_values_has_no_claims() {
        let of = |groups: usize| {
            let content = serde_json::json!({ "groups": vec![7; groups], "sub": "u1" });
            flatten(content.as_object().unwrap())
        };
        let most = of(VALUES_MAX - 1).unwrap();
        assert_eq!((most.all("groups").count(), most.one("sub")), (VALUES_MAX - 1, Some("u1")));
        assert_eq!(of(VALUES_MAX), None);
    }
}
