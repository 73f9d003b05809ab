//! Routes that are judged together: one alone, or those of a rollout. Their evidence, and what they have counted.

use std::sync::Arc;

use super::group_spec::{GroupSpec, MOVED, MemberSpec, arm_shares};
use super::route_view::RouteView;
use super::stable_times::StableTimes;
use crate::release::{
    GuardStanding, GuardTrip, JudgedGroup, Marks, Opening, PromotionPlan, RolloutTrip, RouteEvidence, RunFacts,
    SavedEvidence, StageEvidence, TickFacts,
};
use crate::route::{Require, RouteId, Signal, VariantId};
use crate::snapshot::Snapshot;
use crate::stats::{Failures, JudgedEvent, PlaceMap, SlotExposures, SlotNumber};
use crate::telemetry::GuardWatch;

/// A route without exposures for so long is not judged until the next one.
const QUIET_MS: u64 = 20_000;
/// How often stable's times are read.
const TIMES_EVERY_MS: u64 = 1_000;

/// Routes that are judged together.
#[derive(Debug)]
pub(super) struct KeptGroup {
    /// The name under which its evidence is saved.
    pub name: String,
    /// The rollout that moves a variant of each.
    pub rollout: Option<String>,
    members: Vec<Member>,
    evidence: RouteEvidence,
    group: JudgedGroup,
    times_at_ms: u64,
    inbox: Vec<JudgedEvent>,
    busy_ms: u64,
    /// Late events that were reported.
    late_events: u64,
    /// The trips about the rollout that were not taken yet.
    trips: Vec<RolloutTrip>,
    pub is_active: bool,
    has_failure_run: bool,
    /// Its evidence may have changed since it was saved.
    is_unsaved: bool,
}

/// A route of a group.
#[derive(Debug)]
struct Member {
    id: RouteId,
    /// The name of the route.
    name: String,
    watch: Arc<GuardWatch>,
    signals: Vec<Signal>,
    times: StableTimes,
    places: PlaceMap,
}

/// What a tick knows beside the routes.
#[derive(Clone, Copy, Debug)]
pub(super) struct TickMoment {
    pub now_ms: u64,
    /// Events that were lost, since the process started.
    pub events_lost: u64,
}

/// The trips of a tick about the variants of a route that no rollout moves.
#[derive(Debug)]
pub(super) struct MemberTrips {
    /// The index of the route in its group.
    pub member: usize,
    pub trips: Vec<GuardTrip>,
}

impl KeptGroup {
    /// Routes whose watches have begun now.
    pub fn new(spec: GroupSpec<'_>, now_ms: u64) -> Self {
        let evidence = RouteEvidence::of_group(spec.group.clone(), now_ms);
        let mut group = Self {
            name: spec.name,
            rollout: spec.rollout.map(|rollout| rollout.name.clone()),
            members: spec.members.iter().map(Member::new).collect(),
            evidence,
            group: spec.group,
            times_at_ms: 0,
            inbox: Vec::new(),
            busy_ms: now_ms,
            late_events: 0,
            trips: Vec::new(),
            is_active: false,
            has_failure_run: false,
            is_unsaved: true,
        };
        group.follow_plan(&spec.plan);
        group.open(group.evidence.opening());
        group
    }

    /// Follows a new configuration of the routes.
    pub fn follow(&mut self, spec: GroupSpec<'_>, now_ms: u64) {
        let (before, now) = (self.members.first(), spec.members.first());
        let keeps_marks =
            before.zip(now).is_some_and(|(before, now)| Arc::ptr_eq(before.watch.callers(), now.watch.callers()));
        let are_same = self.members.len() == spec.members.len()
            && self.members.iter().zip(&spec.members).all(|(member, spec)| member.is_same(spec));
        let deals_by_target = spec.members.iter().any(|member| member.view.deals_by_target());
        let is_same = are_same && self.group == spec.group && !deals_by_target;
        let mut known = std::mem::take(&mut self.members);
        for spec in &spec.members {
            let at = known.iter().position(|member| member.name == spec.name);
            let member = at.map(|at| known.swap_remove(at));
            self.members.push(member.map_or_else(|| Member::new(spec), |member| member.followed(spec)));
        }
        if !is_same {
            self.evidence.advance(now_ms);
            let marks = if keeps_marks { Marks::Kept } else { Marks::Lost };
            let opening = self.evidence.follow_group(spec.group.clone(), marks);
            self.group = spec.group;
            self.open(opening);
        }
        self.follow_plan(&spec.plan);
    }

    fn follow_plan(&mut self, plan: &PromotionPlan) {
        self.evidence.set_promotion(plan);
    }

