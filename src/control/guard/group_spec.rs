//! What is judged together under a configuration: each route that guards watch alone, and the routes of each rollout.

use std::sync::Arc;

use super::route_view::RouteView;
use crate::release::{ArmFacts, JudgedGroup, JudgedRoute, PromotionPlan};
use crate::route::{Guard, Rollout, RouteId, Rules, VariantId};
use crate::snapshot::Snapshot;
use crate::stats::PlaceMap;
use crate::telemetry::GuardWatch;

/// The variant of a rollout among the arms of its group.
pub(super) const MOVED: VariantId = JudgedGroup::MOVED;

/// Routes that are judged together.
pub(super) struct GroupSpec<'a> {
    /// The name under which the evidence is saved.
    pub name: String,
    /// The rollout that moves a variant of each.
    pub rollout: Option<&'a Rollout>,
    pub group: JudgedGroup,
    pub plan: PromotionPlan,
    pub members: Vec<MemberSpec<'a>>,
}

/// A route of a group.
pub(super) struct MemberSpec<'a> {
    pub id: RouteId,
    pub name: &'a str,
    pub view: RouteView<'a>,
    pub watch: &'a Arc<GuardWatch>,
    /// Where its counts lie in those of the group.
    pub places: PlaceMap,
}

/// What is judged together, in the order of the routes.
pub(super) fn group_specs(snapshot: &Snapshot) -> Vec<GroupSpec<'_>> {
    let mut specs = Vec::new();
    for (id, _) in snapshot.rules.numbered() {
        let Some(member) = member(snapshot, id) else { continue };
        match member.view.rollout() {
            None => specs.push(of_route(member)),
            // With the first of its routes.
            Some(rollout) => {
                let is_there = |spec: &GroupSpec<'_>| spec.rollout.is_some_and(|one| one.name == rollout.name);
                if !specs.iter().any(is_there) {
                    specs.push(of_rollout(snapshot, rollout));
                }
            }
        }
    }
    debug_assert!(specs.iter().all(|spec| !spec.members.is_empty()), "a group has routes");
    specs
}

/// A route that is judged alone; `None`: no guard watches it, or it belongs to a rollout.
pub(super) fn spec_of_route(snapshot: &Snapshot, id: RouteId) -> Option<GroupSpec<'_>> {
    member(snapshot, id).filter(|member| member.view.rollout().is_none()).map(of_route)
}

/// A route that guards watch.
fn member(snapshot: &Snapshot, id: RouteId) -> Option<MemberSpec<'_>> {
    let watch = snapshot.routes.get(id.0 as usize)?.watch.as_ref()?;
    let view = RouteView::new(snapshot, id)?;
    let (shape, name) = (watch.shape(), snapshot.rules.route(id).name.as_str());
    let arms = (0..u16::try_from(shape.arms).unwrap_or(u16::MAX)).collect();
    let places = PlaceMap { first_stratum: 0, arms, signals: (0..shape.signals).collect() };
    Some(MemberSpec { id, name, view, watch, places })
}

fn of_route(member: MemberSpec<'_>) -> GroupSpec<'_> {
    let mut group = JudgedGroup::of_route(member.view.guards(), member.view.arms(), member.watch.shape().strata);
    member.name.clone_into(&mut group.routes[0].name);
    GroupSpec {
        name: member.name.to_owned(),
        rollout: None,
        group,
        plan: PromotionPlan::default(),
        members: vec![member],
    }
}

/// The routes of a rollout: stable, the variant that it moves, then the other variants of each route.
fn of_rollout<'a>(snapshot: &'a Snapshot, rollout: &'a Rollout) -> GroupSpec<'a> {
    let of_member = |one: &crate::route::RolloutMember| member(snapshot, one.route);
    let mut members: Vec<MemberSpec<'a>> = rollout.members.iter().filter_map(of_member).collect();
    let mut build = GroupBuild::new(rollout, &snapshot.rules, members.len());
    for (route, member) in members.iter_mut().enumerate() {
        build.add(route, member);
    }
    let settles_after_ms = members.iter().map(|member| member.view.longest_wait_ms()).max().unwrap_or(0);
    let ratios = rollout.plan.stages.iter().filter_map(|stage| stage.require.non_inferior).collect();
    let mut group = build.group;
    for (route, member) in group.routes.iter_mut().zip(&members) {
        route.shares = shares_among(member, group.arms.len());
    }
    for (at, arm) in group.arms.iter_mut().enumerate() {
        arm.share = group.routes.iter().filter_map(|route| route.shares.get(at).copied()).fold(0.0, f64::max);
    }
    GroupSpec {
        name: format!("rollout:{}", rollout.name),
        rollout: Some(rollout),
        group,
        plan: PromotionPlan { ratios, settles_after_ms },
        members,
    }
}

/// The shares of a route by arm of its group.
fn shares_among(member: &MemberSpec<'_>, arms: usize) -> Vec<f64> {
    arm_shares(&member.view.shares(), &member.places, arms)
}

/// Shares by variant, in the order of the arms of a group.
pub(super) fn arm_shares(shares: &[f64], places: &PlaceMap, arms: usize) -> Vec<f64> {
    let mut all = vec![0.0; arms];
    for (share, arm) in shares.iter().zip(&places.arms) {
        if let Some(place) = all.get_mut(usize::from(*arm)) {
            *place = *share;
        }
    }
    all
}

struct GroupBuild {
    group: JudgedGroup,
    strata: u16,
}

impl GroupBuild {
    /// With the guards of a rollout over so many routes.
    fn new(rollout: &Rollout, rules: &Rules, routes: usize) -> Self {
        Self { group: JudgedGroup::of_rollout(rollout, rules, routes), strata: 0 }
    }

    /// Adds a route, and says where its counts lie.
    fn add(&mut self, route: usize, member: &mut MemberSpec<'_>) {
        let (view, shape, name) = (member.view, member.watch.shape(), member.name.to_owned());
        let own = view.guards();
        let signals: Vec<usize> = own.signals.iter().map(|signal| self.place_of(signal)).collect();
        let mut arms = Vec::new();
        for (variant, facts) in (0..).map(VariantId).zip(view.arms()) {
            if variant == VariantId::STABLE || facts.by_rollout {
                arms.push(if facts.by_rollout { MOVED.0 } else { 0 });
                continue;
            }
            let arm = u16::try_from(self.group.arms.len()).unwrap_or(u16::MAX);
            self.group.arms.push(ArmFacts { name: format!("{name}:{}", facts.name), ..facts });
            arms.push(arm);
            for guard in own.all.iter().filter(|guard| guard.variant.is_none_or(|only| only == variant)) {
                let signal = guard.signal.and_then(|at| signals.get(at).copied());
                self.group.guards.all.push(Guard { variant: Some(VariantId(arm)), signal, ..guard.clone() });
                self.group.scopes.push(Some(route));
            }
        }
        member.places = PlaceMap { first_stratum: self.strata, arms, signals };
        self.strata = self.strata.saturating_add(u16::try_from(shape.strata).unwrap_or(u16::MAX));
        self.group.routes.push(JudgedRoute { name, strata: shape.strata, shares: Vec::new() });
    }

    fn place_of(&mut self, signal: &crate::route::Signal) -> usize {
        let signals = &mut self.group.guards.signals;
        signals.iter().position(|known| known == signal).unwrap_or_else(|| {
            signals.push(signal.clone());
            signals.len() - 1
        })
    }
}
