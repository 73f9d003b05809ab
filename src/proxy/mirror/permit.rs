//! What a worker keeps for the shadow of a route: the upstream's connections for copies, the sequence that samples, and
//! a throttle. A copy takes a in_flight and bytes of what all copies share; it never waits for either.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::proxy::worker::Worker;
use crate::route::{Shadow, ShadowSpread, Spread, Weight};
use crate::snapshot::RouteState;
use crate::telemetry::{ShadowDrop, ShadowEnd, ShadowHeld, ShadowMeter, ShadowPlaces, ShadowSeries};

/// After a failure the share is halved, at most once in this time.
const CUT_EVERY_MS: u64 = 500;
/// The places are full for so long before it is a failure.
const FULL_FOR_MS: u64 = 500;
/// From nothing to the whole share again, once a copy has succeeded.
const RECOVERY_MS: f64 = 20_000.0;
/// So many of the share are sampled however bad it is, to see when it is better.
const FLOOR: f64 = 0.01;
/// Where these are many: at the floor, no other is sampled for so long.
const PAUSE_MS: u64 = 250;
/// Where these are few: one request in this time is sampled as if nothing were wrong.
const PROBE_EVERY_MS: u64 = 1000;

/// The shadow of one route on one worker.
pub(crate) struct MirrorPolicy {
    pub(crate) series: Arc<ShadowSeries>,
    pub(crate) state: Rc<MirrorState>,
}

/// What a reload does not change of a policy.
#[derive(Debug, Default)]
pub(crate) struct MirrorState {
    /// Which requests are sampled.
    pub(crate) spread: Cell<ShadowSpread>,
    /// Which copies have a control.
    pub(crate) control: Cell<Spread>,
    throttle: Throttle,
}

/// A worker's mirrors, by route.
#[derive(Default)]
pub(crate) struct MirrorStates(RefCell<ahash::HashMap<String, KnownMirror>>);

/// What is known of a policy, and whose it is.
type KnownMirror = (Arc<ShadowSeries>, Rc<MirrorState>);

/// The part of the share that is sampled. A failure halves it. It grows only after a success: the copies of a shadow
/// that never answers are the dearest of all, and time alone does not make such a shadow better.
#[derive(Debug)]
struct Throttle {
    part: Cell<f64>,
    at_ms: Cell<u64>,
    state: Cell<LastOutcome>,
    /// When a copy was last sampled.
    sampled_ms: Cell<u64>,
    cut_ms: Cell<Option<u64>>,
    /// Since when no copy has found a in_flight, or room for its body.
    full_ms: Cell<Option<u64>>,
}

/// What the last copy came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastOutcome {
    Succeeding,
    Failing,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            part: Cell::new(1.0),
            at_ms: Cell::new(0),
            state: Cell::new(LastOutcome::Succeeding),
            sampled_ms: Cell::new(0),
            cut_ms: Cell::new(None),
            full_ms: Cell::new(None),
        }
    }
}

impl Throttle {
    fn part(&self, now_ms: u64) -> f64 {
        let since = now_ms.saturating_sub(self.at_ms.replace(now_ms));
        if self.state.get() == LastOutcome::Succeeding {
            let since = u32::try_from(since).unwrap_or(u32::MAX);
            self.part.set((self.part.get() + f64::from(since) / RECOVERY_MS).min(1.0));
        }
        self.part.get()
    }

    /// The part by which the next request is sampled: where copies fail, neither too many nor too few are tried.
    fn part_of_next(&self, now_ms: u64) -> f64 {
        let (part, since) = (self.part(now_ms), now_ms.saturating_sub(self.sampled_ms.get()));
        match self.state.get() {
            LastOutcome::Failing if since >= PROBE_EVERY_MS => 1.0,
            LastOutcome::Failing if since < PAUSE_MS && part <= FLOOR => 0.0,
            LastOutcome::Failing | LastOutcome::Succeeding => part,
        }
    }

    /// A request is sampled.
    fn record_sample(&self, now_ms: u64) {
        self.sampled_ms.set(now_ms);
    }

    /// A copy has succeeded.
    fn record_success(&self, now_ms: u64) {
        self.part(now_ms);
        self.state.set(LastOutcome::Succeeding);
    }

    /// A copy has found no in_flight. A moment of that is no trouble, it is what places are for.
    fn record_full(&self, now_ms: u64) {
        let since = self.full_ms.get().unwrap_or(now_ms);
        self.full_ms.set(Some(since));
        if now_ms >= since + FULL_FOR_MS {
            self.record_failure(now_ms);
        }
    }

