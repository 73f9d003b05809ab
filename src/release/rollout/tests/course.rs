//! A rollout under test: time passes, guards trip, people act; each step is checked and decided again from its record.

use serde_json::{Value, json};

use crate::release::rollout::*;
use crate::route::{Require, RolloutPlan, Stage};

pub const MINUTE: u64 = 60_000;
pub const HOUR: u64 = 60 * MINUTE;
/// A moment in 2026.
pub const WALL: u64 = 1_790_000_000_000;

pub fn stage(name: &str, percent: u32) -> Stage {
    Stage {
        name: name.to_owned(),
        weight: percent * 10_000,
        ramp_ms: 0,
        not_before_ms: None,
        min_duration_ms: 10 * MINUTE,
        min_requests: None,
        min_keys: None,
        require: Require::default(),
        gates: Vec::new(),
        approve: Vec::new(),
        control: 0,
    }
}

pub fn plan(stages: Vec<Stage>) -> RolloutPlan {
    RolloutPlan {
        stages,
        max_weight: 1_000_000,
        max_tenants: None,
        requires: Vec::new(),
        rollback_over_ms: 0,
        on_inconclusive: None,
        on_no_traffic: None,
        same_person: false,
    }
}

/// `dark` 0 %, `beta` 10 %, `half` 50 %, `full` 100 %: ten minutes each.
pub fn four() -> RolloutPlan {
    plan(vec![stage("dark", 0), stage("beta", 10), stage("half", 50), stage("full", 100)])
}

pub fn trip(guard: &str, act: TripAct) -> RolloutTrip {
    RolloutTrip {
        guard: guard.to_owned(),
        route: None,
        act,
        counts_errors: guard == "errors",
        sentence: format!("{guard}: 14 callers of 4 210"),
        evidence: Value::Null,
    }
}

/// A rollout under test.
#[derive(Clone)]
pub struct Course {
    pub plan: RolloutPlan,
    pub state: RolloutState,
    pub facts: RolloutFacts,
    /// The acts so far, automatic ones and those of people.
    pub acts: Vec<RolloutVerb>,
    pub last: Option<RolloutDecision>,
}

impl Course {
    /// Before its first step, with all that a rollout needs.
    pub fn new(plan: RolloutPlan) -> Self {
        let endpoints = EndpointFacts { has_target: true, canary_usable: true, ..EndpointFacts::default() };
        let facts = RolloutFacts {
            rollout: "shop".to_owned(),
            wall_ms: WALL,
            now_ms: 1_000,
            revision: "shop-v2=7".to_owned(),
            stable: "shop-v1=6".to_owned(),
            endpoints,
            ..RolloutFacts::default()
        };
        Self { plan, state: RolloutState::default(), facts, acts: Vec::new(), last: None }
    }

    /// In this stage, which it has just entered.
    pub fn at(plan: RolloutPlan, stage: &str) -> Self {
        let mut course = Self::new(plan);
        course.go_to(stage);
        (course.facts.evidence.keys, course.state.progress.keys) = (0, 0);
        course
    }

    /// Goes on, with all that is asked for, until it is in this stage.
    pub fn go_to(&mut self, stage: &str) {
        for _ in 0..500 {
            if self.state.stage == stage && self.state.phase == RolloutPhase::Running && self.state.ramp.is_none() {
                return;
            }
            self.state.progress.answered += 100_000;
            self.facts.evidence.keys = 1_000;
            self.approve_all();
            self.pass(MINUTE);
        }
        panic!("not at {stage}: {:?}", self.state);
    }

    fn approve_all(&mut self) {
        let Some(at) = self.plan.find(&self.state.stage).filter(|_| self.state.asked.is_some()) else { return };
        for role in self.plan.stages[at].approve.clone() {
            let _ = self.person(&role.clone(), &PersonVerb::Approve { role: Some(role) });
        }
    }

