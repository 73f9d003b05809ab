//! The state machine of a rollout in virtual time: what it is given, and what it does.

use super::scene::Scene;
use crate::release::{
    Approval, Block, BlockKind, EndpointFacts, FreezeFact, GateAnswer, GateVerdict, RolloutDecision, RolloutFacts,
    RolloutState, RolloutTrip, RolloutVerb, ShadowFacts, StageEvidence, effective_weight, plan_hash, step,
};
use crate::route::{Freeze, Stage, frozen};

/// The longest step, in milliseconds: the machine counts no more of one.
pub(super) const STEP_MS_MAX: u64 = 10_000;
/// So many copies are enough to judge their share.
const COPIES: u64 = 1_000_000;

/// A release on its way.
#[derive(Clone)]
pub(super) struct Course<'a> {
    scene: Scene<'a>,
    windows: Vec<&'a Freeze>,
    facts: RolloutFacts,
    /// The state after the last step.
    pub state: RolloutState,
    /// What stands in its way.
    pub blocks: Vec<Block>,
    /// The freeze window in force, or when the next one begins, in milliseconds since the Unix epoch.
    freeze: FreezeView,
    /// Since when nothing but people is waited for, in milliseconds since the Unix epoch.
    asked_ms: Option<u64>,
    /// The last step has decided something: what stands in the way now is not known yet.
    has_decided: bool,
}

#[derive(Clone, Copy, Debug)]
enum FreezeView {
    Unknown,
    /// None before this moment.
    NoneBefore(u64),
    Until(u64),
}

/// What is known at a step.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub evidence: StageEvidence,
    pub trips: Vec<RolloutTrip>,
}

impl<'a> Course<'a> {
    /// Before the first stage.
    pub fn new(scene: Scene<'a>) -> Self {
        let rules = scene.rules;
        let endpoints = EndpointFacts { has_target: true, canary_usable: true, ..EndpointFacts::default() };
        let facts = RolloutFacts {
            rollout: scene.rollout.name.clone(),
            wall_ms: scene.begins_ms,
            revision: rules.revision_of_rollout(scene.rollout),
            stable: rules.stable_revision_of_rollout(scene.rollout),
            endpoints,
            ..RolloutFacts::default()
        };
        Self {
            windows: scene.windows(),
            scene,
            facts,
            state: RolloutState::default(),
            blocks: Vec::new(),
            freeze: FreezeView::Unknown,
            asked_ms: None,
            has_decided: true,
        }
    }

    /// The time, in milliseconds since the Unix epoch.
    pub const fn wall_ms(&self) -> u64 {
        self.facts.wall_ms
    }

    /// The time since the release began, in milliseconds.
    pub const fn now_ms(&self) -> u64 {
        self.facts.now_ms
    }