    /// One has.
    fn record_free(&self) {
        self.full_ms.set(None);
    }

    fn record_failure(&self, now_ms: u64) {
        let part = self.part(now_ms);
        self.state.set(LastOutcome::Failing);
        let recently = self.cut_ms.get().is_some_and(|cut| now_ms < cut + CUT_EVERY_MS);
        if !recently {
            self.cut_ms.set(Some(now_ms));
            self.part.set((part / 2.0).max(FLOOR));
        }
    }
}

impl MirrorStates {
    /// What stands for this route, or something new.
    pub(crate) fn adopt(&self, series: &Arc<ShadowSeries>, random: &mut fastrand::Rng) -> Rc<MirrorState> {
        let mut mirrors = self.0.borrow_mut();
        if let Some((known, state)) = mirrors.get(&series.route)
            && Arc::ptr_eq(known, series)
        {
            return Rc::clone(state);
        }
        let state = MirrorState::default();
        state.spread.set(ShadowSpread(random.u64(..)));
        state.control.set(Spread(random.u64(..)));
        let state = Rc::new(state);
        mirrors.insert(series.route.clone(), (Arc::clone(series), Rc::clone(&state)));
        state
    }

    /// Forgets the routes whose shadows are gone.
    pub(crate) fn retain(&self, routes: &[Arc<RouteState>]) {
        let mut mirrors = self.0.borrow_mut();
        if !mirrors.is_empty() {
            let kept: ahash::HashSet<*const ShadowSeries> =
                routes.iter().filter_map(|route| route.shadow.as_ref()).map(Arc::as_ptr).collect();
            mirrors.retain(|_, (series, _)| kept.contains(&Arc::as_ptr(series)));
        }
    }
}

impl MirrorPolicy {
    pub(crate) fn meter(&self, worker: &Worker) -> &ShadowMeter {
        self.series.meters.of(worker.index)
    }

    /// The share now.
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

    /// Samples a request. Its copy takes a in_flight later, when it is sent; where there is none now, it is not even
    /// made.
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

    /// A in_flight for a control, if there is one.
    pub(super) fn try_control_permit(self: &Rc<Self>, max: u32) -> Option<InFlightPermit> {
        self.series
            .controls
            .try_take(max)
            .then(|| InFlightPermit { policy: Rc::clone(self), of: |series| &series.controls })
    }
}

/// A in_flight among the copies under way, or among the controls; given back when dropped.
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

/// Bytes of what all copies may hold, shared by all who keep some for one copy.
pub(crate) type MemoryPermit = Rc<RefCell<ShadowHeld>>;

/// One copy, from its sampling on. What it comes to is counted when it is finished, or dropped, wherever that is.
pub(crate) struct CopyPermit {
    worker: Rc<Worker>,
    policy: Rc<MirrorPolicy>,
    /// Its in_flight among those under way, from its sending on.
    in_flight: Option<InFlightPermit>,
    memory: MemoryPermit,
    end: ShadowEnd,
    finished: bool,
}

impl CopyPermit {
    /// What has become of a request of which nobody says otherwise: it never came so far.
    const UNSENT: ShadowEnd = ShadowEnd::Dropped(ShadowDrop::Incomplete);

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    pub(crate) fn policy(&self) -> &Rc<MirrorPolicy> {
        &self.policy
    }

    /// Takes a in_flight among the copies under way.
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

    /// It has come to this, unless more happens.
    pub(crate) fn set_end(&mut self, end: ShadowEnd) {
        self.end = end;
    }

    /// It costs more than a copy should, though it is answered: fewer are sent.
    pub(super) fn throttle(&self) {
        self.policy.state.throttle.record_failure(self.worker.now_ms());
    }

    /// What it holds of the bytes that all copies may hold.
    pub(crate) fn memory(&self) -> &MemoryPermit {
        &self.memory
    }

    /// Takes bytes of what all copies may hold.
    pub(crate) fn try_reserve(&mut self, bytes: u64) -> bool {
        self.memory.borrow_mut().try_take(bytes)
    }

    /// Gives what it holds away, to whoever has it from now on.
    pub(crate) fn take_memory(&mut self) -> ShadowHeld {
        self.memory.replace(ShadowHeld::new(Arc::clone(self.policy.series.bytes())))
    }
}

