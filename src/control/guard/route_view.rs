//! What a snapshot says about one route, for its guards.

use std::sync::Arc;

use crate::failover::{EndpointHealth, EndpointStanding};
use crate::release::{ArmFacts, DownFacts};
use crate::route::{
    Guard, GuardAct, Guards, Rollout, Route, RouteId, Signal, Split, SplitState, UpstreamId, VariantId, Weight,
};
use crate::snapshot::{EndpointState, Snapshot};

/// After this many tries in a row that did not connect, an endpoint that may not be ejected counts as unusable.
const UNCONNECTED_MAX: u32 = 3;
/// Events of requests that were sent before that count nowhere.
const EVENTS_MS_MAX: u64 = 600_000;

/// A route of a snapshot that has variants.
#[derive(Clone, Copy, Debug)]
pub(in crate::control) struct RouteView<'a> {
    snapshot: &'a Snapshot,
    route: &'a Route,
    split: &'a Split,
    state: &'a SplitState,
}

impl<'a> RouteView<'a> {
    /// The route; `None` when it has no variants.
    pub fn new(snapshot: &'a Snapshot, id: RouteId) -> Option<Self> {
        let route = snapshot.rules.routes.get(id.0 as usize)?;
        let split = route.split()?;
        Some(Self { snapshot, route, split, state: snapshot.overlay.split(id) })
    }