    /// The stage where it is.
    pub fn stage(&self) -> Option<&'a Stage> {
        let plan = &self.scene.rollout.plan;
        plan.find(&self.state.stage).and_then(|at| plan.stages.get(at)).filter(|_| !self.state.passed.is_empty())
    }

    /// The share of callers that the canary gets, 0 to 1.
    pub fn share(&self) -> f64 {
        effective_weight(&self.scene.rollout.plan, &self.state).percent() / 100.0
    }

    /// Whether a freeze window is in force.
    pub const fn is_frozen(&self) -> bool {
        matches!(self.freeze, FreezeView::Until(_))
    }

    /// When the next thing is due by itself, in milliseconds from now: a step is no longer than this.
    pub fn next_due(&self) -> u64 {
        let now = self.facts.wall_ms;
        let are_due = |asked: u64| asked.saturating_add(self.scene.approval_delay_ms) <= now;
        if self.has_decided || self.asked_ms.is_some_and(are_due) {
            return 0;
        }
        let of_blocks = self.blocks.iter().filter_map(|block| block.until_ms).filter(|until| *until > now);
        let of_freeze = match self.freeze {
            FreezeView::Unknown => None,
            // A step counts as frozen or not by its end: the last one before a change ends just before it.
            FreezeView::NoneBefore(at) | FreezeView::Until(at) if at > now + 1 => Some(at - 1),
            FreezeView::NoneBefore(at) | FreezeView::Until(at) => Some(at),
        };
        let of_people = self.asked_ms.map(|asked| asked.saturating_add(self.scene.approval_delay_ms));
        let due = of_blocks.chain(of_freeze).chain(of_people).filter(|at| *at > now).min();
        due.map_or(STEP_MS_MAX, |at| at - now)
    }

    /// Moves on by a time; the decisions, all in force.
    pub fn move_on(&mut self, elapsed_ms: u64, seen: Seen) -> Vec<RolloutDecision> {
        self.facts.now_ms = self.facts.now_ms.saturating_add(elapsed_ms);
        self.facts.wall_ms = self.facts.wall_ms.saturating_add(elapsed_ms);
        self.facts.elapsed_ms = elapsed_ms;
        (self.facts.evidence, self.facts.trips) = (seen.evidence, seen.trips);
        self.look();
        self.approve();
        let taken = step(&self.scene.rollout.plan, &self.state, &self.facts);
        self.blocks = taken.blocks;
        self.state = taken.decisions.last().map_or(taken.state, |last| last.state.clone());
        let awaits = !self.blocks.is_empty() && self.blocks.iter().all(|block| block.kind == BlockKind::Approval);
        self.asked_ms = if awaits { self.asked_ms.or(Some(self.facts.wall_ms)) } else { None };
        self.has_decided = !taken.decisions.is_empty();
        debug_assert!(self.share() <= 1.0, "a share of all callers");
        taken.decisions
    }

    /// Looks at freeze windows, gates and copies.
    fn look(&mut self) {
        let now = self.facts.wall_ms;
        let is_known = match self.freeze {
            FreezeView::Unknown => false,
            FreezeView::NoneBefore(at) | FreezeView::Until(at) => now < at,
        };
        if !is_known {
            let found = frozen(&self.windows, now);
            self.facts.freeze = found.map(|found| FreezeFact { text: found.text.to_owned(), until_ms: found.until_ms });
            let next = || self.windows.iter().filter_map(|window| window.next(now)).min().unwrap_or(u64::MAX);
            self.freeze =
                found.map_or_else(|| FreezeView::NoneBefore(next()), |found| FreezeView::Until(found.until_ms));
        }
        let rollout = self.scene.rollout;
        self.facts.expired = rollout.expires_ms.filter(|at| *at <= now).and(rollout.about.expires.clone());
        self.facts.gates.clear();
        if let Some(stage) = self.stage() {
            let pass = GateAnswer { verdict: GateVerdict::Pass, sentence: String::new(), asked_ms: self.facts.now_ms };
            self.facts.gates.resize(stage.gates.len(), pass);
            if stage.require.shadow_mismatch.is_some() {
                self.facts.evidence.shadow = Some(ShadowFacts { compared: COPIES, different: 0 });
            }
        }
    }

    /// People approve when their time is over.
    fn approve(&mut self) {
        let Some(asked) = self.asked_ms else { return };
        let plan = &self.scene.rollout.plan;
        let (Some(at), Some(stage)) = (plan.find(&self.state.stage), self.stage()) else { return };
        if self.facts.wall_ms < asked.saturating_add(self.scene.approval_delay_ms) {
            return;
        }
        let hash = plan_hash(plan, at);
        for role in &stage.approve {
            self.state.approvals.push(Approval {
                stage: stage.name.clone(),
                role: role.clone(),
                by: role.clone(),
                at: String::new(),
                plan: hash.clone(),
            });
        }
        self.asked_ms = None;
    }
}

/// Whether a decision enters a stage, so that a window of evidence begins.
pub(super) const fn enters(act: RolloutVerb) -> bool {
    matches!(act, RolloutVerb::Enter | RolloutVerb::Goto | RolloutVerb::Restart)
}
