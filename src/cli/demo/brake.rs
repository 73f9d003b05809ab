//! The demo's brake: kills the canary by a key, and ends its rollback by another, over the socket, as `pointsman kill` and
//! `pointsman rollout resume` do.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::release::RELEASE;
use super::tour;
use crate::cli::act::{ActOrder, said};
use crate::cli::admin::{AdminEndpoint, AdminPlace, Credentials, FetchOptions, ProblemDocument, Sent};
use crate::route::KillScope;

/// Bound on an act: the proxy answers within about a second.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BrakeAct {
    Kill,
    Revive,
}

/// The brake.
#[derive(Debug)]
pub(super) struct DemoBrake {
    admin: AdminEndpoint,
    /// The line for a shell that does the same.
    pub(super) line: String,
    /// The line for a shell that ends a rollback.
    pub(super) resume_line: String,
}

impl DemoBrake {
    /// Over this socket; `program` is this program, as it can be called again.
    pub(super) fn new(socket: &Path, program: &str) -> Self {
        let admin = AdminEndpoint::at(AdminPlace::Socket(socket.to_owned()), Credentials::default());
        Self { admin, line: tour::kill(program, socket), resume_line: tour::resume(program, socket) }
    }

    /// Kills or revives the canary. Returns what was done, or why nothing was.
    pub(super) async fn press(&self, act: BrakeAct) -> Result<String, String> {
        let scope = KillScope::Variant { route: "shop".to_owned(), variant: "canary".to_owned() };
        let verb = match act {
            BrakeAct::Kill => "kill",
            BrakeAct::Revive => "revive",
        };
        let order = ActOrder { verb, scope: &scope, reason: "key k of the demo", close_streams: None, expect: None };
        match order.send(&self.admin).await {
            Ok(answer) => said(&order, &answer),
            Err(error) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
        }
    }

    /// Ends the rollback of the canary. Returns what was done, or why nothing was.
    pub(super) async fn resume(&self) -> Result<String, String> {
        let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        let body = json!({ "reason": "key r of the demo" }).to_string();
        let sent = Sent::Json(body.into(), Some(uuid::Uuid::new_v4().to_string()));
        let path = format!("/v1/rollouts/{RELEASE}/resume");
        let answer = self.admin.ask(&path, FetchOptions::post(sent, PATIENCE)).await;
        let answer = answer.map_err(|error| first(&error.to_string()))?;
        if answer.status.is_success() {
            return Ok(format!("resumed {RELEASE}: its callers come back, and its guards begin without evidence"));
        }
        Err(ProblemDocument::read(&answer).map_or_else(|| answer.line(), |problem| first(&problem.text())))
    }
}
