//! The overlay: the current weights of variants, kills and latches. [`Rules`] has the rest of the configuration.
//!
//! The first overlay of a set of rules has the values of the files. A kill, a step of a ramp or a rollback makes a new
//! overlay, which shares the base and stores only the routes that differ, so its cost depends on the number of changed
//! routes and not on the number of routes. The weights of targets and shadows stay in `Rules`: they select an audience
//! or a sample, and no release plan changes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::called_kills::{CalledKills, StreamPlace};
use crate::route::{Bucket, RouteId, Rules, TenantList, VariantId, Weight};

/// The current weights, kills and latches. Immutable; a clone shares all routes.
#[derive(Clone, Debug, PartialEq)]
pub struct Overlay {
    /// `[kill]`; with `all` also when a person killed everything.
    kill: Kill,
    /// Whether any tenant is killed: spares most requests the look-up.
    kills_tenants: bool,
    /// `kill.all` of the file.
    all_by_file: bool,
    /// The kills by people; those of routes and variants are also in `changed`.
    called: Arc<CalledKills>,
    /// The values of the files by route; empty for a route without variants.
    base: Arc<[SplitState]>,
    /// The routes that differ from the files, sorted by id.
    changed: Arc<[(RouteId, SplitState)]>,
}

/// `[kill]`, without the routes, variants and shadows that it names: those are in their [`SplitState`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kill {
    /// `all = true`.
    pub all: bool,
    /// These tenants always get stable.
    pub tenants: TenantList,
    /// Close streaming connections of killed variants after this.
    pub close_streams: Option<Duration>,
}

/// The current state of a split: whether the route or its shadow is killed, and the state of each variant. The ranges of the variants
/// do not overlap, and stable has the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitState {
    killed: bool,
    /// Whether the shadow of the route is killed.
    shadow_killed: bool,
    /// By [`VariantId`].
    arms: Box<[ArmState]>,
}

/// The current state of a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArmState {
    /// The first bucket; for stable the sum of the other weights.
    pub start: u32,
    /// The share of the buckets; for stable the rest.
    pub weight: Weight,
    /// Whether the variant is killed; never for stable.
    pub killed: bool,
    /// Whether the variant was rolled back; never for stable. A kill neither sets nor clears the latch.
    pub latched: bool,
    /// Whether the variant is held at 0; never for stable.
    pub held: bool,
}

/// Why a variant is out of service. Stable serves its buckets; no other variant gets them. If a variant is both killed
/// and latched, the kill counts; when the kill is removed, the latch remains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Killed.
    Kill,
    /// Rolled back.
    Latch,
    /// Held at 0: none of its endpoints can be reached.
    Hold,
}

/// A variant that is out of service by a latch or a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoppedVariant {
    /// Its route.
    pub route: RouteId,
    /// Itself.
    pub variant: VariantId,
    /// Why.
    pub stop: Stop,
}

/// The weight of a variant, other than that of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VariantWeight {
    /// Its route.
    pub route: RouteId,
    /// Itself.
    pub variant: VariantId,
    /// Its weight.
    pub weight: Weight,
}

/// The effective configuration: the rules of the files and the current overlay.
#[derive(Clone, Copy, Debug)]
pub struct EffectiveConfig<'a> {
    /// The rules of the files.
    pub rules: &'a Rules,
    /// The current overlay of these rules.
    pub overlay: &'a Overlay,
}

impl Overlay {
    /// The overlay of the files: `[kill]`, and the state of each route.
    #[must_use]
    pub fn new(kill: Kill, base: Vec<SplitState>) -> Self {
        let (kills_tenants, all_by_file) = (!kill.tenants.is_empty(), kill.all);
        Self { kill, kills_tenants, all_by_file, called: Arc::default(), base: base.into(), changed: Arc::default() }
    }

    /// `[kill]`, without the routes, variants and shadows that it names. `all` is also set when a person killed everything; the
    /// tenants are those of the file.
    #[must_use]
    #[inline]
    pub const fn kill(&self) -> &Kill {
        &self.kill
    }

    /// The current state of a route.
    ///
    /// # Panics
    /// If the id belongs to other rules.
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

    /// The number of routes.
    #[must_use]
    pub fn routes(&self) -> usize {
        self.base.len()
    }

    /// The routes that differ from the files.
    #[must_use]
    pub fn changed(&self) -> &[(RouteId, SplitState)] {
        &self.changed
    }

