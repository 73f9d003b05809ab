//! What a person does with the rollout of the demo, by a key or by its script: calls of the admin API, made with the token
//! of the demo.

use serde_json::json;

use super::brake::{self, BrakeAct};
use super::calls;
use super::staged::ROLLOUT;
use crate::cli::admin::AdminEndpoint;
use crate::route::KillScope;

/// An act on the rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StagedAct {
    Approve,
    Resume,
    Restart,
    RollBack,
}

impl StagedAct {
    /// The last part of the path.
    const fn verb(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Resume => "resume",
            Self::Restart => "restart",
            Self::RollBack => "rollback",
        }
    }
}

/// Acts. Nothing is returned where it is done: the next look says what has changed.
pub(super) async fn perform(admin: &AdminEndpoint, act: StagedAct, reason: &str) -> Option<String> {
    let path = format!("/v1/rollouts/{ROLLOUT}/{}", act.verb());
    let done = calls::act(admin, &path, &json!({ "reason": reason })).await;
    done.err().map(|why| format!("{} is not done: {why}", act.verb()))
}

/// Kills the rollout, or revives it. Returns what was done, or why nothing was.
pub(super) async fn press(admin: &AdminEndpoint, act: BrakeAct) -> String {
    let pressed = brake::press(admin, act, &KillScope::Rollout(ROLLOUT.to_owned())).await;
    pressed.unwrap_or_else(|why| format!("not done: {why}"))
}
