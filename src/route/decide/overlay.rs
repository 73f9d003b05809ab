//! What is in force now, beside [`Rules`], which is what the files say: the weights of variants, kills and latches.
//!
//! The first overlay of some rules is what their files say. A kill, a step of a ramp or a rollback makes a new overlay:
//! it shares the base and holds the routes that differ from it, so that its cost follows the number of those and not the
//! number of routes. The weights of targets and shadows stay in `Rules`: they choose an audience and a sample, and no
//! release plan moves them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::route::{Bucket, RouteId, Rules, TenantList, VariantId, Weight};

/// What is in force now. Immutable; a clone copies no route.
#[derive(Clone, Debug)]
pub struct Overlay {
    kill: Kill,
    /// As the files say, by route; empty for a route that does not split.
    base: Arc<[SplitState]>,
    /// The routes that differ from the files, by their ids.
    changed: Arc<[(RouteId, SplitState)]>,
}

/// `[kill]`, beside the routes and variants that it names: those are in their [`SplitState`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kill {
    /// `all = true`.
    pub all: bool,
    /// These tenants always get stable.
    pub tenants: TenantList,
    /// Close streaming connections of killed variants after this.
    pub close_streams: Option<Duration>,
}

/// What is in force of a split: a kill of the whole route, and the state of each of its variants. The ranges of the
/// variants never overlap, and stable has the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitState {
    killed: bool,
    /// By [`VariantId`].
    arms: Box<[ArmState]>,
}

/// What is in force of a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArmState {
    /// Its first bucket; stable: the sum of the others' weights.
    pub start: u32,
    /// Its share; for stable what the others leave.
    pub weight: Weight,
    /// It is killed; stable never is.
    pub killed: bool,
    /// It was rolled back; stable never is. A kill neither sets nor clears it.
    pub latched: bool,
}

/// Why a variant is out of service. Its buckets are stable's; they are never handed to another one. A variant that is both
/// killed and latched is stopped by the kill, and by the latch when the kill has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is killed.
    Kill,
    /// It was rolled back.
    Latch,
}

/// The effective configuration: what the files say, and what is in force now.
#[derive(Clone, Copy, Debug)]
pub struct EffectiveConfig<'a> {
    /// What the files say.
    pub rules: &'a Rules,
    /// What is in force; of the same rules.
    pub overlay: &'a Overlay,
}

impl Overlay {
    /// What the files say: `[kill]`, and the state of each route.
    #[must_use]
    pub fn new(kill: Kill, base: Vec<SplitState>) -> Self {
        Self { kill, base: base.into(), changed: Arc::default() }
    }

    /// `[kill]`, beside the routes and variants that it names.
    #[must_use]
    #[inline]
    pub const fn kill(&self) -> &Kill {
        &self.kill
    }

    /// What is in force of a route.
    ///
    /// # Panics
    /// When the id is of other rules.
    #[must_use]
    #[inline]
    pub fn split(&self, route: RouteId) -> &SplitState {
        if self.changed.is_empty() { &self.base[route.0 as usize] } else { self.find(route) }
    }

    fn find(&self, route: RouteId) -> &SplitState {
        match self.changed.binary_search_by_key(&route, |(id, _)| *id) {
            Ok(at) => &self.changed[at].1,
            Err(_) => &self.base[route.0 as usize],
        }
    }

    /// How many routes it has the states of: all of its rules.
    #[must_use]
    pub fn routes(&self) -> usize {
        self.base.len()
    }

    /// The routes that differ from the files.
    #[must_use]
    pub fn changed(&self) -> &[(RouteId, SplitState)] {
        &self.changed
    }

    /// The same with these states of routes.
    ///
    /// # Panics
    /// When an id is of other rules.
    #[must_use]
    pub fn with(&self, changes: impl IntoIterator<Item = (RouteId, SplitState)>) -> Self {
        let mut differing: BTreeMap<RouteId, SplitState> = self.changed.iter().cloned().collect();
        for (route, state) in changes {
            let base = &self.base[route.0 as usize];
            debug_assert_eq!(base.arms.len(), state.arms.len(), "a state of another route");
            if *base == state {
                differing.remove(&route);
            } else {
                differing.insert(route, state);
            }
        }
        Self { kill: self.kill.clone(), base: Arc::clone(&self.base), changed: differing.into_iter().collect() }
    }

    /// The same with this `[kill]`; kills of single routes and variants stay.
    #[must_use]
    pub fn with_kill(&self, kill: Kill) -> Self {
        Self { kill, base: Arc::clone(&self.base), changed: Arc::clone(&self.changed) }
    }

    /// The same without any kill; nothing when no kill is in force. One look at each route.
    #[must_use]
    pub fn unkilled(&self) -> Option<Self> {
        let all = (0..).map(RouteId).take(self.base.len());
        let revived: Vec<_> = all.filter_map(|route| Some((route, self.split(route).unkilled()?))).collect();
        let is_killed = self.kill.all || !self.kill.tenants.is_empty() || !revived.is_empty();
        is_killed.then(|| self.with(revived).with_kill(Kill::default()))
    }