    /// So much time passes in one step.
    pub fn pass(&mut self, ms: u64) -> Vec<RolloutVerb> {
        let mut acts = Vec::new();
        let mut rest = ms;
        while rest > 0 {
            let elapsed = rest.min(10_000);
            (self.facts.now_ms, self.facts.wall_ms) = (self.facts.now_ms + elapsed, self.facts.wall_ms + elapsed);
            acts.extend(self.step(elapsed));
            rest -= elapsed;
        }
        acts
    }

    /// A tick.
    pub fn tick(&mut self) -> Vec<RolloutVerb> {
        self.pass(100)
    }

    pub fn step(&mut self, elapsed_ms: u64) -> Vec<RolloutVerb> {
        self.facts.elapsed_ms = elapsed_ms;
        let before = self.state.clone();
        let taken = step(&self.plan, &before, &self.facts);
        if !taken.decisions.is_empty() {
            self.check_records(&before, &taken.decisions);
        }
        let raise = taken.decisions.iter().find(|one| one.raises);
        assert!(raise.is_none() || taken.blocks.is_empty(), "{raise:?} {:?}", taken.blocks);
        self.state = raise.map_or(taken.state, |raise| raise.state.clone());
        // Trips are those since the step before.
        self.facts.trips.clear();
        self.last = taken.decisions.last().cloned().or(self.last.take());
        let acts: Vec<RolloutVerb> = taken.decisions.iter().map(|decision| decision.act).collect();
        self.acts.extend(&acts);
        acts
    }

    /// Each decision is made again from its record.
    fn check_records(&self, before: &RolloutState, decisions: &[RolloutDecision]) {
        let evidence = RolloutEvidence::of(&self.plan, before, &self.facts);
        let evidence: Value = serde_json::from_str(&evidence.to_string()).unwrap();
        let again = replay_rollout(&evidence).unwrap();
        for decision in decisions {
            assert!(again.agrees(decision.act.name(), &json!(decision.state)), "{:?} {evidence}", decision.act);
            assert!(!decision.sentence.is_empty());
        }
        assert!(!again.agrees("archive", &json!(before)));
    }

    /// A guard trips.
    pub fn trip(&mut self, guard: &str, act: TripAct) -> Vec<RolloutVerb> {
        self.facts.trips.push(trip(guard, act));
        self.tick()
    }

    /// A person acts.
    pub fn person(&mut self, name: &str, verb: &PersonVerb) -> Result<RolloutDecision, ActRefusal> {
        let signer = Signer {
            name: name.to_owned(),
            roles: vec![name.to_owned()],
            at: "2026-12-02T10:30:00Z".to_owned(),
            reason: "because".to_owned(),
        };
        let decision = perform(&self.plan, &self.state, &self.facts, &signer, verb)?;
        self.state = decision.state.clone();
        self.acts.push(decision.act);
        Ok(decision)
    }

    pub fn blocks(&self) -> Vec<BlockKind> {
        outline(&self.plan, &self.state, &self.facts).blocks.iter().map(|block| block.kind).collect()
    }

    /// The weight in percent.
    pub fn weight(&self) -> u32 {
        effective_weight(&self.plan, &self.state).millionths() / 10_000
    }

    pub fn cause(&self) -> Option<HeldCause> {
        match &self.state.phase {
            RolloutPhase::Held(held) => Some(held.cause),
            RolloutPhase::Pending
            | RolloutPhase::Running
            | RolloutPhase::Killed
            | RolloutPhase::RolledBack(_)
            | RolloutPhase::Complete => None,
        }
    }

    pub fn is_rolled_back(&self) -> bool {
        matches!(self.state.phase, RolloutPhase::RolledBack(_))
    }

    pub fn canary_is_down(&mut self, tries: u64, act: Option<TripAct>) {
        self.facts.endpoints.down = Some(CanaryDown { route: "shop".to_owned(), endpoints: 2, tries, act });
    }
}
