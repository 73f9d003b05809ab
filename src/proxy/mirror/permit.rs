//! Permits for copies. A sampled request gets a [`CopyPermit`]; its copy takes memory and a place in flight, both
//! shared by all copies, and never waits for either. [`MirrorPolicy`] is the shadow of one route on one worker.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::throttle::Throttle;
use crate::proxy::worker::Worker;
use crate::route::{Shadow, ShadowSpread, Spread, Weight};
use crate::snapshot::Snapshot;
use crate::telemetry::{ShadowDrop, ShadowEnd, ShadowHeld, ShadowMeter, ShadowPlaces, ShadowSeries};

/// The shadow of one route on one worker.
pub(crate) struct MirrorPolicy {
    pub(crate) series: Arc<ShadowSeries>,
    pub(crate) state: Rc<MirrorState>,
}

/// The state of a route's shadow; kept over reloads.
#[derive(Debug, Default)]
pub(crate) struct MirrorState {
    /// Selects the requests to sample.
    pub(crate) spread: Cell<ShadowSpread>,
    /// Selects the copies with a control.
    pub(crate) control: Cell<Spread>,
    throttle: Throttle,
}

/// The mirror states of a worker, by route name.
#[derive(Default)]
pub(crate) struct MirrorStates(RefCell<ahash::HashMap<String, MirrorPolicy>>);

impl MirrorStates {
    /// The state of a route's shadow: the existing one, or a new one.
    pub(crate) fn adopt(&self, series: &Arc<ShadowSeries>, random: &mut fastrand::Rng) -> Rc<MirrorState> {
        let mut mirrors = self.0.borrow_mut();
        if let Some(known) = mirrors.get(&series.route)
            && Arc::ptr_eq(&known.series, series)
        {
            return Rc::clone(&known.state);
        }
        let state = MirrorState::default();
        state.spread.set(ShadowSpread(random.u64(..)));
        state.control.set(Spread(random.u64(..)));
        let state = Rc::new(state);
        let policy = MirrorPolicy { series: Arc::clone(series), state: Rc::clone(&state) };
        mirrors.insert(series.route.clone(), policy);
        state
    }

    /// Removes the states of routes whose shadow is gone.
    pub(crate) fn retain(&self, snapshot: &Snapshot) {
        self.0.borrow_mut().retain(|route, policy| {
            let id = snapshot.rules.find_named(route);
            let state = id.and_then(|id| snapshot.routes.get(id.0 as usize));
            let series = state.and_then(|state| state.shadow.as_ref());
            series.is_some_and(|series| Arc::ptr_eq(series, &policy.series))
        });
    }
}

impl MirrorPolicy {
    pub(crate) fn meter(&self, worker: &Worker) -> &ShadowMeter {
        self.series.meters.of(worker.index)
    }

    /// The share of requests that is sampled now.
    pub(crate) fn share(&self, shadow: &Shadow, worker: &Worker) -> Weight {
        let (throttle, now_ms) = (&self.state.throttle, worker.now_ms());
        let whole = shadow.weight.millionths();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of what fits")]
        let of_whole = |part: f64| if part < 1.0 { (f64::from(whole) * part) as u32 } else { whole };
        let held_back = &self.meter(worker).held_back;
        held_back.add(i64::from(whole - of_whole(throttle.part(now_ms))) - held_back.value());
        Weight::from_millionths(of_whole(throttle.part_of_next(now_ms))).unwrap_or(shadow.weight)
    }

    fn empty_memory(&self) -> MemoryPermit {
        Rc::new(RefCell::new(ShadowHeld::new(Arc::clone(self.series.bytes()))))
    }

    /// Samples a request. The copy takes its place in flight when it is sent; if no place is free now, there is no
    /// copy.
    pub(crate) fn sample(self: &Rc<Self>, worker: &Rc<Worker>, max_in_flight: u32) -> Option<CopyPermit> {
        self.meter(worker).sample();
        self.state.throttle.record_sample(worker.now_ms());
        if !self.series.copies.has_room(max_in_flight) {
            self.meter(worker).end(ShadowEnd::Dropped(ShadowDrop::InFlightLimit));
            self.state.throttle.record_full(worker.now_ms());
            return None;
        }
        worker.copies.set(worker.copies.get() + 1);
        let (worker, policy, memory) = (Rc::clone(worker), Rc::clone(self), self.empty_memory());
        Some(CopyPermit { worker, policy, in_flight: None, memory, end: CopyPermit::UNSENT, finished: false })
    }

