//! What is judged together: the variants of one route, or those of all routes of a rollout.
//!
//! The counts of several routes lie one after the other: each route has its own deciding rules, and what is judged is the
//! sum over them. Marks, last-seen slots and first keys are common to all, so that a caller counts once in a test.

use super::facts::ArmFacts;
use super::guard_trip::GuardTrip;
use super::rollout::RolloutTrip;
use crate::route::{Guard, Guards, Rollout, Rules, Signal, VariantId};
use crate::stats::WindowShape;

/// The variants that are judged together, and by what.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgedGroup {
    /// The guards. A variant is the index of an arm.
    pub guards: Guards,
    /// By guard: the route that it judges, by its index; `None`: all of them together.
    pub scopes: Vec<Option<usize>>,
    /// The variants, stable first. Their share is the largest one of all routes.
    pub arms: Vec<ArmFacts>,
    /// The routes.
    pub routes: Vec<JudgedRoute>,
}

/// A route of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgedRoute {
    /// The name.
    pub name: String,
    /// The number of its deciding rules.
    pub strata: usize,
    /// The share of its callers that each arm of the group has.
    pub shares: Vec<f64>,
}

/// How the counts of the routes lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GroupLayout {
    pub shape: WindowShape,
    /// By route: the number of its first deciding rule; then the number of all rules.
    firsts: Vec<u16>,
    names: Vec<String>,
}

/// The routes that a guard judges, with their deciding rules: from the first to the one before the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct JudgedScope {
    pub first_route: usize,
    pub end_route: usize,
    pub first_stratum: u16,
    pub end_stratum: u16,
}

/// A variant in some routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScopedArm {
    pub arm: u16,
    pub scope: JudgedScope,
}

/// The variant that is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct JudgedArm {
    pub arm: u16,
    /// Responses of slots that began before this time are not judged as slow.
    pub warm_at_ms: u64,
    pub scope: JudgedScope,
}

impl JudgedArm {
    pub const fn tested(self) -> ScopedArm {
        ScopedArm { arm: self.arm, scope: self.scope }
    }

    pub const fn stable(self) -> ScopedArm {
        ScopedArm { arm: 0, scope: self.scope }
    }
}

impl JudgedGroup {
    /// The variant of a rollout among the arms of its group.
    pub const MOVED: VariantId = VariantId(1);

    /// The guards of a rollout that judge so many routes, with stable and the variant that it moves as arms; the routes are
    /// to be added. A guard that judges each route alone spends a part of its alpha on each.
    #[must_use]
    pub fn of_rollout(rollout: &Rollout, rules: &Rules, routes: usize) -> Self {
        let Guards { signals, by_default, .. } = rollout.guards.clone();
        let (mut all, mut scopes) = (Vec::new(), Vec::new());
        for (at, guard) in rollout.guards.all.iter().enumerate() {
            let guard = Guard { variant: Some(Self::MOVED), ..guard.clone() };
            if !rollout.by_route.contains(&at) {
                all.push(guard);
                scopes.push(None);
                continue;
            }
            let alpha = guard.alpha / f64::from(u32::try_from(routes.max(1)).unwrap_or(u32::MAX));
            for route in 0..routes {
                all.push(Guard { alpha, ..guard.clone() });
                scopes.push(Some(route));
            }
        }
        let arm = |name: &str, revision| ArmFacts { name: name.to_owned(), revision, share: 0.0, by_rollout: false };
        let stable = arm("stable", rules.stable_revision_of_rollout(rollout));
        let moved = ArmFacts { by_rollout: true, ..arm(&rollout.name, rules.revision_of_rollout(rollout)) };
        let (guards, arms) = (Guards { signals, all, by_default }, vec![stable, moved]);
        Self { guards, scopes, arms, routes: Vec::new() }
    }

    /// A trip about the variant that a rollout moves, as its state machine reads it.
    #[must_use]
    pub fn rollout_trip(&self, trip: GuardTrip) -> RolloutTrip {
        let GuardTrip { guard, route, act, sentence, evidence, .. } = trip;
        let is_it = |one: &&Guard| one.name == guard && one.variant == Some(Self::MOVED);
        let found = self.guards.all.iter().find(is_it);
        let signal = found.and_then(|one| self.guards.signals.get(one.signal?));
        let counts_errors = signal == Some(&Signal::Error);
        RolloutTrip { guard, route, act: act.into(), counts_errors, sentence, evidence }
    }

