//! What a worker keeps for the shadow of a route: the upstream's connections for copies, the sequence that samples, and a
//! throttle. A copy takes a place and bytes of what all copies share; it never waits for either.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::pool::UpstreamPool;
use super::worker::Worker;
use crate::route::{Shadow, ShadowSpread, Spread, Weight};
use crate::telemetry::{ShadowDrop, ShadowEnd, ShadowHeld, ShadowMeter, ShadowPlaces, ShadowSeries};

/// After a failure the share is halved, at most once in this time.
const CUT_EVERY_MS: u64 = 500;
/// The places are full for so long before it is a failure.
const FULL_FOR_MS: u64 = 500;
/// From nothing to the whole share again.
const RECOVERY_MS: f64 = 20_000.0;
/// So many of the share are sampled however bad it is, to see when it is better.
const FLOOR: f64 = 0.01;

/// The shadow of one route on one worker.
pub(super) struct Lane {
    pub(super) series: Arc<ShadowSeries>,
    pub(super) pool: Rc<UpstreamPool>,
    pub(super) state: Rc<LaneState>,
}

/// What a reload does not change of a lane.
#[derive(Debug, Default)]
pub(super) struct LaneState {
    /// Which requests are sampled.
    pub(super) spread: Cell<ShadowSpread>,
    /// Which copies have a control.
    pub(super) control: Cell<Spread>,
    throttle: Throttle,
}

/// A worker's lanes, by route.
#[derive(Default)]
pub(super) struct Lanes(RefCell<ahash::HashMap<String, Known>>);

/// What is known of a lane, and whose it is.
type Known = (Arc<ShadowSeries>, Rc<LaneState>);

/// The part of the share that is sampled: less while the shadow has trouble, and slowly more again.
#[derive(Debug)]
struct Throttle {
    part: Cell<f64>,
    at_ms: Cell<u64>,
    cut_ms: Cell<Option<u64>>,
    /// Since when no copy has found a place, or room for its body.
    full_ms: Cell<Option<u64>>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { part: Cell::new(1.0), at_ms: Cell::new(0), cut_ms: Cell::new(None), full_ms: Cell::new(None) }
    }
}

impl Throttle {
    fn part(&self, now_ms: u64) -> f64 {
        let since = now_ms.saturating_sub(self.at_ms.replace(now_ms));
        let since = u32::try_from(since).unwrap_or(u32::MAX);
        let part = (self.part.get() + f64::from(since) / RECOVERY_MS).min(1.0);
        self.part.set(part);
        part
    }

    /// A copy has found no place. A moment of that is no trouble, it is what places are for.
    fn full(&self, now_ms: u64) {
        let since = self.full_ms.get().unwrap_or(now_ms);
        self.full_ms.set(Some(since));
        if now_ms >= since + FULL_FOR_MS {
            self.cut(now_ms);
        }
    }

    /// One has.
    fn free(&self) {
        self.full_ms.set(None);
    }

    fn cut(&self, now_ms: u64) {
        let recently = self.cut_ms.get().is_some_and(|cut| now_ms < cut + CUT_EVERY_MS);
        if !recently {
            self.cut_ms.set(Some(now_ms));
            self.part.set((self.part(now_ms) / 2.0).max(FLOOR));
        }
    }
}

impl Lanes {
    /// What stands for this route, or something new.
    pub(super) fn adopt(&self, series: &Arc<ShadowSeries>, random: &mut fastrand::Rng) -> Rc<LaneState> {
        let mut lanes = self.0.borrow_mut();
        if let Some((known, state)) = lanes.get(&series.route)
            && Arc::ptr_eq(known, series)
        {
            return Rc::clone(state);
        }
        let state = LaneState::default();
        state.spread.set(ShadowSpread(random.u64(..)));
        state.control.set(Spread(random.u64(..)));
        let state = Rc::new(state);
        lanes.insert(series.route.clone(), (Arc::clone(series), Rc::clone(&state)));
        state
    }

    /// Forgets the routes whose shadows are gone.
    pub(super) fn retain(&self, shadows: &[Option<Arc<ShadowSeries>>]) {
        let mut lanes = self.0.borrow_mut();
        if !lanes.is_empty() {
            let kept: ahash::HashSet<*const ShadowSeries> = shadows.iter().flatten().map(Arc::as_ptr).collect();
            lanes.retain(|_, (series, _)| kept.contains(&Arc::as_ptr(series)));
        }
    }
}

impl Lane {
    pub(super) fn meter(&self, worker: &Worker) -> &ShadowMeter {
        self.series.meters.of(worker.index)
    }

    /// The share now.
    pub(super) fn share(&self, shadow: &Shadow, worker: &Worker) -> Weight {
        let part = self.state.throttle.part(worker.now_ms());
        let whole = shadow.weight.millionths();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of what fits")]
        let now = if part < 1.0 { (f64::from(whole) * part) as u32 } else { whole };
        let held_back = &self.meter(worker).held_back;
        held_back.add(i64::from(whole - now) - held_back.value());
        Weight::from_millionths(now).unwrap_or(shadow.weight)
    }

    fn nothing(&self) -> Held {
        Rc::new(RefCell::new(ShadowHeld::new(Arc::clone(self.series.bytes()))))
    }

