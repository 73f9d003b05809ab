//! What guards watch of one route: its evidence, and where its releases are.

use std::sync::Arc;

use super::route_view::RouteView;
use super::stable_times::StableTimes;
use crate::journal::LatchScope;
use crate::release::{
    ArmFacts, GuardStanding, GuardTrip, Marks, Opening, ReleaseCourse, ReleasePhase, RouteEvidence, RunFacts,
    SavedEvidence, TickFacts, Warning,
};
use crate::route::{Guards, RouteId, VariantId};
use crate::stats::JudgedEvent;
use crate::telemetry::GuardWatch;

/// A route without exposures for so long is looked at more rarely.
const QUIET_MS: u64 = 20_000;
/// How often stable's times are read.
const TIMES_EVERY_MS: u64 = 1_000;

/// A route that guards watch.
#[derive(Debug)]
pub(in crate::control) struct KeptRoute {
    /// Its name.
    pub name: String,
    /// Its id in the snapshot.
    pub id: RouteId,
    /// Its variants but stable.
    pub releases: Vec<KeptRelease>,
    watch: Arc<GuardWatch>,
    evidence: RouteEvidence,
    guards: Guards,
    arms: Vec<ArmFacts>,
    times: StableTimes,
    times_at_ms: u64,
    inbox: Vec<JudgedEvent>,
    busy_ms: u64,
    /// Late events that were reported.
    late_events: u64,
    pub(super) is_active: bool,
}

/// A release that guards watch.
#[derive(Debug)]
pub(in crate::control) struct KeptRelease {
    /// Its variant.
    pub variant: VariantId,
    /// Its name and revision.
    pub key: LatchScope,
    /// Where it is.
    pub course: ReleaseCourse,
    /// The last guard that has warned.
    pub warning: Option<Warning>,
    /// The guard whose rollback waits for stable.
    pub waits: Option<Warning>,
}

/// What a tick knows beside the route.
#[derive(Clone, Copy, Debug)]
pub(super) struct TickMoment {
    pub now_ms: u64,
    /// Events that were lost, since the process started.
    pub events_lost: u64,
}

impl KeptRoute {
    /// A route whose watch has begun now.
    pub(super) fn new(name: &str, id: RouteId, view: RouteView<'_>, begun: Begun<'_>) -> Self {
        let Begun { watch, now_ms } = begun;
        let (guards, arms) = (view.guards().clone(), view.arms());
        let evidence = RouteEvidence::new(&guards, arms.clone(), watch.shape(), now_ms);
        let mut route = Self {
            name: name.to_owned(),
            id,
            releases: Vec::new(),
            watch: Arc::clone(watch),
            evidence,
            times: StableTimes::new(&guards),
            times_at_ms: 0,
            guards,
            arms,
            inbox: Vec::new(),
            busy_ms: now_ms,
            late_events: 0,
            is_active: false,
        };
        route.follow_releases();
        route.open(route.evidence.opening());
        route
    }

    /// Follows a new configuration of the route.
    pub(super) fn follow(&mut self, id: RouteId, view: RouteView<'_>, begun: Begun<'_>) {
        let Begun { watch, now_ms } = begun;
        self.id = id;
        let is_same_watch = self.watch.id() == watch.id();
        let arms = view.arms();
        let is_same = self.guards == *view.guards() && self.arms == arms && !view.deals_by_target();
        if is_same_watch && is_same {
            return;
        }
        let marks = if is_same_watch { Marks::Kept } else { Marks::Lost };
        if self.guards.signals != view.guards().signals || !is_same_watch {
            self.times = StableTimes::new(view.guards());
        }
        self.guards = view.guards().clone();
        self.watch = Arc::clone(watch);
        self.evidence.advance(now_ms);
        let opening = self.evidence.follow(&self.guards, arms.clone(), watch.shape(), marks);
        self.arms = arms;
        self.follow_releases();
        self.open(opening);
    }

    /// The releases that the route has now: those of the same variant and revision stay where they are.
    fn follow_releases(&mut self) {
        let mut before = std::mem::take(&mut self.releases);
        for (arm, variant) in self.arms.iter().zip((0..).map(VariantId)).skip(1) {
            let key = LatchScope { release: format!("{}:{}", self.name, arm.name), revision: arm.revision.clone() };
            let known = before.iter().position(|release| release.key == key).map(|at| before.swap_remove(at));
            let new = || KeptRelease { variant, key, course: ReleaseCourse::default(), warning: None, waits: None };
            self.releases.push(match known {
                Some(release) => KeptRelease { variant, ..release },
                None => new(),
            });
        }
        debug_assert_eq!(self.releases.len() + 1, self.arms.len().max(1), "each variant but stable is a release");
    }

