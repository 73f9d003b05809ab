//! What each value of a document weighs: a hash of what it means, without what is ignored in it.
//!
//! Two values with the same hash do not differ. The members of an object have no order; nor have the elements of an
//! array that is `unordered`. Of members with the same key only the last one counts. Numbers that have a tolerance all
//! weigh the same in what holds them; so such a value has a *lead*, the first of those numbers, to tell it from others.

use std::cmp::Ordering;
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use super::criteria::{Criteria, Saying, Taken};
use super::json::{JsonNode, JsonTree, JsonType};

/// A value whose members are being marked.
struct Frame {
    next: u32,
    /// Where the patterns stand.
    standing: Range<usize>,
    redacted: bool,
}

impl JsonTree<'_> {
    /// Marks every value with what the patterns say of it, then hashes all from the leaves up.
    pub(super) fn weigh(&mut self, criteria: &Criteria) {
        if criteria.looks_into_json() {
            self.mark(criteria);
        }
        let mut members = Vec::new();
        for at in (0..self.nodes.len()).rev() {
            let at = u32::try_from(at).unwrap_or(u32::MAX); // there are fewer nodes than bytes, and of those 4 GiB
            match self.node(at).form {
                JsonType::Array => {
                    self.nodes[at as usize].hash = self.array_hash(at);
                    let first = |_: &JsonNode| 0;
                    self.lead(at, first);
                }
                JsonType::Object => {
                    self.last_ones(at, &mut members);
                    self.nodes[at as usize].hash = self.object_hash(at);
                    // Its members have no order of their own.
                    self.lead(at, |member| member.key_hash);
                }
                JsonType::Number if self.node(at).within().is_some() => {
                    self.nodes[at as usize].lead = self.text_of(self.node(at)).parse().unwrap_or(f64::NAN);
                }
                JsonType::Null | JsonType::False | JsonType::True | JsonType::Number | JsonType::String => {}
            }
        }
    }

    fn mark(&mut self, criteria: &Criteria) {
        let (mut standing, mut said, mut frames) = (Vec::new(), Vec::new(), Vec::<Frame>::new());
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            while let Some(frame) = frames.pop_if(|frame| frame.next as usize <= at) {
                standing.truncate(frame.standing.start);
            }
            let begin = standing.len();
            said.clear();
            let mut redacted = false;
            if let Some(frame) = frames.last() {
                redacted = frame.redacted;
                if !frame.standing.is_empty() {
                    let key = self.key_of(node);
                    let taken = key.as_deref().map_or(Taken::Index, Taken::Key);
                    criteria.advance(&mut standing, frame.standing.clone(), taken, &mut said);
                }
            } else {
                criteria.begin(&mut standing, &mut said);
            }
            let node = &mut self.nodes[at];
            for saying in &said {
                match saying {
                    Saying::Ignored => node.ignored = true,
                    Saying::Unordered => node.unordered = true,
                    Saying::Redacted => redacted = true,
                    Saying::Within(within) => node.within = node.within.max(*within), // of NaN and a number, the number
                }
            }
            node.redacted = redacted;
            if node.next as usize > at + 1 {
                frames.push(Frame { next: node.next, standing: begin..standing.len(), redacted });
            } else {
                standing.truncate(begin);
            }
        }
    }

    fn array_hash(&self, at: u32) -> u64 {
        let unordered = self.node(at).unordered;
        let mut hash = 5;
        for child in self.below(at) {
            // An element that is ignored still is one.
            let child = self.node(child).element().hash;
            hash = if unordered { mix(child, 5).wrapping_add(hash) } else { mix(hash, child) };
        }
        mix(hash, 4)
    }

    fn object_hash(&self, at: u32) -> u64 {
        let members = self.below(at).map(|child| self.node(child)).filter(|child| !child.ignored);
        let sum = members.fold(0_u64, |sum, child| sum.wrapping_add(mix(child.key_hash, child.element().hash)));
        mix(sum, 6)
    }

    /// Takes the lead of a value from the first of those below, in an order that both documents have.
    fn lead(&mut self, at: u32, order: impl Fn(&JsonNode) -> u64) {
        let below = self.below(at).map(|child| self.node(child)).filter(|child| !child.ignored && !child.lead.is_nan());
        let first = below.min_by(|one, other| {
            let by_number = || if self.node(at).unordered { one.lead.total_cmp(&other.lead) } else { Ordering::Equal };
            order(one).cmp(&order(other)).then_with(by_number)
        });
        let (lead, within) = first.map_or((f64::NAN, f64::NAN), |first| (first.lead, first.within));
        let node = &mut self.nodes[at as usize];
        (node.lead, node.within) = (lead, within);
    }

    /// Ignores members that a later one with the same key replaces.
    fn last_ones(&mut self, at: u32, members: &mut Vec<(u64, u32)>) {
        members.clear();
        members.extend(self.below(at).map(|child| (self.node(child).key_hash, child)));
        members.sort_unstable();
        for pair in members.windows(2) {
            if pair[0].0 == pair[1].0 {
                self.nodes[pair[0].1 as usize].ignored = true;
            }
        }
    }
}

fn mix(a: u64, b: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&a.to_le_bytes());
    bytes[8..].copy_from_slice(&b.to_le_bytes());
    xxh3_64(&bytes)
}
