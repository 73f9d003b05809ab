//! Keeps the evidence of all routes that guards watch, and judges it. Routes without traffic cost almost nothing: a part of
//! them is looked at in each tick, and an event wakes a route at once.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::kept_route::{Begun, KeptRelease, KeptRoute, TickMoment};
use super::route_view::RouteView;
use crate::release::{GuardTrip, SavedEvidence};
use crate::snapshot::Snapshot;
use crate::telemetry::GuardMemory;

/// In this many ticks each route without traffic is looked at once.
const SWEEP_TICKS: usize = 10;

/// The routes that guards watch.
#[derive(Debug, Default)]
pub(in crate::control) struct Keeper {
    routes: Vec<KeptRoute>,
    /// The index of a route by the number of its watch.
    by_watch: HashMap<u32, usize>,
    /// The routes that have traffic.
    active: Vec<usize>,
    /// The first route that the next tick looks at.
    next: usize,
    /// The evidence of routes, as it was saved last.
    saved: BTreeMap<String, SavedEvidence>,
    /// The evidence of a process before was read.
    is_restored: bool,
}

/// What a tick found at a route.
#[derive(Debug)]
pub(in crate::control) struct RouteTick {
    /// The index of the route.
    pub at: usize,
    /// The guards that have tripped.
    pub trips: Vec<GuardTrip>,
}

impl Keeper {
    /// Follows a new configuration.
    pub fn follow(&mut self, snapshot: &Snapshot, now_ms: u64) {
        let mut before: HashMap<String, KeptRoute> =
            std::mem::take(&mut self.routes).into_iter().map(|route| (route.name.clone(), route)).collect();
        for ((id, route), state) in snapshot.rules.numbered().zip(&*snapshot.routes) {
            let Some((watch, view)) = state.watch.as_ref().zip(RouteView::new(snapshot, id)) else { continue };
            let begun = Begun { watch, now_ms };
            if let Some(mut kept) = before.remove(&route.name) {
                kept.follow(id, view, begun);
                self.routes.push(kept);
                continue;
            }
            let mut kept = KeptRoute::new(&route.name, id, view, begun);
            if let Some(saved) = self.saved.get(&route.name) {
                kept.restore(saved);
            }
            self.routes.push(kept);
        }
        self.by_watch = self.routes.iter().enumerate().map(|(at, route)| (route.watch_id(), at)).collect();
        self.active = (0..self.routes.len()).filter(|at| self.routes[*at].is_active).collect();
        self.next = 0;
        let names: HashSet<&str> = self.routes.iter().map(|route| route.name.as_str()).collect();
        self.saved.retain(|name, _| names.contains(name.as_str()));
        debug_assert_eq!(self.by_watch.len(), self.routes.len(), "each route has a watch of its own");
    }

    /// Follows an overlay under the same rules.
    pub fn follow_shares(&mut self, snapshot: &Snapshot, now_ms: u64) {
        for route in &mut self.routes {
            if let Some(view) = RouteView::new(snapshot, route.id) {
                route.follow_shares(&view.shares(), now_ms);
            }
        }
    }

    /// Judges what was counted since the last tick. Returns the routes that have traffic, with the guards that have
    /// tripped.
    pub fn tick(&mut self, memory: &GuardMemory, now_ms: u64) -> Vec<RouteTick> {
        memory.events.take(|watched| {
            // An event of a watch that a reload has ended counts nowhere.
            if let Some(at) = self.by_watch.get(&watched.watch) {
                self.routes[*at].take(watched.event);
                activate(&mut self.routes, &mut self.active, *at);
            }
        });
        for _ in 0..self.routes.len().div_ceil(SWEEP_TICKS) {
            let at = self.next % self.routes.len();
            self.next = at + 1;
            if !self.routes[at].is_active && self.routes[at].is_busy() {
                activate(&mut self.routes, &mut self.active, at);
            }
        }
        let moment = TickMoment { now_ms, events_lost: memory.events.lost() };
        let ticked = self.active.iter().map(|at| RouteTick { at: *at, trips: self.routes[*at].tick(moment) }).collect();
        for at in &self.active {
            let route = &mut self.routes[*at];
            route.is_active = !route.is_quiet(now_ms);
        }
        self.active.retain(|at| self.routes[*at].is_active);
        ticked
    }

    /// The events since the last call that came too late to count.
    pub fn take_late_events(&mut self) -> u64 {
        self.active.iter().map(|at| self.routes[*at].take_late_events()).sum()
    }

    /// The routes.
    pub fn routes(&self) -> &[KeptRoute] {
        &self.routes
    }

    /// A route, by its index.
    pub fn route_mut(&mut self, at: usize) -> Option<&mut KeptRoute> {
        self.routes.get_mut(at)
    }

    /// A release, by the name `route:variant`.
    pub fn find(&mut self, release: &str) -> Option<(&mut KeptRoute, usize)> {
        let is_it = |kept: &KeptRelease| kept.key.release == release;
        let at = self.routes.iter().position(|route| route.releases.iter().any(is_it))?;
        let route = &mut self.routes[at];
        let index = route.releases.iter().position(is_it)?;
        Some((route, index))
    }

    /// Looks at the route of a release in the next tick, and saves its evidence, also without traffic.
    pub fn wake(&mut self, release: &str) {
        let is_its = |route: &KeptRoute| route.releases.iter().any(|one| one.key.release == release);
        if let Some(at) = self.routes.iter().position(is_its) {
            activate(&mut self.routes, &mut self.active, at);
        }
    }

    /// The evidence of all routes as JSON, when it has changed since the last call.
    pub fn save(&mut self) -> Option<Vec<u8>> {
        let mut is_changed = false;
        for at in &self.active {
            let route = &self.routes[*at];
            let saved = route.save();
            if self.saved.get(&route.name) != Some(&saved) {
                self.saved.insert(route.name.clone(), saved);
                is_changed = true;
            }
        }
        // It has string keys and finite numbers only: this cannot fail.
        is_changed.then(|| serde_json::to_vec(&self.saved).unwrap_or_default())
    }

    /// Goes on with the evidence that a process before has saved; once.
    ///
    /// # Errors
    /// It is not JSON of this form.
    pub fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        if std::mem::replace(&mut self.is_restored, true) {
            return Ok(());
        }
        self.saved = serde_json::from_slice(saved).map_err(|error| error.to_string())?;
        for route in &mut self.routes {
            if let Some(saved) = self.saved.get(&route.name) {
                route.restore(saved);
            }
        }
        Ok(())
    }
}

fn activate(routes: &mut [KeptRoute], active: &mut Vec<usize>, at: usize) {
    if !std::mem::replace(&mut routes[at].is_active, true) {
        active.push(at);
    }
}
