//! The demo's brake: kills the canary by a key, and ends its rollback by another, over the socket, as `pointsman kill` and
//! `pointsman rollout resume` do.

use std::path::Path;

use serde_json::json;

use super::calls::{self, first_line};
use super::release::RELEASE;
use super::tour;
use crate::cli::act::{ActOrder, said};
use crate::cli::admin::{AdminEndpoint, AdminPlace, Credentials};
use crate::route::KillScope;

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
        press(&self.admin, act, &scope).await
    }

    /// Ends the rollback of the canary. Returns what was done, or why nothing was.
    pub(super) async fn resume(&self) -> Result<String, String> {
        calls::act(&self.admin, &format!("/v1/rollouts/{RELEASE}/resume"), &json!({ "reason": "key r of the demo" }))
            .await?;
        Ok(format!("resumed {RELEASE}: its callers come back, and its guards begin without evidence"))
    }
}

/// Kills or revives a scope by the key of the demo. Returns what was done, or why nothing was.
pub(super) async fn press(admin: &AdminEndpoint, act: BrakeAct, scope: &KillScope) -> Result<String, String> {
    let verb = match act {
        BrakeAct::Kill => "kill",
        BrakeAct::Revive => "revive",
    };
    let reason = "key k of the demo";
    let order = ActOrder { verb, scope, reason, close_streams: None, expect: None, resume: false };
    match order.send(admin).await {
        Ok(answer) => said(&order, &answer),
        Err(error) => Err(first_line(&error.to_string())),
    }
}
