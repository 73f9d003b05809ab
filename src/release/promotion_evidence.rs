//! The evidence that a rollout may go on: the other direction of the guards' test, over the same callers and marks. It is
//! that of the test that began with the revision, with its whole weight, read at the moment of asking.
//!
//! Only slots count in which each request has ended or met its time limit: a canary that hangs has no events yet.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::counted_tests::stratum_of;
use super::guard_evidence::EventGroup;
use super::judged_group::JudgedArm;
use super::rollout::PromotionTest;
use super::slot_ring::{RiskSpan, SlotRecord, SlotRing};
use crate::route::{Guards, Signal};
use crate::stats::{NonInferior, NonInferiority, RateBelow, SlotNumber, Tally, WindowNumber};

/// How many of the newest strata a test keeps as they are; older ones are in its base.
const NEWEST_MAX: usize = 32;

/// What a rollout needs to go on, of the plan and of its routes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PromotionPlan {
    /// The bounds of `non_inferior` of all stages.
    pub ratios: Vec<f64>,
    /// The longest time limit of a request, in milliseconds: what was sent before has ended.
    pub settles_after_ms: u64,
}

/// What was counted about errors, for a promotion.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PromotionCounts {
    /// Callers of the canary at risk, and with an event.
    pub tested: Tally,
    /// Those of stable, in slots that are not settled too.
    pub stable: Tally,
}

/// The evidence of errors of one variant.
#[derive(Clone, Debug)]
pub(super) struct PromotionEvidence {
    /// The index of the signal of errors; `None`: no guard counts it.
    signal: Option<usize>,
    /// The window with which the tests began.
    began: WindowNumber,
    since: Since,
    plan: PromotionPlan,
    tests: Vec<RatioTest>,
    tested: Tally,
    stable: Tally,
    /// Counts of slots in which a request may be under way.
    pending: VecDeque<Pending>,
}

/// Why the tests began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Since {
    /// With the revision, or because a person resumed it.
    Revision,
    /// The marks were lost by a restart or a reload: each caller would count again in the test before.
    LostMarks,
}

/// The test of one bound of the ratio.
#[derive(Clone, Debug)]
struct RatioTest {
    kernel: NonInferior,
    base: NonInferiority,
    newest: VecDeque<[u64; 4]>,
}

/// Counts of a slot.
#[derive(Clone, Copy, Debug)]
struct Pending {
    slot: SlotNumber,
    /// The canary's callers at risk, and its callers with an event.
    tested: Tally,
    /// A stratum with events.
    stratum: Option<[u64; 4]>,
}

/// The counts of a test, as they are recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "test", rename_all = "snake_case")]
enum RecordedPromotion {
    NonInferior {
        since: Since,
        /// By alternative: the logarithm of the likelihood ratio of older strata.
        base: Vec<f64>,
        /// Callers at risk of the canary and of stable, events of the canary and of stable.
        strata: Vec<[u64; 4]>,
    },
    RateBelow {
        since: Since,
        exposures: u64,
        events: u64,
    },
}

impl PromotionEvidence {
    /// No evidence; its tests begin with window `began`.
    pub fn new(guards: &Guards, plan: &PromotionPlan, began: WindowNumber) -> Self {
        let signal = guards.signals.iter().position(|signal| *signal == Signal::Error);
        let mut evidence = Self {
            signal,
            began,
            since: Since::Revision,
            plan: PromotionPlan::default(),
            tests: Vec::new(),
            tested: Tally::default(),
            stable: Tally::default(),
            pending: VecDeque::new(),
        };
        evidence.follow(guards, plan);
        evidence
    }

    /// Follows an edited plan: the test of a new bound begins now.
    pub fn follow(&mut self, guards: &Guards, plan: &PromotionPlan) {
        self.signal = guards.signals.iter().position(|signal| *signal == Signal::Error);
        let kernels = plan.ratios.iter().filter_map(|ratio| NonInferior::new(*ratio));
        let mut before = std::mem::take(&mut self.tests);
        for kernel in kernels {
            let known = before.iter().position(|test| test.kernel == kernel).map(|at| before.swap_remove(at));
            let new = || RatioTest { kernel, base: NonInferiority::default(), newest: VecDeque::new() };
            self.tests.push(known.unwrap_or_else(new));
        }
        self.plan = plan.clone();
    }

    /// Begins anew with window `began`.
    pub fn restart(&mut self, began: WindowNumber) {
        self.begin(began, Since::Revision);
    }

    /// The marks are lost: the tests before would count callers again, and are dropped.
    pub fn lose_marks(&mut self, began: WindowNumber) {
        self.begin(began, Since::LostMarks);
    }

    fn begin(&mut self, began: WindowNumber, since: Since) {
        (self.began, self.since) = (began, since);
        for test in &mut self.tests {
            (test.base, test.newest) = (NonInferiority::default(), VecDeque::new());
        }
        (self.tested, self.stable) = (Tally::default(), Tally::default());
        self.pending.clear();
    }