    /// Samples a request. Its copy takes a place later, when it is sent; where there is none now, it is not even made.
    pub(super) fn enter(self: &Rc<Self>, worker: &Rc<Worker>, max_in_flight: u32) -> Option<Ticket> {
        self.meter(worker).sample();
        if !self.series.copies.has_room(max_in_flight) {
            self.meter(worker).end(ShadowEnd::Dropped(ShadowDrop::InFlightLimit));
            self.state.throttle.full(worker.now_ms());
            return None;
        }
        worker.copies.set(worker.copies.get() + 1);
        let (worker, lane, held) = (Rc::clone(worker), Rc::clone(self), self.nothing());
        Some(Ticket { worker, lane, place: None, held, end: Ticket::UNSENT, finished: false })
    }

    /// A place for a control, if there is one.
    pub(super) fn place_for_control(self: &Rc<Self>, max: u32) -> Option<Place> {
        self.series.controls.try_take(max).then(|| Place { lane: Rc::clone(self), of: |series| &series.controls })
    }
}

/// A place among the copies under way, or among the controls; given back when dropped.
pub(super) struct Place {
    lane: Rc<Lane>,
    of: fn(&ShadowSeries) -> &ShadowPlaces,
}

impl Place {
    pub(super) fn lane(&self) -> &Rc<Lane> {
        &self.lane
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.of)(&self.lane.series).give_back();
    }
}

/// Bytes of what all copies may hold, shared by all who keep some for one copy.
pub(super) type Held = Rc<RefCell<ShadowHeld>>;

/// One copy, from its sampling on. What it comes to is counted when it is finished, or dropped, wherever that is.
pub(super) struct Ticket {
    worker: Rc<Worker>,
    lane: Rc<Lane>,
    /// Its place among those under way, from its sending on.
    place: Option<Place>,
    held: Held,
    end: ShadowEnd,
    finished: bool,
}

impl Ticket {
    /// What has become of a request of which nobody says otherwise: it never came so far.
    const UNSENT: ShadowEnd = ShadowEnd::Dropped(ShadowDrop::Incomplete);

    pub(super) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub(super) fn lane(&self) -> &Rc<Lane> {
        &self.lane
    }

    /// Takes a place among the copies under way.
    pub(super) fn take_place(&mut self, max: u32) -> bool {
        let lane = &self.lane;
        self.place =
            lane.series.copies.try_take(max).then(|| Place { lane: Rc::clone(lane), of: |series| &series.copies });
        if self.place.is_some() {
            lane.state.throttle.free();
        }
        self.place.is_some()
    }

    /// It has come to this, unless more happens.
    pub(super) fn ends(&mut self, end: ShadowEnd) {
        self.end = end;
    }

    /// It costs more than a copy should, though it is answered: fewer are sent.
    pub(super) fn is_trouble(&self) {
        self.lane.state.throttle.cut(self.worker.now_ms());
    }

    /// What it holds of the bytes that all copies may hold.
    pub(super) fn held(&self) -> &Held {
        &self.held
    }

    /// Takes bytes of what all copies may hold.
    pub(super) fn take(&mut self, bytes: u64) -> bool {
        self.held.borrow_mut().try_take(bytes)
    }

    /// Gives what it holds away, to whoever has it from now on.
    pub(super) fn give(&mut self) -> ShadowHeld {
        self.held.replace(ShadowHeld::new(Arc::clone(self.lane.series.bytes())))
    }
}

impl Ticket {
    /// It has come to its end: that is counted, and its place is another's. What it holds it holds on to.
    pub(super) fn finish(&mut self) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let (worker, throttle) = (&self.worker, &self.lane.state.throttle);
        self.place = None;
        worker.copies.set(worker.copies.get().saturating_sub(1));
        self.lane.meter(worker).end(self.end);
        let ShadowEnd::Dropped(reason) = self.end else { return };
        match reason {
            ShadowDrop::InFlightLimit | ShadowDrop::ByteLimit => throttle.full(worker.now_ms()),
            ShadowDrop::Connect | ShadowDrop::Timeout | ShadowDrop::Reset => throttle.cut(worker.now_ms()),
            ShadowDrop::BodyTooLarge
            | ShadowDrop::Incomplete
            | ShadowDrop::Method
            | ShadowDrop::Killed
            | ShadowDrop::Shutdown => {}
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.finish();
        // Its request, which may be under way for long, has a share in what was held.
        drop(self.give());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_are_full_for_a_moment_are_no_trouble() {
        let throttle = Throttle::default();
        throttle.full(1000);
        throttle.full(1499);
        throttle.free();
        throttle.full(1500);
        throttle.full(1999);
        assert!((throttle.part(1999) - 1.0).abs() < 1e-9);
        throttle.full(2000);
        assert!((throttle.part(2000) - 0.5).abs() < 1e-9, "nothing found a place for half a second");
    }

    #[test]
    fn a_throttle_halves_and_recovers() {
        let throttle = Throttle::default();
        assert!((throttle.part(0) - 1.0).abs() < 1e-9);
        throttle.cut(1000);
        throttle.cut(1100);
        assert!((throttle.part(1100) - 0.505).abs() < 1e-6, "one halving, and a little of the way back");
        for at in 3..60 {
            throttle.cut(at * 500);
        }
        assert!(throttle.part(30_000) < 0.1, "it stays low while there is trouble: {}", throttle.part(30_000));
        assert!(throttle.part(30_000) >= FLOOR);
        assert!((throttle.part(60_000) - 1.0).abs() < 1e-9, "and is whole again after a while without");
    }
}
