//! Everything a routes file means.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::{
    AccessLog, Action, Dns, Identity, Index, ListenerSpec, Masks, Route, RouteId, Segment, Split, TenantList,
    TraceExport, Upstream,
};

/// The compiled meaning of `routes.toml` and all it includes. Immutable.
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
    /// The veto.
    pub kill: Kill,
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

    /// The listener of a request of which nobody says how it comes: the first whose requests are routed.
    #[must_use]
    pub fn usual_listener(&self) -> Option<&ListenerSpec> {
        self.listeners.iter().find(|listener| listener.redirect.is_none()).or(self.listeners.first())
    }

    /// Whether a kill covers what this variant of a route serves to a caller of this tenant. Stable is never killed.
    #[must_use]
    pub fn kills(&self, split: &Split, variant: &str, tenant: Option<&str>) -> bool {
        let named = || split.variants.iter().skip(1).any(|known| known.name == variant && known.killed);
        let of_tenant = || tenant.is_some_and(|tenant| self.kill.tenants.contains(tenant));
        variant != "stable" && (self.kill.all || split.killed || named() || of_tenant())
    }

    /// These rules as if `[kill]` were empty. Borrows when it is.
    #[must_use]
    pub fn unkilled(&self) -> Cow<'_, Self> {
        let kills = |split: &Split| split.killed || split.variants.iter().any(|variant| variant.killed);
        let named = self.routes.iter().filter_map(Route::split).any(kills);
        if !named && !self.kill.all && self.kill.tenants.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut rules = self.clone();
        rules.kill = Kill::default();
        for route in &mut rules.routes {
            if let Action::Split(split) = &mut route.action {
                split.killed = false;
                split.variants.iter_mut().for_each(|variant| variant.killed = false);
            }
        }
        Cow::Owned(rules)
    }
}

/// `[kill]`, as far as it is not compiled into routes and variants already.
#[derive(Clone, Debug, Default)]
pub struct Kill {
    /// `all = true`.
    pub all: bool,
    /// These tenants always get stable.
    pub tenants: TenantList,
    /// Close streaming connections of killed variants after this.
    pub close_streams: Option<std::time::Duration>,
}