    /// A copy with these states of routes.
    ///
    /// # Panics
    /// If an id belongs to other rules.
    #[must_use]
    pub fn with(&self, changes: impl IntoIterator<Item = (RouteId, SplitState)>) -> Self {
        let mut differing: BTreeMap<RouteId, SplitState> = self.changed.iter().cloned().collect();
        for (route, state) in changes {
            let base = &self.base[route.0 as usize];
            debug_assert_eq!(base.arms.len(), state.arms.len(), "the state belongs to another route");
            if *base == state {
                differing.remove(&route);
            } else {
                differing.insert(route, state);
            }
        }
        let sorted: Arc<[_]> = differing.into_iter().collect();
        debug_assert!(sorted.is_sorted_by(|(a, _), (b, _)| a < b), "`find` searches by id");
        Self { changed: sorted, ..self.clone() }
    }

    /// A copy with this `[kill]`; kills of single routes, variants and shadows stay, and those by people.
    #[must_use]
    pub fn with_kill(&self, kill: Kill) -> Self {
        Self { all_by_file: kill.all, kill, ..self.clone() }.with_called(Arc::clone(&self.called))
    }

    /// A copy with these kills by people; those of routes and variants are in `changed` already.
    pub(super) fn with_called(mut self, called: Arc<CalledKills>) -> Self {
        self.kill.all = self.all_by_file || called.all.is_some();
        self.kills_tenants = !self.kill.tenants.is_empty() || !called.tenants.is_empty();
        self.called = called;
        self
    }

    /// The kills by people.
    pub(super) fn called(&self) -> &CalledKills {
        &self.called
    }

    /// The number of killed tenants.
    #[must_use]
    pub fn killed_tenants(&self) -> usize {
        let tenants = &self.kill.tenants;
        tenants.len() + self.called.tenants.keys().filter(|tenant| !tenants.contains(tenant)).count()
    }

    /// A copy without kills; `None` if there is no kill. Visits each route once.
    #[must_use]
    pub fn unkilled(&self) -> Option<Self> {
        let all = (0..).map(RouteId).take(self.base.len());
        let revived: Vec<_> = all.filter_map(|route| Some((route, self.split(route).unkilled()?))).collect();
        let is_killed = self.kill.all || self.kills_tenants || !revived.is_empty();
        is_killed.then(|| self.with(revived).with_kill(Kill::default()).with_called(Arc::default()))
    }

    /// The scope of a kill that overrides all other rules: `all`, `route` or `tenant`.
    #[inline]
    pub(super) fn kill_scope(&self, split: &SplitState, tenant: Option<&str>) -> Option<&'static str> {
        if self.kill.all {
            return Some("all");
        }
        if split.killed {
            return Some("route");
        }
        if self.kills_tenants && self.kills_tenant(tenant?) { Some("tenant") } else { None }
    }

    fn kills_tenant(&self, tenant: &str) -> bool {
        self.kill.tenants.contains(tenant) || self.called.tenants.contains_key(tenant)
    }

    /// Whether a kill of the file covers this stream.
    pub(super) fn is_killed_by_file(&self, place: StreamPlace<'_>) -> bool {
        let StreamPlace { route, variant, tenant } = place;
        let state = &self.base[route.0 as usize];
        let by_name = || variant.and_then(|variant| state.stopped(variant)) == Some(Stop::Kill);
        self.all_by_file || state.killed || by_name() || tenant.is_some_and(|tenant| self.kill.tenants.contains(tenant))
    }

    /// The scope of a kill that stops the copies of a route: `all` or `shadow`.
    ///
    /// # Panics
    /// If the id belongs to other rules.
    #[must_use]
    #[inline]
    pub fn shadow_kill(&self, route: RouteId) -> Option<&'static str> {
        if self.kill.all {
            return Some("all");
        }
        self.split(route).shadow_killed.then_some("shadow")
    }

    /// Whether a kill covers this variant of a route for callers of this tenant; `None` is a variant that the route no
    /// longer has. Stable is never killed.
    #[must_use]
    pub fn kills(&self, route: RouteId, variant: Option<VariantId>, tenant: Option<&str>) -> bool {
        let split = self.split(route);
        let by_name = || variant.and_then(|id| split.stopped(id)) == Some(Stop::Kill);
        variant != Some(VariantId::STABLE) && (self.kill_scope(split, tenant).is_some() || by_name())
    }
}