    /// Its name.
    pub fn name(self) -> &'a str {
        &self.route.name
    }

    /// Its guards.
    pub const fn guards(self) -> &'a Guards {
        &self.split.guards
    }

    /// Whether some target deals callers by a weight: its weight or its audience may be another one after a reload.
    pub fn deals_by_target(self) -> bool {
        self.split.targets.iter().any(|target| target.weight.is_some())
    }

    /// The share of the callers of each variant, in the order of the variants: 0 while it is out of service. The callers of
    /// a variant that is out of service get stable, and are not counted.
    pub fn shares(self) -> Vec<f64> {
        let set = |variant| f64::from(self.weight(variant).millionths()) / f64::from(Weight::FULL.millionths());
        let others: f64 = self.numbered().skip(1).map(set).sum();
        let mut shares: Vec<f64> = self.numbered().map(|variant| self.share(variant)).collect();
        if let Some(stable) = shares.first_mut() {
            *stable = (1.0 - others).max(0.0);
        }
        debug_assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "a share is between 0 and 1");
        shares
    }

    /// The variants with their revisions and shares, stable first.
    pub fn arms(self) -> Vec<ArmFacts> {
        let moved = self.moved_variant();
        let arm = |((share, variant), id): ((f64, &crate::route::Variant), VariantId)| ArmFacts {
            name: variant.name.clone(),
            revision: self.snapshot.rules.revision_of(variant),
            share,
            by_rollout: moved == Some(id),
        };
        self.shares().into_iter().zip(&self.split.variants).zip(self.numbered()).map(arm).collect()
    }

    /// The rollout that moves its last variant.
    pub fn rollout(self) -> Option<&'a Rollout> {
        self.split.rollout.and_then(|id| self.snapshot.rules.rollouts.get(id.0 as usize))
    }

    /// The variant that a rollout moves: the last one.
    pub fn moved_variant(self) -> Option<VariantId> {
        self.split.rollout.and(self.numbered().last()).filter(|last| *last != VariantId::STABLE)
    }

    fn numbered(self) -> impl Iterator<Item = VariantId> {
        (0..).map(VariantId).take(self.split.variants.len())
    }

    fn share(self, variant: VariantId) -> f64 {
        let is_out = self.is_killed() || self.state.stopped(variant).is_some();
        if is_out { 0.0 } else { f64::from(self.weight(variant).millionths()) / f64::from(Weight::FULL.millionths()) }
    }

    fn weight(self, variant: VariantId) -> Weight {
        let arm = self.state.arms().get(usize::from(variant.0));
        arm.map_or(Weight::ZERO, |arm| arm.weight)
    }

    fn is_killed(self) -> bool {
        self.snapshot.overlay.kill().all || self.state.is_killed()
    }

    /// The weight that is set, in percent; a variant that is stopped keeps it.
    pub fn percent(self, variant: VariantId) -> f64 {
        self.weight(variant).percent()
    }

    /// Whether the file gives a variant requests, and no kill covers it.
    pub fn serves(self, variant: VariantId) -> bool {
        let arm = self.state.arms().get(usize::from(variant.0));
        let is_killed = self.is_killed() || arm.is_none_or(|arm| arm.killed);
        let is_named = || self.split.targets.iter().any(|target| target.serve == variant);
        !is_killed && (self.weight(variant) != Weight::ZERO || is_named())
    }

    /// The longest time limit of a request, in milliseconds: later events count nowhere.
    pub fn longest_wait_ms(self) -> u64 {
        let timeouts = &self.route.timeouts;
        let longest = timeouts.request.max(timeouts.per_try).filter(|_| timeouts.request.is_some());
        longest.map_or(EVENTS_MS_MAX, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).min(EVENTS_MS_MAX))
    }

    /// The upstream of a variant.
    pub fn upstream(self, variant: VariantId) -> Option<UpstreamId> {
        self.split.variants.get(usize::from(variant.0)).map(|variant| variant.upstream)
    }

    fn endpoints(self, variant: VariantId) -> impl Iterator<Item = &'a EndpointHealth> {
        let upstream = self.upstream(variant).and_then(|id| self.snapshot.upstreams.get(id.0 as usize));
        upstream.into_iter().flat_map(|upstream| upstream.endpoints.iter().map(|endpoint| &*endpoint.health))
    }

    /// Whether a variant has an endpoint that accepts requests.
    pub fn is_usable(self, variant: VariantId) -> bool {
        self.endpoints(variant).any(|one| one.is_usable() && one.unconnected_tries() < UNCONNECTED_MAX)
    }

    /// The tries of a variant's endpoints, when the last one at each did not connect. Endpoints that a person has taken out
    /// of service do not count.
    pub fn down(self, variant: VariantId) -> Option<DownFacts> {
        let mut down = DownFacts::default();
        for endpoint in self.endpoints(variant) {
            match endpoint.unconnected_tries() {
                _ if endpoint.is_drained() || endpoint.is_ejected_by_hand() => {}
                0 => return None,
                tries => {
                    down.endpoints += 1;
                    down.tries += u64::from(tries);
                }
            }
        }
        (down.endpoints > 0).then_some(down)
    }

    /// The endpoints of a variant that are ejected, unhealthy or fail.
    pub fn troubled(self, variant: VariantId, now_ms: u64) -> Vec<String> {
        let upstream = self.upstream(variant).and_then(|id| self.snapshot.upstreams.get(id.0 as usize));
        let is_bad = |endpoint: &&Arc<EndpointState>| match endpoint.health.view(now_ms).standing {
            EndpointStanding::Ejected
            | EndpointStanding::Trial
            | EndpointStanding::Failing
            | EndpointStanding::Unhealthy => true,
            EndpointStanding::Usable
            | EndpointStanding::Drained
            | EndpointStanding::Unknown
            | EndpointStanding::Standby => false,
        };
        let all = upstream.into_iter().flat_map(|upstream| upstream.endpoints.iter());
        all.filter(is_bad).map(|endpoint| endpoint.name.to_string()).collect()
    }

    /// Why stable is in trouble, in one line: it has no usable endpoint, or half of them or more are
    /// ejected, unhealthy or fail.
    pub fn stable_trouble(self, now_ms: u64) -> Option<String> {
        let (all, troubled) = (self.endpoints(VariantId::STABLE).count(), self.troubled(VariantId::STABLE, now_ms));
        if !self.is_usable(VariantId::STABLE) {
            return Some(format!("stable of route {} has no usable endpoint", self.name()));
        }
        (troubled.len() * 2 >= all && !troubled.is_empty()).then(|| {
            format!(
                "{} of {all} endpoints of stable of route {} are ejected, unhealthy or fail",
                troubled.len(),
                self.name()
            )
        })
    }

    /// What follows when a guard of errors trips for a variant; `None`: no such guard watches it.
    pub fn errors_act(self, variant: VariantId) -> Option<GuardAct> {
        self.guards_of_errors(variant).map(|guard| guard.act).max()
    }

    /// The names of the guards that count the errors of a variant.
    pub fn error_guards(self, variant: VariantId) -> Vec<&'a str> {
        self.guards_of_errors(variant).map(|guard| guard.name.as_str()).collect()
    }

    fn guards_of_errors(self, variant: VariantId) -> impl Iterator<Item = &'a Guard> {
        let guards = &self.split.guards;
        let counts_errors =
            |signal: Option<usize>| signal.is_some_and(|at| guards.signals.get(at) == Some(&Signal::Error));
        let own = guards.all.iter().filter(move |guard| guard.variant.is_none_or(|only| only == variant));
        own.filter(move |guard| counts_errors(guard.signal))
    }
}
