//! The evidence of one guard about one variant.

use std::collections::VecDeque;

use super::counted_tests::{AbsoluteTest, DealingTest, DealtKeys, RelativeTest};
use super::judged_group::{JudgedArm, JudgedScope, ScopedArm};
use super::live_tests::{LiveTests, mixture_ln};
use super::shown_counts::ShownCounts;
use super::slot_ring::{RiskSpan, SlotRecord, SlotRing, WINDOW_MS, risk_since};
use crate::route::{Guard, GuardAct, GuardTest, Signal};
use crate::stats::{AbsoluteKernel, JudgedEvent, Kernel, Tally, WindowNumber, reaches};

/// From this share on there is little control left.
pub(super) const NEAR_FULL: f64 = 0.9;
/// The bound near 100 %, where stable's rate gives no higher one.
const NEAR_FULL_BOUND_MIN: f64 = 0.01;
/// The bound near 100 %, in times of stable's rate.
const NEAR_FULL_RATIO: f64 = 3.0;
/// So many callers of stable say that it is above a bound itself.
const STABLE_MIN: u64 = 20;
/// Stable's rate is taken from the last minutes.
const RATE_MINUTES: usize = 60;

/// The evidence of a guard about a variant.
#[derive(Clone, Debug)]
pub(super) struct GuardEvidence {
    pub guard: Guard,
    pub signal: Option<Signal>,
    /// The route that it judges, where it judges one alone.
    pub route: Option<String>,
    pub scope: JudgedScope,
    pub form: TestForm,
    pub shown: ShownCounts,
    /// The act of the trip.
    pub tripped: Option<GuardAct>,
    /// What a run of failures said.
    pub run_sentence: Option<String>,
}

/// The test of a guard.
#[derive(Clone, Debug)]
pub(super) enum TestForm {
    Relative {
        kernel: Kernel,
        tests: LiveTests<RelativeTest>,
    },
    Absolute {
        /// Without a bound it does not judge.
        kernel: Option<AbsoluteKernel>,
        tests: LiveTests<AbsoluteTest>,
        rates: StableRates,
    },
    SampleRatio {
        test: DealingTest,
        frozen_ln: Option<f64>,
    },
    /// No alternative is above its ratio.
    Impossible,
}

/// Stable's rate while it had more than a tenth of the callers: for a bound.
#[derive(Clone, Debug, Default)]
pub(super) struct StableRates {
    /// The number of the minute, and its counts.
    minutes: VecDeque<(u64, Tally)>,
    /// The bound is taken when the variant comes near 100 %.
    bound_taken: bool,
}

/// The events of a tick in one slot, under one deciding rule, of one signal.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventGroup<'a> {
    /// The index of the slot.
    pub slot: usize,
    pub stratum: u16,
    pub signal: usize,
    pub events: &'a [JudgedEvent],
}

/// A guard with what it judges.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlacedGuard<'a> {
    pub guard: &'a Guard,
    pub signal: Option<&'a Signal>,
    pub route: Option<&'a str>,
    pub scope: JudgedScope,
}

impl EventGroup<'_> {
    /// The events of a variant that count in a test which began with window `began`.
    pub fn count(&self, arm: u16, began: WindowNumber) -> u64 {
        let counts = |event: &&JudgedEvent| {
            event.window >= began && event.place.arm == arm && event.counts_since(risk_since(began, event.window))
        };
        self.events.iter().filter(counts).count() as u64
    }
}