    /// The scope of a kill that stands above all rules: `all`, `route` or `tenant`.
    #[inline]
    pub(super) fn kill_scope(&self, split: &SplitState, tenant: Option<&str>) -> Option<&'static str> {
        if self.kill.all {
            return Some("all");
        }
        if split.killed {
            return Some("route");
        }
        self.kill.tenants.contains(tenant?).then_some("tenant")
    }

    /// Whether a kill covers what a variant of a route serves to a caller of this tenant; `None` is a variant that the
    /// route does not have. Stable is never killed.
    #[must_use]
    pub fn kills(&self, route: RouteId, variant: Option<VariantId>, tenant: Option<&str>) -> bool {
        let split = self.split(route);
        let by_name = || variant.and_then(|id| split.stopped(id)) == Some(Stop::Kill);
        variant != Some(VariantId::STABLE) && (self.kill_scope(split, tenant).is_some() || by_name())
    }
}

impl SplitState {
    /// The state of a split whose variants beside stable have these weights, in their order; nothing when they exceed
    /// 100 % in sum.
    #[must_use]
    pub fn new(weights: &[Weight]) -> Option<Self> {
        let mut arms = Vec::with_capacity(1 + weights.len());
        arms.push(ArmState::new(0, Weight::FULL));
        let mut start = 0_u32;
        for &weight in weights {
            arms.push(ArmState::new(start, weight));
            start = start.checked_add(weight.millionths())?;
        }
        let rest = Weight::FULL.millionths().checked_sub(start)?;
        arms[0] = ArmState::new(start, Weight::from_millionths(rest)?);
        Some(Self { killed: false, arms: arms.into() })
    }

    /// Whether the whole route is killed.
    #[must_use]
    pub const fn is_killed(&self) -> bool {
        self.killed
    }

    /// The variants, stable first.
    #[must_use]
    #[inline]
    pub const fn arms(&self) -> &[ArmState] {
        &self.arms
    }

    /// The variant that owns `bucket` by weight alone; stable when no other one does.
    #[must_use]
    #[inline]
    pub fn owner(&self, bucket: Bucket) -> VariantId {
        for (arm, id) in self.others() {
            if bucket.number().wrapping_sub(arm.start) < arm.weight.millionths() {
                return id;
            }
        }
        VariantId::STABLE
    }

    /// Whether stable owns all buckets: no other variant has a weight.
    #[inline]
    pub(in crate::route) fn is_undivided(&self) -> bool {
        self.arms.first().is_none_or(|stable| stable.weight == Weight::FULL)
    }

    /// The variant beside stable that owns all buckets, if there is one.
    pub(in crate::route) fn owner_of_all(&self) -> Option<VariantId> {
        self.others().find_map(|(arm, id)| (arm.weight == Weight::FULL).then_some(id))
    }

    /// The variants beside stable.
    #[inline]
    fn others(&self) -> impl Iterator<Item = (&ArmState, VariantId)> {
        let others = self.arms.split_first().map_or(&[][..], |(_, others)| others);
        others.iter().zip((1..).map(VariantId))
    }

    /// Why a variant is out of service.
    #[must_use]
    #[inline]
    pub fn stopped(&self, variant: VariantId) -> Option<Stop> {
        self.arms.get(usize::from(variant.0)).and_then(ArmState::stopped)
    }

    /// Kills the whole route.
    pub const fn kill(&mut self) {
        self.killed = true;
    }

    /// Stops a variant. Stable and variants that the split does not have are left alone.
    pub fn stop(&mut self, variant: VariantId, stop: Stop) {
        if variant != VariantId::STABLE
            && let Some(arm) = self.arms.get_mut(usize::from(variant.0))
        {
            match stop {
                Stop::Kill => arm.killed = true,
                Stop::Latch => arm.latched = true,
            }
        }
    }

    /// The same with another weight of a variant; the ranges of those behind it move. Nothing when the weights then
    /// exceed 100 % in sum, and for stable, whose weight is what the others leave.
    #[must_use]
    pub fn with_weight(&self, variant: VariantId, weight: Weight) -> Option<Self> {
        let mut weights: Vec<Weight> = self.arms.iter().skip(1).map(|arm| arm.weight).collect();
        *weights.get_mut(usize::from(variant.0).checked_sub(1)?)? = weight;
        let mut state = Self { killed: self.killed, ..Self::new(&weights)? };
        let stops = state.arms.iter_mut().zip(&self.arms);
        stops.for_each(|(arm, old)| (arm.killed, arm.latched) = (old.killed, old.latched));
        Some(state)
    }

    /// The same without kills; nothing when there is none.
    fn unkilled(&self) -> Option<Self> {
        if !self.killed && !self.arms.iter().any(|arm| arm.killed) {
            return None;
        }
        let mut state = Self { killed: false, ..self.clone() };
        state.arms.iter_mut().for_each(|arm| arm.killed = false);
        Some(state)
    }
}

impl ArmState {
    const fn new(start: u32, weight: Weight) -> Self {
        Self { start, weight, killed: false, latched: false }
    }

    /// Why it is out of service.
    #[must_use]
    #[inline]
    pub const fn stopped(&self) -> Option<Stop> {
        if self.killed {
            Some(Stop::Kill)
        } else if self.latched {
            Some(Stop::Latch)
        } else {
            None
        }
    }
}

impl Stop {
    /// What a stopped variant is, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Latch => "latched",
            Self::Kill => "killed",
        }
    }
}
