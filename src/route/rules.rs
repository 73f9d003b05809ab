//! Everything a routes file means.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{AccessLog, Dns, Identity, Index, ListenerSpec, Masks, Route, RouteId, Segment, TraceExport, Upstream};

/// The compiled meaning of `routes.toml` and all it includes. Immutable. The weights of variants and `[kill]` are in the
/// [`Overlay`](super::Overlay): other weights and kills may be in force than the files say.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Where clients connect; at least one.
    pub listeners: Vec<ListenerSpec>,
    /// The addresses of the admin listener; at least one.
    pub admin: Vec<SocketAddr>,
    /// `state.dir`.
    pub state_dir: PathBuf,
    /// Who the caller is.
    pub identity: Identity,
    /// Named audiences.
    pub segments: Vec<Segment>,
    /// Upstreams, by file order.
    pub upstreams: Vec<Upstream>,
    /// Routes, by file order.
    pub routes: Vec<Route>,
    /// Finds the route of a request.
    pub index: Index,
    /// The access log.
    pub access_log: AccessLog,
    /// How the names of endpoints are looked up.
    pub dns: Dns,
    /// Where spans go, if anywhere.
    pub traces: Option<TraceExport>,
    /// What variables of the environment produced, beside places.
    pub masks: Masks,
}

impl Rules {
    /// The route with this id.
    ///
    /// # Panics
    /// When the id is of another `Rules`.
    #[must_use]
    pub fn route(&self, id: RouteId) -> &Route {
        &self.routes[id.0 as usize]
    }

    /// The routes and their ids.
    pub fn numbered(&self) -> impl Iterator<Item = (RouteId, &Route)> {
        (0..).map(RouteId).zip(&self.routes)
    }

    /// The listener of a request of which nobody says how it comes: the first whose requests are routed.
    #[must_use]
    pub fn usual_listener(&self) -> Option<&ListenerSpec> {
        self.listeners.iter().find(|listener| listener.redirect.is_none()).or(self.listeners.first())
    }
}
