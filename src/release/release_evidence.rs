//! The evidence of all guards about one variant: a release.

use super::counted_tests::DealtKeys;
use super::evidence_record::{EvidenceRecord, RecordedArm, RecordedCounts};
use super::facts::{ArmFacts, TickFacts};
use super::guard_evidence::{EventGroup, GuardEvidence, PlacedGuard, TestForm};
use super::guard_trip::GuardTrip;
use super::judged_group::{JudgedArm, JudgedGroup};
use super::promotion_evidence::{PromotionEvidence, PromotionPlan};
use super::run_watch::RunWatch;
use super::saved_release::{SavedGuard, SavedRelease};
use super::sentence::{run_sentence, sentence};
use super::slot_ring::{SlotRecord, SlotRing};
use crate::route::{Guard, GuardAct, GuardTest, Signal};
use crate::stats::WindowNumber;

/// Slow responses are not judged for this long after a share rises from 0.
pub(super) const WARM_UP_MS: u64 = 60_000;

/// The evidence about a variant.
#[derive(Clone, Debug)]
pub(super) struct ReleaseEvidence {
    pub by: JudgedArm,
    pub name: String,
    pub revision: String,
    pub guards: Vec<GuardEvidence>,
    /// Of a variant that a rollout moves.
    pub promotion: Option<PromotionEvidence>,
    /// By route.
    runs: Vec<RunWatch>,
}

impl ReleaseEvidence {
    /// Without evidence; its tests begin with window `began`.
    pub fn new(by: JudgedArm, facts: &ArmFacts, group: &JudgedGroup, began: WindowNumber) -> Self {
        let (name, revision) = (facts.name.clone(), facts.revision.clone());
        let of_rollout = || PromotionEvidence::new(&group.guards, &PromotionPlan::default(), began);
        let promotion = facts.by_rollout.then(of_rollout);
        let guards = guards_of(group, by.arm).map(|placed| GuardEvidence::new(&placed, began)).collect();
        Self { by, name, revision, guards, promotion, runs: Vec::new() }
    }

    /// Follows other guards; `true` if one of them begins without evidence.
    pub fn follow(&mut self, group: &JudgedGroup, began: WindowNumber) -> bool {
        let before = std::mem::take(&mut self.guards);
        let mut is_new = false;
        self.guards = guards_of(group, self.by.arm)
            .map(|placed| {
                if let Some(one) = before.iter().find(|one| one.goes_on_as(&placed)) {
                    return GuardEvidence { guard: placed.guard.clone(), scope: placed.scope, ..one.clone() };
                }
                is_new = true;
                GuardEvidence::new(&placed, began)
            })
            .collect();
        is_new
    }

    /// Begins anew.
    pub fn restart(&mut self, began: WindowNumber, warm_at_ms: u64) {
        self.by.warm_at_ms = warm_at_ms;
        self.runs.clear();
        if let Some(promotion) = &mut self.promotion {
            promotion.restart(began);
        }
        for one in &mut self.guards {
            let deals_no_more = one.deals_no_more();
            *one = one.anew(began);
            if deals_no_more {
                one.stop_dealing();
            }
        }
    }

    /// While it was stopped, its callers were no exposures, and those of stable were: what is new after that is no sample.
    pub fn stop_dealing(&mut self) {
        self.guards.iter_mut().for_each(GuardEvidence::stop_dealing);
    }

    pub fn begin_window(&mut self, began: WindowNumber) {
        self.guards.iter_mut().for_each(|guard| guard.begin_window(began));
    }

    /// The marks are lost.
    pub fn freeze(&mut self, began: WindowNumber) {
        self.runs.clear();
        if let Some(promotion) = &mut self.promotion {
            promotion.lose_marks(began);
        }
        self.guards.iter_mut().for_each(|guard| guard.freeze(began));
    }

    pub fn settle(&mut self, slot: &SlotRecord) {
        let by = self.by;
        self.guards.iter_mut().for_each(|guard| guard.settle(slot, guard.of(by)));
        if let Some(promotion) = &mut self.promotion {
            promotion.settle(slot, by);
        }
    }

    pub fn bound(&mut self, ring: &SlotRing) {
        let by = self.by;
        self.guards.iter_mut().for_each(|guard| guard.bound(ring, guard.of(by)));
    }

