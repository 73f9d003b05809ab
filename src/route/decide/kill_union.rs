//! The overlay in force: the union of the file's kills and those by people.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::called_kills::{CalledKill, CalledKills, StreamPlace};
use super::overlay::{Overlay, SplitState, Stop, StoppedVariant, VariantWeight};
use crate::route::{FoundScope, KillScope, RolloutMember, RouteId, RouteNames, Rules};

impl Overlay {
    /// This overlay, which is that of the file, with kills by people on top. Without any it is the file's overlay.
    /// Kills of routes, variants and shadows that the rules do not have change nothing.
    #[must_use]
    pub fn with_called_kills(&self, rules: &Rules, kills: &[CalledKill]) -> Self {
        let names = RouteNames::new(rules);
        let (mut called, mut changed) = (CalledKills::default(), BTreeMap::<RouteId, SplitState>::new());
        for kill in kills {
            match (names.find(&kill.scope), &kill.scope) {
                (Ok(FoundScope::All), _) => called.all = Some(kill.closing()),
                (Ok(FoundScope::Tenant), KillScope::Tenant(tenant)) => {
                    called.tenants.insert(tenant.as_str().into(), kill.closing());
                }
                (Ok(FoundScope::Route(route)), _) => {
                    self.edit(&mut changed, route).kill();
                    called.routes.insert(route, kill.closing());
                }
                (Ok(FoundScope::Variant(route, variant)), _) => {
                    self.edit(&mut changed, route).stop(variant, Stop::Kill);
                    called.variants.insert((route, variant), kill.closing());
                }
                (Ok(FoundScope::Rollout(id)), _) => {
                    for RolloutMember { route, variant } in &rules.rollout(id).members {
                        self.edit(&mut changed, *route).stop(*variant, Stop::Kill);
                        called.variants.insert((*route, *variant), kill.closing());
                    }
                }
                (Ok(FoundScope::Shadow(route)), _) => self.edit(&mut changed, route).kill_shadow(),
                // A tenant is found by its own scope alone. What the rules do not have stays out.
                (Ok(FoundScope::Tenant) | Err(_), _) => {}
            }
        }
        self.with(changed).with_called(Arc::new(called))
    }

    /// This overlay with other weights of these variants. One that is too large for its route, and one of a variant that the
    /// route does not have, changes nothing: validation rejects such plans.
    #[must_use]
    pub fn with_weights(&self, weights: &[VariantWeight]) -> Self {
        let mut changed = BTreeMap::<RouteId, SplitState>::new();
        for VariantWeight { route, variant, weight } in weights {
            debug_assert!((route.0 as usize) < self.routes(), "a route of these rules");
            let state = self.edit(&mut changed, *route);
            let next = state.with_weight(*variant, *weight);
            debug_assert!(next.is_some(), "the weights of a route add up to at most 100 %");
            if let Some(next) = next {
                *state = next;
            }
        }
        self.with(changed)
    }

    /// This overlay with latches and holds on top. Those of variants that the rules do not have change nothing.
    #[must_use]
    pub fn with_stopped(&self, rules: &Rules, stopped: &[StoppedVariant]) -> Self {
        if stopped.is_empty() {
            return self.clone();
        }
        let mut changed = BTreeMap::<RouteId, SplitState>::new();
        for StoppedVariant { route, variant, stop } in stopped {
            debug_assert!((route.0 as usize) < rules.routes.len(), "a route of these rules");
            self.edit(&mut changed, *route).stop(*variant, *stop);
        }
        self.with(changed)
    }

    fn edit<'a>(&self, changed: &'a mut BTreeMap<RouteId, SplitState>, route: RouteId) -> &'a mut SplitState {
        changed.entry(route).or_insert_with(|| self.split(route).clone())
    }

    /// After which time a stream is closed that a kill covers: the earliest of the kills that cover it. `None` when no
    /// kill covers it, or none of them closes streams.
    #[must_use]
    pub fn close_streams(&self, place: StreamPlace<'_>) -> Option<Duration> {
        if !self.kills(place.route, place.variant, place.tenant) {
            return None;
        }
        let of_file = self.kill().close_streams;
        let mut called = self.called().covering(place).peekable();
        let is_by_file = self.is_killed_by_file(place) || called.peek().is_none();
        let called = called.filter_map(|closing| closing.after(of_file));
        called.chain(of_file.filter(|_| is_by_file)).min()
    }
}
