//! The evidence of the guards of one route: slots and windows, the exposures and events of each, and what they say.
//!
//! Events count in the slot in which their request was sent. A tick weighs them in the order of slots, so the order in which
//! workers report them is irrelevant.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::counted_tests::DealtKeys;
use super::facts::{ArmFacts, Opening, TickFacts};
use super::guard_evidence::{EventGroup, JudgedArm};
use super::guard_trip::GuardTrip;
use super::release_evidence::{ReleaseEvidence, WARM_UP_MS};
use super::release_standing::{StandingView, standing};
use super::saved_release::SavedRelease;
use super::slot_ring::SlotRing;
use super::slow_thresholds::SlowThresholds;
use super::standing::GuardStanding;
use crate::route::Guards;
use crate::stats::{JudgedEvent, JudgedKind, SlotExposures, SlotNumber, WindowNumber, WindowShape};

/// The slots that are read again with each event.
const READ_WITH_EVENTS: usize = 2;
/// All slots that a watch keeps.
const READ_ALL: usize = 15;
/// The place of first keys among the signals, in the order of events.
const FIRST_KEYS: usize = usize::MAX;

/// The evidence of the guards of one route.
#[derive(Clone, Debug)]
pub struct RouteEvidence {
    guards: Guards,
    arms: Vec<ArmFacts>,
    ring: SlotRing,
    releases: Vec<ReleaseEvidence>,
    thresholds: SlowThresholds,
    /// The thresholds are to be reported.
    thresholds_changed: bool,
    now_ms: u64,
    is_starved: bool,
    late_events: u64,
}

/// Whether the marks of the callers and the sample of first keys are still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// They are.
    Kept,
    /// A new watch has begun: each caller would count again.
    Lost,
}

/// What a tick found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TickOutcome {
    /// A slot opens.
    pub opening: Option<Opening>,
    /// By signal: the time from which a response is slow; empty when nothing changes.
    pub slow_after: Vec<Option<Duration>>,
    /// The guards that have tripped now, each once until evidence begins anew; again when its act is stronger than before.
    pub trips: Vec<GuardTrip>,
}

/// Evidence that outlives the process: logarithms only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedEvidence {
    /// The revision of each release, and the evidence of its guards.
    #[serde(default)]
    pub releases: Vec<Value>,
}

impl RouteEvidence {
    /// No evidence; slot 1 of window 1 is open.
    #[must_use]
    pub fn new(guards: &Guards, arms: Vec<ArmFacts>, shape: WindowShape, now_ms: u64) -> Self {
        let ring = SlotRing::new(shape, &shares_of(&arms), now_ms);
        let mut evidence = Self {
            guards: guards.clone(),
            arms: Vec::new(),
            ring,
            releases: Vec::new(),
            thresholds: SlowThresholds::new(&guards.signals),
            thresholds_changed: true,
            now_ms,
            is_starved: false,
            late_events: 0,
        };
        evidence.follow_arms(arms, WindowNumber(1));
        evidence
    }