impl GuardEvidence {
    /// No evidence; its tests begin with window `began`.
    pub fn new(placed: &PlacedGuard<'_>, began: WindowNumber) -> Self {
        let PlacedGuard { guard, signal, route, scope } = *placed;
        let form = match guard.test {
            GuardTest::WorseThanStable(ratio) => match Kernel::new(ratio) {
                Some(kernel) => TestForm::Relative { kernel, tests: LiveTests::new(began) },
                None => TestForm::Impossible,
            },
            GuardTest::Above(bound) => TestForm::Absolute {
                kernel: bound.and_then(AbsoluteKernel::new),
                tests: LiveTests::new(began),
                rates: StableRates::default(),
            },
            GuardTest::SampleRatio => TestForm::SampleRatio { test: DealingTest::default(), frozen_ln: None },
        };
        Self {
            guard: guard.clone(),
            signal: signal.cloned(),
            route: route.map(str::to_owned),
            scope,
            form,
            shown: ShownCounts::new(began),
            tripped: None,
            run_sentence: None,
        }
    }

    /// What it judges of a variant.
    pub const fn of(&self, by: JudgedArm) -> JudgedArm {
        JudgedArm { scope: self.scope, ..by }
    }

    /// Its name, with that of the route that it judges alone.
    pub fn label(&self) -> String {
        match &self.route {
            Some(route) => format!("{} ({route})", self.guard.name),
            None => self.guard.name.clone(),
        }
    }

    /// No evidence, of the same guard.
    pub fn anew(&self, began: WindowNumber) -> Self {
        let (route, scope) = (self.route.as_deref(), self.scope);
        Self::new(&PlacedGuard { guard: &self.guard, signal: self.signal.as_ref(), route, scope }, began)
    }

    /// Whether the evidence goes on under this guard: another act changes nothing, another test does.
    pub fn goes_on_as(&self, placed: &PlacedGuard<'_>) -> bool {
        let PlacedGuard { guard, signal, route, .. } = *placed;
        let same_alpha = (self.guard.alpha - guard.alpha).abs() < f64::EPSILON;
        self.guard.name == guard.name
            && self.route.as_deref() == route
            && self.signal.as_ref() == signal
            && self.guard.test == guard.test
            && self.guard.near_full == guard.near_full
            && same_alpha
    }

    pub const fn is_slow(&self) -> bool {
        matches!(self.signal, Some(Signal::SlowerThan(_)))
    }

    /// Whether exposures and events of a slot count.
    pub fn judges(&self, slot: &SlotRecord, by: JudgedArm) -> bool {
        (!self.guard.near_full || slot.share(by.tested()) >= NEAR_FULL)
            && (!self.is_slow() || slot.began_ms >= by.warm_at_ms)
    }

    /// A window begins.
    pub fn begin_window(&mut self, began: WindowNumber) {
        match &mut self.form {
            TestForm::Relative { tests, .. } => tests.begin(began),
            TestForm::Absolute { tests, .. } => tests.begin(began),
            TestForm::SampleRatio { .. } | TestForm::Impossible => {}
        }
    }

    /// The marks are lost: the tests stand still. A window begins after it.
    pub fn freeze(&mut self, began: WindowNumber) {
        match &mut self.form {
            TestForm::Relative { kernel, tests } => tests.freeze(|test| kernel.ln(&test.evidence)),
            TestForm::Absolute { kernel: Some(kernel), tests, .. } => {
                tests.freeze(|test| kernel.ln(&test.evidence(*kernel, 0)));
            }
            TestForm::SampleRatio { test, frozen_ln } => {
                frozen_ln.get_or_insert(test.dealing.ln());
            }
            TestForm::Absolute { kernel: None, .. } | TestForm::Impossible => {}
        }
        self.shown = ShownCounts::new(began);
    }

    /// The sample of first keys is no sample of all callers any more: the test of the sample ratio stands still.
    pub fn stop_dealing(&mut self) {
        if let TestForm::SampleRatio { test, frozen_ln } = &mut self.form {
            frozen_ln.get_or_insert(test.dealing.ln());
        }
    }

    /// Whether the test of the sample ratio stands still.
    pub const fn deals_no_more(&self) -> bool {
        matches!(self.form, TestForm::SampleRatio { frozen_ln: Some(_), .. })
    }

