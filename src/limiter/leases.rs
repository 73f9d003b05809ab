//! What a worker has taken of limits in advance, so that no line of memory is shared for each request: batches of tokens,
//! which lapse after a second.

use super::pace::RatePace;
use super::rate_table::{RateQuery, RateTable};

/// How long a batch is used, in nanoseconds.
const LAPSE_NS: u64 = 1_000_000_000;
/// Sets of leases, a power of two, and leases of a set.
const SETS: usize = 256;
const WAYS: usize = 4;

/// The batches of a worker. Empty until the first one; then of one size.
#[derive(Debug, Default)]
pub struct Leases(Vec<[Lease; WAYS]>);

/// A batch.
#[derive(Clone, Copy, Debug, Default)]
struct Lease {
    /// Of the key, which is unique among limits too: a limit has a seed of its own. 0 is none.
    key: u64,
    taken_ns: u64,
    left: u32,
    /// Of the pace at which it was taken: the tokens of another one are other spans of time.
    batch: u32,
    interval_ns: u64,
}

impl Lease {
    const fn is_fresh(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.taken_ns) < LAPSE_NS
    }

    /// Whether another key may not have its place.
    const fn is_used(&self, now_ns: u64) -> bool {
        self.key != 0 && self.left > 0 && self.is_fresh(now_ns)
    }

    /// Whether it was taken at this pace.
    const fn has_pace(&self, pace: &RatePace) -> bool {
        self.interval_ns == pace.interval_ns() && self.batch == pace.batch()
    }

    /// Whether it is the fresh batch of this key at this pace.
    const fn answers(&self, asked: &RateQuery<'_>) -> bool {
        self.key == asked.key && self.is_fresh(asked.now_ns) && self.has_pace(asked.pace)
    }
}

impl Leases {
    /// Takes one token: of the worker's batch, else of the table.
    ///
    /// # Errors
    /// The nanoseconds until one is there.
    #[inline]
    pub fn take(&mut self, table: &RateTable, asked: &RateQuery<'_>) -> Result<(), u64> {
        if asked.pace.batch() == 1 { table.take(asked, 1).map(|_| ()) } else { self.take_of_batch(table, asked) }
    }

    /// Whether a token is there. Changes nothing.
    ///
    /// # Errors
    /// The nanoseconds until one is there.
    pub fn look(&self, table: &RateTable, asked: &RateQuery<'_>) -> Result<(), u64> {
        let set = self.0.get(set_of(asked.key));
        let has_lease = |set: &[Lease; WAYS]| set.iter().any(|one| one.answers(asked) && one.left > 0);
        if set.is_some_and(has_lease) { Ok(()) } else { table.look(asked) }
    }

    /// Gives the token of a request back that another limit refused.
    pub fn give_back(&mut self, table: &RateTable, asked: &RateQuery<'_>) {
        let set = self.0.get_mut(set_of(asked.key));
        let lease = set.and_then(|set| set.iter_mut().find(|one| one.answers(asked)));
        match lease {
            Some(lease) => lease.left += 1,
            None => table.give_back(asked, 1),
        }
    }

    fn take_of_batch(&mut self, table: &RateTable, asked: &RateQuery<'_>) -> Result<(), u64> {
        let RateQuery { key, pace, now_ns } = *asked;
        if self.0.is_empty() {
            self.0 = vec![[Lease::default(); WAYS]; SETS];
        }
        let set = &mut self.0[set_of(key)];
        // Its own one, else one that is not in use.
        let own = set.iter().position(|one| one.key == key);
        let at = own.or_else(|| set.iter().position(|one| !one.is_used(now_ns)));
        let Some(lease) = at.map(|at| &mut set[at]) else {
            // Too many keys at once: this one does without.
            return table.take(asked, 1).map(|_| ());
        };
        if lease.answers(asked) && lease.left > 0 {
            lease.left -= 1;
            return Ok(());
        }
        // What is left of another pace is lost: in the table it is no more what it was.
        if lease.key == key && lease.left > 0 && lease.has_pace(pace) {
            table.give_back(asked, lease.left);
        }
        *lease = Lease::default();
        debug_assert!(pace.batch() <= pace.burst(), "a batch is a part of the burst");
        let taken = table.take(asked, pace.batch())?;
        debug_assert!(taken > 0, "a table that allows gives at least one");
        *lease = Lease { key, taken_ns: now_ns, left: taken - 1, batch: pace.batch(), interval_ns: pace.interval_ns() };
        Ok(())
    }
}

const fn set_of(key: u64) -> usize {
    let bits = (key >> 40) as usize;
    bits & (SETS - 1)
}
