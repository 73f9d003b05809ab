//! The tree of one table: below hosts the elements of exact paths and prefixes, and each host's regexes.
//!
//! A walk down hashes each element of the request's path once, whatever the number of routes; the way back up over the
//! prefixes is their order, longest first.

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
    /// Those of each host that has some.
    regexes: Vec<Regexes>,
}

/// A host, or a path of a host up to and including one element. As large as a cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Node {
    /// The bytes of the path up to here.
    len: u32,
    /// First the parent; then the next node above that has prefixes.
    up: u32,
    /// The place of the regexes of a host.
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

/// Which hosts a part of the tree is for.
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

/// The elements of a path: what stands behind each slash. `*` (of `OPTIONS *`) is an element that no path has.
fn elements(path: &str) -> impl Iterator<Item = &str> {
    let elements = if path.is_empty() { None } else { Some(path.strip_prefix('/').unwrap_or("\0")) };
    elements.into_iter().flat_map(|elements| elements.split('/'))
}

impl Tree {
    /// Adds a route under all its paths; none is any.
    pub(super) fn insert(&mut self, scope: Scope<'_>, paths: &[PathPattern], candidate: Candidate) {
        let host = match scope {
            Scope::Exact(host) => self.child(EXACT_HOSTS, host),
            Scope::Wildcard(suffix) => self.child(WILDCARDS, suffix),
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

    /// The node of this path of a host, made when there is none.
    fn node(&mut self, host: u32, path: &str) -> &mut Node {
        let node = elements(path).fold(host, |node, element| self.child(node, element));
        &mut self.nodes[node as usize]
    }

    /// The child of this name, made when there is none.
    fn child(&mut self, parent: u32, name: &str) -> u32 {
        if let Some(child) = self.edges.find(parent, name) {
            return child.node;
        }
        let child = narrow(self.nodes.len());
        self.edges.insert(parent, name, child);
        let node = match self.nodes.get_mut(parent as usize) {
            None => Node::new(0, NONE), // a host
            Some(above) => {
                above.below = Below::Edges;
                Node::new(above.len + narrow(name.len() + 1), parent)
            }
        };
        self.nodes.push(node);
        child
    }

    /// Brings all in order; call once, after the last insertion.
    pub(super) fn finish(&mut self) {
        // A parent stands before its children, so its own way up is short already.
        for at in 0..self.nodes.len() {
            if let Some(above) = self.nodes.get(self.nodes[at].up as usize)
                && above.prefix.is_empty()
            {
                self.nodes[at].up = above.up;
            }
            self.nodes[at].exact.finish();
            self.nodes[at].prefix.finish();
        }
        self.regexes.iter_mut().for_each(Regexes::finish);
        let nodes = &self.nodes;
        self.edges.finish(|node| nodes[node as usize].below == Below::Edges);
    }

    /// Visits the lists of a scope that fit a path, best first, each with the bytes of the path that its pattern
    /// covers.
    pub(super) fn walk<B>(
        &self,
        scope: Scope<'_>,
        path: &str,
        visit: &mut impl FnMut(&[Candidate], usize) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let host = match scope {
            Scope::Exact(host) => self.edges.find(EXACT_HOSTS, host),
            Scope::Wildcard(suffix) => self.edges.find(WILDCARDS, suffix),
            Scope::Any => Some(Child { node: ANY, below: self.nodes[ANY as usize].below }),
        };
        let Some(host) = host else { return ControlFlow::Continue(()) };
        let (deepest, end) = self.descend(host, path);
        let mut node = &self.nodes[deepest as usize];
        if end == End::OfPath {
            visit(node.exact.candidates(), path.len())?;
        }
        if !self.regexes.is_empty()
            && let Some(regexes) = self.regexes.get(self.nodes[host.node as usize].regexes as usize)
        {
            for candidate in regexes.fitting(path) {
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

    /// The deepest node on the way of a path, without a look at any node.
    fn descend(&self, host: Child, path: &str) -> (u32, End) {
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

/// Where a walk down ended.
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
