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

use std::ops::Deref;
use std::sync::Arc;

use super::candidate::Candidate;
use super::names::NameTable;
use super::table::{Lookup, Table};
use crate::route::{RequestHead, RequestPlace, Route, RouteId};

/// Finds the route of a request. Built once per configuration; a clone shares it.
#[derive(Clone, Debug, Default)]
pub struct Index(Arc<Tables>);

/// The tables, by the sign of the priority.
#[derive(Debug, Default)]
struct Tables {
    raised: Table,
    level: Table,
    lowered: Table,
    names: NameTable,
}

impl Index {
    /// The index of these routes.
    #[must_use]
    pub fn new(routes: &[Route]) -> Self {
        let mut index = Tables { names: NameTable::new(routes), ..Tables::default() };
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

    /// The route with this name; `routes` are those of the index. One look, whatever their number.
    #[must_use]
    pub fn find_name(&self, routes: &[Route], name: &str) -> Option<RouteId> {
        self.0.names.find(routes, name)
    }

    /// The route of this request. No allocation.
    #[must_use]
    pub fn find(&self, routes: &[Route], head: &RequestHead<'_>) -> Option<Lookup> {
        let place = RequestPlace { host: head.host, path: head.path.as_bytes() };
        self.find_at(routes, place, &head)
    }

    /// The route of a request at this place. `head` is read for a route with methods or predicates only.
    #[must_use]
    pub fn find_at<'a>(
        &self,
        routes: &[Route],
        place: RequestPlace<'_>,
        head: &impl Deref<Target = RequestHead<'a>>,
    ) -> Option<Lookup> {
        let accepts = |candidate: &Candidate| candidate.is_unconditional() || candidate.accepts(routes, head);
        // In `level` all priorities are 0, so the first match is the best one.
        let Tables { raised, level, lowered, names: _ } = &*self.0;
        raised
            .highest(place, &accepts)
            .or_else(|| level.first(place, &accepts))
            .or_else(|| lowered.highest(place, &accepts))
    }
}
