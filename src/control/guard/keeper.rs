//! Keeps the evidence of all routes that guards watch, and judges it. Routes without traffic cost almost nothing: a part of
//! them is looked at in each tick, and an event wakes a route at once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::followed::{Followed, FollowedConfig};
use super::group_spec::{group_specs, spec_of_route};
use super::kept_group::{KeptGroup, TickMoment};
use super::kept_rollout::KeptRollout;
use super::kept_route::{GroupPlace, KeptRelease, KeptRoute};
use crate::journal::LatchScope;
use crate::release::{GuardStanding, GuardTrip, SavedEvidence};
use crate::route::{RouteId, VariantId};
use crate::snapshot::Snapshot;
use crate::telemetry::GuardMemory;

/// In this many ticks each route without traffic is looked at once.
const SWEEP_TICKS: usize = 10;

/// The routes that guards watch.
#[derive(Debug, Default)]
pub(in crate::control) struct Keeper {
    routes: Vec<KeptRoute>,
    /// The routes that are judged together; those of a group follow each other in `routes`.
    pub(super) groups: Vec<KeptGroup>,
    /// The index of the first route of each group.
    firsts: Vec<usize>,
    /// The place of a route by the number of its watch.
    by_watch: HashMap<u32, GroupPlace>,
    /// The groups that have traffic.
    active: Vec<usize>,
    /// The first group that the next tick looks at.
    next: usize,
    /// The evidence of groups, as it was saved last.
    saved: BTreeMap<String, SavedEvidence>,
    /// What is counted about rollouts, by name.
    pub(super) rollouts: BTreeMap<String, KeptRollout>,
    followed: Option<FollowedConfig>,
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
    /// Follows a new configuration. Returns what it has changed.
    pub fn follow(&mut self, snapshot: &Snapshot, now_ms: u64) -> Followed {
        let changed = self.followed.as_ref().and_then(|before| before.changed(snapshot));
        self.followed = Some(FollowedConfig::of(snapshot));
        let few = changed.and_then(|changed| self.follow_few(snapshot, &changed, now_ms));
        few.map_or_else(
            || {
                self.follow_all(snapshot, now_ms);
                Followed::All
            },
            Followed::Routes,
        )
    }

    /// Follows a configuration that differs in these routes only, and returns their indexes; `None`: another route is watched, or
    /// a release has another name.
    fn follow_few(&mut self, snapshot: &Snapshot, changed: &[RouteId], now_ms: u64) -> Option<Vec<usize>> {
        debug_assert!(self.routes.is_sorted_by_key(|route| route.id), "without rollouts the order is that of the file");
        let mut planned = Vec::new();
        for id in changed {
            let at = self.routes.binary_search_by_key(id, |route| route.id).ok();
            match (at, spec_of_route(snapshot, *id)) {
                (None, None) => {}
                (Some(at), Some(spec)) if self.routes[at].has_releases_of(&spec) => planned.push((at, spec)),
                (Some(_) | None, Some(_)) | (Some(_), None) => return None,
            }
        }
        let mut followed = Vec::with_capacity(planned.len());
        for (at, spec) in planned {
            let place = self.routes[at].place;
            if let Some(member) = spec.members.first() {
                self.routes[at].follow(member);
            }
            let group = &mut self.groups[place.group];
            group.watch_ids().for_each(|id| {
                self.by_watch.remove(&id);
            });
            group.follow(spec, now_ms);
            self.by_watch.extend(group.watch_ids().map(|id| (id, place)));
            followed.push(at);
        }
        debug_assert_eq!(self.by_watch.len(), self.routes.len(), "each route has a watch of its own");
        Some(followed)
    }

    fn follow_all(&mut self, snapshot: &Snapshot, now_ms: u64) {
        let mut before: HashMap<String, KeptRoute> =
            std::mem::take(&mut self.routes).into_iter().map(|route| (route.name.clone(), route)).collect();
        let mut known: HashMap<String, KeptGroup> =
            std::mem::take(&mut self.groups).into_iter().map(|group| (group.name.clone(), group)).collect();
        self.follow_rollouts(snapshot);
        self.firsts.clear();
        for spec in group_specs(snapshot) {
            self.firsts.push(self.routes.len());
            for (member, route) in spec.members.iter().enumerate() {
                let place = GroupPlace { group: self.groups.len(), member };
                self.routes.push(KeptRoute::new(route, place, before.remove(route.name)));
            }
            if let Some(mut group) = known.remove(&spec.name) {
                group.follow(spec, now_ms);
                self.groups.push(group);
                continue;
            }
            let mut group = KeptGroup::new(spec, now_ms);
            if let Some(saved) = self.saved.get(&group.name) {
                group.restore(saved);
            }
            self.groups.push(group);
        }
        self.by_watch.clear();
        for (group, kept) in self.groups.iter().enumerate() {
            let places = kept.watch_ids().enumerate().map(|(member, id)| (id, GroupPlace { group, member }));
            self.by_watch.extend(places);
        }
        self.active = (0..self.groups.len()).filter(|at| self.groups[*at].is_active).collect();
        self.next = 0;
        let names: HashSet<&str> = self.groups.iter().map(|group| group.name.as_str()).collect();
        self.saved.retain(|name, _| names.contains(name.as_str()));
        debug_assert_eq!(self.by_watch.len(), self.routes.len(), "each route has a watch of its own");
    }