impl CopyPermit {
    /// It has come to its end: that is counted, and its in_flight is another's. What it holds it holds on to.
    pub(crate) fn finish(&mut self) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        let (worker, throttle) = (&self.worker, &self.policy.state.throttle);
        self.in_flight = None;
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
        // Its request, which may be under way for long, has a share in what was memory.
        drop(self.take_memory());
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    #[test]
    fn places_that_are_full_for_a_moment_are_no_trouble() {
        let throttle = Throttle::default();
        throttle.record_full(1000);
        throttle.record_full(1499);
        throttle.record_free();
        throttle.record_full(1500);
        throttle.record_full(1999);
        assert!((throttle.part(1999) - 1.0).abs() < 1e-9);
        throttle.record_full(2000);
        assert!((throttle.part(2000) - 0.5).abs() < 1e-9, "nothing found a in_flight for half a second");
    }

    #[test]
    fn a_throttle_halves_and_recovers_when_a_copy_succeeds() {
        let throttle = Throttle::default();
        assert!((throttle.part(0) - 1.0).abs() < 1e-9);
        throttle.record_failure(1000);
        throttle.record_failure(1100);
        assert!((throttle.part(1100) - 0.5).abs() < 1e-9, "one halving");
        assert!((throttle.part(60_000) - 0.5).abs() < 1e-9, "time alone is no recovery");
        throttle.record_success(60_000);
        assert!((throttle.part(60_500) - 0.525).abs() < 1e-9);
        throttle.record_failure(60_500);
        assert!((throttle.part(70_000) - 0.2625).abs() < 1e-9, "and a failure ends it");
        throttle.record_success(70_000);
        assert!((throttle.part(84_750) - 1.0).abs() < 1e-9, "it is whole again after a while without");
    }

    /// One request every `every_ms`, from one moment to another; `end` says what its copy comes to after 100 ms. The
    /// copies that were sampled.
    fn sampled_copies(throttle: &Throttle, period_ms: Range<u64>, every_ms: usize, end: fn(&Throttle, u64)) -> u32 {
        let (mut copies, mut due) = (0, std::collections::VecDeque::new());
        let mut drawn = 0.0;
        for now_ms in period_ms.step_by(every_ms) {
            while due.pop_front_if(|at| *at <= now_ms).is_some() {
                end(throttle, now_ms);
            }
            drawn += throttle.part_of_next(now_ms);
            if drawn >= 1.0 {
                drawn -= 1.0;
                throttle.record_sample(now_ms);
                copies += 1;
                due.push_back(now_ms + 100);
            }
        }
        copies
    }

    #[test]
    fn a_shadow_that_never_answers_gets_hardly_any_copies() {
        let throttle = Throttle::default();
        sampled_copies(&throttle, 0..5_000, 1, Throttle::record_failure);
        assert!((throttle.part(5_000) - FLOOR).abs() < 1e-9);
        let copies = sampled_copies(&throttle, 5_000..65_000, 1, Throttle::record_failure);
        assert!((120..=240).contains(&copies), "{copies} copies of 60 000 requests in a minute");
        assert!((throttle.part(65_000) - FLOOR).abs() < 1e-9);
        sampled_copies(&throttle, 65_000..86_000, 1, Throttle::record_success);
        assert!((throttle.part(86_000) - 1.0).abs() < 1e-9, "whole again 21 seconds after it answers again");
    }

    #[test]
    fn a_shadow_with_few_requests_is_probed_every_second() {
        let throttle = Throttle::default();
        sampled_copies(&throttle, 0..10_000, 200, Throttle::record_failure);
        assert!((throttle.part(10_000) - FLOOR).abs() < 1e-9);
        let copies = sampled_copies(&throttle, 10_000..70_000, 200, Throttle::record_failure);
        assert!((55..=70).contains(&copies), "{copies} copies of 300 requests");
        sampled_copies(&throttle, 70_000..92_000, 200, Throttle::record_success);
        assert!((throttle.part(92_000) - 1.0).abs() < 1e-9, "whole again 22 seconds after it answers again");
    }

    #[test]
    fn one_failure_in_twenty_holds_back_little_and_one_success_in_twenty_much() {
        for (failures, at_least, at_most) in [(1_u64, 0.02, 0.6), (19, FLOOR, 0.03)] {
            let throttle = Throttle::default();
            for at in 0..6_000 {
                throttle.part(at * 10);
                if at % 20 < failures { throttle.record_failure(at * 10) } else { throttle.record_success(at * 10) }
            }
            let part = throttle.part(60_000);
            assert!((at_least..=at_most).contains(&part), "{failures} of 20 fail: {part}");
        }
    }
}
