//! The index that finds a request's route: by host, then path, then the rest, in time that does not grow with the
//! number of routes.
//!
//! Order of hosts: exact, then wildcards (longest first), then routes for any host. Within a host, order of paths:
//! exact, then regexes (longest pattern first), then prefixes (longest first). Within a path: routes with methods, then
//! routes with more predicates, then file order. The first route in this order whose methods and predicates match is
//! used. If no route of the best path matches, the next best path is tried, then the next best host.
//!
//! `priority` overrides this order: routes with a positive priority are tried before all others, and the highest one
//! that matches wins, whatever its host and path; routes with a negative priority are tried if no other route matches.

use std::sync::Arc;

use super::candidate::Candidate;
use super::table::{Lookup, Table};
use crate::route::{RequestHead, Route, RouteId};

/// Finds the route of a request. Built once per configuration; a clone shares it.
#[derive(Clone, Debug, Default)]
pub struct Index(Arc<Tables>);

/// The tables, by the sign of the priority.
#[derive(Debug, Default)]
struct Tables {
    raised: Table,
    level: Table,
    lowered: Table,
}

impl Index {
    /// The index of these routes.
    #[must_use]
    pub fn new(routes: &[Route]) -> Self {
        let mut index = Tables::default();
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
        Self(Arc::new(index))
    }

    /// The route of this request. No allocation.
    #[must_use]
    pub fn find(&self, routes: &[Route], head: &RequestHead<'_>) -> Option<Lookup> {
        // In `level` all priorities are 0, so the first match is the best one.
        let Tables { raised, level, lowered } = &*self.0;
        raised.highest(routes, head).or_else(|| level.first(routes, head)).or_else(|| lowered.highest(routes, head))
    }
}
