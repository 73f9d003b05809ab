//! One table of the index: the order in which hosts are tried.

use std::ops::ControlFlow;

use super::candidate::Candidate;
use super::tree::{Scope, Tree};
use crate::route::{HostPattern, Match, RequestHead, Route, RouteId};

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
    pub(super) fn first(&self, routes: &[Route], head: &RequestHead<'_>) -> Option<Lookup> {
        self.walk(head, |candidates, matched| {
            match candidates.iter().find(|candidate| candidate.accepts(routes, head)) {
                Some(candidate) => ControlFlow::Break(Lookup { route: candidate.id, matched }),
                None => ControlFlow::Continue(()),
            }
        })
        .break_value()
    }

    /// The matching route with the highest priority; the first one of those with the same priority.
    pub(super) fn highest(&self, routes: &[Route], head: &RequestHead<'_>) -> Option<Lookup> {
        let mut best: Option<(i32, Lookup)> = None;
        let walked: ControlFlow<()> = self.walk(head, |candidates, matched| {
            // A list is sorted by priority, so its first match is its best.
            let rivals = candidates.iter().take_while(|c| best.is_none_or(|(priority, _)| c.priority > priority));
            for candidate in rivals {
                if candidate.accepts(routes, head) {
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
        head: &RequestHead<'_>,
        mut visit: impl FnMut(&[Candidate], usize) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        self.tree.walk(Scope::Exact(head.host), head.path, &mut visit)?;
        if self.wildcards == Wildcards::Present {
            // From the left: the longest suffix comes first. `*` covers at least one byte, so a dot at 0 is skipped.
            for dot in memchr::memchr_iter(b'.', head.host.as_bytes()).filter(|&dot| dot > 0) {
                self.tree.walk(Scope::Wildcard(&head.host[dot..]), head.path, &mut visit)?;
            }
        }
        self.tree.walk(Scope::Any, head.path, &mut visit)
    }
}
