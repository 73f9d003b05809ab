//! One table of the index: the order in which hosts are tried.

use std::ops::ControlFlow;

use super::candidate::Candidate;
use super::tree::{Scope, Tree};
use crate::route::{HostPattern, Match, RequestPlace, RouteId};

/// The result of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The route.
    pub route: RouteId,
    /// The number of bytes of the path that the prefix covers; the whole path for exact and regex patterns.
    pub matched: usize,
}

/// Hosts and paths of the routes whose priorities have the same sign.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    tree: Tree,
    wildcards: Wildcards,
    /// How many routes it has. Most tables of a raised or lowered priority have none, and are not searched.
    routes: u32,
}

/// Whether a table has wildcards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wildcards {
    #[default]
    Absent,
    Present,
}

impl Table {
    /// Adds a route under all its hosts and paths.
    pub(super) fn insert(&mut self, matches: &Match, candidate: Candidate) {
        self.routes += 1;
        if matches.hosts.is_empty() {
            self.tree.insert(Scope::Any, &matches.paths, candidate);
        }
        for host in &matches.hosts {
            let scope = match host {
                HostPattern::Exact(name) => Scope::Exact(name),
                HostPattern::Wildcard(suffix) => {
                    self.wildcards = Wildcards::Present;
                    Scope::Wildcard(suffix)
                }
            };
            self.tree.insert(scope, &matches.paths, candidate);
        }
    }

    /// Sorts all lists. Call once, after the last insertion.
    pub(super) fn finish(&mut self) {
        self.tree.finish();
    }

    /// The first route that matches.
    #[inline]
    pub(super) fn first(&self, place: RequestPlace<'_>, accepts: &impl Fn(&Candidate) -> bool) -> Option<Lookup> {
        self.walk(place, |candidates, matched| match candidates.iter().find(|candidate| accepts(candidate)) {
            Some(candidate) => ControlFlow::Break(Lookup { route: candidate.id, matched }),
            None => ControlFlow::Continue(()),
        })
        .break_value()
    }

    /// The matching route with the highest priority; the first one of those with the same priority.
    #[inline]
    pub(super) fn highest(&self, place: RequestPlace<'_>, accepts: &impl Fn(&Candidate) -> bool) -> Option<Lookup> {
        if self.routes == 0 {
            return None;
        }
        let mut best: Option<(i32, Lookup)> = None;
        let walked: ControlFlow<()> = self.walk(place, |candidates, matched| {
            // A list is sorted by priority, so its first match is its best.
            let rivals = candidates.iter().take_while(|c| best.is_none_or(|(priority, _)| c.priority > priority));
            for candidate in rivals {
                if accepts(candidate) {
                    best = Some((candidate.priority, Lookup { route: candidate.id, matched }));
                    break;
                }
            }
            ControlFlow::Continue(())
        });
        debug_assert!(walked.is_continue(), "the visitor never breaks");
        best.map(|(_, lookup)| lookup)
    }

    /// Visits the lists that match host and path, best first, with the number of path bytes that the pattern covers.
    fn walk<B>(
        &self,
        place: RequestPlace<'_>,
        mut visit: impl FnMut(&[Candidate], usize) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let RequestPlace { host, path } = place;
        self.tree.walk(Scope::Exact(host), path, &mut visit)?;
        if self.wildcards == Wildcards::Present {
            // From the left: the longest suffix comes first. `*` covers at least one byte, so a dot at 0 is skipped.
            for dot in memchr::memchr_iter(b'.', host.as_bytes()).filter(|&dot| dot > 0) {
                self.tree.walk(Scope::Wildcard(&host[dot..]), path, &mut visit)?;
            }
        }
        self.tree.walk(Scope::Any, path, &mut visit)
    }
}
