//! The counts of a limit by key: a table of words that all workers share, without a lock.
//!
//! A key has eight slots in each of two sets (two choices fill the sets evenly). A slot is a key and a word; a word of 0
//! is a free slot. A table begins small and gets a larger level when the two sets of a new key are full. A slot whose
//! time is over is as good as a free one.
//!
//! **A key has one count.** Two workers may add the same key at once. Each claims a slot (its word gets the mark
//! *pending* and bits of the key), stores the key, and looks at all slots of the key after that. A key with a *settled*
//! slot uses that. Of several pending ones the first settles, and the others are freed before. So of two workers at least
//! one sees the other's slot, and frees it or uses it. A worker may settle the slot of another one, but only after it has
//! looked at all slots again since it saw that slot; so none waits for a thread that does not run. A slot that is claimed
//! for another key changes its word, so a worker that still uses it for the old key fails to change it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use super::rate_memory::RateMemory;
use super::word::{TIME_BITS, TIME_MASK};

/// The most keys of a limit.
pub const KEYS_MAX: usize = 65_536;
/// Slots of a set: their keys are one line of the cache.
const SLOTS: usize = 8;
/// Sets of each level; powers of two.
const LEVEL_SETS: [usize; 3] = [64, 1024, 16_384];
/// The mark of a word whose slot is claimed and not yet settled.
const PENDING: u64 = 1 << 63;
/// How many sets are searched for a key whose time is over, when the table has as many keys as it may have.
const SEARCHED_SETS: usize = 8;

const _: () = assert!(LEVEL_SETS[2] * SLOTS >= 2 * KEYS_MAX, "half of the slots are free when all keys are there");

#[derive(Debug, Default)]
#[repr(align(64))]
struct Set {
    keys: [AtomicU64; SLOTS],
    words: [AtomicU64; SLOTS],
}

/// The counts of a limit by key.
#[derive(Debug)]
pub(super) struct RateKeyTable {
    levels: [OnceLock<Box<[Set]>>; LEVEL_SETS.len()],
    /// How many levels are there.
    active: AtomicUsize,
    /// Slots that are not free.
    used: AtomicUsize,
    evicted: AtomicU64,
    /// The next set to search for keys whose time is over.
    cursor: AtomicUsize,
    memory: Arc<RateMemory>,
}

/// A slot in the table, in the order of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    level: usize,
    set: usize,
    slot: usize,
}

/// A slot with the word that was read.
#[derive(Clone, Copy, Debug)]
struct Seen {
    place: Place,
    word: u64,
}

/// What a look at all slots of a key found.
enum Look {
    Settled(Seen),
    Pending(Seen),
    None,
}

/// The slots in which a new key may be placed.
#[derive(Default)]
struct Room {
    /// One whose time is over.
    over: Option<Seen>,
    /// A free one, in the set with more of them.
    free: Option<Seen>,
    /// The one whose time ends first.
    first: Option<Seen>,
}

impl RateKeyTable {
    pub(super) fn new(memory: &Arc<RateMemory>) -> Self {
        Self {
            levels: [const { OnceLock::new() }; LEVEL_SETS.len()],
            active: AtomicUsize::new(0),
            used: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            cursor: AtomicUsize::new(0),
            memory: Arc::clone(memory),
        }
    }

    /// The time of a key's count; 0 when it has none.
    pub(super) fn time(&self, key: u64) -> u64 {
        match self.look(key) {
            Look::Settled(seen) => seen.word & TIME_MASK,
            Look::Pending(_) | Look::None => 0,
        }
    }

    /// Changes the time of a key's count, which is 0 for a new one: `change` returns the new time and the result.
    /// Nothing is written when it fails.
    ///
    /// # Errors
    /// That of `change`.
    pub(super) fn change<T, E>(&self, key: u64, now: u64, change: impl Fn(u64) -> Result<(u64, T), E>) -> Result<T, E> {
        let (mut known, mut claimed) = (None, None);
        loop {
            let (seen, before) = match self.look(key) {
                Look::Settled(seen) => {
                    if let Some(place) = claimed.take() {
                        // Another worker was faster.
                        self.free(Seen { place, word: PENDING | tag(key) });
                    }
                    (seen, seen.word & TIME_MASK)
                }
                Look::Pending(seen) if known == Some(seen.place) => (seen, 0),
                Look::Pending(seen) => {
                    known = Some(seen.place);
                    continue;
                }
                Look::None => {
                    claimed = self.claim(key, now);
                    known = claimed;
                    continue;
                }
            };
            let (time, result) = change(before)?;
            debug_assert!(time <= TIME_MASK, "a time in ticks");
            if self.swap(seen, tag(key) | time.max(1)) {
                return Ok(result);
            }
        }
    }

