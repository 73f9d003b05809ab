//! The slots of a route, or of the routes of a rollout: when each began, the shares under which its requests were sent, and its exposures.
//!
//! A slot ends after a second, and when the shares change. A slot without exposures does not end: it begins later.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::facts::Opening;
use super::judged_group::{GroupLayout, ScopedArm};
use crate::stats::{ArmPlace, JudgedEvent, MARK_AGES, SlotExposures, SlotNumber, WindowNumber};

/// A slot ends after this many milliseconds.
const SLOT_MS: u64 = 1_000;
/// A window begins after this many milliseconds.
pub(super) const WINDOW_MS: u64 = 60_000;
/// An event is weighed with the exposures of the last milliseconds that end with its slot.
pub(super) const SPAN_MS: u64 = 10_000;
/// How far a share may move from its value at the beginning of a span, as a part of that value.
const SPAN_DRIFT_MAX: f64 = 0.02;
/// How many slots are kept.
const SLOTS_MAX: usize = 600;
/// A watch keeps this many slots: exposures may still be added to them.
const READABLE: u32 = 16;

/// The slots of routes that are judged together.
#[derive(Clone, Debug)]
pub(super) struct SlotRing {
    /// With numbers in sequence; the last one is open.
    slots: VecDeque<SlotRecord>,
    layout: Arc<GroupLayout>,
    window_began_ms: u64,
    /// Exposures of slots below this number are final.
    settled_below: SlotNumber,
}

/// A slot.
#[derive(Clone, Debug)]
pub(super) struct SlotRecord {
    pub number: SlotNumber,
    pub window: WindowNumber,
    pub began_ms: u64,
    /// By route, then by signal: the callers of stable whose first event of this window was sent in this slot.
    stable_events: Box<[u32]>,
    /// How many signals there are.
    signals: usize,
    pub exposures: SlotExposures,
    division: Arc<Division>,
}

/// The shares of a slot, and since when they have been about the same.
#[derive(Clone, Debug, PartialEq)]
struct Division {
    /// How many variants a route has.
    arms: usize,
    /// By route, then by variant.
    shares: Box<[f64]>,
    /// By route, then by variant: the first slot of the span, and the shares of the variant and of stable in it.
    spans: Box<[SpanStart]>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct SpanStart {
    since: SlotNumber,
    tested: f64,
    stable: f64,
}

/// What an event is weighed with: the exposures of a deciding rule in the time that ends with a slot, in a test.
#[derive(Clone, Copy, Debug)]
pub(super) struct RiskSpan {
    /// The index of the slot.
    pub slot: usize,
    pub stratum: u16,
    pub arm: u16,
    pub signal: usize,
    /// The window with which the test began.
    pub began: WindowNumber,
}

/// The callers at risk in a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AtRisk {
    pub tested: u64,
    pub stable: u64,
}

/// Which keys are at risk in a test that began with window `began`, in a slot of window `window`: those with a mark before
/// the result; `None`: those without one. A watch does not distinguish older marks.
pub(super) const fn risk_since(began: WindowNumber, window: WindowNumber) -> Option<WindowNumber> {
    if window.0.saturating_sub(began.0) as usize + 1 < MARK_AGES { Some(began) } else { None }
}

impl SlotRecord {
    /// The share of a variant: the largest one of the routes.
    pub fn share(&self, of: ScopedArm) -> f64 {
        of.scope.routes().map(|route| self.division.share(route, of.arm)).fold(0.0, f64::max)
    }

    /// The share of a variant of the callers that it and stable have in a route; `None` when one of them has none.
    pub fn pair_share(&self, route: usize, arm: u16) -> Option<f64> {
        let (tested, stable) = (self.division.share(route, arm), self.division.share(route, 0));
        (tested > 0.0 && stable > 0.0).then(|| tested / (tested + stable))
    }

    /// The callers of stable with a first event of this window.
    pub fn stable_events(&self, signal: usize, of: ScopedArm) -> u64 {
        let signals = self.signals;
        let count = |route: usize| self.stable_events.get(route * signals + signal).copied().unwrap_or(0);
        of.scope.routes().filter(|_| signal < signals).map(|route| u64::from(count(route))).sum()
    }

    /// The distinct keys of a variant, over all rules.
    pub fn keys(&self, of: ScopedArm) -> u64 {
        places(of).map(|place| self.exposures.keys(place)).sum()
    }

    /// Those of them that are at risk in a test that began with window `began`.
    pub fn at_risk(&self, of: ScopedArm, signal: usize, began: WindowNumber) -> u64 {
        if self.window < began {
            return 0;
        }
        let since = risk_since(began, self.window);
        places(of).map(|place| self.exposures.at_risk(place, signal, since, self.window)).sum()
    }
}

