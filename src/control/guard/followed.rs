//! The configuration that the guards follow, to find what the next one changes: of many routes a reload changes few.

use std::sync::Arc;

use super::route_view::RouteView;
use crate::route::{Overlay, RouteId, RoutePairs, Rules, Upstream};
use crate::snapshot::{RouteStates, Snapshot};

/// With more changed routes, all are followed anew.
const CHANGED_MAX: usize = 1_000;

/// What a new configuration has changed for the guards.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::control) enum Followed {
    /// Anything.
    All,
    /// Only these.
    Few(FollowedRoutes),
}

/// The watched routes that a new configuration has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::control) struct FollowedRoutes {
    /// Those that are watched now, by their indexes.
    pub routes: Vec<usize>,
    /// The releases that are not watched any more, by their names.
    pub ended: Vec<String>,
}

/// The differences between two configurations.
#[derive(Debug)]
pub(super) struct RouteEdits {
    /// The routes that are new or have changed, by their new ids, in order.
    pub changed: Vec<RouteId>,
    /// By the old id of each route, the new one; `None`: it was removed. Empty: all ids are the same.
    renumbered: Vec<Option<RouteId>>,
}

impl RouteEdits {
    /// The new id of a route.
    pub fn new_id(&self, old: RouteId) -> Option<RouteId> {
        if self.renumbered.is_empty() { Some(old) } else { self.renumbered.get(old.0 as usize).copied().flatten() }
    }
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

    /// What differs in a new configuration; `None`: anything, or many routes have changed, or were removed.
    pub fn edits(&self, next: &Snapshot) -> Option<RouteEdits> {
        let (old, new) = (&*self.rules, &*next.rules);
        let is_same_release = |(a, b): (&Upstream, &Upstream)| (&a.name, &a.revision) == (&b.name, &b.revision);
        let are_comparable = old.rollouts.is_empty()
            && new.rollouts.is_empty()
            && old.masks == new.masks
            && self.overlay.kill().all == next.overlay.kill().all
            && old.upstreams.len() == new.upstreams.len()
            && old.upstreams.iter().zip(&new.upstreams).all(is_same_release);
        let pairs = are_comparable.then(|| RoutePairs::new(old, new)).filter(|pairs| !pairs.is_reordered())?;
        let mut changed = Vec::new();
        let mut renumbered = vec![None; old.routes.len()];
        for ((id, before), is) in pairs.all().zip(&*next.routes) {
            if let Some(place) = before.and_then(|before| renumbered.get_mut(before.0 as usize)) {
                *place = Some(id);
            }
            let is_same = before.is_some_and(|before| {
                let was = self.routes.get(before.0 as usize).and_then(|was| was.watch.as_ref());
                was.map(Arc::as_ptr) == is.watch.as_ref().map(Arc::as_ptr)
                    && old.route(before).is_shared_with(new.route(id))
                    && self.overlay.split(before) == next.overlay.split(id)
                    // Its audience may be another one.
                    && (is.watch.is_none() || RouteView::new(next, id).is_none_or(|view| !view.deals_by_target()))
            });
            if is_same {
                continue;
            }
            if changed.len() >= CHANGED_MAX {
                return None;
            }
            changed.push(id);
        }
        debug_assert!(renumbered.iter().flatten().is_sorted(), "routes keep their order");
        if renumbered.iter().filter(|id| id.is_none()).count() > CHANGED_MAX {
            return None;
        }
        if pairs.moves().is_none() {
            renumbered.clear();
        }
        Some(RouteEdits { changed, renumbered })
    }
}