    /// Adds the events of a tick that are of its signal.
    pub fn weigh(&mut self, group: &EventGroup<'_>, ring: &SlotRing, by: JudgedArm) {
        let Some(slot) = ring.get(group.slot).filter(|_| by.scope.has(group.stratum)) else { return };
        if let TestForm::Absolute { rates, .. } = &mut self.form
            && self.guard.test == GuardTest::Above(None)
            && slot.share(by.tested()) < NEAR_FULL
        {
            rates.add(slot.began_ms, Tally { exposures: 0, events: group.count(0, slot.window) });
        }
        if !self.judges(slot, by) {
            return;
        }
        let counts_in = |began: WindowNumber| {
            let span = RiskSpan { slot: group.slot, stratum: group.stratum, arm: by.arm, signal: group.signal, began };
            let (tested, stable) = (group.count(by.arm, began), group.count(0, began));
            if tested + stable == 0 {
                return None;
            }
            let at_risk = ring.at_risk(&span);
            (at_risk.tested > 0 && at_risk.stable > 0).then_some([at_risk.tested, at_risk.stable, tested, stable])
        };
        match &mut self.form {
            TestForm::Relative { kernel, tests } => {
                for (began, test) in tests.running() {
                    if let Some(counts) = counts_in(began) {
                        test.add(*kernel, counts);
                    }
                }
            }
            TestForm::Absolute { tests, .. } => {
                for (began, test) in tests.running() {
                    test.tally.events += group.count(by.arm, began);
                }
            }
            TestForm::SampleRatio { .. } | TestForm::Impossible => return,
        }
        let began = self.shown.began();
        self.shown.add(group.count(by.arm, began), group.count(0, began), counts_in(began));
    }

    /// Adds first keys.
    pub fn deal(&mut self, keys: DealtKeys) {
        if let TestForm::SampleRatio { test, frozen_ln: None } = &mut self.form
            && keys.tested + keys.control > 0
        {
            test.add(keys);
        }
    }

    /// The exposures of a slot are final.
    pub fn settle(&mut self, slot: &SlotRecord, by: JudgedArm) {
        let signal = self.guard.signal.unwrap_or(usize::MAX);
        if let TestForm::Absolute { rates, .. } = &mut self.form
            && self.guard.test == GuardTest::Above(None)
            && slot.share(by.tested()) < NEAR_FULL
        {
            rates.add(slot.began_ms, Tally { exposures: slot.at_risk(by.stable(), signal, slot.window), events: 0 });
        }
        if !self.judges(slot, by) {
            return;
        }
        if let TestForm::Absolute { tests, kernel: Some(_), .. } = &mut self.form {
            for (began, test) in tests.running() {
                test.tally.exposures += slot.at_risk(by.tested(), signal, began);
            }
        }
        self.shown.expose(slot, by);
    }

    /// Takes a bound from stable, near 100 %.
    pub fn bound(&mut self, ring: &SlotRing, by: JudgedArm) {
        let now_near = ring.last().share(by.tested()) >= NEAR_FULL;
        let TestForm::Absolute { kernel, tests, rates } = &mut self.form else { return };
        if self.guard.test != GuardTest::Above(None) {
            return;
        }
        if !now_near {
            rates.bound_taken = false;
        } else if !rates.bound_taken {
            rates.bound_taken = true;
            let bound = (NEAR_FULL_RATIO * rates.rate(ring.last().began_ms)).clamp(NEAR_FULL_BOUND_MIN, NEAR_FULL);
            if let Some(before) = *kernel {
                for (_, test) in tests.running() {
                    test.base = test.evidence(before, 0);
                    test.tally = Tally::default();
                }
            }
            *kernel = AbsoluteKernel::new(bound);
        }
    }

