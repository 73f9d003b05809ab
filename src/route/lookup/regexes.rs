//! The regexes of one host.

use regex::{Regex, RegexSet};

use super::candidate::Candidate;
use crate::route::matching::whole;

/// From this many regexes on, one pass over all of them decides whether any is worth a try.
const FOR_A_SET: usize = 8;

/// The regexes of one host, one for each route that has it: longest pattern first, then in the order of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Regexes {
    patterns: Vec<Pattern>,
    /// All of them, when there are many.
    any: Option<RegexSet>,
}

/// A regex of a route.
#[derive(Clone, Debug)]
struct Pattern {
    /// The pattern's length as written.
    len: usize,
    whole: Regex,
    candidate: Candidate,
}

impl Regexes {
    pub(super) fn push(&mut self, regex: &Regex, candidate: Candidate) {
        self.patterns.push(Pattern { len: regex.as_str().len(), whole: whole(regex), candidate });
    }

    /// Brings them in order; call once, after the last one.
    pub(super) fn finish(&mut self) {
        self.patterns.sort_by_key(|pattern| (std::cmp::Reverse(pattern.len), pattern.candidate.rank()));
        if self.patterns.len() >= FOR_A_SET {
            // A set that grows too large is done without.
            self.any = RegexSet::new(self.patterns.iter().map(|pattern| pattern.whole.as_str())).ok();
        }
    }

    /// The routes whose regex matches the whole path, best first.
    pub(super) fn fitting<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Candidate> {
        let hopeless = self.any.as_ref().is_some_and(|any| !any.is_match(path));
        let patterns: &[Pattern] = if hopeless { &[] } else { &self.patterns };
        patterns.iter().filter(move |pattern| pattern.whole.is_match(path)).map(|pattern| &pattern.candidate)
    }
}
