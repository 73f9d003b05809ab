//! The compiled routes file.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{AccessLog, Dns, Identity, Index, ListenerSpec, Masks, Route, RouteId, Segment, TraceExport, Upstream};

/// The compiled `routes.toml` and the files that it includes. Immutable. The weights of variants and `[kill]` are in
/// the [`Overlay`](super::Overlay), because they can change without a reload.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The listeners; at least one.
    pub listeners: Vec<ListenerSpec>,
    /// The addresses of the admin listener; at least one.
    pub admin: Vec<SocketAddr>,
    /// `state.dir`.
    pub state_dir: PathBuf,
    /// How callers are identified.
    pub identity: Identity,
    /// The segments.
    pub segments: Vec<Segment>,
    /// The upstreams, in file order.
    pub upstreams: Vec<Upstream>,
    /// The routes, in file order.
    pub routes: Vec<Route>,
    /// Finds the route of a request.
    pub index: Index,
    /// The access log.
    pub access_log: AccessLog,
    /// The settings for resolving endpoint names.
    pub dns: Dns,
    /// The export of spans, if configured.
    pub traces: Option<TraceExport>,
    /// The values of environment variables, to be masked in output.
    pub masks: Masks,
}

impl Rules {
    /// The route with this id.
    ///
    /// # Panics
    /// If the id belongs to other `Rules`.
    #[must_use]
    pub fn route(&self, id: RouteId) -> &Route {
        &self.routes[id.0 as usize]
    }

    /// The routes and their ids.
    pub fn numbered(&self) -> impl Iterator<Item = (RouteId, &Route)> {
        (0..).map(RouteId).zip(&self.routes)
    }

    /// The listener for a request that names none: the first one that does not redirect.
    #[must_use]
    pub fn default_listener(&self) -> Option<&ListenerSpec> {
        self.listeners.iter().find(|listener| listener.redirect.is_none()).or(self.listeners.first())
    }
}
