//! A call of the admin API that acts, and its refusal in one line.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::cli::admin::{AdminEndpoint, AdminResponse, FetchOptions, ProblemDocument, Sent};

/// Bound on an act: the proxy answers within about a second.
const PATIENCE: Duration = Duration::from_secs(15);

/// Makes the call. Returns why nothing was done, when nothing was.
pub(super) async fn act(admin: &AdminEndpoint, path: &str, body: &Value) -> Result<AdminResponse, String> {
    let sent = Sent::Json(body.to_string().into(), Some(Uuid::new_v4().to_string()));
    let answer = admin.ask(path, FetchOptions::post(sent, PATIENCE)).await;
    let answer = answer.map_err(|error| first_line(&error.to_string()))?;
    if answer.status.is_success() {
        return Ok(answer);
    }
    Err(ProblemDocument::read(&answer).map_or_else(|| answer.line(), |problem| first_line(&problem.text())))
}

/// The first line of a text.
pub(super) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
