//! The edges of the tree of hosts and path elements, as one flat table.
//!
//! A table of 100 000 routes does not fit into the L2 cache, so the cost of a step down the tree is the number of cache
//! lines that it touches. That is one here, because the slot contains the name of the edge unless the name is long.

use std::hash::{BuildHasher as _, Hasher as _};

use ahash::RandomState;

/// Names of at most this many bytes are stored in the slot.
const INLINE_BYTES: usize = 48;

/// The child of a free slot.
const FREE: u32 = u32::MAX;

/// This bit is set if the child has no children.
const LEAF: u32 = 1 << 31;

/// Edges by parent and name: open addressing, at most half full.
#[derive(Clone, Debug, Default)]
pub(super) struct Edges {
    hasher: RandomState,
    /// The length is a power of two, or zero.
    slots: Vec<Slot>,
    used: usize,
    /// Names that do not fit into a slot.
    long_names: Vec<Box<[u8]>>,
}

/// One edge; as large as a cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Slot {
    child: u32,
    parent: u32,
    hash: u32,
    len: u32,
    /// The name; for a long name, its index in `long_names` in the first four bytes.
    name: [u8; INLINE_BYTES],
}

/// The node at the end of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Child {
    /// The index of the node.
    pub(super) node: u32,
    /// Whether the node has edges.
    pub(super) below: Below,
}

/// Whether a node has edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Below {
    /// Nothing.
    Nothing,
    /// Further edges.
    Edges,
}

impl Edges {
    /// The child of `parent` with this name.
    pub(super) fn find(&self, parent: u32, name: &[u8]) -> Option<Child> {
        if self.slots.is_empty() {
            return None;
        }
        let slot = &self.slots[self.position(parent, name)];
        if slot.child == FREE {
            return None;
        }
        let below = if slot.child & LEAF == 0 { Below::Edges } else { Below::Nothing };
        Some(Child { node: slot.child & !LEAF, below })
    }

    /// Adds an edge, which must not exist yet.
    pub(super) fn insert(&mut self, parent: u32, name: &[u8], child: u32) {
        if (self.used + 1) * 2 > self.slots.len() {
            self.grow();
        }
        self.used += 1;
        let at = self.position(parent, name);
        debug_assert!(child & LEAF == 0, "the leaf bit is set by `finish`");
        debug_assert!(self.slots[at].child == FREE, "an edge is inserted once");
        debug_assert!(self.used * 2 <= self.slots.len(), "a search ends at a free slot");
        let mut inline = [0; INLINE_BYTES];
        if let Some(room) = inline.get_mut(..name.len()) {
            room.copy_from_slice(name);
        } else {
            inline[..4].copy_from_slice(&narrow(self.long_names.len()).to_ne_bytes());
            self.long_names.push(name.into());
        }
        let hash = self.hash(parent, name);
        self.slots[at] = Slot { child, parent, hash, len: narrow(name.len()), name: inline };
    }

    /// Marks the edges to leaves. Call once, after the last insertion.
    pub(super) fn finish(&mut self, has_edges: impl Fn(u32) -> bool) {
        for slot in self.slots.iter_mut().filter(|slot| slot.child != FREE) {
            if !has_edges(slot.child) {
                slot.child |= LEAF;
            }
        }
    }

    #[inline]
    fn hash(&self, parent: u32, name: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(parent);
        hasher.write(name);
        u32::try_from(hasher.finish() >> 32).unwrap_or(0) // always fits: 32 bits are left
    }

    /// The slot of this edge, or the free slot where it would be inserted.
    fn position(&self, parent: u32, name: &[u8]) -> usize {
        let hash = self.hash(parent, name);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        // Terminates: at least half of the slots are free.
        loop {
            let slot = &self.slots[at];
            // The hash is compared first: most other edges differ in it, and the name is then not read.
            if slot.child == FREE || (slot.hash == hash && slot.parent == parent && self.name(slot) == name) {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    fn name<'a>(&'a self, slot: &'a Slot) -> &'a [u8] {
        slot.name.get(..slot.len as usize).unwrap_or_else(|| {
            let [a, b, c, d, ..] = slot.name;
            &self.long_names[u32::from_ne_bytes([a, b, c, d]) as usize]
        })
    }

    fn grow(&mut self) {
        let free = Slot { child: FREE, parent: 0, hash: 0, len: 0, name: [0; INLINE_BYTES] };
        let many = (self.slots.len() * 2).max(8);
        let old = std::mem::replace(&mut self.slots, vec![free; many]);
        for slot in old.into_iter().filter(|slot| slot.child != FREE) {
            // The slot has the hash, and all edges differ: no name is hashed or compared.
            let mut at = slot.hash as usize & (many - 1);
            while self.slots[at].child != FREE {
                at = (at + 1) & (many - 1);
            }
            self.slots[at] = slot;
        }
    }
}

/// Counts and lengths of a table are far below 2^31, because the size of a file is limited.
pub(super) fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_found_and_others_are_not() {
        let mut edges = Edges::default();
        assert_eq!(edges.find(0, b"a"), None);
        let name = |n: u32| format!("{n}{}", "-long".repeat(n as usize % 30));
        for n in 0..2000 {
            assert_eq!(edges.find(n % 7, name(n).as_bytes()), None);
            edges.insert(n % 7, name(n).as_bytes(), n);
        }
        edges.finish(|node| node % 2 == 0);
        for n in 0..2000 {
            let below = if n % 2 == 0 { Below::Edges } else { Below::Nothing };
            assert_eq!(edges.find(n % 7, name(n).as_bytes()), Some(Child { node: n, below }));
            assert_eq!(edges.find(n % 7 + 1, name(n).as_bytes()), None);
        }
    }
}
