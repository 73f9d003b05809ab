//! Which elements of two lists belong together.
//!
//! Elements are matched by what they weigh, wherever they stand. Where numbers have a tolerance they weigh the same, and
//! such elements are told apart by the first of those numbers, their *lead*: in an array that has an order the ones that
//! stand at the same index come first, then those whose leads are close, the smallest first.

use std::collections::HashMap;
use std::ops::Range;

/// An element, as far as it matters here.
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

/// Whether the order of a list counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Counts,
    Free,
}

/// What belongs together, by index.
#[derive(Debug, Default)]
pub(super) struct Matching {
    /// Elements that have no equal on the other side.
    pub(super) left: Vec<usize>,
    pub(super) right: Vec<usize>,
    /// Pairs of the same weight in which numbers with a tolerance are still to be compared.
    pub(super) pairs: Vec<(usize, usize)>,
    /// Those that have an equal do not stand in the same order.
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

/// The indexes of what is in `own` more often than in `other`, the last ones of each.
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

/// Runs of the same weight in indexes that are sorted by it.
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
    /// Whether it is the same as another one, as far as its lead tells.
    fn equals(&self, other: &Self) -> bool {
        self.hash == other.hash && self.apart(other).is_none()
    }

    /// On which side of another one of the same weight it lies, if not close to it.
    fn apart(&self, other: &Self) -> Option<std::cmp::Ordering> {
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
    /// Pairs that are the same, as far as their leads tell.
    equal: Vec<(usize, usize)>,
    matching: Matching,
}

impl Found<'_> {
    /// Matches what weighs the same, in the order of its leads.
    fn class(&mut self, left: &[usize], right: &[usize]) {
        let (mut left, mut right) = (left.iter().copied().peekable(), right.iter().copied().peekable());
        let (mut lonely_left, mut lonely_right) = (Vec::new(), Vec::new());
        while let (Some(&one), Some(&other)) = (left.peek(), right.peek()) {
            match self.a[one].apart(&self.b[other]) {
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
        // Of the same kind, but too far apart: their leads differ. What is left over has no partner.
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
        matching
    }
}
