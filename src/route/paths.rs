//! The paths of one host: a tree of path elements for exact paths and prefixes, and the regexes.
//!
//! A walk down the tree hashes each element of the request's path once, whatever the number of routes; the way back up
//! is the order of prefixes, longest first.

use std::ops::ControlFlow;

use ahash::HashMap;
use regex::{Regex, RegexSet};

use super::PathPattern;
use super::table::Candidate;

/// From this many regexes on, one pass over all of them decides whether any is worth a try.
const REGEXES_FOR_A_SET: usize = 8;

/// The paths of one host.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    /// The tree; its root is the first, and stands for `/*`.
    nodes: Vec<Node>,
    /// One for each regex of each route: longest pattern first, then in the order of a list.
    regexes: Vec<Pattern>,
    /// All of `regexes`, when there are many.
    any_regex: Option<RegexSet>,
}

/// A path up to and including one element.
#[derive(Clone, Debug, Default)]
struct Node {
    parent: u32,
    /// The bytes of the path up to here.
    len: u32,
    children: HashMap<Box<str>, u32>,
    exact: List,
    prefix: List,
}

/// A regex of a route.
#[derive(Clone, Debug)]
struct Pattern {
    /// The pattern's length as written.
    len: usize,
    whole: Regex,
    candidate: Candidate,
}

/// Routes that share host and path. Most often it is one.
#[derive(Clone, Debug, Default)]
enum List {
    #[default]
    None,
    One(Candidate),
    Many(Vec<Candidate>),
}

impl List {
    fn push(&mut self, candidate: Candidate) {
        match self {
            Self::None => *self = Self::One(candidate),
            Self::One(first) if first.id == candidate.id => {}
            Self::One(first) => *self = Self::Many(vec![*first, candidate]),
            Self::Many(all) if all.last().is_some_and(|last| last.id == candidate.id) => {}
            Self::Many(all) => all.push(candidate),
        }
    }

    fn finish(&mut self) {
        if let Self::Many(all) = self {
            all.sort_by_key(Candidate::rank);
        }
    }

    fn candidates(&self) -> &[Candidate] {
        match self {
            Self::None => &[],
            Self::One(candidate) => std::slice::from_ref(candidate),
            Self::Many(all) => all,
        }
    }
}

/// The elements of a path: what stands behind each slash. `*` (of `OPTIONS *`) is an element that no path has.
fn elements(path: &str) -> impl Iterator<Item = &str> {
    let elements = if path.is_empty() { None } else { Some(path.strip_prefix('/').unwrap_or("\0")) };
    elements.into_iter().flat_map(|elements| elements.split('/'))
}

impl Paths {
    /// Adds a route under all its paths; none is any.
    pub(super) fn insert(&mut self, paths: &[PathPattern], candidate: Candidate) {
        if paths.is_empty() {
            let node = self.node("");
            self.nodes[node].prefix.push(candidate);
        }
        for path in paths {
            match path {
                PathPattern::Exact(path) => {
                    let node = self.node(path);
                    self.nodes[node].exact.push(candidate);
                }
                PathPattern::Prefix(prefix) => {
                    let node = self.node(prefix);
                    self.nodes[node].prefix.push(candidate);
                }
                PathPattern::Regex(regex) => {
                    let (len, whole) = (regex.as_str().len(), whole(regex));
                    self.regexes.push(Pattern { len, whole, candidate });
                }
            }
        }
    }

    /// The node of this path, made when there is none.
    fn node(&mut self, path: &str) -> usize {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut at = 0;
        for element in elements(path) {
            at = match self.nodes[at].children.get(element) {
                Some(&child) => child as usize,
                None => self.grow(at, element),
            };
        }
        at
    }

    /// A new child.
    fn grow(&mut self, parent: usize, element: &str) -> usize {
        let id = |place: usize| u32::try_from(place).unwrap_or(u32::MAX); // a file of 4 Gi paths is far above all limits
        let child = self.nodes.len();
        let len = self.nodes[parent].len + id(element.len() + 1);
        self.nodes[parent].children.insert(element.into(), id(child));
        self.nodes.push(Node { parent: id(parent), len, ..Node::default() });
        child
    }

    /// Sorts all lists.
    pub(super) fn finish(&mut self) {
        for node in &mut self.nodes {
            node.exact.finish();
            node.prefix.finish();
        }
        self.regexes.sort_by_key(|pattern| (std::cmp::Reverse(pattern.len), pattern.candidate.rank()));
        if self.regexes.len() >= REGEXES_FOR_A_SET {
            self.any_regex = RegexSet::new(self.regexes.iter().map(|pattern| pattern.whole.as_str())).ok();
        }
    }

    /// Visits the lists that fit, best first, each with the bytes of the path that its pattern covers.
    pub(super) fn walk<B>(
        &self,
        path: &str,
        visit: &mut impl FnMut(&[Candidate], usize) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Some(root) = self.nodes.first() else { return self.walk_regexes(path, visit) };
        let (mut node, mut ended) = (root, false);
        for element in elements(path) {
            match node.children.get(element) {
                Some(&child) => node = &self.nodes[child as usize],
                None => {
                    ended = true;
                    break;
                }
            }
        }
        if !ended {
            visit(node.exact.candidates(), path.len())?;
        }
        self.walk_regexes(path, visit)?;
        loop {
            visit(node.prefix.candidates(), (node.len as usize).min(path.len()))?;
            if std::ptr::eq(node, root) {
                return ControlFlow::Continue(());
            }
            node = &self.nodes[node.parent as usize];
        }
    }

    fn walk_regexes<B>(
        &self,
        path: &str,
        visit: &mut impl FnMut(&[Candidate], usize) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if self.any_regex.as_ref().is_some_and(|set| !set.is_match(path)) {
            return ControlFlow::Continue(());
        }
        for pattern in self.regexes.iter().filter(|pattern| pattern.whole.is_match(path)) {
            visit(std::slice::from_ref(&pattern.candidate), path.len())?;
        }
        ControlFlow::Continue(())
    }
}

/// The regex, anchored at both ends. One that cannot be anchored (it ends in a comment under `(?x)`) stays as it is.
pub(super) fn whole(regex: &Regex) -> Regex {
    Regex::new(&format!(r"\A(?:{regex})\z")).unwrap_or_else(|_| regex.clone())
}