impl SlotRing {
    /// Slot 1 of window 1 is open.
    pub fn new(layout: GroupLayout, shares: &[f64], now_ms: u64) -> Self {
        let first = Opening { window: WindowNumber(1), slot: SlotNumber(1) };
        let division = Arc::new(Division::first(layout.shape.arms, shares, first.slot));
        let slots = VecDeque::from([SlotRecord::open(first, now_ms, &layout, division)]);
        Self { slots, layout: Arc::new(layout), window_began_ms: now_ms, settled_below: first.slot }
    }

    /// How the counts lie.
    pub fn layout(&self) -> &GroupLayout {
        &self.layout
    }

    /// The open slot.
    pub fn last(&self) -> &SlotRecord {
        debug_assert!(!self.slots.is_empty(), "a slot is always open");
        &self.slots[self.slots.len() - 1]
    }

    pub fn opening(&self) -> Opening {
        Opening { window: self.last().window, slot: self.last().number }
    }

    pub fn get(&self, at: usize) -> Option<&SlotRecord> {
        self.slots.get(at)
    }

    /// The index of a slot; `None` if it is no longer kept.
    pub fn find(&self, number: SlotNumber) -> Option<usize> {
        let at = number.0.checked_sub(self.slots.front()?.number.0)? as usize;
        (at < self.slots.len()).then_some(at)
    }

    /// Whether the open slot has lasted its time.
    pub fn is_due(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.last().began_ms) >= SLOT_MS
    }

    /// The open slot has no exposures: it begins now.
    pub fn postpone(&mut self, now_ms: u64) {
        if let Some(slot) = self.slots.back_mut() {
            slot.began_ms = now_ms;
        }
    }

    /// Opens the next slot; also the next window when it is time. With the shares of the last slot, if there are no others.
    pub fn next(&mut self, shares: Option<&[f64]>, now_ms: u64) {
        if now_ms.saturating_sub(self.window_began_ms) >= WINDOW_MS {
            self.next_window(shares, now_ms);
        } else {
            self.push(self.last().window, shares, now_ms);
        }
    }

    /// Opens the next slot in the next window.
    pub fn next_window(&mut self, shares: Option<&[f64]>, now_ms: u64) {
        self.window_began_ms = now_ms;
        let window = WindowNumber(self.last().window.0.saturating_add(1));
        self.push(window, shares, now_ms);
    }

    fn push(&mut self, window: WindowNumber, shares: Option<&[f64]>, now_ms: u64) {
        let before = self.last();
        let slot = SlotNumber(before.number.0.saturating_add(1));
        let division = match shares {
            Some(shares) if *shares != *before.division.shares => Arc::new(before.division.moved(shares, slot)),
            Some(_) | None => Arc::clone(&before.division),
        };
        self.slots.push_back(SlotRecord::open(Opening { window, slot }, now_ms, &self.layout, division));
        if self.slots.len() > SLOTS_MAX {
            self.slots.pop_front();
        }
    }

    /// Goes on without the slots before, with counts that lie otherwise: the next slot, in the next window, under these
    /// shares.
    pub fn restart(&mut self, layout: GroupLayout, shares: &[f64], now_ms: u64) {
        let Opening { window, slot } = self.opening();
        let opening = Opening { window: WindowNumber(window.0 + 1), slot: SlotNumber(slot.0 + 1) };
        let division = Arc::new(Division::first(layout.shape.arms, shares, opening.slot));
        self.slots = VecDeque::from([SlotRecord::open(opening, now_ms, &layout, division)]);
        (self.layout, self.window_began_ms, self.settled_below) = (Arc::new(layout), now_ms, opening.slot);
    }

    /// Spans begin anew with the next slot.
    pub fn break_spans(&mut self) {
        let since = SlotNumber(self.last().number.0.saturating_add(1));
        if let Some(slot) = self.slots.back_mut() {
            let shares = &slot.division.shares;
            slot.division = Arc::new(Division::first(slot.division.arms, shares, since));
        }
    }

    /// Reads the exposures of the newest slots again, as many as `count`.
    pub fn read(&mut self, count: usize, exposures: &mut dyn FnMut(SlotNumber) -> SlotExposures) {
        let count = count.min(READABLE as usize - 1);
        let settled = self.settled_below;
        for slot in self.slots.iter_mut().rev().take(count).filter(|slot| slot.number >= settled) {
            slot.exposures = exposures(slot.number);
        }
    }

    /// The slots whose exposures are final since the last call.
    pub fn settle(&mut self) -> Range<usize> {
        let end = SlotNumber(self.last().number.0.saturating_sub(READABLE - 2));
        self.settle_below(end)
    }

    /// All slots: no exposures will be added to them.
    pub fn settle_all(&mut self) -> Range<usize> {
        self.settle_below(SlotNumber(self.last().number.0.saturating_add(1)))
    }

    fn settle_below(&mut self, end: SlotNumber) -> Range<usize> {
        let begin = self.settled_below;
        self.settled_below = begin.max(end);
        let front = self.slots.front().map_or(0, |slot| slot.number.0);
        let index = |number: SlotNumber| (number.0.saturating_sub(front) as usize).min(self.slots.len());
        index(begin)..index(self.settled_below)
    }

    /// The slots whose exposures are not final.
    pub fn unsettled(&self) -> impl Iterator<Item = &SlotRecord> {
        self.slots.iter().rev().take_while(|slot| slot.number >= self.settled_below)
    }

    /// The slots that began at this time or later, the newest first.
    pub fn since(&self, since_ms: u64) -> impl Iterator<Item = &SlotRecord> {
        self.slots.iter().rev().take_while(move |slot| slot.began_ms >= since_ms)
    }

    /// Slots below this number had ended at this time.
    pub fn ended_below(&self, at_ms: u64) -> SlotNumber {
        let begun = self.slots.iter().rev().find(|slot| slot.began_ms <= at_ms);
        begun.or(self.slots.front()).map_or(SlotNumber(0), |slot| slot.number)
    }

    /// Counts an event of stable.
    pub fn count_stable(&mut self, at: usize, signal: usize, event: &JudgedEvent) {
        let place = self.layout.route_of(event.place.stratum) * self.layout.shape.signals + signal;
        if let Some(slot) = self.slots.get_mut(at)
            && event.counts_since(Some(slot.window))
            && let Some(count) = slot.stable_events.get_mut(place)
        {
            *count = count.saturating_add(1);
        }
    }

    /// The callers at risk in a span.
    pub fn at_risk(&self, span: &RiskSpan) -> AtRisk {
        let Some(end) = self.slots.get(span.slot) else { return AtRisk::default() };
        let route = self.layout.route_of(span.stratum);
        let since = end.division.span(route, span.arm).map_or(end.number, |start| start.since);
        let (mut tested, mut stable) = (0, 0);
        let places = [span.arm, 0].map(|arm| ArmPlace { stratum: span.stratum, arm });
        let risk = risk_since(span.began, end.window);
        for slot in self.slots.range(..=span.slot).rev() {
            if slot.number < since || slot.window < span.began || slot.began_ms + SPAN_MS <= end.began_ms {
                break;
            }
            let count = |place| slot.exposures.at_risk(place, span.signal, risk, slot.window);
            tested += count(places[0]);
            stable += count(places[1]);
        }
        debug_assert!(span.slot < self.slots.len(), "a slot that is kept");
        AtRisk { tested, stable }
    }
}