    /// Follows the shares of a new overlay.
    pub fn follow_shares(&mut self, snapshot: &Snapshot, now_ms: u64) {
        let arms = self.group.arms.len();
        let mut shares = Vec::new();
        for member in &self.members {
            let Some(view) = RouteView::new(snapshot, member.id) else { return };
            shares.extend(arm_shares(&view.shares(), &member.places, arms));
        }
        let before = self.group.shares();
        let is_same = |(before, share): (&f64, &f64)| before.to_bits() == share.to_bits();
        if before.len() == shares.len() && before.iter().zip(&shares).all(is_same) {
            return;
        }
        self.group.set_shares(&shares);
        let opening = self.evidence.set_shares(&shares, now_ms);
        self.open(opening);
    }

    /// The watches of its routes have one clock.
    fn open(&mut self, opening: Opening) {
        self.is_unsaved = true;
        if let Some(member) = self.members.first() {
            member.watch.open(opening.window, opening.slot);
        }
    }

    /// The id of its first route.
    pub fn first_route(&self) -> Option<RouteId> {
        self.members.first().map(|member| member.id)
    }

    /// Gives a route that is judged alone a new id.
    pub fn renumber(&mut self, id: RouteId) {
        debug_assert!(self.members.len() == 1, "the group has one route");
        self.members.iter_mut().for_each(|member| member.id = id);
    }

    /// The numbers of the watches of its routes.
    pub fn watch_ids(&self) -> impl Iterator<Item = u32> {
        self.members.iter().map(|member| member.watch.id())
    }

    /// Takes an event of a route.
    pub fn take(&mut self, member: usize, event: JudgedEvent) {
        self.inbox.extend(self.members.get(member).and_then(|member| member.places.event(event)));
    }

    /// Whether there is anything new: an exposure in the open slot, or an event.
    pub fn is_busy(&self) -> bool {
        let slot = self.evidence.opening().slot;
        !self.inbox.is_empty() || self.members.iter().any(|member| member.watch.has_exposures(slot))
    }

    /// Whether a run of failures is under way: each tick follows it, and what stable answers meanwhile.
    pub const fn has_failure_run(&self) -> bool {
        self.has_failure_run
    }

    /// Whether its evidence may have changed since the last call. Tenants of rollouts are counted elsewhere.
    pub fn take_unsaved(&mut self) -> bool {
        std::mem::take(&mut self.is_unsaved) || self.rollout.is_some()
    }

