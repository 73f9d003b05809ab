//! The configuration that the guards follow, to find what the next one changes: of many routes a reload changes few.

use std::sync::Arc;

use super::route_view::RouteView;
use crate::route::{Overlay, RouteId, Rules, Upstream};
use crate::snapshot::{RouteStates, Snapshot};

/// With more changed routes, all are followed anew.
const CHANGED_MAX: usize = 1_000;

/// What a new configuration has changed for the guards.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::control) enum Followed {
    /// Anything.
    All,
    /// Only these of the watched routes, by their indexes; their releases have the same names.
    Routes(Vec<usize>),
}

/// The configuration that the guards follow.
#[derive(Debug)]
pub(super) struct FollowedConfig {
    rules: Arc<Rules>,
    routes: RouteStates,
    pub overlay: Overlay,
}

impl FollowedConfig {
    pub fn of(snapshot: &Snapshot) -> Self {
        let Snapshot { rules, routes, overlay, .. } = snapshot;
        Self { rules: Arc::clone(rules), routes: routes.clone(), overlay: overlay.clone() }
    }

    /// The routes that differ in a new configuration with the same routes at the same places; `None`: others may differ,
    /// too, or there are many.
    pub fn changed(&self, next: &Snapshot) -> Option<Vec<RouteId>> {
        let (old, new) = (&*self.rules, &*next.rules);
        let is_same_release = |(a, b): (&Upstream, &Upstream)| (&a.name, &a.revision) == (&b.name, &b.revision);
        let are_comparable = old.routes.len() == new.routes.len()
            && old.rollouts.is_empty()
            && new.rollouts.is_empty()
            && old.masks == new.masks
            && self.overlay.kill().all == next.overlay.kill().all
            && old.upstreams.len() == new.upstreams.len()
            && old.upstreams.iter().zip(&new.upstreams).all(is_same_release);
        if !are_comparable {
            return None;
        }
        debug_assert!(
            self.routes.len() == old.routes.len() && next.routes.len() == new.routes.len(),
            "a state a route"
        );
        let mut changed = Vec::new();
        for ((id, route), (was, is)) in new.numbered().zip(self.routes.iter().zip(&*next.routes)) {
            let before = old.route(id);
            let has_same_watch = was.watch.as_ref().map(Arc::as_ptr) == is.watch.as_ref().map(Arc::as_ptr);
            let is_same = has_same_watch
                && before.is_shared_with(route)
                && self.overlay.split(id) == next.overlay.split(id)
                // Its audience may be another one.
                && (is.watch.is_none() || RouteView::new(next, id).is_none_or(|view| !view.deals_by_target()));
            if is_same {
                continue;
            }
            if before.name != route.name || changed.len() >= CHANGED_MAX {
                return None;
            }
            changed.push(id);
        }
        Some(changed)
    }
}