    pub fn weigh(&mut self, group: &EventGroup<'_>, ring: &SlotRing) {
        let by = self.by;
        let of_signal = self.guards.iter_mut().filter(|one| one.guard.signal == Some(group.signal));
        of_signal.for_each(|guard| guard.weigh(group, ring, guard.of(by)));
        if let Some(promotion) = &mut self.promotion {
            promotion.weigh(group, ring, by);
        }
    }

    /// Adds first keys under a deciding rule.
    pub fn deal(&mut self, keys: DealtKeys, stratum: u16) {
        self.guards.iter_mut().filter(|guard| guard.scope.has(stratum)).for_each(|guard| guard.deal(keys));
    }

    /// The guards that trip now by their evidence.
    pub fn judge(&mut self, ring: &SlotRing, now_ms: u64) -> Vec<GuardTrip> {
        let by = self.by;
        let tripped: Vec<(usize, GuardAct)> = (0..self.guards.len())
            .filter_map(|at| {
                let by = self.guards[at].of(by);
                self.guards[at].trips(ring, by, now_ms).map(|act| (at, act))
            })
            .collect();
        tripped.into_iter().filter_map(|(at, act)| self.trip(at, act, ring)).collect()
    }

    /// The guard of errors, when a run of failures trips.
    pub fn judge_run(&mut self, facts: &TickFacts, ring: &SlotRing) -> Option<GuardTrip> {
        let layout = ring.layout();
        self.runs.resize_with(layout.routes(), RunWatch::default);
        let place = |route: usize| route * layout.shape.arms + usize::from(self.by.arm);
        let found = self.runs.iter_mut().enumerate().map(|(route, watch)| {
            let run = watch.follow(facts.runs.get(place(route)), route, facts)?;
            Some((route, run))
        });
        // Each watch follows each tick.
        let (route, run) = found.collect::<Vec<_>>().into_iter().flatten().next()?;
        let of_errors = |one: &GuardEvidence| one.signal == Some(Signal::Error) && !one.guard.near_full;
        let relative = |one: &GuardEvidence| matches!(one.guard.test, GuardTest::WorseThanStable(_));
        let at = (self.guards.iter().position(|one| of_errors(one) && relative(one)))
            .or_else(|| self.guards.iter().position(of_errors))?;
        let guard = &mut self.guards[at];
        let act = guard.guard.act;
        if guard.tripped >= Some(act) {
            return None;
        }
        guard.tripped = Some(act);
        guard.run_sentence = Some(run_sentence(&guard.guard.name, &run));
        let mut record = self.record(at, run.record(), ring);
        (record.alpha, record.evidence_log10, record.threshold_log10) = (None, None, None);
        Some(GuardTrip { route: ring.layout().name(route), ..self.trip_of(at, &record, act) })
    }

    fn trip(&self, at: usize, act: GuardAct, ring: &SlotRing) -> Option<GuardTrip> {
        let one = self.guards.get(at)?;
        let counts = match &one.form {
            TestForm::Relative { kernel, tests } => RecordedCounts::relative(*kernel, tests),
            TestForm::Absolute { kernel: Some(kernel), tests, .. } => {
                let unsettled: Vec<u64> =
                    tests.all().iter().map(|test| one.unsettled(test.began, ring, one.of(self.by))).collect();
                RecordedCounts::absolute(*kernel, tests, &unsettled)
            }
            TestForm::SampleRatio { test, frozen_ln } => RecordedCounts::dealt(test, *frozen_ln),
            TestForm::Absolute { kernel: None, .. } | TestForm::Impossible => return None,
        };
        let mut record = self.record(at, counts, ring);
        if act < one.guard.act {
            record.sentence += "; it warns only: stable is above the bound too";
        }
        Some(self.trip_of(at, &record, act))
    }

    fn record(&self, at: usize, counts: RecordedCounts, ring: &SlotRing) -> EvidenceRecord {
        let one = &self.guards[at];
        let by = one.of(self.by);
        let pair = one.shown.pair(ring.unsettled().filter(|slot| one.judges(slot, by)), by);
        let of = |arm: super::standing::ArmCounts| RecordedArm { exposures: arm.exposures, events: arm.events };
        EvidenceRecord {
            guard: one.guard.name.clone(),
            revision: self.revision.clone(),
            sentence: sentence(one, &pair),
            alpha: Some(one.guard.alpha),
            evidence_log10: Some(one.ln(ring, by) / std::f64::consts::LN_10),
            threshold_log10: Some(-one.guard.alpha.log10()),
            tested: of(pair.tested),
            stable: of(pair.stable),
            estimate: one.shown.estimate().map(Into::into),
            counts,
        }
    }

