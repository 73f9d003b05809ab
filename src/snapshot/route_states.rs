//! The states of all routes. What an overlay renews lies beside them, so that its cost does not depend on their number, and
//! what every worker needs to know about all routes is computed once, before they are published.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use super::route_state::RouteState;
use crate::route::{Generation, RouteId, RouteMoves};
use crate::telemetry::Sample;

/// The states of all routes, in the order of the rules. Immutable; a clone shares them.
#[derive(Clone, Debug, Default)]
pub struct RouteStates {
    all: Arc<[Arc<RouteState>]>,
    /// The samples that overlays have renewed, sorted by route.
    renewed: Arc<[(RouteId, Arc<Sample>)]>,
    facts: Arc<RouteFacts>,
}

/// What a reload computes of all states.
#[derive(Debug, Default)]
struct RouteFacts {
    has_shadows: bool,
    /// The routes by the numbers of their watches, sorted.
    watches: Box<[(u32, RouteId)]>,
    order: Arc<RouteOrder>,
}

/// An order of names of routes.
#[derive(Debug, Default)]
struct RouteOrder {
    /// The generation that has brought it, which identifies it; 0: it is not known to be that of other states.
    since: Generation,
    /// The order before, by the same number.
    before: Generation,
    /// How the routes have moved from the order before.
    moves: RouteMoves,
}

impl Deref for RouteStates {
    type Target = [Arc<RouteState>];

    #[inline]
    fn deref(&self) -> &[Arc<RouteState>] {
        &self.all
    }
}

impl FromIterator<Arc<RouteState>> for RouteStates {
    fn from_iter<I: IntoIterator<Item = Arc<RouteState>>>(states: I) -> Self {
        Self::with_order(states.into_iter().collect(), Arc::default())
    }
}

impl From<Vec<Arc<RouteState>>> for RouteStates {
    fn from(states: Vec<Arc<RouteState>>) -> Self {
        states.into_iter().collect()
    }
}

impl RouteStates {
    /// The states of the first generation.
    #[must_use]
    pub fn first(states: Vec<Arc<RouteState>>, generation: Generation) -> Self {
        let order = RouteOrder { since: generation, ..RouteOrder::default() };
        Self::with_order(states.into(), Arc::new(order))
    }

    /// The states of a generation after this one, whose routes have moved like this.
    #[must_use]
    pub fn next(&self, states: Vec<Arc<RouteState>>, generation: Generation, moves: RouteMoves) -> Self {
        let known = &self.facts.order;
        let order = if moves.is_none() {
            Arc::clone(known)
        } else {
            Arc::new(RouteOrder { since: generation, before: known.since, moves })
        };
        Self::with_order(states.into(), order)
    }

    fn with_order(all: Arc<[Arc<RouteState>]>, order: Arc<RouteOrder>) -> Self {
        let has_shadows = all.iter().any(|state| state.shadow.is_some());
        let watch = |(state, id): (&Arc<RouteState>, u32)| Some((state.watch.as_ref()?.id(), RouteId(id)));
        let mut watches: Box<[_]> = all.iter().zip(0..).filter_map(watch).collect();
        watches.sort_unstable();
        Self { all, renewed: Arc::default(), facts: Arc::new(RouteFacts { has_shadows, watches, order }) }
    }

    /// These states with new samples of some routes.
    #[must_use]
    pub fn with_samples(&self, samples: Vec<(RouteId, Arc<Sample>)>) -> Self {
        let mut next = self.clone();
        if !samples.is_empty() {
            next.renewed = merged(&self.renewed, samples);
        }
        debug_assert!(next.renewed.is_sorted_by(|(a, _), (b, _)| a < b), "`sample` searches by route");
        next
    }

    /// The random sample of the decisions of a route by its current weights; `None` for a route with one variant.
    #[must_use]
    #[inline]
    pub fn sample(&self, route: RouteId) -> Option<&Arc<Sample>> {
        if self.renewed.is_empty() { self.all.get(route.0 as usize)?.sample.as_ref() } else { self.find_sample(route) }
    }

    fn find_sample(&self, route: RouteId) -> Option<&Arc<Sample>> {
        match self.renewed_sample(route) {
            Some(sample) => Some(sample),
            None => self.all.get(route.0 as usize)?.sample.as_ref(),
        }
    }

    /// The sample of a route, if an overlay has renewed it.
    #[must_use]
    pub fn renewed_sample(&self, route: RouteId) -> Option<&Arc<Sample>> {
        let at = self.renewed.binary_search_by_key(&route, |(id, _)| *id).ok()?;
        self.renewed.get(at).map(|(_, sample)| sample)
    }

    /// Whether any route has a shadow.
    #[must_use]
    pub fn have_shadows(&self) -> bool {
        self.facts.has_shadows
    }

    /// The route of the watch with this number.
    #[must_use]
    pub fn find_watch(&self, number: u32) -> Option<RouteId> {
        let watches = &self.facts.watches;
        let at = watches.binary_search_by_key(&number, |(known, _)| *known).ok()?;
        watches.get(at).map(|(_, route)| *route)
    }

    /// What a worker has for each route of `old`, for these routes by their names, and `make` for a route that is new; shared
    /// where the order of names is the same. `None`: how the routes have moved since `old` is not known.
    #[must_use]
    pub fn carry<T: Clone>(&self, old: &Self, values: &Rc<[T]>, make: impl Fn(RouteId) -> T) -> Option<Rc<[T]>> {
        let (order, known) = (&self.facts.order, old.facts.order.since);
        if known == Generation::default() {
            return None;
        }
        if order.since == known {
            debug_assert_eq!(self.all.len(), values.len(), "the same order has as many routes");
            return Some(Rc::clone(values));
        }
        if order.before == known { order.moves.carry(values, make) } else { None }
    }

    /// Whether both are the same states with the same samples.
    #[must_use]
    pub fn are_shared_with(&self, other: &Self) -> bool {
        self.have_same_states(other) && Arc::ptr_eq(&self.renewed, &other.renewed)
    }

    /// Whether both are the same states, maybe with other samples.
    #[must_use]
    pub fn have_same_states(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.all, &other.all)
    }
}

/// Both lists of samples, sorted by route. A sample of `new` replaces that of `old`.
fn merged(old: &[(RouteId, Arc<Sample>)], mut new: Vec<(RouteId, Arc<Sample>)>) -> Arc<[(RouteId, Arc<Sample>)]> {
    new.sort_by_key(|(route, _)| *route);
    let mut all = Vec::with_capacity(old.len() + new.len());
    let mut kept = old.iter().peekable();
    for (route, sample) in new {
        while let Some(before) = kept.next_if(|(known, _)| *known < route) {
            all.push(before.clone());
        }
        kept.next_if(|(known, _)| *known == route);
        all.push((route, sample));
    }
    all.extend(kept.cloned());
    all.into()
}