impl SplitState {
    /// The state of a split whose variants other than stable have these weights, in this order; `None` if the sum
    /// exceeds 100 %.
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
        let state = Self { killed: false, shadow_killed: false, arms: arms.into() };
        debug_assert!(state.is_partition(), "the ranges of the variants are disjoint and sum to all buckets");
        Some(state)
    }

    /// Whether the whole route is killed.
    #[must_use]
    pub const fn is_killed(&self) -> bool {
        self.killed
    }

    /// Whether the shadow of the route is killed.
    #[must_use]
    pub const fn is_shadow_killed(&self) -> bool {
        self.shadow_killed
    }

    /// The variants, stable first.
    #[must_use]
    #[inline]
    pub const fn arms(&self) -> &[ArmState] {
        &self.arms
    }

    /// Whether the ranges of the variants follow each other, and stable has the rest of the buckets.
    fn is_partition(&self) -> bool {
        let Some((stable, others)) = self.arms.split_first() else { return true };
        let mut end = 0;
        let follow = others.iter().all(|arm| {
            let begins = arm.start == end;
            end += arm.weight.millionths();
            begins
        });
        follow && stable.start == end && end + stable.weight.millionths() == Weight::FULL.millionths()
    }

    /// The variant that owns `bucket` by weight; stable if no other variant does.
    #[must_use]
    #[inline]
    pub fn owner(&self, bucket: Bucket) -> VariantId {
        debug_assert!(bucket.number() < Weight::FULL.millionths(), "a bucket is below 1 000 000");
        for (arm, id) in self.others() {
            // One comparison for both ends: below `start` the subtraction wraps to a large number.
            if bucket.number().wrapping_sub(arm.start) < arm.weight.millionths() {
                return id;
            }
        }
        VariantId::STABLE
    }

    /// Whether stable owns all buckets, because no other variant has a weight.
    #[inline]
    pub(in crate::route) fn is_stable_only(&self) -> bool {
        self.arms.first().is_none_or(|stable| stable.weight == Weight::FULL)
    }

    /// The variant other than stable that owns all buckets, if there is one.
    pub(in crate::route) fn owner_of_all(&self) -> Option<VariantId> {
        self.others().find_map(|(arm, id)| (arm.weight == Weight::FULL).then_some(id))
    }

    /// The variants other than stable.
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

    /// Kills the shadow of the route.
    pub const fn kill_shadow(&mut self) {
        self.shadow_killed = true;
    }

    /// Stops a variant. Ignored for stable, and for variants that the split does not have.
    pub fn stop(&mut self, variant: VariantId, stop: Stop) {
        if variant != VariantId::STABLE
            && let Some(arm) = self.arms.get_mut(usize::from(variant.0))
        {
            match stop {
                Stop::Kill => arm.killed = true,
                Stop::Latch => arm.latched = true,
                Stop::Hold => arm.held = true,
            }
        }
    }

    /// A copy with another weight of a variant; the ranges after it move. `None` if the sum of the weights then exceeds
    /// 100 %, and for stable, whose weight is the rest.
    #[must_use]
    pub fn with_weight(&self, variant: VariantId, weight: Weight) -> Option<Self> {
        let mut weights: Vec<Weight> = self.arms.iter().skip(1).map(|arm| arm.weight).collect();
        *weights.get_mut(usize::from(variant.0).checked_sub(1)?)? = weight;
        let mut state = Self { killed: self.killed, shadow_killed: self.shadow_killed, ..Self::new(&weights)? };
        let stops = state.arms.iter_mut().zip(&self.arms);
        stops.for_each(|(arm, old)| (arm.killed, arm.latched, arm.held) = (old.killed, old.latched, old.held));
        debug_assert!(state.arms.first().is_none_or(|stable| stable.stopped().is_none()), "stable is never stopped");
        Some(state)
    }

    /// A copy with another weight of a variant, which is neither latched nor held; a kill stays. `None` as for
    /// [`Self::with_weight`].
    #[must_use]
    pub(in crate::route) fn running_at(&self, variant: VariantId, weight: Weight) -> Option<Self> {
        let mut state = self.with_weight(variant, weight)?;
        let arm = state.arms.get_mut(usize::from(variant.0))?;
        (arm.latched, arm.held) = (false, false);
        Some(state)
    }

    /// A copy without kills; `None` if there is no kill.
    fn unkilled(&self) -> Option<Self> {
        if !self.killed && !self.shadow_killed && !self.arms.iter().any(|arm| arm.killed) {
            return None;
        }
        let mut state = Self { killed: false, shadow_killed: false, ..self.clone() };
        state.arms.iter_mut().for_each(|arm| arm.killed = false);
        Some(state)
    }
}

impl ArmState {
    const fn new(start: u32, weight: Weight) -> Self {
        Self { start, weight, killed: false, latched: false, held: false }
    }

    /// Why the variant is out of service, if it is.
    #[must_use]
    #[inline]
    pub const fn stopped(&self) -> Option<Stop> {
        if self.killed {
            Some(Stop::Kill)
        } else if self.latched {
            Some(Stop::Latch)
        } else if self.held {
            Some(Stop::Hold)
        } else {
            None
        }
    }
}

impl Stop {
    /// The state of a stopped variant as text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Latch => "latched",
            Self::Hold => "held",
            Self::Kill => "killed",
        }
    }
}
