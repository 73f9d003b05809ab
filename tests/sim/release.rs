//! A release in virtual time: its plan, its traffic, its faults, people, kills, edits and crashes around the real state
//! machine. After each step the laws are checked.

use std::collections::{BTreeMap, BTreeSet};

use pointsman::release::{
    BlockKind, CanaryDown, EndpointFacts, FreezeFact, GateAnswer, GateVerdict, PersonVerb, PromotionTest,
    RolloutDecision, RolloutFacts, RolloutPhase, RolloutState, RolloutTrip, RolloutVerb, Signer, TripAct,
    effective_weight, follow_plan, outline, perform, plan_hash, resume_plan, step,
};
use pointsman::route::RolloutPlan;
use serde_json::Value;

use super::release_disk::{Basis, ReleaseDisk};
use super::release_plan::{ReleaseKind, some_plan};

/// No release takes longer.
const END_MS: u64 = 3_600_000;
/// The guards of latency wait so long after a weight has risen from 0.
const WARM_UP_MS: u64 = 60_000;
/// How often a healthy release is rolled back, as measured by the simulations of the guards.
const FALSE_TRIPS: f64 = 0.0004;

/// How a release ended.
#[derive(Debug, Default)]
pub struct ReleaseOutcome {
    pub phase: &'static str,
    pub acts: BTreeMap<RolloutVerb, u64>,
    /// The guards that rolled it back.
    pub rolled_back_by: Vec<String>,
    /// Callers that the fault of the canary has met.
    pub hurt: f64,
    pub crashes: u64,
    pub refused: u64,
    pub replayed: u64,
    pub steps: u64,
    pub blocks: BTreeSet<BlockKind>,
}

/// A raise that waits for the disk.
struct WaitingForDisk {
    seq: u64,
    decision: RolloutDecision,
}

pub struct Release {
    pub random: fastrand::Rng,
    kind: ReleaseKind,
    plan: RolloutPlan,
    pub state: RolloutState,
    pub facts: RolloutFacts,
    disk: ReleaseDisk,
    raise: Option<WaitingForDisk>,
    /// Requests a second.
    rate: f64,
    /// When the canary begins to fail.
    fails_from_ms: u64,
    /// So many callers must be hurt before the guard trips; it has said so.
    needed: f64,
    hurt: f64,
    has_tripped: bool,
    serves_since_ms: Option<u64>,
    false_trip_ms: Option<u64>,
    /// Approvals that were given: revision, stage, role, hash.
    given: BTreeSet<[String; 4]>,
    /// A latch that is durable, or was in force in this process.
    latched: Option<String>,
    outcome: ReleaseOutcome,
}

