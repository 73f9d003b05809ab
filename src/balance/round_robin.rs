//! Smooth weighted round robin in O(log n): each endpoint has the time of its next turn in rounds, and the earliest is
//! next. An endpoint with weight w has a turn each 1/w of a round, the first after a random part of that: turns are spread, and
//! within a round each endpoint has exactly as many as its weight.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::rotation::{Members, scaled};

/// Turns that pass in a row before the search ends.
const PASSED_MAX: usize = 64;
/// The rounds after which times begin at 0 again, long before they lose digits.
const ROUNDS_MAX: f64 = 1_048_576.0;

/// The turns of an upstream's endpoints.
#[derive(Debug, Default)]
pub struct RoundRobin {
    turns: BinaryHeap<Reverse<Turn>>,
    /// The time of the last turn.
    now: f64,
}

/// The next turn of an endpoint.
#[derive(Clone, Copy, Debug)]
struct Turn {
    due: f64,
    at: u32,
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        self.due.total_cmp(&other.due).then(self.at.cmp(&other.at))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}

impl RoundRobin {
    /// Sets whose turns there are. Those that stay keep their next turn; one that comes has its first one at a random time
    /// of its first turn's part of a round: workers do not run in step, and where the list changes often, all serve.
    pub fn set_members(&mut self, members: &Members, draw: &mut impl FnMut() -> u64) {
        let mut due = vec![None; members.endpoints()];
        for Reverse(turn) in self.turns.drain() {
            if let Some(due) = due.get_mut(turn.at as usize) {
                *due = Some(turn.due - self.now);
            }
        }
        self.now = 0.0;
        let mut turn = |at: usize| {
            let due = due.get(at).copied().flatten().unwrap_or_else(|| part(draw()) / members.weight(at));
            Some(Reverse(Turn { due, at: u32::try_from(at).ok()? }))
        };
        self.turns = members.iter().filter_map(&mut turn).collect();
        debug_assert_eq!(self.turns.len(), members.len(), "a turn for each");
    }

    /// Whose turn it is. One that is not accepted lets its turn pass. `None`: too many do.
    pub fn next(&mut self, members: &Members, accept: impl Fn(usize) -> bool) -> Option<usize> {
        if self.now > ROUNDS_MAX {
            // Each has a turn: no random part is needed.
            self.set_members(members, &mut || 0);
        }
        for _ in 0..=PASSED_MAX {
            let mut first = self.turns.peek_mut()?;
            let at = first.0.at as usize;
            let due = first.0.due.max(self.now);
            first.0.due = due + 1.0 / members.weight(at);
            // Its drop moves the turn to its place.
            drop(first);
            if accept(at) {
                self.now = due;
                return Some(at);
            }
        }
        None
    }
}

/// A random word as a part of one, above 0 and below 1.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn part(word: u64) -> f64 {
    (scaled(word, 1 << 20) as f64 + 0.5) / f64::from(1 << 20)
}