    /// Changes the time of a key's count, if it has one.
    pub(super) fn adjust(&self, key: u64, change: impl Fn(u64) -> u64) {
        while let Look::Settled(seen) = self.look(key) {
            let time = change(seen.word & TIME_MASK).clamp(1, TIME_MASK);
            if self.swap(seen, tag(key) | time) {
                return;
            }
        }
    }

    /// How many slots are not free; a slot whose time is over is not free until another key needs it.
    pub(super) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// How many keys were evicted.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    /// The keys whose time is not over, with their times.
    pub(super) fn live(&self, now: u64) -> impl Iterator<Item = (u64, u64)> {
        let levels = self.levels.iter().filter_map(OnceLock::get);
        let slots = levels.flat_map(|sets| sets.iter()).flat_map(|set| set.keys.iter().zip(&set.words));
        slots.filter_map(move |(key, word)| {
            let (key, word) = (key.load(SeqCst), word.load(SeqCst));
            (is_live(word, now) && word & !TIME_MASK == tag(key)).then_some((key, word & TIME_MASK))
        })
    }

    /// Looks at all slots of a key. Frees pending ones behind the first.
    fn look(&self, key: u64) -> Look {
        debug_assert!(key != 0, "0 is no key");
        loop {
            if let Some(found) = self.look_once(key) {
                return found;
            }
        }
    }

    /// `None`: a pending slot could not be freed, as it was settled or freed meanwhile.
    #[inline]
    fn look_once(&self, key: u64) -> Option<Look> {
        let mut first: Option<Seen> = None;
        for level in (0..self.active.load(SeqCst)).rev() {
            let Some(sets) = self.levels[level].get() else { continue };
            for set in candidates(key, level) {
                for (slot, (one, word)) in sets[set].keys.iter().zip(&sets[set].words).enumerate() {
                    if one.load(SeqCst) != key {
                        continue;
                    }
                    let seen = Seen { place: Place { level, set, slot }, word: word.load(SeqCst) };
                    if seen.word == PENDING | tag(key) {
                        if first.is_none() {
                            first = Some(seen);
                        } else if !self.free(seen) {
                            return None;
                        }
                    } else if seen.word != 0 && seen.word & !TIME_MASK == tag(key) {
                        return Some(Look::Settled(seen));
                    }
                }
            }
        }
        Some(first.map_or(Look::None, Look::Pending))
    }

    /// Claims a slot for a new key. `None`: another worker was faster, look again.
    #[cold]
    fn claim(&self, key: u64, now: u64) -> Option<Place> {
        let Some(level) = self.active.load(SeqCst).checked_sub(1) else {
            self.grow(0);
            return None;
        };
        let Room { over, free, first } = self.room(key, level, now);
        if let Some(over) = over {
            return self.mark(over, key);
        }
        if let Some(free) = free {
            if self.count_one_more() {
                let place = self.mark(free, key);
                if place.is_none() {
                    self.used.fetch_sub(1, Relaxed);
                }
                return place;
            }
            // As many keys as there may be.
            if self.free_one_that_is_over(now) {
                return None;
            }
            if first.is_none() {
                self.evict_one(now);
                return None;
            }
        } else if level + 1 < LEVEL_SETS.len() && self.grow(level + 1) {
            return None;
        }
        let place = self.mark(first?, key);
        if place.is_some() {
            self.evicted.fetch_add(1, Relaxed);
        }
        place
    }

    /// Marks a slot as claimed, and stores the key.
    fn mark(&self, seen: Seen, key: u64) -> Option<Place> {
        if !self.swap(seen, PENDING | tag(key)) {
            return None;
        }
        let Place { level, set, slot } = seen.place;
        self.levels[level].get()?[set].keys[slot].store(key, SeqCst);
        Some(seen.place)
    }

