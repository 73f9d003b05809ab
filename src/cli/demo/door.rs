//! The door to the dashboard: links for one use, made when the demo starts and by a key.

use std::net::SocketAddr;
use std::path::Path;

use super::calls::first_line;
use crate::cli::admin::{AdminEndpoint, AdminPlace, Credentials, ProblemDocument};
use crate::cli::dashboard::{DashboardLink, LinkHost, LinkOutcome};

/// Makes links.
#[derive(Clone, Debug)]
pub(super) struct DemoDoor(AdminEndpoint);

impl DemoDoor {
    /// By the socket where there is one, as the user of the demo or as the owner of the token.
    pub(super) fn new(socket: Option<&Path>, admin: SocketAddr, credentials: Credentials) -> Self {
        let place = socket
            .map_or_else(|| AdminPlace::Url(format!("http://{admin}")), |socket| AdminPlace::Socket(socket.to_owned()));
        Self(AdminEndpoint::at(place, credentials))
    }

    /// A link.
    ///
    /// # Errors
    /// Why there is none, in one line.
    pub(super) async fn link(&self) -> Result<DashboardLink, String> {
        match DashboardLink::ask(&self.0, LinkHost::Own).await {
            Ok(LinkOutcome::Made(link)) => Ok(link),
            Ok(LinkOutcome::Refused(answer)) => {
                Err(ProblemDocument::read(&answer).map_or_else(|| answer.line(), |problem| first_line(&problem.text())))
            }
            Err(error) => Err(first_line(&error.to_string())),
        }
    }

    /// A link for the list of places; nothing where none can be made.
    pub(super) fn first(&self) -> Option<DashboardLink> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        runtime.block_on(self.link()).ok()
    }

    /// A link as news, or why there is none.
    pub(super) async fn news(&self) -> String {
        match self.link().await {
            Ok(link) => format!("the dashboard, once and within {} s:\n  {}", link.expires_in_s, link.url),
            Err(why) => format!("no link to the dashboard: {why}"),
        }
    }
}
