//! A table of callers by the hash of their key: one number a place. All workers share it. Two callers with one place are
//! taken for one.
//!
//! The tables of the process have a memory limit for each kind. A table that finds no memory is not there: its route is
//! not watched, which is shown. It is allocated as soon as a table that is no longer used is dropped.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use crate::route::KeyHash;

/// The hash bits that select a place begin here: they are below those that select a variant.
const PLACE_SHIFT: u32 = 12;

/// The memory limit of a kind of table, for the process.
#[derive(Debug)]
pub struct TableMemory {
    left: AtomicUsize,
    refused: AtomicUsize,
}

/// A table, allocated at its first use.
#[derive(Debug)]
pub struct KeyTable {
    places: usize,
    memory: Arc<TableMemory>,
    table: OnceLock<Box<[AtomicU32]>>,
    /// It was needed, and there was no memory.
    is_refused: AtomicBool,
}

impl TableMemory {
    /// The default: 64 MiB.
    pub const BYTES: usize = 64 << 20;

    /// A limit of this many bytes.
    #[must_use]
    pub const fn new(bytes: usize) -> Self {
        Self { left: AtomicUsize::new(bytes), refused: AtomicUsize::new(0) }
    }

    /// How many tables found no memory, each counted once.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refused.load(Relaxed)
    }

    /// How many bytes are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.left.load(Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        // The first look keeps a table without memory from writing at each request.
        self.left.load(Relaxed) >= bytes
            && self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Relaxed);
    }
}

impl KeyTable {
    /// Places of a guard that acts.
    pub const PLACES: usize = 1 << 16;
    /// Places where every guard only warns.
    pub const PLACES_SMALL: usize = 1 << 13;

    /// A table that is not allocated yet.
    #[must_use]
    pub fn new(places: usize, memory: &Arc<TableMemory>) -> Self {
        debug_assert!(places.is_power_of_two(), "a place is some bits of the hash");
        let (memory, table, is_refused) = (Arc::clone(memory), OnceLock::new(), AtomicBool::new(false));
        Self { places, memory, table, is_refused }
    }

    /// The place of a key; allocates the table. `None` without memory.
    #[inline]
    pub fn place(&self, key: KeyHash) -> Option<&AtomicU32> {
        match self.table.get() {
            Some(table) => table.get(self.index(key)),
            None => self.allocate()?.get(self.index(key)),
        }
    }

    /// The number of a key; 0 before the first use.
    #[inline]
    pub fn read(&self, key: KeyHash) -> u32 {
        let place = self.table.get().and_then(|table| table.get(self.index(key)));
        place.map_or(0, |place| place.load(Relaxed))
    }

    /// Whether the table is needed and finds no memory.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.table.get().is_none() && self.is_refused.load(Relaxed)
    }

    const fn bytes(&self) -> usize {
        self.places * size_of::<AtomicU32>()
    }

    const fn index(&self, key: KeyHash) -> usize {
        (key.number() >> PLACE_SHIFT) as usize & (self.places - 1)
    }

    #[cold]
    fn allocate(&self) -> Option<&[AtomicU32]> {
        if !self.memory.take(self.bytes()) {
            if !self.is_refused.swap(true, Relaxed) {
                self.memory.refused.fetch_add(1, Relaxed);
            }
            return None;
        }
        let table = (0..self.places).map(|_| AtomicU32::new(0)).collect();
        if self.table.set(table).is_err() {
            // Another worker was faster.
            self.memory.give_back(self.bytes());
        }
        self.table.get().map(|table| &**table)
    }
}

impl Drop for KeyTable {
    fn drop(&mut self) {
        if self.table.get().is_some() {
            self.memory.give_back(self.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> KeyHash {
        KeyHash::of(number << PLACE_SHIFT)
    }

    #[test]
    fn a_table_is_allocated_at_its_first_use() {
        let memory = Arc::new(TableMemory::new(KeyTable::PLACES_SMALL * 4));
        let table = KeyTable::new(KeyTable::PLACES_SMALL, &memory);
        assert_eq!((table.read(key(5)), memory.left.load(Relaxed)), (0, table.bytes()), "a look allocates nothing");
        table.place(key(5)).unwrap().store(7, Relaxed);
        assert_eq!((table.read(key(5)), table.read(key(6)), memory.left.load(Relaxed)), (7, 0, 0));
        assert_eq!(table.read(key(5 + KeyTable::PLACES_SMALL as u64)), 7, "one place, two callers");
    }

    #[test]
    fn a_table_without_memory_is_counted_once_and_gets_what_another_leaves() {
        let memory = Arc::new(TableMemory::new(KeyTable::PLACES_SMALL * 4));
        let table = || KeyTable::new(KeyTable::PLACES_SMALL, &memory);
        let (first, second) = (table(), table());
        assert!(first.place(key(1)).is_some());
        for _ in 0..3 {
            assert!(second.place(key(1)).is_none() && second.is_refused());
        }
        assert_eq!((memory.refused(), first.is_refused()), (1, false));
        drop(first);
        assert!(second.place(key(1)).is_some() && !second.is_refused());
        drop(second);
        assert_eq!(memory.left.load(Relaxed), KeyTable::PLACES_SMALL * 4, "all of it is free again");
    }

    #[test]
    fn workers_that_allocate_at_once_take_the_memory_of_one_table() {
        for _ in 0..20 {
            let memory = Arc::new(TableMemory::new(4 * KeyTable::PLACES_SMALL * 4));
            let table = KeyTable::new(KeyTable::PLACES_SMALL, &memory);
            std::thread::scope(|scope| {
                for worker in 0..4 {
                    let table = &table;
                    scope.spawn(move || table.place(key(worker)).map(|place| place.store(1, Relaxed)));
                }
            });
            assert_eq!(memory.left.load(Relaxed), 3 * table.bytes());
            assert!((0..4).all(|worker| table.read(key(worker)) == 1));
        }
    }
}