    /// A place in flight for a control, if one is free.
    pub(super) fn try_control_permit(self: &Rc<Self>, max: u32) -> Option<InFlightPermit> {
        self.series
            .controls
            .try_take(max)
            .then(|| InFlightPermit { policy: Rc::clone(self), of: |series| &series.controls })
    }
}

/// A place among the copies or the controls in flight; released when dropped.
pub(crate) struct InFlightPermit {
    policy: Rc<MirrorPolicy>,
    of: fn(&ShadowSeries) -> &ShadowPlaces,
}

impl InFlightPermit {
    pub(crate) fn policy(&self) -> &Rc<MirrorPolicy> {
        &self.policy
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        (self.of)(&self.policy.series).give_back();
    }
}

/// Memory reserved for one copy, shared by all parts that hold data for it.
pub(crate) type MemoryPermit = Rc<RefCell<ShadowHeld>>;

/// A copy, from its sampling on. Its end is counted exactly once, on [`Self::finish`] or on drop.
pub(crate) struct CopyPermit {
    worker: Rc<Worker>,
    policy: Rc<MirrorPolicy>,
    /// Taken when the copy is sent.
    in_flight: Option<InFlightPermit>,
    memory: MemoryPermit,
    end: ShadowEnd,
    finished: bool,
}

impl CopyPermit {
    /// The end of a copy that was dropped before its request was complete.
    const UNSENT: ShadowEnd = ShadowEnd::Dropped(ShadowDrop::Incomplete);

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub(crate) fn policy(&self) -> &Rc<MirrorPolicy> {
        &self.policy
    }

    /// Takes a place in flight, if one is free.
    pub(super) fn try_start(&mut self, max: u32) -> bool {
        let policy = &self.policy;
        self.in_flight = policy
            .series
            .copies
            .try_take(max)
            .then(|| InFlightPermit { policy: Rc::clone(policy), of: |series| &series.copies });
        if self.in_flight.is_some() {
            policy.state.throttle.record_free();
        }
        self.in_flight.is_some()
    }

    /// Sets how the copy ends. A later call replaces it.
    pub(crate) fn set_end(&mut self, end: ShadowEnd) {
        self.end = end;
    }

    /// Throttles the shadow although the copy completed: its response is longer than the proxy reads, and has no
    /// declared length.
    pub(super) fn throttle(&self) {
        self.policy.state.throttle.record_failure(self.worker.now_ms());
    }

    /// The memory reserved for the copy.
    pub(crate) fn memory(&self) -> &MemoryPermit {
        &self.memory
    }

    /// Reserves memory for the copy.
    pub(crate) fn try_reserve(&mut self, bytes: u64) -> bool {
        self.memory.borrow_mut().try_take(bytes)
    }

    /// Moves the reserved memory to the caller.
    pub(crate) fn take_memory(&mut self) -> ShadowHeld {
        self.memory.replace(ShadowHeld::new(Arc::clone(self.policy.series.bytes())))
    }
}

impl CopyPermit {
    /// Counts the end of the copy and releases its place in flight. Its memory stays reserved.
    pub(crate) fn finish(&mut self) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let (worker, throttle) = (&self.worker, &self.policy.state.throttle);
        self.in_flight = None;
        debug_assert!(worker.copies.get() > 0, "every copy was counted");
        worker.copies.set(worker.copies.get().saturating_sub(1));
        self.policy.meter(worker).end(self.end);
        let reason = match self.end {
            ShadowEnd::Completed(_) => return throttle.record_success(worker.now_ms()),
            ShadowEnd::Dropped(reason) => reason,
        };
        match reason {
            ShadowDrop::InFlightLimit | ShadowDrop::ByteLimit => throttle.record_full(worker.now_ms()),
            ShadowDrop::Connect | ShadowDrop::Timeout | ShadowDrop::Reset => throttle.record_failure(worker.now_ms()),
            ShadowDrop::BodyTooLarge
            | ShadowDrop::Incomplete
            | ShadowDrop::Method
            | ShadowDrop::Killed
            | ShadowDrop::Shutdown => {}
        }
    }
}

impl Drop for CopyPermit {
    fn drop(&mut self) {
        self.finish();
        // The request may hold a clone of `memory` for long: release the bytes now.
        drop(self.take_memory());
    }
}
