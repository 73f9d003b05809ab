//! The call of an act.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::admin::{AdminEndpoint, AdminResponse, FetchOptions, Sent};
use crate::journal::ScopeFields;
use crate::route::KillScope;

/// Bound on an act: the proxy answers within about a second.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// Bound on the status that is shown before or after an act.
pub(super) const STATUS_PATIENCE: Duration = Duration::from_millis(500);

/// An act to send.
#[derive(Clone, Copy, Debug)]
pub struct ActOrder<'a> {
    /// `kill` or `revive`.
    pub verb: &'static str,
    /// The scope.
    pub scope: &'a KillScope,
    /// Why.
    pub reason: &'a str,
    /// When streams in the scope are closed.
    pub close_streams: Option<Duration>,
    /// The sequence number that the person saw.
    pub expect: Option<u64>,
    /// Resume the rollout of the scope after it.
    pub resume: bool,
}

/// An act in words, for its report.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acted<'a> {
    /// `kill`, `revive` or `resume`.
    pub verb: &'static str,
    /// `killed`, `revived` or `resumed`.
    pub done: &'static str,
    /// What it concerns, without control characters.
    pub what: &'a str,
}

impl ActOrder<'_> {
    /// In words; `what` is the scope without control characters.
    pub(super) const fn acted<'a>(&self, what: &'a str) -> Acted<'a> {
        let done = if matches!(self.verb.as_bytes(), b"kill") { "killed" } else { "revived" };
        Acted { verb: self.verb, done, what }
    }

    fn body(&self) -> Value {
        let mut body = serde_json::to_value(ScopeFields::from(self.scope)).unwrap_or_default();
        body["reason"] = json!(self.reason);
        if let Some(after) = self.close_streams {
            body["close_streams"] = json!(format!("{}ms", after.as_millis()));
        }
        if let Some(seq) = self.expect {
            body["expect"] = json!(seq);
        }
        if self.resume {
            body["resume"] = json!(true);
        }
        body
    }

    /// Sends it.
    ///
    /// # Errors
    /// The proxy does not answer.
    pub async fn send(&self, admin: &AdminEndpoint) -> anyhow::Result<AdminResponse> {
        let key = uuid::Uuid::new_v4().to_string();
        let sent = Sent::Json(self.body().to_string().into(), Some(key));
        admin.ask(&format!("/v1/{}", self.verb), FetchOptions::post(sent, PATIENCE)).await
    }
}

/// Percent-encodes everything that is not unreserved (RFC 3986 §2.3).
pub fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// The newest sequence number of the journal, if the proxy answers at once.
pub(super) async fn seen(admin: &AdminEndpoint) -> Option<u64> {
    killed(admin).await?["seq"].as_u64()
}

/// What is killed, if the proxy answers at once.
pub(super) async fn killed(admin: &AdminEndpoint) -> Option<Value> {
    let answer = admin.ask("/v1/kill", FetchOptions::within(STATUS_PATIENCE)).await.ok()?;
    answer.page().ok()
}

/// The status of the proxy, if it answers at once.
pub(super) async fn status(admin: &AdminEndpoint) -> Option<Value> {
    let answer = admin.ask("/v1/status", FetchOptions::within(STATUS_PATIENCE)).await.ok()?;
    answer.page().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_what_the_api_reads() {
        let scope = KillScope::Variant { route: "shop".to_owned(), variant: "canary".to_owned() };
        let order =
            ActOrder { verb: "kill", scope: &scope, reason: "INC-1", close_streams: None, expect: None, resume: false };
        assert_eq!(order.body(), json!({ "variant": "shop:canary", "reason": "INC-1" }));
        let order = ActOrder { close_streams: Some(Duration::from_secs(5)), expect: Some(7), ..order };
        let body = order.body();
        assert_eq!((&body["close_streams"], &body["expect"]), (&json!("5000ms"), &json!(7)));
        assert_eq!(crate::config::parse_duration("5000ms"), Some(Duration::from_secs(5)));
        assert_eq!(ActOrder { resume: true, ..order }.body()["resume"], json!(true));
        let all = ActOrder { scope: &KillScope::All, ..order };
        assert_eq!(all.body()["all"], json!(true));
    }
}
