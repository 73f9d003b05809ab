//! The regexes of one host.

use regex::{Regex, RegexSet};

use super::candidate::Candidate;
use crate::route::matching::whole;

/// With at least this many regexes, one pass of a regex set decides first whether any of them matches.
const FOR_A_SET: usize = 8;

/// The regexes of one host: longest pattern first, then in the order of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Regexes {
    patterns: Vec<Pattern>,
    /// All patterns, if there are many.
    any: Option<RegexSet>,
}

/// A regex of a route.
#[derive(Clone, Debug)]
struct Pattern {
    /// The length of the pattern as written.
    len: usize,
    whole: Regex,
    candidate: Candidate,
}

impl Regexes {
    pub(super) fn push(&mut self, regex: &Regex, candidate: Candidate) {
        self.patterns.push(Pattern { len: regex.as_str().len(), whole: whole(regex), candidate });
    }

    /// Sorts the patterns. Call once, after the last insertion.
    pub(super) fn finish(&mut self) {
        self.patterns.sort_by_key(|pattern| (std::cmp::Reverse(pattern.len), pattern.candidate.rank()));
        if self.patterns.len() >= FOR_A_SET {
            // A set above the size limit of the regex crate is left out; the patterns are then tried one by one.
            self.any = RegexSet::new(self.patterns.iter().map(|pattern| pattern.whole.as_str())).ok();
        }
    }

    /// The routes whose regex matches the whole path, best first.
    pub(super) fn matching<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Candidate> {
        let none = self.any.as_ref().is_some_and(|any| !any.is_match(path));
        let patterns: &[Pattern] = if none { &[] } else { &self.patterns };
        patterns.iter().filter(move |pattern| pattern.whole.is_match(path)).map(|pattern| &pattern.candidate)
    }
}