    fn trip_of(&self, at: usize, record: &EvidenceRecord, act: GuardAct) -> GuardTrip {
        GuardTrip {
            route: self.guards.get(at).and_then(|guard| guard.route.clone()),
            arm: self.by.arm.into(),
            guard: record.guard.clone(),
            act,
            sentence: record.sentence.clone(),
            evidence: serde_json::to_value(record).unwrap_or_default(),
        }
    }

    /// What outlives the process.
    pub fn save(&self, ring: &SlotRing) -> SavedRelease {
        let guards = self.guards.iter().map(|one| {
            let newest = match &one.form {
                TestForm::Relative { tests, .. } => tests.newest(),
                TestForm::Absolute { tests, .. } => tests.newest(),
                TestForm::SampleRatio { .. } | TestForm::Impossible => 0,
            };
            SavedGuard {
                name: one.guard.name.clone(),
                test: described(&one.guard, one.signal.as_ref()),
                route: one.route.clone(),
                alpha: one.guard.alpha,
                windows: newest,
                tests: one.lns(ring, one.of(self.by)),
                tripped: one.tripped.map(|act| act.name().to_owned()),
            }
        });
        SavedRelease { variant: self.name.clone(), revision: self.revision.clone(), guards: guards.collect() }
    }

    /// Goes on with what a process before has saved.
    pub fn restore(&mut self, saved: &SavedRelease, began: WindowNumber) {
        if let Some(promotion) = &mut self.promotion {
            promotion.lose_marks(began);
        }
        for one in &mut self.guards {
            let test = described(&one.guard, one.signal.as_ref());
            let same = |other: &&SavedGuard| {
                other.name == one.guard.name
                    && other.route == one.route
                    && other.test == test
                    && (other.alpha - one.guard.alpha).abs() < f64::EPSILON
            };
            if let Some(other) = saved.guards.iter().find(same) {
                other.restore(one, began);
            }
        }
    }
}

/// The guards that judge a variant, with their signals and routes.
fn guards_of(group: &JudgedGroup, arm: u16) -> impl Iterator<Item = PlacedGuard<'_>> {
    let JudgedGroup { guards, scopes, routes, .. } = group;
    let layout = group.layout();
    let judges = move |(_, guard): &(usize, &Guard)| guard.variant.is_none_or(|variant| variant.0 == arm);
    guards.all.iter().enumerate().filter(judges).map(move |(at, guard)| {
        let route = scopes.get(at).copied().flatten();
        PlacedGuard {
            guard,
            signal: guard.signal.and_then(|at| guards.signals.get(at)),
            route: route.and_then(|route| routes.get(route)).map(|route| route.name.as_str()),
            scope: layout.scope(route),
        }
    })
}

/// What a guard tests, such as `errors: at most 1.1 × stable`.
pub(super) fn described(guard: &Guard, signal: Option<&Signal>) -> String {
    let what = match signal {
        None => "callers".to_owned(),
        Some(Signal::Error) => "errors".to_owned(),
        Some(Signal::Status(ranges)) => {
            let each = ranges.iter().map(|range| match (range.from, range.to) {
                (from, to) if from == to => from.to_string(),
                (from, to) => format!("{from}-{to}"),
            });
            format!("status {}", each.collect::<Vec<_>>().join(", "))
        }
        Some(Signal::Grpc(codes)) => {
            let each = (0..32).filter(|code| codes & (1 << code) != 0).map(|code: u32| code.to_string());
            format!("gRPC status {}", each.collect::<Vec<_>>().join(", "))
        }
        Some(Signal::Event(name)) => format!("event {name}"),
        Some(Signal::SlowerThan(crate::route::SlowThreshold::Fixed(after))) => format!("slower than {after:?}"),
        Some(Signal::SlowerThan(crate::route::SlowThreshold::OfStable { quantile, over })) => {
            format!("slower than p{} of stable in {} s", quantile * 100.0, over.as_secs())
        }
        Some(Signal::Lost) => "lost".to_owned(),
    };
    match guard.test {
        GuardTest::WorseThanStable(ratio) => format!("{what}: at most {ratio} × stable"),
        GuardTest::Above(Some(bound)) => format!("{what}: at most {} %", bound * 100.0),
        GuardTest::Above(None) => format!("{what}: a bound by stable, from a weight of 90"),
        GuardTest::SampleRatio => "callers: by weight".to_owned(),
    }
}
