//! Keeps the evidence of all routes that guards watch, and judges it. Routes without traffic cost almost nothing: an exposure or
//! an event wakes a route. Of many routes with traffic, those with events are judged in each tick, and the others in turn.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::followed::{Followed, FollowedConfig, FollowedRoutes, RouteEdits};
use super::group_spec::{GroupSpec, group_specs, spec_of_route};
use super::kept_group::{KeptGroup, TickMoment};
use super::kept_rollout::KeptRollout;
use super::kept_route::{GroupPlace, KeptRelease, KeptRoute};
use crate::journal::LatchScope;
use crate::release::{GuardStanding, GuardTrip, SavedEvidence};
use crate::route::{RouteId, VariantId};
use crate::snapshot::Snapshot;
use crate::telemetry::{GuardMemory, WatchedKind};

/// The number of groups whose exposures are looked for in each tick: a notice of an exposure may have been lost.
const SWEPT: usize = 100;
/// In this many ticks each route with traffic and without events is judged once.
const TURN_TICKS: usize = 10;
/// The number of them that are judged in each tick, also where a turn is fewer.
const TURN_MIN: usize = 100;
/// After so long without a tick, in milliseconds, all are judged.
const PAUSE_MS: u64 = 1_000;

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
    /// The first of the active groups without events that the next tick judges.
    turn: usize,
    /// The groups that the next tick judges, also out of turn.
    urgent: BTreeSet<usize>,
    /// When the last tick was.
    ticked_ms: u64,
    /// The groups of rollouts.
    staged: Vec<usize>,
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
        let edits = self.followed.as_ref().and_then(|before| before.edits(snapshot));
        self.followed = Some(FollowedConfig::of(snapshot));
        if let Some(edits) = edits {
            return Followed::Few(self.follow_few(snapshot, &edits, now_ms));
        }
        self.follow_all(snapshot, now_ms);
        Followed::All
    }

    /// Follows a configuration without rollouts that differs in these routes only.
    fn follow_few(&mut self, snapshot: &Snapshot, edits: &RouteEdits, now_ms: u64) -> FollowedRoutes {
        let changed = &edits.changed;
        let is_watched = |id: &RouteId| changed.binary_search(id).is_err() || spec_of_route(snapshot, *id).is_some();
        let count = self.routes.len();
        let mut ended = self.keep_routes(|id| edits.new_id(id).filter(is_watched));
        let kept = self.routes.len();
        for id in changed {
            let Some(spec) = spec_of_route(snapshot, *id) else { continue };
            match self.routes[..kept].binary_search_by_key(id, |route| route.id) {
                Ok(at) => ended.extend(self.follow_route(at, spec, now_ms)),
                Err(_) => self.add(spec, now_ms),
            }
        }
        if kept < count || kept < self.routes.len() {
            self.routes.sort_by_key(|route| route.id);
            self.groups.sort_by_key(KeptGroup::first_route);
            self.place_routes();
        }
        debug_assert!(self.routes.is_sorted_by_key(|route| route.id), "without rollouts the order is that of the file");
        debug_assert_eq!(self.by_watch.len(), self.routes.len(), "each route has a watch of its own");
        let index = |id: &RouteId| self.routes.binary_search_by_key(id, |route| route.id).ok();
        FollowedRoutes { routes: changed.iter().filter_map(index).collect(), ended }
    }

    /// Gives each route its new id, and forgets those without one. Returns the releases that have ended.
    fn keep_routes(&mut self, new_id: impl Fn(RouteId) -> Option<RouteId>) -> Vec<String> {
        debug_assert_eq!(self.groups.len(), self.routes.len(), "without rollouts each route is judged alone");
        let mut ended = Vec::new();
        let ids: Vec<Option<RouteId>> = self.routes.iter().map(|route| new_id(route.id)).collect();
        if self.routes.iter().zip(&ids).all(|(route, id)| *id == Some(route.id)) {
            return ended;
        }
        let (mut of_routes, mut of_groups) = (ids.iter().copied(), ids.iter().copied());
        self.routes.retain_mut(|route| {
            let id = of_routes.next().flatten();
            if let Some(id) = id {
                route.id = id;
            } else {
                ended.extend(route.release_names());
            }
            id.is_some()
        });
        let saved = &mut self.saved;
        self.groups.retain_mut(|group| {
            let id = of_groups.next().flatten();
            if let Some(id) = id {
                group.renumber(id);
            } else {
                saved.remove(&group.name);
            }
            id.is_some()
        });
        ended
    }

    /// Follows a new configuration of a route that is judged alone. Returns its releases that have ended.
    fn follow_route(&mut self, at: usize, spec: GroupSpec<'_>, now_ms: u64) -> Vec<String> {
        let mut ended = self.routes[at].release_names();
        if let Some(member) = spec.members.first() {
            self.routes[at].follow(member);
        }
        let names = self.routes[at].release_names();
        ended.retain(|name| !names.contains(name));
        let (group, place) = (&mut self.groups[at], self.routes[at].place);
        group.watch_ids().for_each(|id| {
            self.by_watch.remove(&id);
        });
        group.follow(spec, now_ms);
        self.by_watch.extend(group.watch_ids().map(|id| (id, place)));
        ended
    }

    /// Adds a route that is judged alone.
    fn add(&mut self, spec: GroupSpec<'_>, now_ms: u64) {
        let place = GroupPlace { group: self.groups.len(), member: 0 };
        self.routes.extend(spec.members.first().map(|member| KeptRoute::new(member, place, None)));
        self.groups.push(self.new_group(spec, now_ms));
    }

    /// A group that is not watched yet.
    fn new_group(&self, spec: GroupSpec<'_>, now_ms: u64) -> KeptGroup {
        let mut group = KeptGroup::new(spec, now_ms);
        if let Some(saved) = self.saved.get(&group.name) {
            group.restore(saved);
        }
        group
    }

    fn follow_all(&mut self, snapshot: &Snapshot, now_ms: u64) {
        let mut before: HashMap<String, KeptRoute> =
            std::mem::take(&mut self.routes).into_iter().map(|route| (route.name.clone(), route)).collect();
        let mut known: HashMap<String, KeptGroup> =
            std::mem::take(&mut self.groups).into_iter().map(|group| (group.name.clone(), group)).collect();
        self.follow_rollouts(snapshot);
        for spec in group_specs(snapshot) {
            for (member, route) in spec.members.iter().enumerate() {
                let place = GroupPlace { group: self.groups.len(), member };
                self.routes.push(KeptRoute::new(route, place, before.remove(route.name)));
            }
            if let Some(mut group) = known.remove(&spec.name) {
                group.follow(spec, now_ms);
                self.groups.push(group);
                continue;
            }
            self.groups.push(self.new_group(spec, now_ms));
        }
        let names: HashSet<&str> = self.groups.iter().map(|group| group.name.as_str()).collect();
        self.saved.retain(|name, _| names.contains(name.as_str()));
        self.place_routes();
    }

    /// Gives routes and groups their places, in their order.
    fn place_routes(&mut self) {
        let mut routes = self.routes.iter_mut();
        self.firsts.clear();
        let mut first = 0;
        for (at, group) in self.groups.iter().enumerate() {
            self.firsts.push(first);
            let count = group.watch_ids().count();
            for (member, route) in routes.by_ref().take(count).enumerate() {
                route.place = GroupPlace { group: at, member };
            }
            first += count;
        }
        self.by_watch.clear();
        for (group, kept) in self.groups.iter().enumerate() {
            let places = kept.watch_ids().enumerate().map(|(member, id)| (id, GroupPlace { group, member }));
            self.by_watch.extend(places);
        }
        self.active = (0..self.groups.len()).filter(|at| self.groups[*at].is_active).collect();
        self.urgent = self.active.iter().copied().collect();
        self.staged = (0..self.groups.len()).filter(|at| self.groups[*at].rollout.is_some()).collect();
        self.next = 0;
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
                activate(&mut self.groups, &mut self.active, place.group);
                match watched.kind {
                    WatchedKind::Exposure => return,
                    WatchedKind::FailureRun => {}
                    WatchedKind::Event(event) => self.groups[place.group].take(place.member, event),
                }
                self.urgent.insert(place.group);
            }
        });
        for _ in 0..self.groups.len().min(SWEPT) {
            let at = self.next % self.groups.len();
            self.next = at + 1;
            if !self.groups[at].is_active && self.groups[at].is_busy() {
                activate(&mut self.groups, &mut self.active, at);
            }
        }
        let moment = TickMoment { now_ms, events_lost: memory.events.lost() };
        let judged = self.judged_groups(now_ms);
        let mut ticked: Vec<RouteTick> = Vec::new();
        for group in &judged {
            let members = self.groups[*group].tick(moment).into_iter();
            if self.groups[*group].has_failure_run() {
                self.urgent.insert(*group);
            }
            let place = |member: usize| GroupPlace { group: *group, member };
            ticked.extend(members.map(|one| RouteTick { at: self.index_of(place(one.member)), trips: one.trips }));
        }
        ticked.sort_unstable_by_key(|tick| tick.at);
        for at in &judged {
            let is_active = !self.is_calm(*at) || !self.groups[*at].is_quiet(now_ms);
            self.groups[*at].is_active = is_active;
        }
        // Those that follow move up.
        let ended = self.active.iter().take(self.turn).filter(|at| !self.groups[**at].is_active).count();
        self.turn -= ended;
        self.active.retain(|at| self.groups[*at].is_active);
        ticked
    }

    /// The groups that this tick judges: those where something waits, those of rollouts, and some of the others.
    fn judged_groups(&mut self, now_ms: u64) -> BTreeSet<usize> {
        let count = self.active.len();
        let is_after_pause = now_ms.saturating_sub(self.ticked_ms) >= PAUSE_MS;
        let turn = if is_after_pause { count } else { count.div_ceil(TURN_TICKS).max(TURN_MIN).min(count) };
        self.ticked_ms = now_ms;
        let first = if self.turn < count { self.turn } else { 0 };
        self.turn = first + turn;
        let mut judged = std::mem::take(&mut self.urgent);
        judged.extend(&self.staged);
        judged.retain(|at| self.groups[*at].is_active);
        judged.extend(self.active.iter().cycle().skip(first).take(turn));
        debug_assert!(count > TURN_MIN || count == judged.len(), "few groups are all judged");
        judged
    }

    /// Judges the group of this route in the next tick, too.
    pub fn follow_closely(&mut self, at: usize) {
        self.urgent.extend(self.routes.get(at).map(|route| route.place.group));
    }

    /// The indexes of the routes that have traffic.
    pub fn active_routes(&self) -> impl Iterator<Item = usize> {
        self.active.iter().flat_map(|group| {
            let count = self.groups[*group].watch_ids().count();
            (0..count).map(|member| self.index_of(GroupPlace { group: *group, member }))
        })
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
        self.urgent.insert(group);
        activate(&mut self.groups, &mut self.active, group);
    }

    /// The evidence of all routes as JSON, when it has changed since the last call.
    pub fn save(&mut self) -> Option<Vec<u8>> {
        let mut is_changed = false;
        for at in &self.active {
            let group = &mut self.groups[*at];
            if !group.take_unsaved() {
                continue;
            }
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

#[cfg(test)]
impl Keeper {
    /// Follows as if nothing were known of the configuration before.
    pub fn follow_anew(&mut self, snapshot: &Snapshot, now_ms: u64) {
        self.followed = None;
        assert_eq!(self.follow(snapshot, now_ms), Followed::All);
    }

    /// All but the configuration that it follows, to compare two.
    pub fn shown(&self) -> String {
        let Self { routes, groups, firsts, by_watch, active, next, turn, urgent, staged, .. } = self;
        let Self { saved, rollouts, is_restored, .. } = self;
        let by_watch: BTreeMap<_, _> = by_watch.iter().collect();
        format!(
            "{routes:#?} {groups:#?} {firsts:?} {by_watch:?} {active:?} {next} {turn} {urgent:?} {staged:?} {saved:?} {rollouts:?} {is_restored}"
        )
    }
}
