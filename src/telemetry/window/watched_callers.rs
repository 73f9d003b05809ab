//! What guards remember of callers: when each was last seen, when it first came, and its last event of each kind. Several
//! watches share it where their routes are judged together: a caller counts once among them.

use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};

use super::key_table::KeyTable;
use crate::route::{GuardAct, Guards, Signal};
use crate::stats::{SlotNumber, WindowNumber};
use crate::telemetry::GuardMemory;

/// What guards remember of callers.
#[derive(Debug)]
pub struct WatchedCallers {
    id: u32,
    /// The open slot in the lower half, its window in the upper; 0: none is open.
    clock: AtomicU64,
    pub(super) seen: KeyTable,
    pub(super) first_keys: KeyTable,
    /// By signal: the window of a key's last event.
    marks: Box<[KeyTable]>,
    signals: Box<[Signal]>,
}

impl WatchedCallers {
    /// Those of the routes with these guards. No slot is open: nothing is counted yet.
    #[must_use]
    pub fn new<'a>(guards: impl Iterator<Item = &'a Guards>, memory: &GuardMemory) -> Self {
        let (mut signals, mut acts) = (Vec::new(), false);
        for one in guards {
            acts |= one.all.iter().any(|guard| guard.act == GuardAct::Rollback);
            let new = one.signals.iter().filter(|signal| !signals.contains(*signal)).cloned().collect::<Vec<_>>();
            signals.extend(new);
        }
        let places = if acts { KeyTable::PLACES } else { KeyTable::PLACES_SMALL };
        Self {
            id: memory.next_id(),
            clock: AtomicU64::new(0),
            seen: KeyTable::new(places, &memory.seen),
            first_keys: KeyTable::new(places, &memory.first_keys),
            marks: signals.iter().map(|_| KeyTable::new(places, &memory.marks)).collect(),
            signals: signals.into(),
        }
    }

    /// Its number in the process.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The kinds of events that it remembers.
    #[must_use]
    pub fn signals(&self) -> &[Signal] {
        &self.signals
    }

    /// The place of each of these signals among those that it remembers; the first one for a signal that it does not.
    pub(super) fn places(&self, signals: &[Signal]) -> Box<[usize]> {
        let place = |signal: &Signal| self.signals.iter().position(|one| one == signal);
        debug_assert!(signals.iter().all(|signal| place(signal).is_some()), "signals of these guards");
        signals.iter().map(|signal| place(signal).unwrap_or(0)).collect()
    }

    /// The marks of a signal, by its place.
    #[inline]
    pub(super) fn marks(&self, place: usize) -> Option<&KeyTable> {
        self.marks.get(place)
    }

    /// The open slot with its window; slot 0: none is open.
    #[inline]
    pub(super) fn open_slot(&self) -> (WindowNumber, SlotNumber) {
        parts(self.clock.load(Acquire))
    }

    /// Opens a slot; the one before is closed. Only the control plane calls it.
    pub fn open(&self, window: WindowNumber, slot: SlotNumber) {
        self.clock.store(u64::from(window.0) << 32 | u64::from(slot.0), Release);
    }

    /// Whether a table found no memory.
    pub(super) fn is_starved(&self) -> bool {
        let tables = [&self.seen, &self.first_keys];
        tables.into_iter().chain(&self.marks).any(KeyTable::is_refused)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
const fn parts(clock: u64) -> (WindowNumber, SlotNumber) {
    (WindowNumber((clock >> 32) as u32), SlotNumber(clock as u32))
}
