//! Matches the elements of two lists.
//!
//! Elements are matched by hash, at any index. Numbers with a tolerance have equal hashes, so elements with such
//! numbers are distinguished by the first of them, their *lead*: in an ordered array, elements at the same index are
//! matched first, then elements with close leads, smallest first.

use std::collections::HashMap;
use std::ops::Range;

/// An element, as far as matching needs it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    pub(super) hash: u64,
    pub(super) lead: Option<Lead>,
}

/// The first number with a tolerance in an element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lead {
    pub(super) value: f64,
    pub(super) within: f64,
}

/// Whether the order of a list is significant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Counts,
    Free,
}

/// The result of matching, by index.
#[derive(Debug, Default)]
pub(super) struct Matching {
    /// Elements without an equal on the other side.
    pub(super) left: Vec<usize>,
    pub(super) right: Vec<usize>,
    /// Pairs with equal hashes whose numbers with a tolerance must still be compared.
    pub(super) pairs: Vec<(usize, usize)>,
    /// Whether the equal elements have another order.
    pub(super) reordered: bool,
}

/// Matches two lists without tolerances.
pub(super) fn unmatched(a: &[u64], b: &[u64]) -> Matching {
    let (left, right) = (only(a, b), only(b, a));
    let matched = |all: &[u64], rest: &[usize]| -> Vec<u64> {
        let mut rest = rest.iter().peekable();
        let own = all.iter().enumerate().filter(|(at, _)| rest.next_if_eq(&at).is_none());
        own.map(|(_, hash)| *hash).collect()
    };
    let reordered = matched(a, &left) != matched(b, &right);
    Matching { left, right, pairs: Vec::new(), reordered }
}

/// The indexes of elements that are in `own` more often than in `other`; of equal elements the last ones.
fn only(own: &[u64], other: &[u64]) -> Vec<usize> {
    let mut counts: HashMap<u64, u32, ahash::RandomState> = HashMap::default();
    for hash in other {
        *counts.entry(*hash).or_default() += 1;
    }
    let lonely = |hash: &u64| match counts.get_mut(hash) {
        Some(count) if *count > 0 => {
            *count -= 1;
            false
        }
        Some(_) | None => true,
    };
    own.iter().map(lonely).enumerate().filter_map(|(at, lonely)| lonely.then_some(at)).collect()
}

/// Matches the elements of two arrays.
pub(super) fn matching(a: &[Element], b: &[Element], order: Order) -> Matching {
    if a.iter().chain(b).all(|element| element.lead.is_none()) {
        let hashes = |all: &[Element]| all.iter().map(|element| element.hash).collect::<Vec<_>>();
        return unmatched(&hashes(a), &hashes(b));
    }
    let mut found = Found { a, b, equal: Vec::new(), matching: Matching::default() };
    let mut rest: [Vec<usize>; 2] = [a, b].map(|all| (0..all.len()).collect());
    if order == Order::Counts {
        let stays = |at: usize| a.get(at).zip(b.get(at)).is_some_and(|(a, b)| a.equals(b));
        found.equal = rest[0].iter().filter(|at| stays(**at)).map(|&at| (at, at)).collect();
        rest = rest.map(|all| all.into_iter().filter(|at| !stays(*at)).collect());
    }
    let [mut left, mut right] = rest;
    left.sort_by(|&one, &other| a[one].order(&a[other]));
    right.sort_by(|&one, &other| b[one].order(&b[other]));
    let (mut lefts, mut rights) = (classes(a, &left).peekable(), classes(b, &right).peekable());
    while let Some(next) = lefts.peek().map(|one| one.0).into_iter().chain(rights.peek().map(|one| one.0)).min() {
        let own = lefts.next_if(|one| one.0 == next).map_or(0..0, |one| one.1);
        let other = rights.next_if(|one| one.0 == next).map_or(0..0, |one| one.1);
        found.class(&left[own], &right[other]);
    }
    found.end()
}

/// Runs of equal hashes in sorted indexes.
fn classes<'a>(all: &'a [Element], sorted: &'a [usize]) -> impl Iterator<Item = (u64, Range<usize>)> + 'a {
    let mut from = 0;
    let same = |one: &usize, other: &usize| all[*one].hash == all[*other].hash;
    sorted.chunk_by(same).map(move |run| {
        let until = from + run.len();
        let range = from..until;
        from = until;
        (all[run[0]].hash, range)
    })
}

impl Element {
    /// Whether hash and lead are equal.
    fn equals(&self, other: &Self) -> bool {
        self.hash == other.hash && self.distinct_order(other).is_none()
    }

    /// The order of two leads, unless they are close.
    fn distinct_order(&self, other: &Self) -> Option<std::cmp::Ordering> {
        let (own, other) = (self.lead?, other.lead?);
        let order = own.value.total_cmp(&other.value);
        let close = order.is_eq() || (own.value - other.value).abs() <= own.within;
        (!close).then_some(order)
    }

    fn order(&self, other: &Self) -> std::cmp::Ordering {
        let lead = |element: &Self| element.lead.map_or(0.0, |lead| lead.value);
        self.hash.cmp(&other.hash).then_with(|| lead(self).total_cmp(&lead(other)))
    }
}

struct Found<'a> {
    a: &'a [Element],
    b: &'a [Element],
    /// Pairs with equal hashes and close leads.
    equal: Vec<(usize, usize)>,
    matching: Matching,
}

impl Found<'_> {
    /// Matches elements with equal hashes, in the order of their leads.
    fn class(&mut self, left: &[usize], right: &[usize]) {
        let (mut left, mut right) = (left.iter().copied().peekable(), right.iter().copied().peekable());
        let (mut lonely_left, mut lonely_right) = (Vec::new(), Vec::new());
        while let (Some(&one), Some(&other)) = (left.peek(), right.peek()) {
            match self.a[one].distinct_order(&self.b[other]) {
                None => {
                    self.equal.push((one, other));
                    left.next();
                    right.next();
                }
                Some(std::cmp::Ordering::Less) => lonely_left.extend(left.next()),
                Some(_) => lonely_right.extend(right.next()),
            }
        }
        lonely_left.extend(left);
        lonely_right.extend(right);
        // Equal hashes, but leads too far apart: paired in order, so that the leads are reported. The rest is
        // unmatched.
        let pairs = lonely_left.len().min(lonely_right.len());
        self.matching.left.extend(lonely_left.drain(pairs..));
        self.matching.right.extend(lonely_right.drain(pairs..));
        self.matching.pairs.extend(lonely_left.into_iter().zip(lonely_right));
    }

    fn end(self) -> Matching {
        let Self { a, mut equal, mut matching, .. } = self;
        equal.sort_unstable();
        matching.reordered = !equal.is_sorted_by_key(|pair| pair.1);
        matching.pairs.extend(equal.into_iter().filter(|pair| a[pair.0].lead.is_some()));
        matching.pairs.sort_unstable();
        matching.left.sort_unstable();
        matching.right.sort_unstable();
        debug_assert!(
            matching.left.iter().all(|&at| at < a.len()) && matching.pairs.iter().all(|pair| pair.0 < a.len()),
            "indexes are of the matched lists"
        );
        matching
    }
}
