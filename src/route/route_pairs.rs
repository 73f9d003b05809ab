//! The routes of two rules, paired by name. A reload changes few routes: those before and behind them pair by position, and
//! only the part between needs a table.

use ahash::HashMap;

use super::{Route, RouteId, Rules};

/// The routes of new rules, each with the route of this name in the old ones.
#[derive(Debug)]
pub struct RoutePairs<'a> {
    old: usize,
    new: &'a [Route],
    /// So many routes at the start have the same position from the start.
    head: usize,
    /// So many routes at the end have the same position from the end.
    tail: usize,
    /// The other routes of the old rules.
    between: HashMap<&'a str, RouteId>,
}

impl<'a> RoutePairs<'a> {
    /// The pairs of these rules.
    #[must_use]
    pub fn new(old: &'a Rules, new: &'a Rules) -> Self {
        let (before, after) = (&*old.routes, &*new.routes);
        let is_same = |(a, b): &(&Route, &Route)| a.is_shared_with(b) || a.name == b.name;
        let head = before.iter().zip(after).take_while(is_same).count();
        let (rest, left) = (&before[head..], &after[head..]);
        let tail = rest.iter().rev().zip(left.iter().rev()).take_while(is_same).count();
        debug_assert!(head + tail <= before.len().min(after.len()), "a route is paired once");
        let between = old.numbered().skip(head).take(before.len() - head - tail);
        let between = between.map(|(id, route)| (route.name.as_str(), id)).collect();
        Self { old: before.len(), new: after, head, tail, between }
    }

    /// The old route with the name of this new one.
    #[must_use]
    pub fn old(&self, new: RouteId) -> Option<RouteId> {
        let at = new.0 as usize;
        if at < self.head {
            return Some(new);
        }
        let route = self.new.get(at)?;
        let behind = self.new.len() - at;
        if behind <= self.tail {
            return u32::try_from(self.old - behind).ok().map(RouteId);
        }
        self.between.get(route.name.as_str()).copied()
    }

    /// The same without the names.
    #[must_use]
    pub fn moves(&self) -> RouteMoves {
        let Self { old, new, head, tail, .. } = *self;
        let ids = (0..).map(RouteId).take(new.len() - tail).skip(head);
        RouteMoves { old, new: new.len(), head, tail, between: ids.map(|id| self.old(id)).collect() }
    }

    /// All pairs, in the order of the new rules.
    pub fn all(&self) -> impl Iterator<Item = (RouteId, Option<RouteId>)> {
        (0..).map(RouteId).take(self.new.len()).map(|new| (new, self.old(new)))
    }

    /// Whether the routes of both rules have another order.
    #[must_use]
    pub fn is_reordered(&self) -> bool {
        !self.all().filter_map(|(_, old)| old).is_sorted()
    }
}

/// Where the routes of new rules were in the old ones. What each worker has a route is carried over by it, without a look at
/// names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteMoves {
    old: usize,
    new: usize,
    head: usize,
    tail: usize,
    /// For each new route between: the old one of this name.
    between: Box<[Option<RouteId>]>,
}

impl RouteMoves {
    /// Whether each route has the same position as before, and none was added or removed.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.head == self.new && self.old == self.new
    }

    /// The values of the new routes, in order: those of the old ones, and `make` for a route that is new. `None`: `old` has
    /// another number of routes.
    #[must_use]
    pub fn carry<T: Clone, C: FromIterator<T>>(&self, old: &[T], make: impl Fn(RouteId) -> T) -> Option<C> {
        if old.len() != self.old {
            return None;
        }
        debug_assert!(self.head + self.tail <= old.len().min(self.new), "a route is carried over once");
        let one = |(at, was): (u32, &Option<RouteId>)| {
            let known = was.and_then(|id| old.get(id.0 as usize)).cloned();
            known.unwrap_or_else(|| make(RouteId(at)))
        };
        let between: Vec<T> = (0..).skip(self.head).zip(&self.between).map(one).collect();
        // The ends are copied as they are.
        let (head, tail) = (old.get(..self.head)?, old.get(self.old - self.tail..)?);
        Some(head.iter().cloned().chain(between).chain(tail.iter().cloned()).collect())
    }
}
