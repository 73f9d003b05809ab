//! Routes that share a host and a path, in the order in which they are tried.

use crate::route::matching::Predicate;
use crate::route::{Match, RequestHead, Route, RouteId};

/// A route in a list of those that share a host and a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// The route.
    pub(super) id: RouteId,
    /// Its `priority`.
    pub(super) priority: i32,
    /// The number of predicates.
    conditions: u32,
    /// Whether the route is restricted to some methods.
    methods: Methods,
}

/// Whether a route is restricted to some methods. The first variant is tried first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Methods {
    Some,
    Any,
}

impl Candidate {
    pub(super) fn new(matches: &Match, id: RouteId) -> Self {
        let conditions = matches.predicates.iter().map(Predicate::conditions).sum::<usize>();
        Self {
            id,
            priority: matches.priority,
            conditions: u32::try_from(conditions).unwrap_or(u32::MAX),
            methods: if matches.methods.is_empty() { Methods::Any } else { Methods::Some },
        }
    }

    /// The sort key within a list.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        (std::cmp::Reverse(self.priority), self.methods, std::cmp::Reverse(self.conditions), self.id)
    }

    /// Whether the route has neither methods nor predicates.
    #[inline]
    pub(super) fn is_unconditional(&self) -> bool {
        self.methods == Methods::Any && self.conditions == 0
    }

    /// Whether methods and predicates match.
    pub(super) fn accepts(&self, routes: &[Route], head: &RequestHead<'_>) -> bool {
        routes.get(self.id.0 as usize).is_some_and(|route| route.matches.accepts(head))
    }
}

/// Routes that share host and path; in most cases one route.
#[derive(Clone, Debug, Default)]
pub(super) enum List {
    #[default]
    None,
    One(Candidate),
    Many(Vec<Candidate>),
}

impl List {
    pub(super) fn push(&mut self, candidate: Candidate) {
        match self {
            Self::None => *self = Self::One(candidate),
            // A route with the same path twice is stored once.
            Self::One(first) if first.id == candidate.id => {}
            Self::One(first) => *self = Self::Many(vec![*first, candidate]),
            // The paths of a route are inserted in a row: the last entry is enough.
            Self::Many(all) if all.last().is_some_and(|last| last.id == candidate.id) => {}
            Self::Many(all) => all.push(candidate),
        }
    }

    pub(super) fn finish(&mut self) {
        if let Self::Many(all) = self {
            debug_assert!(all.len() > 1, "one route is stored as `One`");
            all.sort_by_key(Candidate::rank);
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(super) fn candidates(&self) -> &[Candidate] {
        match self {
            Self::None => &[],
            Self::One(candidate) => std::slice::from_ref(candidate),
            Self::Many(all) => all,
        }
    }
}
