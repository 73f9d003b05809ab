//! One table of the index: hosts, and for each of them its paths.

use std::ops::ControlFlow;

use ahash::HashMap;

use super::paths::Paths;
use super::predicate::Predicate;
use super::{Caller, Head, HostPattern, Lookup, Match, Route, RouteId};

/// A route in a list of those that share a host and a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// The route.
    pub(super) id: RouteId,
    /// Its `priority`.
    pub(super) priority: i32,
    /// How many predicates it has.
    conditions: u32,
    /// Whether it is for some methods only.
    methods: Methods,
}

/// Whether a route is for some methods only. Earlier is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Methods {
    Some,
    Any,
}

impl Candidate {
    /// A route as its list sees it.
    pub(super) fn new(matches: &Match, id: RouteId) -> Self {
        let conditions = matches.predicates.iter().map(Predicate::conditions).sum::<usize>();
        Self {
            id,
            priority: matches.priority,
            conditions: u32::try_from(conditions).unwrap_or(u32::MAX),
            methods: if matches.methods.is_empty() { Methods::Any } else { Methods::Some },
        }
    }

    /// The order within a list.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        (std::cmp::Reverse(self.priority), self.methods, std::cmp::Reverse(self.conditions), self.id)
    }

    /// Whether methods and predicates hold. Spares the look at the route when there are none.
    fn holds(&self, routes: &[Route], head: &Head<'_>) -> bool {
        if self.methods == Methods::Any && self.conditions == 0 {
            return true;
        }
        routes.get(self.id.0 as usize).is_some_and(|route| holds(&route.matches, head))
    }
}

/// Whether the methods and predicates of a route hold.
pub(super) fn holds(matches: &Match, head: &Head<'_>) -> bool {
    (matches.methods.is_empty() || matches.methods.contains(head.method))
        && matches.predicates.iter().all(|predicate| predicate_holds(predicate, head))
}

/// Whether a predicate of a route holds: they ask about headers, cookies and the query only, never about the caller.
pub(super) fn predicate_holds(predicate: &Predicate, head: &Head<'_>) -> bool {
    const NOBODY: Caller<'_> = Caller {
        client_ip: std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        trusted: false,
        tenant: None,
        user: None,
    };
    predicate.holds(head, &NOBODY, &[])
}

/// Hosts and their paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    exact: HashMap<Box<str>, Paths>,
    /// By suffix, with its dot.
    wildcards: HashMap<Box<str>, Paths>,
    any: Paths,
}

impl Table {
    /// Adds a route under all its hosts and paths.
    pub(super) fn insert(&mut self, matches: &Match, candidate: Candidate) {
        if matches.hosts.is_empty() {
            self.any.insert(&matches.paths, candidate);
        }
        for host in &matches.hosts {
            let (map, name) = match host {
                HostPattern::Exact(name) => (&mut self.exact, name),
                HostPattern::Wildcard(suffix) => (&mut self.wildcards, suffix),
            };
            match map.get_mut(name.as_str()) {
                Some(paths) => paths.insert(&matches.paths, candidate),
                None => map.entry(name.as_str().into()).or_default().insert(&matches.paths, candidate),
            }
        }
    }

    /// Sorts all lists; call once, after the last insertion.
    pub(super) fn finish(&mut self) {
        let named = self.exact.values_mut().chain(self.wildcards.values_mut());
        named.chain(std::iter::once(&mut self.any)).for_each(Paths::finish);
    }

    /// The first route that holds.
    pub(super) fn first(&self, routes: &[Route], head: &Head<'_>) -> Option<Lookup> {
        self.walk(head, |candidates, matched| match candidates.iter().find(|candidate| candidate.holds(routes, head)) {
            Some(candidate) => ControlFlow::Break(Lookup { route: candidate.id, matched }),
            None => ControlFlow::Continue(()),
        })
        .break_value()
    }

    /// The route with the highest priority that holds; the first of those with the same.
    pub(super) fn highest(&self, routes: &[Route], head: &Head<'_>) -> Option<Lookup> {
        let mut best: Option<(i32, Lookup)> = None;
        let walked: ControlFlow<()> = self.walk(head, |candidates, matched| {
            // A list is in order of priority: its first that holds is its best.
            let rivals = candidates.iter().take_while(|c| best.is_none_or(|(priority, _)| c.priority > priority));
            for candidate in rivals {
                if candidate.holds(routes, head) {
                    best = Some((candidate.priority, Lookup { route: candidate.id, matched }));
                    break;
                }
            }
            ControlFlow::Continue(())
        });
        debug_assert!(walked.is_continue(), "the walk goes to its end");
        best.map(|(_, lookup)| lookup)
    }

    /// Visits the lists that fit host and path, best first, each with the bytes of the path that its pattern covers.
    fn walk<B>(&self, head: &Head<'_>, mut visit: impl FnMut(&[Candidate], usize) -> ControlFlow<B>) -> ControlFlow<B> {
        if let Some(paths) = self.exact.get(head.host) {
            paths.walk(head.path, &mut visit)?;
        }
        if !self.wildcards.is_empty() {
            for dot in memchr::memchr_iter(b'.', head.host.as_bytes()).filter(|&dot| dot > 0) {
                if let Some(paths) = self.wildcards.get(&head.host[dot..]) {
                    paths.walk(head.path, &mut visit)?;
                }
            }
        }
        self.any.walk(head.path, &mut visit)
    }
}
