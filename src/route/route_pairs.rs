//! The routes of two rules, paired by name. A reload changes few routes: those before and behind them pair by position, and
//! only the part between needs a table.

use ahash::HashMap;

use super::{Route, RouteId, Rules};

/// The routes of new rules, each with the route of this name in the old ones.
#[derive(Debug)]
pub struct RoutePairs<'a> {
    old: usize,
    new: &'a [Route],
    /// So many routes at the begin have the same position from the begin.
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
        let behind = self.new.len().checked_sub(at).filter(|behind| *behind > 0)?;
        if behind <= self.tail {
            return u32::try_from(self.old - behind).ok().map(RouteId);
        }
        self.between.get(self.new.get(at)?.name.as_str()).copied()
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