impl Release {
    pub fn new(seed: u64, kind: ReleaseKind) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let plan = some_plan(&mut random, kind);
        let rate = kind.rate(&mut random);
        let fails_from_ms = match kind {
            ReleaseKind::FailsAtOnce | ReleaseKind::Slow | ReleaseKind::Bursty => 0,
            ReleaseKind::FailsLate => random.u64(30_000..300_000),
            ReleaseKind::Healthy
            | ReleaseKind::CommonIncident
            | ReleaseKind::LowTraffic
            | ReleaseKind::NoTraffic
            | ReleaseKind::Revisions
            | ReleaseKind::Operators
            | ReleaseKind::Crashes => u64::MAX,
        };
        let is_unlucky = random.f64() < FALSE_TRIPS;
        let false_trip_ms = is_unlucky.then(|| random.u64(0..600_000));
        let endpoints = EndpointFacts { has_target: true, canary_usable: true, ..EndpointFacts::default() };
        let facts = RolloutFacts {
            rollout: "shop".to_owned(),
            now_ms: 1,
            wall_ms: 1_790_000_000_000,
            revision: "shop-v2=1".to_owned(),
            stable: "shop-v1=1".to_owned(),
            endpoints,
            ..RolloutFacts::default()
        };
        let mut release = Self {
            random,
            kind,
            plan,
            state: RolloutState::default(),
            facts,
            disk: ReleaseDisk::default(),
            raise: None,
            rate,
            fails_from_ms,
            needed: 0.0,
            hurt: 0.0,
            has_tripped: false,
            serves_since_ms: None,
            false_trip_ms,
            given: BTreeSet::new(),
            latched: None,
            outcome: ReleaseOutcome::default(),
        };
        release.begin_evidence();
        release.disk.has_evidence = release.chance(6);
        release
    }

    /// Plays it to its end.
    pub fn run(mut self) -> ReleaseOutcome {
        while self.facts.now_ms < END_MS && !self.is_over() {
            let is_watched = self.weight() > 0.0 && self.facts.now_ms >= self.fails_from_ms;
            let elapsed = if is_watched { self.random.u64(100..1_000) } else { self.random.u64(1_000..10_000) };
            (self.facts.now_ms, self.facts.wall_ms) = (self.facts.now_ms + elapsed, self.facts.wall_ms + elapsed);
            self.disturb();
            self.serve(elapsed);
            self.step(elapsed);
            self.write_to_disk();
            self.act();
        }
        self.disk.flush(usize::MAX);
        self.disk.replay();
        self.outcome.phase = self.state.phase.name();
        self.outcome.replayed = self.disk.replayed;
        self.outcome.hurt = self.hurt;
        self.outcome
    }

    /// The share of the callers that the canary gets.
    fn weight(&self) -> f64 {
        effective_weight(&self.plan, &self.state).percent() / 100.0
    }

    fn millionths(&self, state: &RolloutState) -> u32 {
        effective_weight(&self.plan, state).millionths()
    }

    /// Nothing more happens by itself, and no person comes.
    fn is_over(&mut self) -> bool {
        match &self.state.phase {
            RolloutPhase::Complete => self.kind.is_healthy() && self.random.u8(0..4) == 0,
            RolloutPhase::RolledBack(_) if self.state.fall.is_none() => self.random.u8(0..8) == 0,
            RolloutPhase::Held(held) if !held.cause.ends_by_itself() => self.random.u8(0..16) == 0,
            RolloutPhase::Pending
            | RolloutPhase::Running
            | RolloutPhase::Held(_)
            | RolloutPhase::Killed
            | RolloutPhase::RolledBack(_) => false,
        }
    }

    fn begin_evidence(&mut self) {
        // At most this share of the callers: the least number of erring callers that trips grows with it.
        let exponential = -(1.0 - self.random.f64()).ln();
        (self.needed, self.hurt, self.has_tripped) = (4.0 + 6.0 * exponential, 0.0, false);
    }

    fn chance(&mut self, one_in: u32) -> bool {
        self.random.u32(0..one_in) == 0
    }

    /// What happens around it.
    fn disturb(&mut self) {
        self.facts.gates = vec![GateAnswer {
            verdict: if self.random.u8(0..3) == 0 { GateVerdict::Failed } else { GateVerdict::Pass },
            sentence: "no answer within 5 s".to_owned(),
            asked_ms: self.facts.now_ms,
        }];
        let is_open = self.random.bool();
        let log10 = if is_open { 2.0 } else { 0.5 };
        self.facts.evidence.rate_below =
            Some(PromotionTest { bound: 0.01, evidence_log10: log10, counts: Value::Null });
        if self.kind == ReleaseKind::Bursty {
            self.bursts();
        }
        if self.kind.is_calm() {
            return;
        }
        if self.chance(20) {
            let until_ms = self.facts.wall_ms + 60_000;
            self.facts.freeze = Some(FreezeFact { text: "daily 11:30 - 14:00".to_owned(), until_ms });
        } else if self.chance(4) {
            self.facts.freeze = None;
        }
        let is_incident = self.kind == ReleaseKind::CommonIncident;
        if self.chance(if is_incident { 8 } else { 60 }) {
            self.facts.endpoints.stable_trouble = Some("30 % of its answers fail".to_owned());
        } else if self.chance(3) {
            self.facts.endpoints.stable_trouble = None;
        }
        self.facts.endpoints.has_target = !self.chance(if is_incident { 15 } else { 80 });
        self.facts.kill.all = self.chance(50);
        if self.kind != ReleaseKind::Revisions
            && self.kind != ReleaseKind::Operators
            && self.kind != ReleaseKind::Crashes
        {
            return;
        }
        self.facts.kill.own = if self.facts.kill.own { !self.chance(3) } else { self.chance(60) };
        self.facts.unmet = if self.chance(30) { vec!["cart is at dark".to_owned()] } else { Vec::new() };
        self.facts.rejected_config = self.chance(20).then(|| "routes.toml:3".to_owned());
        self.facts.journal = self.chance(20).then(|| "no space left on the device".to_owned());
        if self.chance(200) {
            self.facts.wall_ms = self.random.u64(..) >> self.random.u32(20..40);
        }
        if self.kind == ReleaseKind::Revisions && self.chance(40) {
            self.facts.revision = format!("shop-v2={}", self.random.u8(1..9));
        }
        if self.kind == ReleaseKind::Revisions && self.chance(80) {
            self.facts.stable = format!("shop-v1={}", self.random.u8(1..9));
        }
        if self.chance(30) {
            self.edit();
        }
        if self.chance(if self.kind == ReleaseKind::Crashes { 10 } else { 100 }) {
            self.crash();
        }
    }

    /// The canary refuses connections for a while, again and again.
    fn bursts(&mut self) {
        if self.facts.endpoints.down.is_some() && self.chance(12) {
            self.facts.endpoints.down = None;
        } else if self.weight() > 0.0 && self.chance(40) {
            let route = "shop".to_owned();
            let tries = self.random.u64(1..9);
            self.facts.endpoints.down = Some(CanaryDown { route, endpoints: 2, tries, act: Some(TripAct::Rollback) });
        }
    }

    /// Requests reach the canary by its weight; guards trip by what the callers meet.
    fn serve(&mut self, elapsed: u64) {
        let weight = self.weight();
        let now_ms = self.facts.now_ms;
        if weight <= 0.0 {
            self.serves_since_ms = None;
            return;
        }
        let since = *self.serves_since_ms.get_or_insert(now_ms);
        let requests = self.rate * weight * elapsed as f64 / 1_000.0 * (0.5 + self.random.f64());
        let whole = whole(requests + self.random.f64());
        self.facts.evidence.answered += whole;
        self.facts.evidence.keys = (self.facts.evidence.keys + whole).min(5_000);
        self.facts.evidence.stable_rate = Some(0.05);
        let fails = now_ms >= self.fails_from_ms
            && match self.kind {
                ReleaseKind::Bursty => now_ms % 60_000 < 20_000 || self.facts.endpoints.down.is_some(),
                ReleaseKind::Slow => now_ms >= since + WARM_UP_MS,
                ReleaseKind::Healthy
                | ReleaseKind::FailsAtOnce
                | ReleaseKind::FailsLate
                | ReleaseKind::CommonIncident
                | ReleaseKind::LowTraffic
                | ReleaseKind::NoTraffic
                | ReleaseKind::Revisions
                | ReleaseKind::Operators
                | ReleaseKind::Crashes => true,
            };
        if fails {
            self.hurt += requests * 0.5;
        }
        let guard = if self.kind == ReleaseKind::Slow { "latency" } else { "errors" };
        let is_false = self.false_trip_ms.is_some_and(|at| now_ms >= at);
        if !self.has_tripped && (self.hurt >= self.needed * (1.0 + 10.0 * weight) || is_false) {
            (self.has_tripped, self.false_trip_ms) = (true, None);
            self.facts.trips.push(trip(guard, TripAct::Rollback));
        }
        if !self.kind.is_calm() && self.chance(200) {
            self.facts.trips.push(trip("sample-ratio", TripAct::Hold));
        }
    }

    /// A step of the state machine.
    fn step(&mut self, elapsed_ms: u64) {
        self.facts.elapsed_ms = elapsed_ms;
        let before = self.state.clone();
        let taken = step(&self.plan, &before, &self.facts);
        self.check_step(&before, &taken.state, &taken.decisions);
        assert!(taken.decisions.iter().all(|one| !one.raises) || taken.blocks.is_empty());
        self.outcome.blocks.extend(taken.blocks.iter().map(|block| block.kind));
        self.outcome.steps += 1;
        self.state = taken.state;
        let facts = self.facts.clone();
        for decision in taken.decisions {
            if decision.raises && self.raise.is_some() {
                continue;
            }
            let basis = Basis { plan: &self.plan, before: &before, facts: Some(&facts) };
            let seq = self.disk.write(basis, &decision);
            self.follow(seq, decision);
        }
        self.facts.trips.clear();
        if self.random.u8(0..3) == 0 {
            self.disk.save(&self.state);
        }
    }

    /// What lowers is in force at once, what raises when it is durable.
    fn follow(&mut self, seq: u64, decision: RolloutDecision) {
        if decision.raises {
            self.raise = Some(WaitingForDisk { seq, decision });
        } else {
            self.raise = None;
            self.adopt(decision);
        }
    }

    fn adopt(&mut self, decision: RolloutDecision) {
        *self.outcome.acts.entry(decision.act).or_default() += 1;
        if decision.begins_anew {
            self.begin_evidence();
        }
        match decision.act {
            RolloutVerb::Rollback => {
                let RolloutPhase::RolledBack(back) = &decision.state.phase else { panic!("{decision:?}") };
                self.outcome.rolled_back_by.push(back.by.clone());
                self.latched = Some(decision.state.revision.clone());
            }
            RolloutVerb::Begin | RolloutVerb::Resume | RolloutVerb::Restart => self.latched = None,
            RolloutVerb::Enter
            | RolloutVerb::Raise
            | RolloutVerb::Lower
            | RolloutVerb::Complete
            | RolloutVerb::Warn
            | RolloutVerb::Hold
            | RolloutVerb::Unhold
            | RolloutVerb::Killed
            | RolloutVerb::Revived
            | RolloutVerb::Ask
            | RolloutVerb::Approve
            | RolloutVerb::Goto
            | RolloutVerb::Rehearsed
            | RolloutVerb::Archive
            | RolloutVerb::Refused => {}
        }
        if matches!(decision.act, RolloutVerb::Enter | RolloutVerb::Goto | RolloutVerb::Restart) {
            self.facts.evidence.keys = 0;
        }
        self.state = decision.state;
    }

    /// Some of the lines become durable.
    fn write_to_disk(&mut self) {
        let lines = self.random.usize(0..4);
        if self.facts.journal.is_none() {
            self.disk.flush(lines);
        }
        let durable = self.disk.last_seq;
        if let Some(raise) = self.raise.take_if(|raise| raise.seq <= durable) {
            self.adopt(raise.decision);
        }
        self.check_weight();
    }

    /// The file is edited.
    fn edit(&mut self) {
        let mut plan = self.plan.clone();
        let at = plan.find(&self.state.stage).unwrap_or(0);
        match self.random.u8(0..4) {
            0 => plan.max_weight = self.random.u32(0..=10) * 100_000,
            1 => plan.max_weight = 1_000_000,
            2 => plan.stages[at].min_duration_ms = self.random.u64(0..60_000),
            _ => plan.stages[at].weight = self.random.u32(0..=plan.stages[at].weight),
        }
        let before = self.millionths(&self.state);
        let Ok(lowered) = follow_plan(&plan, &self.state) else { return };
        self.plan = plan;
        if let Some(decision) = lowered {
            let state = self.state.clone();
            let seq = self.disk.write(Basis { plan: &self.plan, before: &state, facts: None }, &decision);
            self.follow(seq, decision);
        }
        assert!(self.millionths(&self.state) <= before, "an edit raises nothing");
    }

    /// The process dies between two writes, and another one begins.
    fn crash(&mut self) {
        let torn = self.random.usize(0..4_000);
        self.raise = None;
        let state = self.disk.crash(torn);
        let (state, decision) = resume_plan(&self.plan, &state);
        assert!(self.millionths(&state) <= top_of(&self.disk.last));
        self.latched = matches!(state.phase, RolloutPhase::RolledBack(_)).then(|| state.revision.clone());
        self.state = state;
        if let Some(decision) = decision {
            let state = self.state.clone();
            let seq = self.disk.write(Basis { plan: &self.plan, before: &state, facts: None }, &decision);
            self.follow(seq, decision);
        }
        (self.facts.evidence.answered, self.facts.evidence.keys) = (0, 0);
        // What tripped and was not written is found anew.
        self.has_tripped = self.latched.is_some();
        self.outcome.crashes += 1;
    }

    /// People act: approvers when they are asked, operators at bad moments.
    fn act(&mut self) {
        if self.state.asked.is_some() && self.chance(3) {
            let awaited = outline(&self.plan, &self.state, &self.facts).awaited;
            if let Some(role) = awaited.into_iter().next() {
                self.person(&role.clone(), &PersonVerb::Approve { role: Some(role) });
            }
        }
        let busy = match self.kind {
            ReleaseKind::Operators => 6,
            ReleaseKind::Revisions | ReleaseKind::Crashes => 20,
            ReleaseKind::Healthy
            | ReleaseKind::FailsAtOnce
            | ReleaseKind::FailsLate
            | ReleaseKind::Slow
            | ReleaseKind::Bursty => return,
            ReleaseKind::CommonIncident | ReleaseKind::LowTraffic | ReleaseKind::NoTraffic => 40,
        };
        if !self.chance(busy) {
            return;
        }
        let stage = self.plan.stages[self.random.usize(0..self.plan.stages.len())].name.clone();
        let verbs = [
            PersonVerb::Approve { role: None },
            PersonVerb::Hold,
            PersonVerb::Resume,
            PersonVerb::Resume,
            PersonVerb::Resume,
            PersonVerb::Rollback,
            PersonVerb::Goto { stage },
            PersonVerb::Restart,
        ];
        let verb = verbs[self.random.usize(0..verbs.len())].clone();
        let who = ["ana", "bo", "tech-lead", "product"][self.random.usize(0..4)];
        self.person(who, &verb);
    }

    fn person(&mut self, who: &str, verb: &PersonVerb) {
        let lowers = matches!(verb, PersonVerb::Hold | PersonVerb::Rollback);
        if (self.raise.is_some() || self.facts.journal.is_some()) && !lowers {
            return;
        }
        let (at, reason) = ("2026-12-02T10:30:00Z".to_owned(), "because".to_owned());
        let signer = Signer { name: who.to_owned(), roles: vec![who.to_owned()], at, reason };
        let before = self.state.clone();
        let Ok(decision) = perform(&self.plan, &before, &self.facts, &signer, verb) else {
            self.outcome.refused += 1;
            return;
        };
        if !decision.raises {
            assert!(self.millionths(&decision.state) <= self.millionths(&before));
        }
        if decision.act == RolloutVerb::Approve {
            let given = decision.state.approvals.last().expect("an approval");
            self.given.insert([
                decision.state.revision.clone(),
                given.stage.clone(),
                given.role.clone(),
                given.plan.clone(),
            ]);
        }
        let seq = self.disk.write(Basis { plan: &self.plan, before: &before, facts: None }, &decision);
        self.follow(seq, decision);
        self.check_weight();
    }

    /// Never above the ceiling, the plan, or the last durable record.
    fn check_weight(&self) {
        let weight = self.millionths(&self.state);
        assert!(weight <= self.plan.max_weight, "above the ceiling");
        let stage = self.plan.find(&self.state.stage).map(|at| self.plan.stages[at].weight);
        let falls = self.state.fall.is_some();
        assert!(falls || weight <= stage.unwrap_or(0), "above the plan");
        assert!(weight <= top_of(&self.disk.last), "above the last durable record");
    }

    /// The laws of a step.
    fn check_step(&mut self, before: &RolloutState, after: &RolloutState, decisions: &[RolloutDecision]) {
        let (was, is) = (self.millionths(before), self.millionths(after));
        let ramps = before.ramp.is_some() && after.phase == RolloutPhase::Running;
        assert!(is <= was || ramps, "a step raises by a record alone: {before:?} {after:?}");
        assert!(!self.facts.kill.own || is == 0, "a kill beats all");
        let is_latched = self.latched.as_ref() == Some(&self.facts.revision) && before.revision == self.facts.revision;
        if is_latched {
            assert!(matches!(after.phase, RolloutPhase::RolledBack(_)), "a latch holds");
            assert!(decisions.is_empty(), "a latch holds: {decisions:?}");
        }
        let wants_rollback = self.facts.trips.iter().any(|trip| trip.act == TripAct::Rollback);
        let is_same = before.revision == self.facts.revision && !before.revision.is_empty();
        if wants_rollback && is_same && self.facts.endpoints.has_target && self.plan.rollback_over_ms == 0 {
            assert_eq!(is, 0, "a rollback is in force in the step that finds it");
        }
        for decision in decisions.iter().filter(|one| one.raises) {
            assert!(self.facts.journal.is_none() && !self.facts.kill.own, "{decision:?}");
            match decision.act {
                RolloutVerb::Enter | RolloutVerb::Raise => {
                    assert!(self.facts.freeze.is_none() && self.facts.rejected_config.is_none(), "{decision:?}");
                    assert!(self.facts.endpoints.has_target && self.facts.unmet.is_empty(), "{decision:?}");
                }
                RolloutVerb::Complete => assert!(self.facts.freeze.is_none(), "{decision:?}"),
                RolloutVerb::Unhold => {}
                RolloutVerb::Begin
                | RolloutVerb::Lower
                | RolloutVerb::Warn
                | RolloutVerb::Hold
                | RolloutVerb::Rollback
                | RolloutVerb::Killed
                | RolloutVerb::Revived
                | RolloutVerb::Ask
                | RolloutVerb::Approve
                | RolloutVerb::Resume
                | RolloutVerb::Goto
                | RolloutVerb::Restart
                | RolloutVerb::Rehearsed
                | RolloutVerb::Archive
                | RolloutVerb::Refused => panic!("no step raises by this: {decision:?}"),
            }
            self.check_approvals(before, decision);
        }
    }

    /// A stage is left when each of its roles has approved under this revision and plan.
    fn check_approvals(&self, before: &RolloutState, decision: &RolloutDecision) {
        let leaves = matches!(decision.act, RolloutVerb::Enter | RolloutVerb::Complete) && !before.passed.is_empty();
        let at = self.plan.find(&before.stage).filter(|_| leaves && before.revision == self.facts.revision);
        let Some(at) = at else { return };
        for role in &self.plan.stages[at].approve {
            let stage = before.stage.clone();
            let needed = [before.revision.clone(), stage, role.clone(), plan_hash(&self.plan, at)];
            assert!(self.given.contains(&needed), "stage {} is left without {role}", before.stage);
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of requests is small")]
fn whole(requests: f64) -> u64 {
    requests as u64
}

/// The most that a record lets serve.
fn top_of(state: &RolloutState) -> u32 {
    let fall = state.fall.map_or(0, |fall| fall.from);
    state.reached.max(state.ramp.map_or(0, |ramp| ramp.to)).max(fall)
}

fn trip(guard: &str, act: TripAct) -> RolloutTrip {
    RolloutTrip {
        guard: guard.to_owned(),
        route: None,
        act,
        counts_errors: guard == "errors",
        sentence: "14 callers of 4 210".to_owned(),
        evidence: Value::Null,
    }
}
