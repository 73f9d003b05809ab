//! The demo's brake: kills the canary by a key, over the socket, as `pointsman kill` does.

use std::path::Path;

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
}

impl DemoBrake {
    /// Over this socket; `program` is this program, as it can be called again.
    pub(super) fn new(socket: &Path, program: &str) -> Self {
        let admin = AdminEndpoint::at(AdminPlace::Socket(socket.to_owned()), Credentials::default());
        Self { admin, line: tour::kill(program, socket) }
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
}
