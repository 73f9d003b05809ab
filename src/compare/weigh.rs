//! Hashes each value of a document by its content, without ignored values.
//!
//! Two values with the same hash are equal. The members of an object have no order, and neither have the elements of an
//! `unordered` array. Of members with the same key only the last one counts. All numbers with a tolerance have the same
//! hash within their parent, so a value with such numbers has a *lead*, the first of them, which distinguishes it from
//! others.

use std::cmp::Ordering;
use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use super::criteria::{ChildStep, Criteria, Effect};
use super::json::{JsonNode, JsonTree, JsonType};

/// A value whose children are being marked.
struct Frame {
    next: u32,
    /// The positions of the patterns.
    positions: Range<usize>,
    redacted: bool,
}

impl JsonTree<'_> {
    /// Marks every value with the effects of the patterns, then hashes all values from the leaves up.
    pub(super) fn weigh(&mut self, criteria: &Criteria) {
        if criteria.looks_into_json() {
            self.mark(criteria);
        }
        let mut members = Vec::new();
        // Backwards: children come after their parents, so their hashes are ready.
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
                    // Members have no order, so the lead is chosen by the hash of the key.
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
        let (mut positions, mut effects, mut frames) = (Vec::new(), Vec::new(), Vec::<Frame>::new());
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            while let Some(frame) = frames.pop_if(|frame| frame.next as usize <= at) {
                positions.truncate(frame.positions.start);
            }
            let begin = positions.len();
            effects.clear();
            let mut redacted = false;
            if let Some(frame) = frames.last() {
                redacted = frame.redacted;
                if !frame.positions.is_empty() {
                    let key = self.key_of(node);
                    let taken = key.as_deref().map_or(ChildStep::Index, ChildStep::Key);
                    criteria.advance(&mut positions, frame.positions.clone(), taken, &mut effects);
                }
            } else {
                criteria.begin(&mut positions, &mut effects);
            }
            let node = &mut self.nodes[at];
            for effect in &effects {
                match effect {
                    Effect::Ignored => node.ignored = true,
                    Effect::Unordered => node.unordered = true,
                    Effect::Redacted => redacted = true,
                    Effect::Within(within) => node.within = node.within.max(*within), // `max` of NaN and a number is the number
                }
            }
            node.redacted = redacted;
            if node.next as usize > at + 1 {
                frames.push(Frame { next: node.next, positions: begin..positions.len(), redacted });
            } else {
                positions.truncate(begin);
            }
        }
    }

    fn array_hash(&self, at: u32) -> u64 {
        let unordered = self.node(at).unordered;
        let mut hash = 5;
        for child in self.below(at) {
            // An ignored element still counts as an element.
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

    /// Sets the lead of a value to that of its first child, in an order that is the same in both documents.
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

    /// Ignores members that are replaced by a later one with the same key.
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