impl SlotRecord {
    fn open(opening: Opening, now_ms: u64, layout: &GroupLayout, division: Arc<Division>) -> Self {
        Self {
            number: opening.slot,
            window: opening.window,
            began_ms: now_ms,
            stable_events: vec![0; layout.routes() * layout.shape.signals].into(),
            signals: layout.shape.signals,
            exposures: SlotExposures::default(),
            division,
        }
    }
}

impl Division {
    fn first(arms: usize, shares: &[f64], since: SlotNumber) -> Self {
        let arms = arms.max(1);
        let of_route = |shares: &[f64]| {
            let stable = shares.first().copied().unwrap_or(0.0);
            shares.iter().map(|tested| SpanStart { since, tested: *tested, stable }).collect::<Vec<_>>()
        };
        Self { arms, shares: shares.into(), spans: shares.chunks(arms).flat_map(of_route).collect() }
    }

    fn share(&self, route: usize, arm: u16) -> f64 {
        self.shares.get(route * self.arms + usize::from(arm)).copied().unwrap_or(0.0)
    }

    fn span(&self, route: usize, arm: u16) -> Option<&SpanStart> {
        self.spans.get(route * self.arms + usize::from(arm))
    }

    /// With these shares from slot `number` on.
    fn moved(&self, shares: &[f64], number: SlotNumber) -> Self {
        let mut next = Self::first(self.arms, shares, number);
        for (now, before) in next.spans.iter_mut().zip(&self.spans) {
            if is_near(now.tested, before.tested) && is_near(now.stable, before.stable) {
                *now = *before;
            }
        }
        next
    }
}

/// The places of a variant in some routes.
fn places(of: ScopedArm) -> impl Iterator<Item = ArmPlace> {
    let ScopedArm { arm, scope } = of;
    (scope.first_stratum..scope.end_stratum).map(move |stratum| ArmPlace { stratum, arm })
}

fn is_near(share: f64, start: f64) -> bool {
    (share - start).abs() <= SPAN_DRIFT_MAX * start
}