    /// Adds the events of a tick in one slot.
    pub fn weigh(&mut self, group: &EventGroup<'_>, ring: &SlotRing, by: JudgedArm) {
        let Some(slot) = ring.get(group.slot).filter(|_| self.signal == Some(group.signal)) else { return };
        let began = self.began;
        let (tested, stable) = (group.count(by.arm, began), group.count(0, began));
        if tested + stable == 0 {
            return;
        }
        let span = RiskSpan { slot: group.slot, stratum: group.stratum, arm: by.arm, signal: group.signal, began };
        let at_risk = ring.at_risk(&span);
        let is_whole = at_risk.tested > 0 && at_risk.stable > 0;
        self.stable.events += stable;
        self.pending.push_back(Pending {
            slot: slot.number,
            tested: Tally { exposures: 0, events: tested },
            stratum: is_whole.then_some([at_risk.tested, at_risk.stable, tested, stable]),
        });
    }

    /// The exposures of a slot are final.
    pub fn settle(&mut self, slot: &SlotRecord, by: JudgedArm) {
        let Some(signal) = self.signal else { return };
        self.stable.exposures += slot.at_risk(by.stable(), signal, self.began);
        let exposures = slot.at_risk(by.tested(), signal, self.began);
        if exposures > 0 {
            let tested = Tally { exposures, events: 0 };
            self.pending.push_back(Pending { slot: slot.number, tested, stratum: None });
        }
    }

    /// Takes what has settled.
    pub fn advance(&mut self, ring: &SlotRing, now_ms: u64) {
        let Some(settled_ms) = now_ms.checked_sub(self.plan.settles_after_ms) else { return };
        let below = ring.ended_below(settled_ms);
        let (tested, tests) = (&mut self.tested, &mut self.tests);
        self.pending.retain(|one| {
            if one.slot < below {
                tested.merge(one.tested);
                if let Some(stratum) = one.stratum {
                    for test in tests.iter_mut() {
                        test.add(stratum);
                    }
                }
            }
            one.slot >= below
        });
    }

    /// The test of "the ratio of the rates is at least `bound`"; `None`: it does not count errors, or no stage has the bound.
    pub fn non_inferior(&self, bound: f64) -> Option<PromotionTest> {
        self.signal?;
        let is_it = |test: &&RatioTest| test.kernel.bound().to_bits() == bound.to_bits();
        let test = self.tests.iter().find(is_it)?;
        let (base, strata) = (test.base.logs().to_vec(), test.newest.iter().copied().collect());
        let counts = RecordedPromotion::NonInferior { since: self.since, base, strata };
        counts.into_test(bound)
    }

    /// The test of "the rate is at least `bound`"; `None`: it does not count errors.
    pub fn rate_below(&self, bound: f64) -> Option<PromotionTest> {
        self.signal?;
        let Tally { exposures, events } = self.tested;
        let exposures = exposures.max(events);
        RecordedPromotion::RateBelow { since: self.since, exposures, events }.into_test(bound)
    }

    /// The counts; those of stable with slots that are not settled.
    pub fn counts(&self, ring: &SlotRing, by: JudgedArm) -> PromotionCounts {
        let Some(signal) = self.signal else { return PromotionCounts::default() };
        let unsettled: u64 = ring.unsettled().map(|slot| slot.at_risk(by.stable(), signal, self.began)).sum();
        let exposures = self.stable.exposures + unsettled;
        PromotionCounts { tested: self.tested, stable: Tally { exposures, events: self.stable.events.min(exposures) } }
    }
}

impl RatioTest {
    fn add(&mut self, stratum: [u64; 4]) {
        self.newest.push_back(stratum);
        if self.newest.len() > NEWEST_MAX
            && let Some(oldest) = self.newest.pop_front()
        {
            self.kernel.add(&mut self.base, &stratum_of(oldest));
        }
        debug_assert!(self.newest.len() <= NEWEST_MAX, "older strata are in the base");
    }
}

impl RecordedPromotion {
    fn into_test(self, bound: f64) -> Option<PromotionTest> {
        let evidence_log10 = self.log10(bound).ok()?;
        let counts = serde_json::to_value(self).ok()?;
        Some(PromotionTest { bound, evidence_log10, counts })
    }

    fn log10(&self, bound: f64) -> Result<f64, String> {
        let ln = match self {
            Self::NonInferior { base, strata, .. } => {
                let kernel = NonInferior::new(bound).ok_or_else(|| format!("no test of the ratio {bound}"))?;
                let mut evidence = NonInferiority::from_logs(base)
                    .ok_or_else(|| format!("{} logarithms: another grid of ratios", base.len()))?;
                for counts in strata {
                    kernel.add(&mut evidence, &stratum_of(*counts));
                }
                kernel.ln(&evidence)
            }
            Self::RateBelow { exposures, events, .. } => {
                if events > exposures {
                    return Err(format!("{events} events of {exposures} exposures"));
                }
                let kernel = RateBelow::new(bound).ok_or_else(|| format!("no test of the rate {bound}"))?;
                kernel.ln(Tally { exposures: *exposures, events: *events })
            }
        };
        if ln.is_finite() { Ok(ln / std::f64::consts::LN_10) } else { Err(format!("the evidence is {ln}")) }
    }
}

/// Computes the decimal logarithm of the evidence again, from the counts of a record.
///
/// # Errors
/// What is missing in it, or malformed.
pub fn replay_promotion(test: &PromotionTest) -> Result<f64, String> {
    let counts = RecordedPromotion::deserialize(&test.counts).map_err(|error| format!("the counts: {error}"))?;
    counts.log10(test.bound)
}
