//! The evidence of the guards of one route, or of the routes of a rollout: slots and windows, the exposures and events of
//! each, and what they say.
//!
//! Events count in the slot in which their request was sent. A tick weighs them in the order of slots, so the order in which
//! workers report them is irrelevant.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::counted_tests::DealtKeys;
use super::facts::{ArmFacts, Opening, TickFacts};
use super::guard_evidence::EventGroup;
use super::guard_trip::GuardTrip;
use super::judged_group::JudgedGroup;
use super::release_evidence::ReleaseEvidence;
use super::release_standing::{StandingView, standing};
use super::rollout::StageEvidence;
use super::saved_release::SavedRelease;
use super::slot_ring::SlotRing;
use super::slow_thresholds::SlowThresholds;
use super::standing::GuardStanding;
use crate::route::{Guards, Require};
use crate::stats::{JudgedEvent, JudgedKind, SlotExposures, SlotNumber, WindowNumber, WindowShape};

/// The slots that are read again with each event.
const READ_WITH_EVENTS: usize = 2;
/// All slots that a watch keeps.
const READ_ALL: usize = 15;
/// The place of first keys among the signals, in the order of events.
const FIRST_KEYS: usize = usize::MAX;

/// The evidence of the guards of one route, or of the routes of a rollout.
#[derive(Clone, Debug)]
pub struct RouteEvidence {
    pub(super) group: JudgedGroup,
    pub(super) ring: SlotRing,
    pub(super) releases: Vec<ReleaseEvidence>,
    /// By route.
    pub(super) thresholds: Vec<SlowThresholds>,
    /// The thresholds are to be reported.
    pub(super) thresholds_changed: bool,
    pub(super) now_ms: u64,
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
    /// By route, then by signal: the time from which a response is slow; empty when nothing changes.
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
    /// The estimate of tenants that the canaries of a rollout got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<SavedTenants>,
}

/// The estimate of tenants that the canaries of a rollout got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedTenants {
    /// The revision of the rollout.
    pub revision: String,
    /// The registers of the estimate, a character each.
    pub registers: String,
}

impl RouteEvidence {
    /// No evidence of a route alone; slot 1 of window 1 is open.
    #[must_use]
    pub fn new(guards: &Guards, arms: Vec<ArmFacts>, shape: WindowShape, now_ms: u64) -> Self {
        Self::of_group(JudgedGroup::of_route(guards, arms, shape.strata), now_ms)
    }

    /// No evidence; slot 1 of window 1 is open.
    #[must_use]
    pub fn of_group(group: JudgedGroup, now_ms: u64) -> Self {
        let ring = SlotRing::new(group.layout(), &group.shares(), now_ms);
        let thresholds = group.routes.iter().map(|_| SlowThresholds::new(&group.guards.signals)).collect();
        let mut evidence = Self {
            group: JudgedGroup { arms: Vec::new(), ..group.clone() },
            ring,
            releases: Vec::new(),
            thresholds,
            thresholds_changed: true,
            now_ms,
            is_starved: false,
            late_events: 0,
        };
        evidence.follow_arms(group, WindowNumber(1));
        evidence
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
            if let Some(promotion) = release.promotion.as_mut().filter(|_| moves) {
                promotion.advance(&self.ring, self.now_ms);
            }
            if moves {
                release.bound(&self.ring);
                outcome.trips.extend(release.judge(&self.ring, self.now_ms));
            }
        }
        outcome
    }

    fn follow_thresholds(&mut self, facts: &TickFacts, moves: bool, outcome: &mut TickOutcome) {
        if moves || self.thresholds_changed {
            let mut begins = false;
            for (route, thresholds) in self.thresholds.iter_mut().enumerate() {
                begins |= thresholds.update(facts, &self.ring, route, &mut self.thresholds_changed);
            }
            if begins {
                self.ring.next_window(None, self.now_ms);
                self.begin_windows();
                outcome.opening = Some(self.opening());
            }
        }
        if self.thresholds_changed || outcome.opening.is_some() {
            self.thresholds_changed = false;
            outcome.slow_after = self.thresholds.iter().flat_map(SlowThresholds::all).collect();
        }
    }

    /// Opens the next slot under the present shares.
    pub(super) fn open_next(&mut self) {
        let settled = self.ring.settle();
        self.settle(settled);
        let before = self.opening().window;
        self.ring.next(Some(&self.group.shares()), self.now_ms);
        if self.opening().window != before {
            self.begin_windows();
        }
    }

    pub(super) fn begin_windows(&mut self) {
        let began = self.opening().window;
        self.releases.iter_mut().for_each(|release| release.begin_window(began));
    }

    pub(super) fn settle(&mut self, slots: std::ops::Range<usize>) {
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
                self.deal(slot, stratum, events);
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
    fn deal(&mut self, slot: usize, stratum: u16, events: &[JudgedEvent]) {
        let layout = self.ring.layout();
        let Some(slot) = self.ring.get(slot).filter(|_| layout.is_weights(stratum)) else { return };
        let route = layout.route_of(stratum);
        let count = |arm: u16| events.iter().filter(|event| event.place.arm == arm).count() as u64;
        for release in &mut self.releases {
            if let Some(share) = slot.pair_share(route, release.by.arm) {
                release.deal(DealtKeys { share, tested: count(release.by.arm), control: count(0) }, stratum);
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

    /// Whether the rollout of a variant may go on, by what was counted; the tests are computed now.
    pub fn promotion(&mut self, arm: usize, require: &Require) -> StageEvidence {
        let release = self.releases.iter_mut().find(|release| usize::from(release.by.arm) == arm);
        let Some((by, promotion)) = release.and_then(|one| Some((one.by, one.promotion.as_mut()?))) else {
            return StageEvidence::default();
        };
        promotion.advance(&self.ring, self.now_ms);
        let stable = promotion.counts(&self.ring, by).stable;
        StageEvidence {
            stable_rate: (stable.exposures > 0).then(|| stable.rate()),
            non_inferior: require.non_inferior.and_then(|bound| promotion.non_inferior(bound)),
            rate_below: require.or_rate_below.and_then(|bound| promotion.rate_below(bound)),
            ..StageEvidence::default()
        }
    }

    /// What outlives the process.
    #[must_use]
    pub fn save(&self) -> SavedEvidence {
        let releases = self.releases.iter().filter_map(|release| serde_json::to_value(release.save(&self.ring)).ok());
        SavedEvidence { releases: releases.collect(), tenants: None }
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