    /// Follows an overlay under the same rules: only the groups of routes that it or the one before changes. Returns how many
    /// those are.
    pub fn follow_shares(&mut self, snapshot: &Snapshot, now_ms: u64) -> usize {
        let Some(followed) = &mut self.followed else { return 0 };
        let before = std::mem::replace(&mut followed.overlay, snapshot.overlay.clone());
        let groups: BTreeSet<usize> = if before.kill().all == snapshot.overlay.kill().all {
            let changed = before.changed().iter().chain(snapshot.overlay.changed());
            let watches = changed.filter_map(|(id, _)| snapshot.routes.get(id.0 as usize)?.watch.as_ref());
            watches.filter_map(|watch| self.by_watch.get(&watch.id())).map(|place| place.group).collect()
        } else {
            (0..self.groups.len()).collect()
        };
        for group in &groups {
            self.groups[*group].follow_shares(snapshot, now_ms);
        }
        groups.len()
    }

    /// The index of a route.
    fn index_of(&self, place: GroupPlace) -> usize {
        let at = self.firsts.get(place.group).map_or(0, |first| first + place.member);
        debug_assert!(
            self.routes.get(at).is_some_and(|route| route.place == place),
            "a group's routes follow each other"
        );
        at
    }

    /// Whether each route of a group is calm.
    fn is_calm(&self, group: usize) -> bool {
        let from = self.firsts.get(group).copied().unwrap_or(self.routes.len());
        self.routes[from..].iter().take_while(|route| route.place.group == group).all(KeptRoute::is_calm)
    }

    /// Judges what was counted since the last tick. Returns the routes that have traffic, with the guards that have
    /// tripped.
    pub fn tick(&mut self, memory: &GuardMemory, now_ms: u64) -> Vec<RouteTick> {
        memory.events.take(|watched| {
            // An event of a watch that a reload has ended counts nowhere.
            if let Some(place) = self.by_watch.get(&watched.watch) {
                self.groups[place.group].take(place.member, watched.event);
                activate(&mut self.groups, &mut self.active, place.group);
            }
        });
        for _ in 0..self.groups.len().div_ceil(SWEEP_TICKS) {
            let at = self.next % self.groups.len();
            self.next = at + 1;
            if !self.groups[at].is_active && self.groups[at].is_busy() {
                activate(&mut self.groups, &mut self.active, at);
            }
        }
        let moment = TickMoment { now_ms, events_lost: memory.events.lost() };
        let mut ticked: Vec<RouteTick> = Vec::new();
        for group in &self.active {
            let members = self.groups[*group].tick(moment).into_iter();
            let place = |member: usize| GroupPlace { group: *group, member };
            ticked.extend(members.map(|one| RouteTick { at: self.index_of(place(one.member)), trips: one.trips }));
        }
        ticked.sort_unstable_by_key(|tick| tick.at);
        for at in &self.active {
            let is_active = !self.is_calm(*at) || !self.groups[*at].is_quiet(now_ms);
            self.groups[*at].is_active = is_active;
        }
        self.active.retain(|at| self.groups[*at].is_active);
        ticked
    }

    /// Whether a group has counts that are judged.
    pub fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// The events since the last call that came too late to count.
    pub fn take_late_events(&mut self) -> u64 {
        self.active.iter().map(|at| self.groups[*at].take_late_events()).sum()
    }

    /// The routes.
    pub fn routes(&self) -> &[KeptRoute] {
        &self.routes
    }

    /// A route, by its index.
    pub fn route_mut(&mut self, at: usize) -> Option<&mut KeptRoute> {
        self.routes.get_mut(at)
    }

    /// How the guards of a variant stand.
    pub fn guards(&self, route: &KeptRoute, variant: VariantId) -> Vec<GuardStanding> {
        let GroupPlace { group, member } = route.place;
        self.groups.get(group).map(|group| group.guards(member, variant)).unwrap_or_default()
    }

    /// Begins the evidence of a variant of a route anew, by the index of the route.
    pub fn resume(&mut self, at: usize, variant: VariantId, now_ms: u64) {
        let Some(GroupPlace { group, member }) = self.routes.get(at).map(|route| route.place) else { return };
        if let Some(group) = self.groups.get_mut(group) {
            group.resume(member, variant, now_ms);
        }
    }

    /// Begins the evidence of a release anew, looks at it in the next tick, and saves its evidence, also without traffic;
    /// `false`: none is watched with this name and revision.
    pub fn begin_anew(&mut self, key: &LatchScope, now_ms: u64) -> bool {
        let is_it = |kept: &&KeptRelease| kept.key == *key;
        let found = self.routes.iter().enumerate().find_map(|(at, route)| {
            let release = route.releases.iter().find(is_it)?;
            Some((at, route.place.group, release.variant))
        });
        let Some((at, group, variant)) = found else { return false };
        self.resume(at, variant, now_ms);
        self.wake(group);
        true
    }

    /// Looks at a group in the next tick.
    pub(super) fn wake(&mut self, group: usize) {
        activate(&mut self.groups, &mut self.active, group);
    }

    /// The evidence of all routes as JSON, when it has changed since the last call.
    pub fn save(&mut self) -> Option<Vec<u8>> {
        let mut is_changed = false;
        for at in &self.active {
            let group = &self.groups[*at];
            let tenants = group.rollout.as_ref().and_then(|name| self.rollouts.get(name)?.save_tenants());
            let saved = SavedEvidence { tenants, ..group.save() };
            if self.saved.get(&group.name) != Some(&saved) {
                self.saved.insert(group.name.clone(), saved);
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
        for group in &mut self.groups {
            let Some(saved) = self.saved.get(&group.name) else { continue };
            group.restore(saved);
            let rollout = group.rollout.as_ref().and_then(|name| self.rollouts.get_mut(name));
            if let Some((rollout, tenants)) = rollout.zip(saved.tenants.as_ref()) {
                rollout.restore_tenants(tenants);
            }
        }
        Ok(())
    }
}

fn activate(groups: &mut [KeptGroup], active: &mut Vec<usize>, at: usize) {
    if !std::mem::replace(&mut groups[at].is_active, true) {
        active.push(at);
    }
}
