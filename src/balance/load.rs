//! The load of an endpoint, as one worker counts it: the requests in flight, and the places of tries that were refused.
//!
//! An endpoint that refuses in a millisecond would else look idle and attract all requests. A refused try keeps its place
//! in the score for a second or as long as the endpoint asks, and nowhere else.

use std::cell::{Cell, OnceCell};

use super::latency::PeakEwma;

/// The shortest time for which a refused try keeps its place, in milliseconds.
pub const PLACE_MS_MIN: u64 = 1_000;
/// The longest, whatever `Retry-After` says.
pub const PLACE_MS_MAX: u64 = 30_000;
/// Places end in steps of this time.
const STEP_MS: u64 = 250;
/// More steps than the longest time has.
const STEPS: usize = 128;

/// The load of an endpoint, as one worker counts it.
#[derive(Debug, Default)]
pub struct EndpointLoad {
    in_flight: Cell<u32>,
    /// Refused tries that keep their place.
    kept: Cell<u32>,
    /// The part of `in_flight` that the worker has reported to the others.
    reported: Cell<u32>,
    /// Made when the first try is refused.
    places: OnceCell<Box<KeptPlaces>>,
    /// Its recent latency.
    pub latency: PeakEwma,
}

/// Kept places by the step at which they end.
#[derive(Debug)]
struct KeptPlaces {
    /// All steps up to this one are over.
    ended: Cell<u64>,
    by_step: [Cell<u32>; STEPS],
}

impl EndpointLoad {
    /// One more request is in flight.
    #[inline]
    pub fn begin(&self) {
        self.in_flight.set(self.in_flight.get().saturating_add(1));
    }

    /// A request is in flight no longer.
    #[inline]
    pub fn end(&self) {
        debug_assert!(self.in_flight.get() > 0, "a request in flight is counted");
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
    }

    /// Requests of this worker in flight.
    #[must_use]
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }

    /// The load for the score of a choice: the requests of this worker in flight, and kept places.
    #[must_use]
    #[inline]
    pub fn own(&self) -> u32 {
        self.in_flight.get().saturating_add(self.kept.get())
    }

    /// The same with the requests of other workers; `all` is what all workers have reported. Since their last reports, the
    /// others have done `mirrored` times as much as this one ([`super::OthersGuess`]): without that, all of them would send to
    /// the endpoint that was idle at the last tick.
    #[must_use]
    #[inline]
    pub fn with_others(&self, all: i64, mirrored: f64) -> u32 {
        debug_assert!(mirrored >= 0.0, "a number of workers");
        let (own, reported) = (i64::from(self.in_flight.get()), i64::from(self.reported.get()));
        let more = f64::from(self.in_flight.get()) - f64::from(self.reported.get());
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        let guess = if own == reported { 0 } else { (more * mirrored).round() as i64 };
        let others = all.saturating_sub(reported).saturating_add(guess);
        self.own().saturating_add(u32::try_from(others.max(0)).unwrap_or(u32::MAX))
    }

    /// How many more requests are in flight than the worker has reported. They count as reported from now on.
    pub fn take_report(&self) -> i64 {
        let before = self.reported.replace(self.in_flight.get());
        i64::from(self.in_flight.get()) - i64::from(before)
    }

    /// What the worker has reported, and withdraws now: it has gone.
    pub fn withdraw(&self) -> i64 {
        -i64::from(self.reported.take())
    }

    /// A refused try keeps its place for this time, within bounds.
    pub fn keep_place(&self, for_ms: u64, now_ms: u64) {
        // After a time without places, steps of before are over.
        self.end_places(now_ms);
        let places = self.places.get_or_init(|| Box::new(KeptPlaces::new(now_ms)));
        // Steps are rounded up, and the time of a worker may be that of its last tick.
        let step = now_ms.saturating_add(for_ms.clamp(PLACE_MS_MIN, PLACE_MS_MAX)).div_ceil(STEP_MS) + 1;
        let last = places.ended.get() + STEPS as u64 - 1;
        let cell = places.at(step.clamp(places.ended.get() + 1, last));
        cell.set(cell.get().saturating_add(1));
        self.kept.set(self.kept.get().saturating_add(1));
        debug_assert!(self.kept.get() >= cell.get(), "the sum of all steps");
    }

    /// Ends the places whose time is over; whether any is left.
    pub fn end_places(&self, now_ms: u64) -> bool {
        if let Some(places) = self.places.get() {
            let ended = places.end_until(now_ms / STEP_MS);
            self.kept.set(self.kept.get().saturating_sub(ended));
        }
        self.kept.get() > 0
    }

    /// Places that refused tries keep.
    #[must_use]
    pub fn kept_places(&self) -> u32 {
        self.kept.get()
    }
}

impl KeptPlaces {
    fn new(now_ms: u64) -> Self {
        Self { ended: Cell::new(now_ms / STEP_MS), by_step: std::array::from_fn(|_| Cell::new(0)) }
    }

    #[expect(clippy::cast_possible_truncation, reason = "below the number of steps")]
    fn at(&self, step: u64) -> &Cell<u32> {
        &self.by_step[(step % STEPS as u64) as usize]
    }

    /// Ends the steps up to this one; returns how many places they had.
    fn end_until(&self, step: u64) -> u32 {
        let from = self.ended.get();
        let last = step.min(from + STEPS as u64);
        let ended = (from + 1..=last).map(|step| self.at(step).take()).fold(0, u32::saturating_add);
        self.ended.set(from.max(step));
        ended
    }
}