    /// One route alone.
    #[must_use]
    pub fn of_route(guards: &Guards, arms: Vec<ArmFacts>, strata: usize) -> Self {
        let shares = arms.iter().map(|arm| arm.share).collect();
        let routes = vec![JudgedRoute { name: String::new(), strata, shares }];
        Self { guards: guards.clone(), scopes: vec![None; guards.all.len()], arms, routes }
    }

    /// The shape of its counts.
    #[must_use]
    pub fn shape(&self) -> WindowShape {
        let strata = self.routes.iter().map(|route| route.strata).sum();
        WindowShape { strata, arms: self.arms.len(), signals: self.guards.signals.len() }
    }

    /// The shares, route by route.
    #[must_use]
    pub fn shares(&self) -> Vec<f64> {
        self.routes.iter().flat_map(|route| route.shares.iter().copied()).collect()
    }

    /// Sets the shares, given route by route.
    pub fn set_shares(&mut self, shares: &[f64]) {
        let arms = self.arms.len();
        for (route, shares) in self.routes.iter_mut().zip(shares.chunks(arms.max(1))) {
            route.shares = shares.to_vec();
        }
        for (at, arm) in self.arms.iter_mut().enumerate() {
            arm.share = self.routes.iter().filter_map(|route| route.shares.get(at).copied()).fold(0.0, f64::max);
        }
    }

    pub(super) fn layout(&self) -> GroupLayout {
        debug_assert!(self.routes.iter().all(|route| route.shares.len() == self.arms.len()), "each route has all arms");
        let mut firsts = vec![0_u16];
        for route in &self.routes {
            let first = firsts.last().copied().unwrap_or(0);
            firsts.push(first.saturating_add(u16::try_from(route.strata).unwrap_or(u16::MAX)));
        }
        let names = self.routes.iter().map(|route| route.name.clone()).collect();
        GroupLayout { shape: self.shape(), firsts, names }
    }
}

impl GroupLayout {
    /// How many routes.
    pub const fn routes(&self) -> usize {
        self.firsts.len().saturating_sub(1)
    }

    /// The name of a route of several.
    pub fn name(&self, route: usize) -> Option<String> {
        self.names.get(route).filter(|_| self.names.len() > 1).cloned()
    }

    /// The route of a deciding rule.
    pub fn route_of(&self, stratum: u16) -> usize {
        self.firsts.partition_point(|first| *first <= stratum).saturating_sub(1).min(self.routes().saturating_sub(1))
    }

    /// Whether a deciding rule is the weights of its route: the others are targets.
    pub fn is_weights(&self, stratum: u16) -> bool {
        self.firsts.binary_search(&stratum).is_ok()
    }

    /// One route; all of them without one.
    pub fn scope(&self, route: Option<usize>) -> JudgedScope {
        let (first_route, end_route) = route.map_or((0, self.routes()), |route| (route, route + 1));
        let first = |route: usize| self.firsts.get(route).copied().unwrap_or(0);
        JudgedScope { first_route, end_route, first_stratum: first(first_route), end_stratum: first(end_route) }
    }
}

impl JudgedScope {
    pub const fn has(self, stratum: u16) -> bool {
        stratum >= self.first_stratum && stratum < self.end_stratum
    }

    pub const fn routes(self) -> std::ops::Range<usize> {
        self.first_route..self.end_route
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_routes_lie_one_after_the_other() {
        let route = |strata| JudgedRoute { name: String::new(), strata, shares: Vec::new() };
        let group = JudgedGroup {
            guards: Guards::default(),
            scopes: Vec::new(),
            arms: Vec::new(),
            routes: vec![route(1), route(3), route(2)],
        };
        let layout = group.layout();
        assert_eq!((layout.routes(), layout.shape.strata), (3, 6));
        assert_eq!([0, 1, 2, 3, 4, 5].map(|stratum| layout.route_of(stratum)), [0, 1, 1, 1, 2, 2]);
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(|stratum| layout.is_weights(stratum)),
            [true, true, false, false, true, false]
        );
        let middle = layout.scope(Some(1));
        assert_eq!([0, 1, 3, 4].map(|stratum| middle.has(stratum)), [false, true, true, false]);
        assert!((0..6).all(|stratum| layout.scope(None).has(stratum)));
        assert_eq!(layout.scope(None).routes(), 0..3);
    }
}
