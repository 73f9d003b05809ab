//! The counts of one limit. All workers share them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::cell_rate::step;
use super::key_table::RateKeyTable;
use super::pace::RatePace;
use super::rate_memory::RateMemory;
use super::word::{nanoseconds, ticks};

/// The counts of one limit.
#[derive(Debug)]
pub struct RateTable {
    counts: Counts,
    memory: Arc<RateMemory>,
    /// Random: a client cannot compute which keys share sets. Also the identity of the table among leases.
    seed: AtomicU64,
}

#[derive(Debug)]
enum Counts {
    /// `per = "route"`: one word.
    Whole(AtomicU64),
    ByKey(Box<RateKeyTable>),
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateScope {
    /// All requests together.
    Whole,
    /// Those of each key.
    ByKey,
}

/// What a key is made of: equal bytes of different kinds are different keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// The value that the limit names.
    Value,
    /// The client's address, of a request without that value.
    Address,
}

/// A question to a limit.
#[derive(Clone, Copy, Debug)]
pub struct RateQuery<'a> {
    /// The key, of [`RateTable::key`].
    pub key: u64,
    /// The pace of the limit.
    pub pace: &'a RatePace,
    /// The time, in nanoseconds since the process started.
    pub now_ns: u64,
}

/// A count for another process: the clocks differ, so its time is relative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedRate {
    /// The key.
    pub key: u64,
    /// Nanoseconds until the key has used nothing.
    pub left_ns: u64,
}

impl RateTable {
    /// An empty table; `seed` is random.
    #[must_use]
    pub fn new(scope: RateScope, seed: u64, memory: &Arc<RateMemory>) -> Self {
        let counts = match scope {
            RateScope::Whole => Counts::Whole(AtomicU64::new(0)),
            RateScope::ByKey => Counts::ByKey(Box::new(RateKeyTable::new(memory))),
        };
        Self { counts, memory: Arc::clone(memory), seed: AtomicU64::new(seed) }
    }

    /// The key of these bytes.
    #[inline]
    #[must_use]
    pub fn key(&self, kind: KeyKind, bytes: &[u8]) -> u64 {
        xxh3_64_with_seed(bytes, self.seed.load(Relaxed) ^ kind as u64).max(1)
    }

    /// Takes up to `want` tokens of a key; returns how many.
    ///
    /// # Errors
    /// The nanoseconds until one is there.
    pub fn take(&self, asked: &RateQuery<'_>, want: u32) -> Result<u32, u64> {
        let now = ticks(asked.now_ns);
        let taken = match &self.counts {
            Counts::Whole(word) => take_whole(word, now, asked.pace, want),
            Counts::ByKey(table) => table.change(asked.key, now, |time| step(time, now, asked.pace, want)),
        };
        taken.map_err(nanoseconds)
    }

    /// Whether a token is there. Changes nothing.
    ///
    /// # Errors
    /// The nanoseconds until one is there.
    pub fn look(&self, asked: &RateQuery<'_>) -> Result<(), u64> {
        let time = match &self.counts {
            Counts::Whole(word) => word.load(Relaxed),
            Counts::ByKey(table) => table.time(asked.key),
        };
        step(time, ticks(asked.now_ns), asked.pace, 1).map(|_| ()).map_err(nanoseconds)
    }

    /// Gives tokens back that were taken and not used.
    pub fn give_back(&self, asked: &RateQuery<'_>, tokens: u32) {
        let span = asked.pace.span(tokens);
        match &self.counts {
            Counts::Whole(word) => {
                // It always succeeds: each time has another one.
                let _ = word.fetch_update(Relaxed, Relaxed, |time| Some(time.saturating_sub(span)));
            }
            Counts::ByKey(table) => table.adjust(asked.key, |time| time.saturating_sub(span)),
        }
    }

    /// Follows a changed pace: a key has used no more than the whole burst.
    pub fn follow(&self, pace: &RatePace, now_ns: u64) {
        let full = ticks(now_ns) + pace.tolerance();
        match &self.counts {
            Counts::Whole(word) => {
                word.fetch_min(full, Relaxed);
            }
            Counts::ByKey(table) => {
                let beyond = table.live(full).map(|(key, _)| key);
                beyond.for_each(|key| table.adjust(key, |time| time.min(full)));
            }
        }
    }

    /// How many keys have a place, also those that have used nothing for long. Reads one number.
    #[must_use]
    pub fn places(&self) -> usize {
        match &self.counts {
            Counts::Whole(word) => usize::from(word.load(Relaxed) > 0),
            Counts::ByKey(table) => table.used(),
        }
    }

    /// How many keys have used something; 0 or 1 for a limit without keys. Reads the whole table.
    #[must_use]
    pub fn keys(&self, now_ns: u64) -> usize {
        let now = ticks(now_ns);
        match &self.counts {
            Counts::Whole(word) => usize::from(word.load(Relaxed) > now),
            Counts::ByKey(table) => table.live(now).count(),
        }
    }

    /// How many keys lost their counts to others.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        match &self.counts {
            Counts::Whole(_) => 0,
            Counts::ByKey(table) => table.evicted(),
        }
    }

    /// The memory that it shares with other tables.
    #[must_use]
    pub const fn memory(&self) -> &Arc<RateMemory> {
        &self.memory
    }

    /// The seed of its keys.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed.load(Relaxed)
    }

    /// The counts that have used something, for another process; the key of a limit without keys is 0.
    #[must_use]
    pub fn saved(&self, now_ns: u64) -> Vec<SavedRate> {
        let now = ticks(now_ns);
        let saved = |(key, time): (u64, u64)| SavedRate { key, left_ns: nanoseconds(time.saturating_sub(now)) };
        match &self.counts {
            Counts::Whole(word) => {
                let time = word.load(Relaxed);
                (time > now).then(|| saved((0, time))).into_iter().collect()
            }
            Counts::ByKey(table) => table.live(now).map(saved).collect(),
        }
    }

    /// Takes over the seed and counts of another process, before the first request.
    pub fn restore(&self, seed: u64, rates: &[SavedRate], now_ns: u64) {
        self.seed.store(seed, Relaxed);
        let now = ticks(now_ns);
        for rate in rates {
            let time = now + ticks(rate.left_ns);
            match &self.counts {
                Counts::Whole(word) => {
                    word.fetch_max(time, Relaxed);
                }
                Counts::ByKey(table) => {
                    let later = |before: u64| Ok::<_, ()>((before.max(time), ()));
                    // It cannot fail: `later` does not.
                    let _ = table.change(rate.key.max(1), now, later);
                }
            }
        }
    }
}

fn take_whole(word: &AtomicU64, now: u64, pace: &RatePace, want: u32) -> Result<u32, u64> {
    let mut time = word.load(Relaxed);
    loop {
        let (after, taken) = step(time, now, pace, want)?;
        match word.compare_exchange_weak(time, after, Relaxed, Relaxed) {
            Ok(_) => return Ok(taken),
            Err(other) => time = other,
        }
    }
}
