//! A refusal of the admin listener: a problem document (RFC 9457), as text.

use std::fmt::Write as _;

use http::StatusCode;
use serde_json::Value;

use super::fetch::AdminResponse;
use crate::compare::escape_controls;

/// A problem document.
#[derive(Clone, Debug, PartialEq)]
pub struct ProblemDocument {
    /// The status.
    pub status: StatusCode,
    /// The whole document.
    pub document: Value,
}

impl ProblemDocument {
    /// The problem in an answer; nothing when the answer is something else.
    #[must_use]
    pub fn read(answer: &AdminResponse) -> Option<Self> {
        let document = answer.json()?;
        let is_problem = !answer.status.is_success() && document["title"].is_string() && document["type"].is_string();
        is_problem.then_some(Self { status: answer.status, document })
    }

    /// What is wrong, and what to do: a line each.
    #[must_use]
    pub fn text(&self) -> String {
        let text = |key: &str| self.document[key].as_str().filter(|text| !text.is_empty());
        let mut out = text("detail").or(text("title")).unwrap_or_default().to_owned();
        if let (Some(file), Some(line)) = (text("file"), self.document["line"].as_u64()) {
            let place = format!("{file}:{line}");
            if !out.contains(&place) {
                let _ = write!(out, "\n  --> {place}"); // writing to memory cannot fail
            }
        }
        if let Some(similar) = text("similar").filter(|similar| !out.contains(&format!("`{similar}`"))) {
            let _ = write!(out, "\n  = help: did you mean `{similar}`?");
        }
        for help in text("help").into_iter().flat_map(str::lines) {
            let _ = write!(out, "\n  = help: {help}");
        }
        out.lines().map(escape_controls).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &Value) -> AdminResponse {
        let status = StatusCode::from_u16(status).unwrap();
        AdminResponse { place: "unix:/x".to_owned(), status, body: body.to_string().into() }
    }

    #[test]
    fn a_problem_is_text_with_a_remedy() {
        let document = json!({
            "type": "urn:pointsman:problem:unknown-scope", "title": "Unknown scope", "status": 404,
            "detail": "there is no route `chekout`", "similar": "checkout", "help": "GET /v1/routes lists\u{1b}[2J them",
        });
        let problem = ProblemDocument::read(&answer(404, &document)).unwrap();
        assert_eq!(
            problem.text(),
            "there is no route `chekout`\n  = help: did you mean `checkout`?\n  = help: GET /v1/routes lists\\u{1b}[2J them"
        );
        let by_file =
            json!({ "type": "x:killed-by-file", "title": "The file kills it", "file": "routes.toml", "line": 12 });
        let text = ProblemDocument::read(&answer(409, &by_file)).unwrap().text();
        assert_eq!(text, "The file kills it\n  --> routes.toml:12");
    }

    #[test]
    fn other_answers_are_no_problems() {
        for (status, body) in [(200, json!({ "type": "x", "title": "y" })), (404, json!({})), (404, json!("text"))] {
            assert_eq!(ProblemDocument::read(&answer(status, &body)), None, "{body}");
        }
    }
}
