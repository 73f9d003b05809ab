//! Claims as plain text: strings, whole numbers and booleans, by name or by their path through objects.

use serde_json::{Map, Value};

use crate::route::Claims;

/// How deep a path may go.
const DEPTH_MAX: usize = 4;
/// How many values are kept of one token.
const VALUES_MAX: usize = 256;

/// The claims of a token's content. What is neither text nor a whole number nor a boolean is left out: a number that is
/// rounded could name somebody else.
#[must_use]
pub fn flatten(content: &Map<String, Value>) -> Claims {
    let mut flat = Flat { claims: Claims::default(), left: VALUES_MAX };
    flat.object("", content, 1);
    flat.claims
}

struct Flat {
    claims: Claims,
    left: usize,
}

impl Flat {
    fn object(&mut self, path: &str, members: &Map<String, Value>, depth: usize) {
        for (name, value) in members {
            let inner;
            let path = if path.is_empty() {
                name.as_str()
            } else {
                inner = format!("{path}.{name}");
                &inner
            };
            match value {
                Value::Object(members) if depth < DEPTH_MAX => self.object(path, members, depth + 1),
                Value::Array(values) => {
                    for text in values.iter().filter_map(text) {
                        if self.has_room() {
                            self.claims.add_member(path, &text);
                        }
                    }
                }
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                    if let Some(text) = text(value)
                        && self.has_room()
                    {
                        self.claims.add(path, &text);
                    }
                }
            }
        }
    }

    fn has_room(&mut self) -> bool {
        let room = self.left > 0;
        self.left = self.left.saturating_sub(1);
        room
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
        let claims = flatten(content.as_object().unwrap());
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
    fn there_is_a_bound() {
        let many: Vec<u32> = (0..1000).collect();
        let content = serde_json::json!({ "many": many, "z": "1" });
        let claims = flatten(content.as_object().unwrap());
        assert_eq!(claims.all("many").count(), VALUES_MAX);
        assert_eq!(claims.one("z"), None);
    }
}