    /// Whether nothing was new for a while.
    pub const fn is_quiet(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.busy_ms) > QUIET_MS
    }

    /// Judges what was counted since the last tick; returns the guards that have tripped about variants that no rollout
    /// moves, for each route.
    pub fn tick(&mut self, moment: TickMoment) -> Vec<MemberTrips> {
        let now_ms = moment.now_ms;
        self.is_unsaved |= !self.inbox.is_empty();
        if self.is_busy() {
            self.busy_ms = now_ms;
        }
        if now_ms >= self.times_at_ms + TIMES_EVERY_MS {
            for member in self.members.iter_mut().filter(|member| member.times.is_needed()) {
                member.times.follow(&member.watch.view().stable_times, now_ms);
            }
            self.times_at_ms = now_ms;
        }
        let facts = self.facts(moment);
        self.has_failure_run = facts.runs.iter().any(|run| run.length > 0);
        let (members, shape) = (&self.members, self.group.shape());
        let mut exposures = |slot: SlotNumber| match &members[..] {
            [only] if only.places.is_identity(shape) => only.watch.exposures(slot),
            all => {
                let mut sum = SlotExposures::new(shape);
                for member in all {
                    sum.add_placed(&member.watch.exposures(slot), &member.places);
                }
                sum
            }
        };
        let outcome = self.evidence.tick(&facts, &mut exposures, &self.inbox);
        self.inbox.clear();
        let routes = self.members.iter().zip(outcome.slow_after.chunks(shape.signals.max(1)));
        routes.for_each(|(member, after)| member.set_slow_after(after));
        if let Some(opening) = outcome.opening {
            self.open(opening);
        }
        self.is_unsaved |= !outcome.trips.is_empty();
        self.divide(outcome.trips)
    }

    fn facts(&self, moment: TickMoment) -> TickFacts {
        let (arms, signals) = (self.group.arms.len(), self.group.guards.signals.len());
        let mut facts = TickFacts { now_ms: moment.now_ms, events_lost: moment.events_lost, ..TickFacts::default() };
        for member in &self.members {
            let stable = member.watch.stable();
            facts.stable.push(Failures { requests: stable.answers, failed: stable.failures });
            facts.runs.extend((0..arms).map(|arm| member.run(arm)));
            let mut quantiles = vec![None; signals];
            for (place, quantile) in member.places.signals.iter().zip(member.times.quantiles()) {
                quantiles[*place] = quantile;
            }
            facts.stable_quantiles.extend(quantiles);
            facts.is_starved |= member.watch.is_starved();
        }
        facts
    }

    /// Keeps the trips about the rollout, and returns the others by route.
    fn divide(&mut self, trips: Vec<GuardTrip>) -> Vec<MemberTrips> {
        let none = |member| MemberTrips { member, trips: Vec::new() };
        let mut divided: Vec<MemberTrips> = (0..self.members.len()).map(none).collect();
        for trip in trips {
            if self.rollout.is_some() && trip.arm == usize::from(MOVED.0) {
                self.trips.push(self.group.rollout_trip(trip));
                continue;
            }
            let place = |member: &Member| member.places.arms.iter().position(|arm| usize::from(*arm) == trip.arm);
            let found = self.members.iter().map(place).enumerate().find_map(|(at, place)| Some((at, place?)));
            if let Some((at, variant)) = found {
                divided[at].trips.push(GuardTrip { arm: variant, ..trip });
            }
        }
        divided
    }

    /// The events since the last call that came too late to count.
    pub fn take_late_events(&mut self) -> u64 {
        let all = self.evidence.late_events();
        all.saturating_sub(std::mem::replace(&mut self.late_events, all))
    }

    /// The trips about the rollout since the last call.
    pub fn take_trips(&mut self) -> Vec<RolloutTrip> {
        std::mem::take(&mut self.trips)
    }

    /// How the guards of a variant of a route stand.
    pub fn guards(&self, member: usize, variant: VariantId) -> Vec<GuardStanding> {
        let arm = self.members.get(member).and_then(|member| member.places.arms.get(usize::from(variant.0)));
        let standings = arm.map(|arm| self.evidence.standings(usize::from(*arm))).unwrap_or_default();
        let plain = |one: GuardStanding| {
            let name = one.name.split(" (").next().unwrap_or_default().to_owned();
            GuardStanding { name, ..one }
        };
        standings.into_iter().map(plain).collect()
    }

    /// How the guards of the rollout stand.
    pub fn rollout_guards(&self) -> Vec<GuardStanding> {
        self.evidence.standings(usize::from(MOVED.0))
    }

    /// Begins the evidence of a variant of a route anew.
    pub fn resume(&mut self, member: usize, variant: VariantId, now_ms: u64) {
        let Some(member) = self.members.get(member) else { return };
        member.watch.end_run(usize::from(variant.0));
        let Some(arm) = member.places.arms.get(usize::from(variant.0)) else { return };
        let opening = self.evidence.resume(usize::from(*arm), now_ms);
        self.open(opening);
    }

    /// Begins the evidence of the rollout anew.
    pub fn begin_anew(&mut self, now_ms: u64) {
        self.trips.clear();
        for member in &self.members {
            let moved = member.places.arms.iter().position(|arm| *arm == MOVED.0);
            if let Some(variant) = moved {
                member.watch.end_run(variant);
            }
        }
        let opening = self.evidence.resume(usize::from(MOVED.0), now_ms);
        self.open(opening);
    }

    /// The rollout enters a stage.
    pub fn enter_stage(&mut self, now_ms: u64) {
        let opening = self.evidence.enter_stage(now_ms);
        self.open(opening);
    }

    /// What was judged about the stage of the rollout.
    pub fn stage_evidence(&mut self, require: &Require, now_ms: u64) -> StageEvidence {
        self.evidence.advance(now_ms);
        self.evidence.promotion(usize::from(MOVED.0), require)
    }

    /// The evidence that outlives the process.
    pub fn save(&self) -> SavedEvidence {
        self.evidence.save()
    }

    /// Goes on with the evidence of a process before.
    pub fn restore(&mut self, saved: &SavedEvidence) {
        self.evidence.restore(saved);
        self.open(self.evidence.opening());
    }
}

impl Member {
    fn new(spec: &MemberSpec<'_>) -> Self {
        let guards = spec.view.guards();
        Self {
            id: spec.id,
            name: spec.name.to_owned(),
            watch: Arc::clone(spec.watch),
            signals: guards.signals.clone(),
            times: StableTimes::new(guards),
            places: spec.places.clone(),
        }
    }

    /// Under a new configuration; stable's times are those of its watch.
    fn followed(self, spec: &MemberSpec<'_>) -> Self {
        let keeps_times = self.watch.id() == spec.watch.id() && self.signals == spec.view.guards().signals;
        let new = Self::new(spec);
        if keeps_times { Self { times: self.times, ..new } } else { new }
    }

    fn is_same(&self, spec: &MemberSpec<'_>) -> bool {
        self.name == spec.name && self.watch.id() == spec.watch.id() && self.places == spec.places
    }

    /// The run of failures of an arm of the group.
    fn run(&self, arm: usize) -> RunFacts {
        let variant = self.places.arms.iter().position(|place| usize::from(*place) == arm);
        let Some(variant) = variant.filter(|variant| *variant > 0) else { return RunFacts::default() };
        let run = self.watch.run(variant);
        RunFacts { number: run.number, length: run.length, keys: run.keys }
    }

    /// Sets the thresholds, by signal of the group.
    fn set_slow_after(&self, after: &[Option<std::time::Duration>]) {
        for (signal, place) in self.places.signals.iter().enumerate() {
            self.watch.set_slow_after(signal, after.get(*place).copied().flatten());
        }
    }
}