    /// The time of what follows: a route without traffic has no ticks.
    pub fn advance(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// Follows a new configuration of the route, under which the variants have these revisions and shares. A release with
    /// another revision, and a guard with another test, begin without evidence. The open slot ends: the caller opens the slot
    /// that is returned in the watch.
    pub fn follow(&mut self, guards: &Guards, arms: Vec<ArmFacts>, shape: WindowShape, marks: Marks) -> Opening {
        let now_ms = self.now_ms;
        let began = WindowNumber(self.opening().window.0 + 1);
        let mut thresholds = SlowThresholds::new(&guards.signals);
        thresholds.keep(&guards.signals, &self.thresholds, &self.guards.signals);
        (self.thresholds, self.thresholds_changed) = (thresholds, true);
        if shares_of(&arms) != shares_of(&self.arms) {
            self.thresholds.retake();
        }
        self.guards = guards.clone();
        if marks == Marks::Lost {
            let settled = self.ring.settle_all();
            self.settle(settled);
            self.releases.iter_mut().for_each(|release| release.freeze(began));
        }
        let is_new = self.follow_arms(arms, began);
        let shares = shares_of(&self.arms);
        match marks {
            Marks::Lost => self.ring.restart(shape, &shares, now_ms),
            Marks::Kept if is_new => self.ring.next_window(Some(&shares), now_ms),
            Marks::Kept => self.ring.next(Some(&shares), now_ms),
        }
        // Targets may have other weights now.
        self.ring.break_spans();
        if self.opening().window == began {
            self.begin_windows();
        }
        self.opening()
    }

    /// Takes over the variants; `true` if evidence of one of them, or of one of its guards, begins with window `began`.
    fn follow_arms(&mut self, arms: Vec<ArmFacts>, began: WindowNumber) -> bool {
        let is_same = |one: &ArmFacts, other: &ArmFacts| one.name == other.name && one.revision == other.revision;
        let stable_stays = match (self.arms.first(), arms.first()) {
            (Some(before), Some(now)) => is_same(before, now),
            (None, _) | (_, None) => false,
        };
        let mut before = std::mem::take(&mut self.releases);
        let mut is_new = false;
        for (arm, facts) in (1..).zip(arms.iter().skip(1)) {
            let was = self.arms.iter().find(|one| stable_stays && is_same(one, facts));
            let at = before.iter().position(|release| was.is_some() && release.name == facts.name);
            let rises = facts.share > 0.0 && was.is_none_or(|was| was.share <= 0.0);
            let mut warm_at_ms = if rises { self.now_ms + WARM_UP_MS } else { 0 };
            let release = if let Some(mut release) = at.map(|at| before.swap_remove(at)) {
                warm_at_ms = warm_at_ms.max(release.by.warm_at_ms);
                release.by = JudgedArm { arm, warm_at_ms };
                if facts.share <= 0.0 && was.is_some_and(|was| was.share > 0.0) {
                    release.stop_dealing();
                }
                is_new |= release.follow(&self.guards, began);
                release
            } else {
                is_new = true;
                ReleaseEvidence::new(JudgedArm { arm, warm_at_ms }, facts, &self.guards, began)
            };
            self.releases.push(release);
        }
        self.arms = arms;
        is_new
    }

    /// The shares have changed: the open slot ends. Returns the slot that opens.
    pub fn set_shares(&mut self, shares: &[f64], now_ms: u64) -> Opening {
        self.now_ms = self.now_ms.max(now_ms);
        if *shares == *shares_of(&self.arms) {
            return self.opening();
        }
        for release in &mut self.releases {
            let arm = usize::from(release.by.arm);
            let (had, has) = (self.arms[arm].share > 0.0, shares.get(arm).is_some_and(|share| *share > 0.0));
            if has && !had {
                release.by.warm_at_ms = now_ms + WARM_UP_MS;
            }
            if had != has {
                release.stop_dealing();
            }
        }
        self.arms.iter_mut().zip(shares).for_each(|(arm, share)| arm.share = *share);
        self.thresholds.retake();
        self.open_next();
        self.opening()
    }

    /// The slot that is open.
    #[must_use]
    pub fn opening(&self) -> Opening {
        self.ring.opening()
    }

    /// Events of slots that are no longer kept.
    #[must_use]
    pub const fn late_events(&self) -> u64 {
        self.late_events
    }

    /// Takes what was counted since the last tick, and judges. `exposures` reads the exposures of a slot, one of the newest
    /// sixteen.
    pub fn tick(
        &mut self,
        facts: &TickFacts,
        exposures: &mut dyn FnMut(SlotNumber) -> SlotExposures,
        events: &[JudgedEvent],
    ) -> TickOutcome {
        self.now_ms = self.now_ms.max(facts.now_ms);
        self.is_starved = facts.is_starved;
        let mut outcome = TickOutcome::default();
        if !events.is_empty() {
            self.ring.read(READ_WITH_EVENTS, exposures);
            self.weigh(events);
        }
        let mut moves = !events.is_empty();
        if self.ring.is_due(self.now_ms) {
            self.ring.read(1, exposures);
            if self.ring.last().exposures.is_empty() && !moves {
                self.ring.postpone(self.now_ms);
            } else {
                self.ring.read(READ_ALL, exposures);
                self.open_next();
                outcome.opening = Some(self.opening());
                moves = true;
            }
        }
        self.follow_thresholds(facts, moves, &mut outcome);
        for release in &mut self.releases {
            outcome.trips.extend(release.judge_run(facts, &self.ring));
            if moves {
                release.bound(&self.ring);
                outcome.trips.extend(release.judge(&self.ring, self.now_ms));
            }
        }
        outcome
    }

    fn follow_thresholds(&mut self, facts: &TickFacts, moves: bool, outcome: &mut TickOutcome) {
        if moves || self.thresholds_changed {
            let begins = self.thresholds.update(facts, &self.ring, &mut self.thresholds_changed);
            if begins {
                self.ring.next_window(None, self.now_ms);
                self.begin_windows();
                outcome.opening = Some(self.opening());
            }
        }
        if self.thresholds_changed || outcome.opening.is_some() {
            self.thresholds_changed = false;
            outcome.slow_after = self.thresholds.all();
        }
    }

    /// Opens the next slot under the present shares.
    fn open_next(&mut self) {
        let settled = self.ring.settle();
        self.settle(settled);
        let before = self.opening().window;
        self.ring.next(Some(&shares_of(&self.arms)), self.now_ms);
        if self.opening().window != before {
            self.begin_windows();
        }
    }

    fn begin_windows(&mut self) {
        let began = self.opening().window;
        self.releases.iter_mut().for_each(|release| release.begin_window(began));
    }

    fn settle(&mut self, slots: std::ops::Range<usize>) {
        for slot in slots.filter_map(|at| self.ring.get(at)) {
            self.releases.iter_mut().for_each(|release| release.settle(slot));
        }
    }

    /// Adds events, grouped by slot, deciding rule and signal.
    fn weigh(&mut self, events: &[JudgedEvent]) {
        let mut sorted = events.to_vec();
        let kind = |event: &JudgedEvent| match event.kind {
            JudgedKind::Signal { signal, .. } => usize::from(signal),
            JudgedKind::FirstKey => FIRST_KEYS,
        };
        let key = |event: &JudgedEvent| (event.slot, event.place.stratum, kind(event));
        sorted.sort_unstable_by_key(key);
        for events in sorted.chunk_by(|one, next| key(one) == key(next)) {
            let (number, stratum, signal) = key(&events[0]);
            let Some(slot) = self.ring.find(number) else {
                self.late_events += events.len() as u64;
                continue;
            };
            if signal == FIRST_KEYS {
                self.deal(slot, events);
                continue;
            }
            let group = EventGroup { slot, stratum, signal, events };
            for event in events.iter().filter(|event| event.place.arm == 0) {
                self.ring.count_stable(slot, signal, event);
            }
            self.releases.iter_mut().for_each(|release| release.weigh(&group, &self.ring));
        }
    }

    /// Adds first keys of a slot. Only the weights promise a share of them; targets have audiences of their own.
    fn deal(&mut self, slot: usize, events: &[JudgedEvent]) {
        let Some(slot) = self.ring.get(slot) else { return };
        let count = |arm: u16| {
            let of = |event: &&JudgedEvent| event.place.stratum == 0 && event.place.arm == arm;
            events.iter().filter(of).count() as u64
        };
        for release in &mut self.releases {
            if let Some(share) = slot.pair_share(release.by.arm) {
                release.deal(DealtKeys { share, tested: count(release.by.arm), control: count(0) });
            }
        }
    }

    /// How the guards of a variant stand.
    #[must_use]
    pub fn standings(&self, arm: usize) -> Vec<GuardStanding> {
        let Some(release) = self.releases.iter().find(|release| usize::from(release.by.arm) == arm) else {
            return Vec::new();
        };
        let view = StandingView {
            ring: &self.ring,
            thresholds: &self.thresholds,
            now_ms: self.now_ms,
            is_starved: self.is_starved,
        };
        release.guards.iter().map(|guard| standing(guard, release.by, &view)).collect()
    }

    /// Begins the evidence of a variant anew, after a person ended its latch. The open slot ends: the caller opens the slot
    /// that is returned in the watch.
    pub fn resume(&mut self, arm: usize, now_ms: u64) -> Opening {
        self.now_ms = self.now_ms.max(now_ms);
        self.ring.next_window(None, self.now_ms);
        let began = self.opening().window;
        for release in &mut self.releases {
            if usize::from(release.by.arm) == arm {
                release.restart(began, self.now_ms + WARM_UP_MS);
            } else {
                release.begin_window(began);
            }
        }
        self.opening()
    }

    /// What outlives the process.
    #[must_use]
    pub fn save(&self) -> SavedEvidence {
        let releases = self.releases.iter().filter_map(|release| serde_json::to_value(release.save(&self.ring)).ok());
        SavedEvidence { releases: releases.collect() }
    }

    /// Goes on with what a process before has saved, for releases with the same revision: their tests stand still, and new
    /// ones begin.
    pub fn restore(&mut self, saved: &SavedEvidence) {
        let began = self.opening().window;
        for one in &saved.releases {
            let Ok(one) = SavedRelease::deserialize(one) else { continue };
            let same = |release: &&mut ReleaseEvidence| release.name == one.variant && release.revision == one.revision;
            if let Some(release) = self.releases.iter_mut().find(same) {
                release.restore(&one, began);
            }
        }
    }
}

fn shares_of(arms: &[ArmFacts]) -> Vec<f64> {
    arms.iter().map(|arm| arm.share).collect()
}