    /// By test: its number and the natural logarithm of its evidence.
    pub fn lns(&self, ring: &SlotRing, by: JudgedArm) -> Vec<(u32, f64)> {
        match &self.form {
            TestForm::Relative { kernel, tests } => tests.lns(|_, test| kernel.ln(&test.evidence)),
            TestForm::Absolute { kernel: Some(kernel), tests, .. } => {
                tests.lns(|one, test| kernel.ln(&test.evidence(*kernel, self.unsettled(one.began, ring, by))))
            }
            TestForm::SampleRatio { test, frozen_ln } => vec![(0, frozen_ln.unwrap_or_else(|| test.dealing.ln()))],
            TestForm::Absolute { kernel: None, tests, .. } => tests.lns(|_, _| 0.0),
            TestForm::Impossible => Vec::new(),
        }
    }

    /// Exposures of slots that are not final, for an absolute test.
    pub fn unsettled(&self, began: WindowNumber, ring: &SlotRing, by: JudgedArm) -> u64 {
        let signal = self.guard.signal.unwrap_or(usize::MAX);
        let judged = ring.unsettled().filter(|slot| self.judges(slot, by));
        judged.map(|slot| slot.at_risk(by.tested(), signal, began)).sum()
    }

    /// The natural logarithm of its evidence.
    pub fn ln(&self, ring: &SlotRing, by: JudgedArm) -> f64 {
        let lns = self.lns(ring, by);
        match &self.form {
            TestForm::Relative { .. } | TestForm::Absolute { .. } => mixture_ln(&lns),
            TestForm::SampleRatio { .. } => lns.first().map_or(0.0, |(_, ln)| *ln),
            TestForm::Impossible => 0.0,
        }
    }

    /// What follows from its evidence, once: again only when the act is stronger than that of the trip before.
    pub fn trips(&mut self, ring: &SlotRing, by: JudgedArm, now_ms: u64) -> Option<GuardAct> {
        if self.tripped >= Some(self.guard.act) || !reaches(self.ln(ring, by), self.guard.alpha) {
            return None;
        }
        let act = if self.stable_is_above(ring, by, now_ms) { GuardAct::Warn } else { self.guard.act };
        (self.tripped < Some(act)).then(|| {
            self.tripped = Some(act);
            act
        })
    }

    /// Whether stable is above the bound of an absolute guard.
    fn stable_is_above(&self, ring: &SlotRing, by: JudgedArm, now_ms: u64) -> bool {
        let TestForm::Absolute { kernel: Some(kernel), .. } = &self.form else { return false };
        let signal = self.guard.signal.unwrap_or(usize::MAX);
        let tally = stable_since(ring, signal, by.stable(), now_ms.saturating_sub(WINDOW_MS));
        tally.exposures >= STABLE_MIN && tally.rate() > kernel.bound()
    }
}

/// Stable's callers at risk and with an event, in slots that began at `since_ms` or later. A caller counts once in a window.
pub(super) fn stable_since(ring: &SlotRing, signal: usize, of: ScopedArm, since_ms: u64) -> Tally {
    let mut tally = Tally::default();
    for slot in ring.since(since_ms) {
        tally.exposures += slot.at_risk(of, signal, slot.window);
        tally.events += slot.stable_events(signal, of);
    }
    tally
}

impl StableRates {
    fn add(&mut self, began_ms: u64, tally: Tally) {
        debug_assert!(self.minutes.len() <= RATE_MINUTES, "an hour");
        if tally == Tally::default() {
            return;
        }
        let minute = began_ms / WINDOW_MS;
        match self.minutes.iter_mut().rev().find(|(number, _)| *number == minute) {
            Some((_, sum)) => sum.merge(tally),
            None => self.minutes.push_back((minute, tally)),
        }
        if self.minutes.len() > RATE_MINUTES {
            self.minutes.pop_front();
        }
    }

    fn rate(&self, now_ms: u64) -> f64 {
        let mut sum = Tally::default();
        let first = (now_ms / WINDOW_MS).saturating_sub(RATE_MINUTES as u64);
        self.minutes.iter().filter(|(number, _)| *number >= first).for_each(|(_, tally)| sum.merge(*tally));
        sum.rate().min(1.0)
    }
}
