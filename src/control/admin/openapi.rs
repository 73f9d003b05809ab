//! The `OpenAPI` 3.1 document, made from the table of calls.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Map, Value, json};

use super::access::CallAccess;
use super::operation::{CallParameter, Operation, ParameterPlace};
use super::problem::{ProblemForm, ProblemKind};
use super::schemas::schemas;

/// A row of the table of calls, as far as the document shows it.
#[derive(Clone, Copy)]
pub(super) struct CallRow<'a> {
    pub path: &'static str,
    pub method: &'a Method,
    pub access: CallAccess,
    pub help: &'static str,
    pub operation: &'a Operation,
}

/// The document of these calls.
pub(super) fn document<'a>(calls: impl Iterator<Item = CallRow<'a>>) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for call in calls {
        let path = paths.entry(call.path).or_insert_with(|| json!({}));
        path[call.method.as_str().to_ascii_lowercase()] = operation(call);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Pointsman admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Looking at the proxy, and acting on it. Acting calls answer when they are in force.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of the file that `[admin] tokens` names.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "pointsman_session",
                    "description": "A session of the dashboard. Over TLS the name begins with `__Host-`.",
                },
            },
        },
    })
}

fn operation(call: CallRow<'_>) -> Value {
    let CallRow { path, method, access, help, operation } = call;
    let mut value = json!({
        "operationId": operation_id(path, method),
        "summary": help,
        "description": format!("Role: {}.", access.role()),
        "x-pointsman-role": access.role(),
        "security": if access == CallAccess::Public { json!([]) } else { json!([{ "token": [] }, { "session": [] }]) },
        "parameters": operation.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "responses": responses(call),
    });
    if let Some(body) = operation.body {
        let mut content = Map::new();
        content.insert("application/json".to_owned(), json!({ "schema": reference(body.schema) }));
        for media in body.text {
            content.insert((*media).to_owned(), json!({ "schema": { "type": "string" } }));
        }
        value["requestBody"] = json!({ "required": true, "content": content });
    }
    value
}

/// Such as `post_v1_kill`.
fn operation_id(path: &str, method: &Method) -> String {
    let path: String = path.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
    format!("{}{}", method.as_str().to_ascii_lowercase(), if path == "_" { "_index" } else { &path })
}

fn parameter(parameter: &CallParameter) -> Value {
    json!({
        "name": parameter.name,
        "in": match parameter.place {
            ParameterPlace::Query => "query",
            ParameterPlace::Header => "header",
            ParameterPlace::Path => "path",
        },
        "required": parameter.place == ParameterPlace::Path,
        "description": parameter.doc,
        "schema": reference(parameter.schema),
    })
}

/// The problems of a call: its own, and those of access, place and origin.
pub(super) fn problems(call: CallRow<'_>) -> Vec<ProblemKind> {
    let mut kinds = vec![ProblemKind::HostNotServed, ProblemKind::Busy, ProblemKind::Failed, ProblemKind::Stopping];
    if call.access != CallAccess::Public {
        kinds.extend([
            ProblemKind::TokenMissing,
            ProblemKind::TokenUnknown,
            ProblemKind::TokenExpired,
            ProblemKind::SessionEnded,
            ProblemKind::RoleMissing,
            ProblemKind::UserUnknown,
        ]);
    }
    match call.access {
        CallAccess::Public | CallAccess::Metrics | CallAccess::Read => {}
        CallAccess::Reload => kinds.extend([ProblemKind::LocalOnly, ProblemKind::UserNotListed]),
        CallAccess::Operate => kinds.extend([ProblemKind::SocketOnly, ProblemKind::UserNotListed]),
        CallAccess::Approve => kinds.extend([ProblemKind::SocketOnly, ProblemKind::NotApprover]),
    }
    if *call.method == Method::POST {
        kinds.push(ProblemKind::OtherSite);
    }
    kinds.extend(call.operation.problems.iter().filter(|kind| !kinds.contains(kind)).copied().collect::<Vec<_>>());
    kinds
}

fn responses(call: CallRow<'_>) -> Value {
    let answer = call.operation.answer;
    let mut by_status: BTreeMap<u16, Vec<ProblemKind>> = BTreeMap::new();
    for kind in problems(call) {
        by_status.entry(kind.status()).or_default().push(kind);
    }
    let mut responses = Map::new();
    let content = json!({ answer.media: { "schema": reference(answer.schema) } });
    responses.insert("200".to_owned(), json!({ "description": call.help, "content": content }));
    for (status, kinds) in by_status {
        let list: Vec<String> = kinds.iter().map(|kind| format!("`{}`: {}", kind.name(), kind.title())).collect();
        let content = match ProblemForm::of(call.path) {
            ProblemForm::Document => json!({ "application/problem+json": { "schema": reference("Problem") } }),
            ProblemForm::Text | ProblemForm::Page => {
                json!({ "text/plain": { "schema": reference("Text") }, "application/json": {} })
            }
        };
        responses.insert(status.to_string(), json!({ "description": list.join("; "), "content": content }));
    }
    Value::Object(responses)
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}
