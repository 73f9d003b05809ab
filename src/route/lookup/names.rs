//! Finds a route by its name: kills, latches and rollouts name routes, and none of them looks at all routes.

use xxhash_rust::xxh3::xxh3_64;

use crate::route::{Route, RouteId};

/// The hash of each name with the route, sorted.
#[derive(Debug, Default)]
pub(super) struct NameTable(Box<[(u64, RouteId)]>);

impl NameTable {
    /// The names of these routes.
    pub(super) fn new(routes: &[Route]) -> Self {
        let hash = |route: &Route| xxh3_64(route.name.as_bytes());
        let mut all: Box<[_]> = routes.iter().map(hash).zip((0..).map(RouteId)).collect();
        all.sort_unstable();
        Self(all)
    }

    /// The route with this name among these routes, which are those of [`Self::new`] or others with the same names. Without a
    /// table all are searched.
    pub(super) fn find(&self, routes: &[Route], name: &str) -> Option<RouteId> {
        let is_it = |id: &RouteId| routes.get(id.0 as usize).is_some_and(|route| route.name == name);
        if self.0.len() != routes.len() {
            return (0..).map(RouteId).take(routes.len()).find(is_it);
        }
        let hash = xxh3_64(name.as_bytes());
        let from = self.0.partition_point(|(known, _)| *known < hash);
        debug_assert!(from <= self.0.len(), "a position of the table");
        let same = self.0.iter().skip(from).take_while(|(known, _)| *known == hash);
        same.map(|(_, id)| *id).find(is_it)
    }
}