    /// The slots of the largest level in which a new key may be placed.
    fn room(&self, key: u64, level: usize, now: u64) -> Room {
        let (mut room, mut most) = (Room::default(), 0);
        let Some(sets) = self.levels[level].get() else { return room };
        for set in candidates(key, level) {
            let (mut free, mut count) = (None, 0);
            for (slot, word) in sets[set].words.iter().enumerate() {
                let seen = Seen { place: Place { level, set, slot }, word: word.load(SeqCst) };
                if seen.word == 0 {
                    free = free.or(Some(seen));
                    count += 1;
                } else if is_live(seen.word, now) {
                    let is_first = |first: Seen| seen.word & TIME_MASK < first.word & TIME_MASK;
                    if room.first.is_none_or(is_first) {
                        room.first = Some(seen);
                    }
                } else if seen.word & PENDING == 0 {
                    room.over = room.over.or(Some(seen));
                }
            }
            if count > most {
                (room.free, most) = (free, count);
            }
        }
        room
    }

    /// Adds a level. Returns whether it is there.
    #[cold]
    fn grow(&self, level: usize) -> bool {
        let sets = LEVEL_SETS[level];
        if self.levels[level].get().is_some() {
            self.active.fetch_max(level + 1, SeqCst);
            return true;
        }
        if level > 0 && !self.memory.take(sets * size_of::<Set>()) {
            return false;
        }
        // Filled before it is there: no worker waits for another one.
        let is_new = self.levels[level].set((0..sets).map(|_| Set::default()).collect()).is_ok();
        if level > 0 && !is_new {
            self.memory.give_back(sets * size_of::<Set>());
        }
        self.active.fetch_max(level + 1, SeqCst);
        true
    }

    /// Counts one more used slot, if the table may have it.
    fn count_one_more(&self) -> bool {
        self.used.fetch_update(Relaxed, Relaxed, |used| (used < KEYS_MAX).then_some(used + 1)).is_ok()
    }

    /// Frees the slot of a key whose time is over, if one is found soon.
    fn free_one_that_is_over(&self, now: u64) -> bool {
        let is_over = |word: u64| word != 0 && word & PENDING == 0 && !is_live(word, now);
        (0..SEARCHED_SETS).any(|_| self.free_in_next_set(is_over))
    }

    /// Evicts a key of any set: the sets of the new one have none.
    #[cold]
    fn evict_one(&self, now: u64) {
        let sets: usize = LEVEL_SETS.iter().sum();
        if (0..sets).any(|_| self.free_in_next_set(|word| is_live(word, now))) {
            self.evicted.fetch_add(1, Relaxed);
        }
    }

    /// Frees the first such slot of the next set, in turn.
    fn free_in_next_set(&self, wanted: impl Fn(u64) -> bool) -> bool {
        let mut at = self.cursor.fetch_add(1, Relaxed) % LEVEL_SETS.iter().sum::<usize>();
        for (level, count) in LEVEL_SETS.into_iter().enumerate() {
            if at >= count {
                at -= count;
                continue;
            }
            let Some(sets) = self.levels[level].get() else { return false };
            return sets[at].words.iter().enumerate().any(|(slot, word)| {
                let seen = Seen { place: Place { level, set: at, slot }, word: word.load(SeqCst) };
                wanted(seen.word) && self.free(seen)
            });
        }
        false
    }

    /// Frees a slot, unless it has changed.
    fn free(&self, seen: Seen) -> bool {
        let is_freed = self.swap(seen, 0);
        if is_freed {
            self.used.fetch_sub(1, Relaxed);
        }
        is_freed
    }

    /// Replaces the word of a slot, unless it has changed.
    fn swap(&self, seen: Seen, word: u64) -> bool {
        let Place { level, set, slot } = seen.place;
        let sets = self.levels[level].get();
        sets.is_some_and(|sets| sets[set].words[slot].compare_exchange(seen.word, word, SeqCst, SeqCst).is_ok())
    }
}

impl Drop for RateKeyTable {
    fn drop(&mut self) {
        for (level, sets) in self.levels.iter().enumerate().skip(1) {
            if sets.get().is_some() {
                self.memory.give_back(LEVEL_SETS[level] * size_of::<Set>());
            }
        }
    }
}

/// The bits of a key in its word.
const fn tag(key: u64) -> u64 {
    (key >> 56) << TIME_BITS
}

/// Whether a settled word has a time that is not over.
const fn is_live(word: u64, now: u64) -> bool {
    word & PENDING == 0 && word & TIME_MASK > now
}

/// The two sets of a key in a level.
const fn candidates(key: u64, level: usize) -> [usize; 2] {
    let mask = LEVEL_SETS[level] - 1;
    #[expect(clippy::cast_possible_truncation, reason = "the low bits are wanted")]
    let (a, b) = (key as usize & mask, (key >> 32) as usize & mask);
    [a, if a == b { b ^ 1 } else { b }]
}