    /// Follows the shares of a new overlay.
    pub(super) fn follow_shares(&mut self, shares: &[f64], now_ms: u64) {
        let is_same = |(arm, share): (&ArmFacts, &f64)| arm.share.to_bits() == share.to_bits();
        if self.arms.len() == shares.len() && self.arms.iter().zip(shares).all(is_same) {
            return;
        }
        self.arms.iter_mut().zip(shares).for_each(|(arm, share)| arm.share = *share);
        let opening = self.evidence.set_shares(shares, now_ms);
        self.open(opening);
    }

    fn open(&self, opening: Opening) {
        self.watch.open(opening.window, opening.slot);
    }

    /// The number of its watch.
    pub(super) fn watch_id(&self) -> u32 {
        self.watch.id()
    }

    /// Takes an event.
    pub(super) fn take(&mut self, event: JudgedEvent) {
        self.inbox.push(event);
    }

    /// Whether there is anything new: an exposure in the open slot, or an event.
    pub(super) fn is_busy(&self) -> bool {
        !self.inbox.is_empty() || self.watch.has_exposures(self.evidence.opening().slot)
    }

    /// Whether it may be looked at more rarely.
    pub(super) fn is_quiet(&self, now_ms: u64) -> bool {
        let is_calm = |release: &KeptRelease| match release.course.phase() {
            ReleasePhase::Watching | ReleasePhase::Warned | ReleasePhase::RolledBack => true,
            ReleasePhase::Down | ReleasePhase::NoTarget => false,
        };
        now_ms.saturating_sub(self.busy_ms) > QUIET_MS && self.releases.iter().all(is_calm)
    }

    /// Judges what was counted since the last tick; returns the guards that have tripped.
    pub(super) fn tick(&mut self, moment: TickMoment) -> Vec<GuardTrip> {
        let TickMoment { now_ms, events_lost } = moment;
        if self.is_busy() {
            self.busy_ms = now_ms;
        }
        if self.times.is_needed() && now_ms >= self.times_at_ms + TIMES_EVERY_MS {
            self.times.follow(&self.watch.view().stable_times, now_ms);
            self.times_at_ms = now_ms;
        }
        let stable = self.watch.stable();
        let facts = TickFacts {
            now_ms,
            stable_answers: stable.answers,
            stable_failures: stable.failures,
            runs: (0..self.arms.len()).map(|arm| run(&self.watch, arm)).collect(),
            stable_quantiles: self.times.quantiles(),
            events_lost,
            is_starved: self.watch.is_starved(),
        };
        let watch = &self.watch;
        let outcome = self.evidence.tick(&facts, &mut |slot| watch.exposures(slot), &self.inbox);
        self.inbox.clear();
        for (signal, after) in outcome.slow_after.iter().enumerate() {
            self.watch.set_slow_after(signal, *after);
        }
        if let Some(opening) = outcome.opening {
            self.open(opening);
        }
        outcome.trips
    }

    /// The events since the last call that came too late to count.
    pub(super) fn take_late_events(&mut self) -> u64 {
        let all = self.evidence.late_events();
        all.saturating_sub(std::mem::replace(&mut self.late_events, all))
    }

    /// How the guards of a release stand.
    pub fn guards(&self, variant: VariantId) -> Vec<GuardStanding> {
        self.evidence.standings(usize::from(variant.0))
    }

    /// Begins the evidence of a release anew.
    pub fn resume(&mut self, variant: VariantId, now_ms: u64) {
        let arm = usize::from(variant.0);
        // The failures before say nothing about what is resumed.
        self.watch.end_run(arm);
        let opening = self.evidence.resume(arm, now_ms);
        self.open(opening);
    }

    /// The evidence that outlives the process.
    pub(super) fn save(&self) -> SavedEvidence {
        self.evidence.save()
    }

    /// Goes on with the evidence of a process before.
    pub(super) fn restore(&mut self, saved: &SavedEvidence) {
        self.evidence.restore(saved);
        self.open(self.evidence.opening());
    }
}

/// A watch of a route, as of a time in milliseconds since the process started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun<'a> {
    pub watch: &'a Arc<GuardWatch>,
    pub now_ms: u64,
}

fn run(watch: &GuardWatch, arm: usize) -> RunFacts {
    if arm == 0 {
        return RunFacts::default();
    }
    let run = watch.run(arm);
    RunFacts { number: run.number, length: run.length, keys: run.keys }
}
