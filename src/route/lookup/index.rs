//! The index that finds a request's route: by host, then path, then the rest, in time that does not grow with the
//! number of routes.
//!
//! Hosts are tried from the exact one over wildcards, longest first, to routes for any host; within a host, paths from
//! the exact one over regexes, longest pattern first, to prefixes, longest first; within a path, routes with methods
//! first, then those with more predicates, then those that stand earlier in the file. The first route of that order
//! whose methods and predicates hold takes the request: when all routes of the best path refuse it, the next best path
//! is asked, then the next best host.
//!
//! `priority` overrides all of this: routes with a positive one are asked before all others and the highest that holds
//! wins, wherever it was found; routes with a negative one are asked when nobody else wants the request.

use super::candidate::Candidate;
use super::table::{Lookup, Table};
use crate::route::{RequestHead, Route, RouteId};

/// Finds routes. Built once when the file is compiled.
#[derive(Clone, Debug, Default)]
pub struct Index {
    raised: Table,
    level: Table,
    lowered: Table,
}

impl Index {
    /// Builds the index of these routes.
    #[must_use]
    pub fn new(routes: &[Route]) -> Self {
        let mut index = Self::default();
        for (route, id) in routes.iter().zip(0..) {
            let table = match route.matches.priority {
                1.. => &mut index.raised,
                0 => &mut index.level,
                ..0 => &mut index.lowered,
            };
            table.insert(&route.matches, Candidate::new(&route.matches, RouteId(id)));
        }
        for table in [&mut index.raised, &mut index.level, &mut index.lowered] {
            table.finish();
        }
        index
    }

    /// The route of this request. Allocates nothing.
    #[must_use]
    pub fn find(&self, routes: &[Route], head: &RequestHead<'_>) -> Option<Lookup> {
        self.raised
            .highest(routes, head)
            .or_else(|| self.level.first(routes, head))
            .or_else(|| self.lowered.highest(routes, head))
    }
}
