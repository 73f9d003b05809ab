//! The tree of one table: hosts, below them the elements of exact paths and prefixes, and the regexes of each host.
//!
//! The walk down hashes each element of the request's path once, independent of the number of routes. The walk back up
//! visits the prefixes, longest first.

use std::ops::ControlFlow;

use super::candidate::{Candidate, List};
use super::edges::{Below, Child, Edges, narrow};
use super::regexes::Regexes;
use crate::route::PathPattern;

/// The node for any host.
const ANY: u32 = 0;

/// The parent of exact hosts.
const EXACT_HOSTS: u32 = u32::MAX;

/// The parent of wildcards.
const WILDCARDS: u32 = u32::MAX - 1;

/// No node.
const NONE: u32 = u32::MAX;

/// Hosts and paths.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    edges: Edges,
    nodes: Vec<Node>,
    /// The regexes of each host that has some.
    regexes: Vec<Regexes>,
}

/// A host, or a path of a host up to and including one element. The size is one cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Node {
    /// The length of the path up to this node.
    len: u32,
    /// The parent; after `finish` the next node above that has prefixes.
    up: u32,
    /// The index of the regexes of a host.
    regexes: u32,
    below: Below,
    exact: List,
    prefix: List,
}

impl Node {
    fn new(len: u32, up: u32) -> Self {
        Self { len, up, regexes: NONE, below: Below::Nothing, exact: List::None, prefix: List::None }
    }
}

/// The hosts of a part of the tree.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope<'a> {
    /// This host.
    Exact(&'a str),
    /// Hosts with this suffix, which begins with a dot.
    Wildcard(&'a str),
    /// Any host.
    Any,
}

impl Default for Tree {
    fn default() -> Self {
        Self { edges: Edges::default(), nodes: vec![Node::new(0, NONE)], regexes: Vec::new() }
    }
}

/// The elements of a path: the text after each slash. `*` (of `OPTIONS *`) becomes an element that no path has.
fn elements(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let elements = if path.is_empty() { None } else { Some(path.strip_prefix(b"/").unwrap_or(b"\0")) };
    elements.into_iter().flat_map(|elements| elements.split(|byte| *byte == b'/'))
}

impl Tree {
    /// Adds a route under all its paths; a route without paths matches any path.
    pub(super) fn insert(&mut self, scope: Scope<'_>, paths: &[PathPattern], candidate: Candidate) {
        let host = match scope {
            Scope::Exact(host) => self.child(EXACT_HOSTS, host.as_bytes()),
            Scope::Wildcard(suffix) => self.child(WILDCARDS, suffix.as_bytes()),
            Scope::Any => ANY,
        };
        if paths.is_empty() {
            self.nodes[host as usize].prefix.push(candidate);
        }
        for path in paths {
            match path {
                PathPattern::Exact(path) => self.node(host, path).exact.push(candidate),
                PathPattern::Prefix(prefix) => self.node(host, prefix).prefix.push(candidate),
                PathPattern::Regex(regex) => {
                    let node = &mut self.nodes[host as usize];
                    if node.regexes == NONE {
                        node.regexes = narrow(self.regexes.len());
                        self.regexes.push(Regexes::default());
                    }
                    self.regexes[node.regexes as usize].push(regex, candidate);
                }
            }
        }
    }

    /// The node of this path of a host; created if missing.
    fn node(&mut self, host: u32, path: &str) -> &mut Node {
        let node = elements(path.as_bytes()).fold(host, |node, element| self.child(node, element));
        &mut self.nodes[node as usize]
    }

    /// The child of this name; created if missing.
    fn child(&mut self, parent: u32, name: &[u8]) -> u32 {
        if let Some(child) = self.edges.find(parent, name) {
            return child.node;
        }
        let child = narrow(self.nodes.len());
        self.edges.insert(parent, name, child);
        let node = match self.nodes.get_mut(parent as usize) {
            None => Node::new(0, NONE), // a host
            Some(above) => {
                above.below = Below::Edges;
                debug_assert!(parent < child, "`finish` relies on parents before their children");
                Node::new(above.len + narrow(name.len() + 1), parent)
            }
        };
        self.nodes.push(node);
        child
    }

    /// Sorts all lists and shortens the way up. Call once, after the last insertion.
    pub(super) fn finish(&mut self) {
        // Parents come before their children, so the `up` of a parent is already shortened here.
        for at in 0..self.nodes.len() {
            if let Some(above) = self.nodes.get(self.nodes[at].up as usize)
                && above.prefix.is_empty()
            {
                debug_assert!((above.up as usize) < at || above.up == NONE, "the way up has no cycle");
                self.nodes[at].up = above.up;
            }
            self.nodes[at].exact.finish();
            self.nodes[at].prefix.finish();
        }
        self.regexes.iter_mut().for_each(Regexes::finish);
        let nodes = &self.nodes;
        self.edges.finish(|node| nodes[node as usize].below == Below::Edges);
    }

    /// Visits the lists of a scope that match a path, best first, with the number of path bytes that the pattern
    /// covers.
    pub(super) fn walk<B>(
        &self,
        scope: Scope<'_>,
        path: &[u8],
        visit: &mut impl FnMut(&[Candidate], usize) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let host = match scope {
            Scope::Exact(host) => self.edges.find(EXACT_HOSTS, host.as_bytes()),
            Scope::Wildcard(suffix) => self.edges.find(WILDCARDS, suffix.as_bytes()),
            Scope::Any => Some(Child { node: ANY, below: self.nodes[ANY as usize].below }),
        };
        let Some(host) = host else { return ControlFlow::Continue(()) };
        let (deepest, end) = self.descend(host, path);
        let mut node = &self.nodes[deepest as usize];
        // An exact path matches only if each element of the request's path has a node.
        if end == End::OfPath {
            visit(node.exact.candidates(), path.len())?;
        }
        // Without regexes in the table, the node of the host need not be read.
        if !self.regexes.is_empty()
            && let Some(regexes) = self.regexes.get(self.nodes[host.node as usize].regexes as usize)
        {
            for candidate in regexes.matching(std::str::from_utf8(path).unwrap_or_default()) {
                visit(std::slice::from_ref(candidate), path.len())?;
            }
        }
        loop {
            visit(node.prefix.candidates(), (node.len as usize).min(path.len()))?;
            match self.nodes.get(node.up as usize) {
                Some(above) => node = above,
                None => return ControlFlow::Continue(()),
            }
        }
    }

    /// The deepest node on the path. Reads only edges, no nodes: one cache line per element.
    fn descend(&self, host: Child, path: &[u8]) -> (u32, End) {
        // A host with patterns like `/*` only needs no element of the path.
        if host.below == Below::Nothing && !path.is_empty() {
            return (host.node, End::OfTree);
        }
        let mut at = host;
        for element in elements(path) {
            match at.below {
                Below::Nothing => return (at.node, End::OfTree),
                Below::Edges => match self.edges.find(at.node, element) {
                    Some(child) => at = child,
                    None => return (at.node, End::OfTree),
                },
            }
        }
        (at.node, End::OfPath)
    }
}

/// Where the walk down ended.
#[derive(Clone, Copy, PartialEq)]
enum End {
    OfPath,
    OfTree,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_one_cache_line() {
        assert_eq!(size_of::<Node>(), 64);
    }
}
