//! A webhook: it gets what the rollout wants to leave, and answers with `{"pass": true, "reason": "…"}`.

use bytes::Bytes;
use http::Method;
use http::header::HeaderValue;
use serde::Deserialize;

use super::exchange::{Answer, ProgramCall};
use super::wording::shown;

/// What an answer has; what else it has is not read.
#[derive(Deserialize)]
struct Verdict {
    pass: bool,
    #[serde(default)]
    reason: Option<String>,
}

/// What a webhook says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WebhookVerdict {
    pub pass: bool,
    /// Shortened, without control characters.
    pub reason: String,
}

/// The request with this body, a JSON object.
pub(super) fn call(path: &str, body: &str) -> ProgramCall {
    ProgramCall {
        method: Method::POST,
        path: path.to_owned(),
        content_type: Some(HeaderValue::from_static("application/json")),
        headers: Vec::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

/// Reads an answer.
///
/// # Errors
/// It says nothing: why.
pub(super) fn read(answer: &Answer) -> Result<WebhookVerdict, String> {
    let said = serde_json::from_slice::<Verdict>(&answer.body);
    if !answer.status.is_success() {
        let reason = said.ok().and_then(|verdict| verdict.reason).map(|reason| shown(&reason)).unwrap_or_default();
        let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
        return Err(format!("answers with {}{reason}", answer.status));
    }
    if answer.body.is_empty() {
        return Err(format!("answers with {} and nothing else; {EXPECTED}", answer.status));
    }
    if let Err(error) = std::str::from_utf8(&answer.body) {
        return Err(format!("answers with bytes that are not UTF-8 ({error}); {EXPECTED}"));
    }
    let Verdict { pass, reason } =
        said.map_err(|error| format!("answers in another form: {}; {EXPECTED}", shown(&error.to_string())))?;
    Ok(WebhookVerdict { pass, reason: shown(&reason.unwrap_or_default()) })
}

const EXPECTED: &str = "a gate expects {\"pass\": true} or {\"pass\": false, \"reason\": \"…\"}";
