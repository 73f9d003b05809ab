//! The compiled routes file.

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64;

use super::{
    AccessLog, AdminSpec, Dns, Freeze, HttpTarget, Identity, Index, ListenerSpec, Masks, Notify, Rollout, RolloutId,
    RolloutMember, Route, RouteId, Segment, StateSpec, TraceExport, Upstream, Variant, VariantId,
};

/// The compiled `routes.toml` and the files that it includes. Immutable. The weights of variants and `[kill]` are in
/// the [`Overlay`](super::Overlay), because they can change without a reload.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The listeners; at least one.
    pub listeners: Vec<ListenerSpec>,
    /// The admin listener and its socket.
    pub admin: AdminSpec,
    /// Where the journal is.
    pub state: StateSpec,
    /// How callers are identified.
    pub identity: Identity,
    /// The segments.
    pub segments: Vec<Segment>,
    /// The upstreams, in file order.
    pub upstreams: Vec<Upstream>,
    /// The routes, in file order.
    pub routes: Vec<Route>,
    /// The rollouts, in the order of their names.
    pub rollouts: Vec<Rollout>,
    /// The freeze windows of `[release]`: for all rollouts.
    pub freeze: Vec<Freeze>,
    /// Where Prometheus is; some gate or guard asks it.
    pub prometheus: Option<HttpTarget>,
    /// Who is notified.
    pub notify: Notify,
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

    /// The route with this name. `near` is where other rules have it: it is looked up there first.
    #[must_use]
    pub fn find_route(&self, name: &str, near: RouteId) -> Option<RouteId> {
        if self.routes.get(near.0 as usize).is_some_and(|route| route.name == name) {
            return Some(near);
        }
        self.find_named(name)
    }

    /// The route with this name.
    #[must_use]
    pub fn find_named(&self, name: &str) -> Option<RouteId> {
        self.index.find_name(&self.routes, name)
    }

    /// The routes and their ids.
    pub fn numbered(&self) -> impl Iterator<Item = (RouteId, &Route)> {
        (0..).map(RouteId).zip(&self.routes)
    }

    /// The revision of the release that a variant is: `upstream=revision`; without a revision the upstream alone.
    #[must_use]
    pub fn revision_of(&self, variant: &Variant) -> String {
        let Some(upstream) = self.upstreams.get(variant.upstream.0 as usize) else { return String::new() };
        match &upstream.revision {
            Some(revision) => match self.masks.cover_configured(revision) {
                Cow::Borrowed(shown) => format!("{}={shown}", upstream.name),
                // A value that the file masks: its hash distinguishes deploys.
                Cow::Owned(shown) => format!("{}={shown}#{:016x}", upstream.name, xxh3_64(revision.as_bytes())),
            },
            None => upstream.name.clone(),
        }
    }

    /// The rollout with this id.
    ///
    /// # Panics
    /// If the id belongs to other `Rules`.
    #[must_use]
    pub fn rollout(&self, id: RolloutId) -> &Rollout {
        &self.rollouts[id.0 as usize]
    }

    /// The rollout with this name.
    #[must_use]
    pub fn find_rollout(&self, name: &str) -> Option<RolloutId> {
        (0..).map(RolloutId).zip(&self.rollouts).find(|(_, one)| one.name == name).map(|(id, _)| id)
    }

    /// The revision of a rollout: the sorted list of the revisions of its canaries, each once.
    #[must_use]
    pub fn revision_of_rollout(&self, rollout: &Rollout) -> String {
        self.revisions(rollout, |member| member.variant)
    }

    /// The revisions of the stable variants beside a rollout, in the same form.
    #[must_use]
    pub fn stable_revision_of_rollout(&self, rollout: &Rollout) -> String {
        self.revisions(rollout, |_| VariantId::STABLE)
    }

    fn revisions(&self, rollout: &Rollout, which: impl Fn(&RolloutMember) -> VariantId) -> String {
        let of = |member: &RolloutMember| {
            let split = self.routes.get(member.route.0 as usize)?.split()?;
            split.variants.get(usize::from(which(member).0)).map(|variant| self.revision_of(variant))
        };
        let mut all: Vec<String> = rollout.members.iter().filter_map(of).collect();
        all.sort_unstable();
        all.dedup();
        all.join(",")
    }

    /// The listener for a request that names none: the first one that does not redirect.
    #[must_use]
    pub fn default_listener(&self) -> Option<&ListenerSpec> {
        self.listeners.iter().find(|listener| listener.redirect.is_none()).or(self.listeners.first())
    }
}
