//! A refusal of the admin listener: a problem document (RFC 9457), as text.

use std::fmt::Write as _;

use anyhow::{anyhow, bail, ensure};
use http::StatusCode;
use serde_json::Value;

use super::fetch::AdminResponse;
use crate::compare::escape_controls;

/// What to do about a problem, by the last part of its `type`.
const ADVICE: &[(&str, &str)] = &[
    ("not-killed", "`pointsman kill` lists what is killed"),
    ("not-rolled-back", "`pointsman rollout ls` lists the releases with their states"),
    ("token-missing", WITH_TOKEN),
    ("socket-only", WITH_TOKEN),
    ("token-unknown", "`pointsman token hash < FILE` prints the hash that the tokens file must have"),
    ("last-usable", "admit or undrain another one first, or give --force"),
    ("stale", "run the command again when you still want this"),
    (
        "not-recorded",
        "this raises exposure, and is recorded first: `pointsman status` shows what is wrong with the journal",
    ),
];
const WITH_TOKEN: &str = "run it on the machine of the proxy, over its socket, or give a token: --token-file FILE or \
                          POINTSMAN_TOKEN";

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

    /// What to do in the words of the command line, where the API's are those of a program.
    fn advice(&self) -> Option<&'static str> {
        let name = self.document["type"].as_str()?.rsplit(':').next()?;
        ADVICE.iter().find(|(known, _)| *known == name).map(|(_, advice)| *advice)
    }

    /// What is wrong, and what to do: a line each.
    #[must_use]
    pub fn text(&self) -> String {
        let text = |key: &str| self.document[key].as_str().filter(|text| !text.is_empty());
        let mut out = text("detail").or(text("title")).unwrap_or_default().to_owned();
        if let Some(place) = text("place").filter(|place| !out.contains(place)) {
            let _ = write!(out, "\n  --> {place}"); // writing to memory cannot fail
        }
        for help in self.advice().or(text("help")).into_iter().flat_map(str::lines) {
            let _ = write!(out, "\n  = help: {help}");
        }
        out.lines().map(escape_controls).collect::<Vec<_>>().join("\n")
    }
}

impl AdminResponse {
    /// The JSON of a page.
    ///
    /// # Errors
    /// It is none, with what to do.
    pub fn page(&self) -> anyhow::Result<Value> {
        let Self { place, status, .. } = self;
        if let Some(problem) = ProblemDocument::read(self) {
            bail!("{place} answers: {}", problem.text());
        }
        if *status == StatusCode::FORBIDDEN || *status == StatusCode::UNAUTHORIZED {
            bail!("{place} answers {status}: {}", self.line());
        }
        ensure!(*status == StatusCode::OK, "{place} answers {status}: is this the admin listener?");
        let page = self.json().filter(Value::is_object);
        page.ok_or_else(|| anyhow!("{place} answers without JSON: is this the admin listener?"))
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
            "detail": "there is no route `chekout`", "help": "did you mean\u{1b}[2J `checkout`?",
        });
        let problem = ProblemDocument::read(&answer(404, &document)).unwrap();
        assert_eq!(problem.text(), "there is no route `chekout`\n  = help: did you mean\\u{1b}[2J `checkout`?");
        let without_token =
            json!({ "type": "urn:pointsman:problem:token-missing", "title": "t", "help": "send a header" });
        let text = ProblemDocument::read(&answer(401, &without_token)).unwrap().text();
        assert!(text.contains("--token-file") && !text.contains("header"), "{text}");
        let by_file = json!({ "type": "x:killed-by-file", "title": "The file kills it", "place": "routes.toml:12" });
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
