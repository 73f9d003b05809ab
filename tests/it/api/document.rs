//! The `OpenAPI` document: every call is in it, and every reference leads somewhere.

use serde_json::Value;

use super::{CALLS, SHOP, call, over_tcp};
use crate::harness::Proxy;

fn document() -> Value {
    over_tcp(&Proxy::start(SHOP), &call("GET", "/v1/openapi.json", "", "")).json()
}

fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_document_has_every_call_with_its_role_and_answers() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.values().map(|path| path.as_object().unwrap().len()).sum::<usize>();
    assert_eq!(operations, CALLS.len());
    for (method, path, least, _) in CALLS {
        let operation = &paths[path][method.replace("HEAD", "GET").to_lowercase()];
        let role = operation["x-pointsman-role"].as_str().unwrap_or_else(|| panic!("{method} {path} is missing"));
        let least_role = least.replace("reload", "operator").replace("approver", "approver:ROLE");
        assert_eq!(role, least_role, "{method} {path}");
        let responses = operation["responses"].as_object().unwrap();
        let is_refused = least != "none" || (method, path) == ("POST", "/v1/session");
        assert_eq!(responses.contains_key("401"), is_refused, "{method} {path}");
        assert!(responses.contains_key("200") && responses.contains_key("403"), "{method} {path}");
        assert_eq!(
            operation["requestBody"]["required"].as_bool(),
            (method == "POST" && path != "/reload").then_some(true)
        );
    }
}

#[test]
fn references_and_names_are_sound() {
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut ids: Vec<&str> = Vec::new();
    for path in document["paths"].as_object().unwrap().values() {
        ids.extend(path.as_object().unwrap().values().map(|operation| operation["operationId"].as_str().unwrap()));
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "each operation has a name of its own");
}

#[test]
fn every_kind_of_problem_is_an_answer_of_some_call() {
    let document = document();
    let text = document["paths"].to_string();
    let kinds = document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"].as_array().unwrap();
    // These two answer paths and methods that are in no table.
    for kind in kinds.iter().filter_map(Value::as_str).map(|urn| urn.rsplit(':').next().unwrap()) {
        let is_outside = matches!(kind, "no-such-path" | "wrong-method");
        assert!(is_outside || text.contains(&format!("`{kind}`")), "{kind}");
    }
}
