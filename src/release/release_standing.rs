//! How a guard stands, from its evidence.

use std::time::Duration;

use super::guard_evidence::{GuardEvidence, NEAR_FULL, TestForm};
use super::judged_group::JudgedArm;
use super::release_evidence::described;
use super::sentence::sentence;
use super::shown_counts::ShownPair;
use super::slot_ring::{SlotRing, WINDOW_MS};
use super::slow_thresholds::SlowThresholds;
use super::standing::{GuardStanding, GuardState};
use crate::route::GuardTest;

/// What a standing needs beside the evidence.
pub(super) struct StandingView<'a> {
    pub ring: &'a SlotRing,
    /// By route.
    pub thresholds: &'a [SlowThresholds],
    pub now_ms: u64,
    pub is_starved: bool,
}

impl StandingView<'_> {
    fn thresholds(&self, by: JudgedArm) -> impl Iterator<Item = &SlowThresholds> {
        by.scope.routes().filter_map(|route| self.thresholds.get(route))
    }

    /// The largest threshold of the routes.
    fn slow_after(&self, by: JudgedArm, signal: usize) -> Option<Duration> {
        self.thresholds(by).filter_map(|thresholds| thresholds.after(signal)).max()
    }

    fn is_void(&self, by: JudgedArm, signal: usize) -> bool {
        self.thresholds(by).any(|thresholds| thresholds.is_void(signal))
    }
}

/// How a guard stands.
pub(super) fn standing(one: &GuardEvidence, by: JudgedArm, view: &StandingView<'_>) -> GuardStanding {
    let by = one.of(by);
    let pair = one.shown.pair(view.ring.unsettled().filter(|slot| one.judges(slot, by)), by);
    let (guard, signal) = (&one.guard, one.guard.signal.unwrap_or(usize::MAX));
    let log10 = one.ln(view.ring, by) / std::f64::consts::LN_10;
    let sentence = match state(one, by, view, &pair) {
        GuardState::NoData => format!("{}: no callers in the last minute", guard.name),
        GuardState::Watching
        | GuardState::TooFew
        | GuardState::WaitsForThreshold
        | GuardState::WarmingUp
        | GuardState::ThresholdVoid
        | GuardState::NotNearFull
        | GuardState::NoMemory
        | GuardState::Stands
        | GuardState::Tripped => sentence(one, &pair),
    };
    GuardStanding {
        name: one.label(),
        test: described(guard, one.signal.as_ref()),
        act: guard.act,
        // The rate of errors may change for reasons of its own: no alpha is promised without a control.
        alpha: (!matches!(guard.test, GuardTest::Above(_))).then_some(guard.alpha),
        state: state(one, by, view, &pair),
        evidence_log10: if log10.is_finite() { log10 } else { 0.0 },
        threshold_log10: -guard.alpha.log10(),
        tested: pair.tested,
        stable: pair.stable,
        estimate: one.shown.estimate(),
        slow_after: if one.is_slow() { view.slow_after(by, signal) } else { None },
        sentence,
    }
}

fn state(one: &GuardEvidence, by: JudgedArm, view: &StandingView<'_>, pair: &ShownPair) -> GuardState {
    let signal = one.guard.signal.unwrap_or(usize::MAX);
    let share = view.ring.last().share(by.tested());
    let is_idle = || view.ring.since(view.now_ms.saturating_sub(WINDOW_MS)).all(|slot| slot.keys(by.tested()) == 0);
    if one.tripped.is_some() {
        GuardState::Tripped
    } else if view.is_starved {
        GuardState::NoMemory
    } else if matches!(one.form, TestForm::SampleRatio { frozen_ln: Some(_), .. }) {
        GuardState::Stands
    } else if one.guard.near_full && share < NEAR_FULL {
        GuardState::NotNearFull
    } else if one.is_slow() && view.slow_after(by, signal).is_none() {
        GuardState::WaitsForThreshold
    } else if one.is_slow() && view.is_void(by, signal) {
        GuardState::ThresholdVoid
    } else if one.is_slow() && share > 0.0 && view.now_ms < by.warm_at_ms {
        GuardState::WarmingUp
    } else if pair.tested.exposures == 0 || is_idle() {
        GuardState::NoData
    } else if let TestForm::SampleRatio { test, .. } = &one.form
        && test.dealing.is_too_few()
    {
        GuardState::TooFew
    } else {
        GuardState::Watching
    }
}

/// A slot of a standing is at most a window old.
const _: () = assert!(WINDOW_MS == 60_000, "`last minute` in the sentence");
