//! Laws over random plans, facts, acts of people, edits and crashes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::course::{Course, MINUTE, plan, stage, trip};
use crate::release::rollout::*;
use crate::route::{Overdue, OverdueAct, RolloutPlan};

/// What happens.
#[derive(Clone, Debug)]
enum Op {
    Pass(u64),
    Trip(usize, TripAct),
    Kill(bool),
    KillAll(bool),
    Canary(u8),
    Stable(u8),
    Freeze(bool),
    Target(bool),
    Ejected(bool),
    Down(Option<TripAct>, u64),
    Unmet(bool),
    Journal(bool),
    Rejected(bool),
    Wall(u64),
    Answered(u64),
    Ceiling(u32),
    StageWeight(u32),
    NewStage(u32),
    Person(usize, usize),
    Crash,
    Start,
}

fn op() -> impl Strategy<Value = Op> {
    let act = prop_oneof![Just(TripAct::Warn), Just(TripAct::Hold), Just(TripAct::Rollback)];
    prop_oneof![
        8 => (100..10 * MINUTE).prop_map(Op::Pass),
        2 => (0..3_usize, act.clone()).prop_map(|(guard, act)| Op::Trip(guard, act)),
        1 => any::<bool>().prop_map(Op::Kill),
        1 => any::<bool>().prop_map(Op::KillAll),
        1 => (0..3_u8).prop_map(Op::Canary),
        1 => (0..2_u8).prop_map(Op::Stable),
        1 => any::<bool>().prop_map(Op::Freeze),
        1 => any::<bool>().prop_map(Op::Target),
        1 => any::<bool>().prop_map(Op::Ejected),
        2 => (proptest::option::of(act), 0..9_u64).prop_map(|(act, tries)| Op::Down(act, tries)),
        1 => any::<bool>().prop_map(Op::Unmet),
        1 => any::<bool>().prop_map(Op::Journal),
        1 => any::<bool>().prop_map(Op::Rejected),
        1 => any::<u64>().prop_map(Op::Wall),
        3 => (0..5_000_u64).prop_map(Op::Answered),
        1 => (0..=10_u32).prop_map(|tenth| Op::Ceiling(tenth * 100_000)),
        1 => (0..=10_u32).prop_map(|tenth| Op::StageWeight(tenth * 100_000)),
        1 => (0..=100_u32).prop_map(Op::NewStage),
        6 => (0..9_usize, 0..3_usize).prop_map(|(verb, who)| Op::Person(verb, who)),
        1 => Just(Op::Crash),
        1 => Just(Op::Start),
    ]
}

fn some_plan() -> impl Strategy<Value = RolloutPlan> {
    let one = (0..=100_u32, 0..10 * MINUTE, 0..3_u8, 0..4_u8, any::<bool>());
    (proptest::collection::vec(one, 1..5), 0..3_u8, 0..60_000_u64, any::<bool>()).prop_map(
        |(mut stages, overdue, over_ms, same_person)| {
            stages.sort_by_key(|(percent, ..)| *percent);
            let each = stages.iter().enumerate().map(|(at, (percent, duration, ramp, approve, requests))| {
                let mut stage = stage(&format!("s{at}"), *percent);
                stage.min_duration_ms = *duration;
                stage.ramp_ms = u64::from(*ramp) * 10 * MINUTE;
                stage.min_requests = requests.then_some(1_000);
                let roles = ["lead", "operations", "product"];
                stage.approve = roles.iter().take(usize::from(*approve)).map(|role| (*role).to_owned()).collect();
                stage
            });
            let act = if overdue == 1 { OverdueAct::Hold } else { OverdueAct::Rollback };
            let overdue = (overdue > 0).then_some(Overdue { after_ms: 30 * MINUTE, act });
            RolloutPlan {
                rollback_over_ms: over_ms / 30_000 * 30_000,
                on_no_traffic: overdue,
                on_inconclusive: overdue,
                same_person,
                ..plan(each.collect())
            }
        },
    )
}

/// An approval that a person has given.
type Given = (String, String, String, String);

struct Laws {
    course: Course,
    given: BTreeSet<Given>,
    /// The state of the last record that is on the disk.
    durable: RolloutState,
    clock: u64,
}

const GUARDS: [&str; 3] = ["errors", "latency", "ratio"];
const PEOPLE: [&str; 3] = ["lead", "operations", "product"];

impl Laws {
    fn new(plan: RolloutPlan) -> Self {
        let course = Course::new(plan);
        Self { durable: course.state.clone(), course, given: BTreeSet::new(), clock: 0 }
    }

    fn happen(&mut self, op: &Op) {
        let facts = &mut self.course.facts;
        match op {
            Op::Pass(ms) => return self.pass(*ms),
            Op::Trip(guard, act) => facts.trips.push(trip(GUARDS[*guard], *act)),
            Op::Kill(own) => facts.kill.own = *own,
            Op::KillAll(all) => facts.kill.all = *all,
            Op::Canary(revision) => facts.revision = format!("shop-v2={revision}"),
            Op::Stable(revision) => facts.stable = format!("shop-v1={revision}"),
            Op::Freeze(on) => {
                facts.freeze = on.then(|| FreezeFact { text: "daily".to_owned(), until_ms: facts.wall_ms });
            }
            Op::Target(on) => facts.endpoints.has_target = *on,
            Op::Ejected(on) => {
                facts.endpoints.ejected = if *on { vec!["10.0.0.7:80".to_owned()] } else { Vec::new() };
            }
            Op::Down(act, tries) => {
                let route = "shop".to_owned();
                facts.endpoints.down =
                    (*tries > 0).then_some(CanaryDown { route, endpoints: 2, tries: *tries, act: *act });
            }
            Op::Unmet(on) => facts.unmet = if *on { vec!["cart is at dark".to_owned()] } else { Vec::new() },
            Op::Journal(on) => facts.journal = on.then(|| "full".to_owned()),
            Op::Rejected(on) => facts.rejected_config = on.then(|| "routes.toml:3".to_owned()),
            Op::Wall(at) => facts.wall_ms = *at,
            Op::Answered(more) => {
                (facts.evidence.answered, facts.evidence.keys) = (facts.evidence.answered + more, *more);
            }
            Op::Ceiling(weight) => return self.edit(|plan, _| plan.max_weight = *weight),
            Op::StageWeight(weight) => return self.edit(|plan, at| plan.stages[at].weight = *weight),
            Op::NewStage(percent) => {
                let new = stage(&format!("n{}", self.clock), *percent);
                return self.edit(|plan, at| plan.stages.insert((at + 1).min(plan.stages.len()), new));
            }
            Op::Person(verb, who) => return self.person(*verb, PEOPLE[*who]),
            Op::Crash => self.crash(),
            Op::Start => {
                let (state, decision) = resume_plan(&self.course.plan, &self.course.state);
                assert!(self.weight_of(&state) <= self.weight_of(&self.course.state));
                assert!(decision.is_none_or(|decision| !decision.raises && decision.state == state));
                self.course.state = state;
            }
        }
        self.pass(100);
    }

    fn weight_of(&self, state: &RolloutState) -> u32 {
        effective_weight(&self.course.plan, state).millionths()
    }

    fn edit(&mut self, edit: impl FnOnce(&mut RolloutPlan, usize)) {
        let at = self.course.plan.find(&self.course.state.stage).unwrap_or(0);
        let mut next = self.course.plan.clone();
        edit(&mut next, at);
        let before = self.weight_of(&self.course.state);
        if let Ok(lowered) = follow_plan(&next, &self.course.state) {
            self.course.plan = next;
            if let Some(decision) = lowered {
                assert!(!decision.raises);
                self.course.state = decision.state;
            }
        }
        assert!(self.weight_of(&self.course.state) <= before, "an edit raises nothing");
        self.pass(100);
    }

    fn person(&mut self, verb: usize, who: &str) {
        let names: Vec<String> = self.course.plan.stages.iter().map(|stage| stage.name.clone()).collect();
        let verbs = [
            PersonVerb::Approve { role: None },
            PersonVerb::Approve { role: Some("lead".to_owned()) },
            PersonVerb::Hold,
            PersonVerb::Resume,
            PersonVerb::Resume,
            PersonVerb::Rollback,
            PersonVerb::Goto { stage: names[0].clone() },
            PersonVerb::Goto { stage: names[names.len() - 1].clone() },
            PersonVerb::Restart,
        ];
        let before = self.course.state.clone();
        let Ok(decision) = self.course.person(who, &verbs[verb]) else {
            assert_eq!(before, self.course.state, "a refusal changes nothing");
            return;
        };
        if !decision.raises {
            assert!(self.weight_of(&decision.state) <= self.weight_of(&before));
        }
        if decision.act == RolloutVerb::Approve {
            let given = decision.state.approvals.last().unwrap();
            assert_eq!((given.by.as_str(), given.role.as_str()), (who, who), "each fills a role of his own");
            let one = (self.course.facts.revision.clone(), given.stage.clone(), given.role.clone(), given.plan.clone());
            self.given.insert(one);
        }
        if decision.act == RolloutVerb::Rollback {
            assert!(self.course.is_rolled_back());
        }
        self.durable = self.course.state.clone();
    }

    /// The process dies: the last record, with the progress that was saved beside it.
    fn crash(&mut self) {
        let state = serde_json::to_string(&self.durable).unwrap();
        let mut state: RolloutState = serde_json::from_str(&state).unwrap();
        assert_eq!(state, self.durable);
        let live = &self.course.state;
        if (&live.stage, &live.revision, &live.phase) == (&state.stage, &state.revision, &state.phase) {
            state.progress = live.progress.clone();
        }
        let before = self.weight_of(&self.course.state);
        // The record of a ramp has its begin, one of a rollback its whole fall.
        assert!(self.weight_of(&state) <= before.max(top_of(&self.durable)));
        self.course.state = state;
        self.course.facts.evidence.answered = 0;
    }

    fn pass(&mut self, ms: u64) {
        let mut rest = ms;
        while rest > 0 {
            let elapsed = rest.min(10_000);
            rest -= elapsed;
            self.clock += elapsed;
            self.step(elapsed);
        }
    }

    fn step(&mut self, elapsed_ms: u64) {
        let facts = &mut self.course.facts;
        (facts.now_ms, facts.elapsed_ms) = (facts.now_ms + elapsed_ms, elapsed_ms);
        facts.wall_ms = facts.wall_ms.saturating_add(elapsed_ms);
        let (plan, facts, before) = (&self.course.plan, self.course.facts.clone(), self.course.state.clone());
        let taken = step(plan, &before, &facts);
        let raise = taken.decisions.iter().find(|one| one.raises);
        let (was, is) = (self.weight_of(&before), self.weight_of(&taken.state));
        assert!(is <= plan.max_weight, "the ceiling");
        assert!(is <= was || (before.ramp.is_some() && taken.state.phase == RolloutPhase::Running), "{before:?}");
        if is > was {
            let seen = RolloutState { clock: taken.state.clock, ..before.clone() };
            let outline = outline(plan, &seen, &facts);
            assert!(outline.blocks.iter().all(|block| block.kind == BlockKind::Duration), "{:?}", outline.blocks);
        }
        assert!(!facts.kill.own || is == 0, "a kill beats all");
        assert!(!facts.kill.own || raise.is_none());
        if matches!(before.phase, RolloutPhase::RolledBack(_)) && before.revision == facts.revision {
            // A lower ceiling lowers what still falls.
            let lowers = taken.decisions.iter().all(|one| one.act == RolloutVerb::Lower && !one.raises);
            assert!(lowers && taken.state.phase == before.phase, "a latch holds");
        }
        if let Some(raise) = raise {
            assert!(taken.blocks.is_empty() && facts.journal.is_none(), "{raise:?}");
            assert_eq!(raise, taken.decisions.last().unwrap());
            self.check_raise(raise, &before, &facts);
        }
        let mut quiet = RolloutFacts { elapsed_ms: 0, ..facts.clone() };
        if taken.decisions.first().is_some_and(|one| one.act == RolloutVerb::Begin) {
            // They were about the revision before.
            quiet.trips.clear();
        }
        let again = step(plan, &taken.state, &quiet).decisions;
        assert!(again.iter().all(|one| one.raises), "decisions are edges: {again:?} after {:?}", taken.decisions);
        let jumped = RolloutFacts { wall_ms: facts.wall_ms ^ (1 << 40), ..facts.clone() };
        let jumped = step(plan, &before, &jumped).state;
        assert_eq!(jumped.progress, taken.state.progress, "the wall clock is no running time");
        assert!(jumped.reached <= taken.state.reached, "a jump raises nothing");
        let verbs = self.course.facts.trips.len();
        let taken_verbs = self.course_step(elapsed_ms);
        assert_eq!(taken_verbs, taken.decisions.iter().map(|one| one.act).collect::<Vec<_>>(), "{verbs} trips");
    }

    /// The same step with its records.
    fn course_step(&mut self, elapsed_ms: u64) -> Vec<RolloutVerb> {
        let acts = self.course.step(elapsed_ms);
        if !acts.is_empty() {
            self.durable = self.course.state.clone();
        }
        acts
    }

    fn check_raise(&self, raise: &RolloutDecision, before: &RolloutState, facts: &RolloutFacts) {
        let plan = &self.course.plan;
        assert!(self.weight_of(&raise.state) <= plan.max_weight);
        let is_left = matches!(raise.act, RolloutVerb::Enter | RolloutVerb::Complete) && !before.passed.is_empty();
        let Some(at) = plan.find(&before.stage).filter(|_| is_left && before.revision == facts.revision) else {
            return;
        };
        let hash = plan_hash(plan, at);
        for role in &plan.stages[at].approve {
            let needed = (facts.revision.clone(), before.stage.clone(), role.clone(), hash.clone());
            assert!(self.given.contains(&needed), "stage {} is left without {role}", before.stage);
        }
    }
}

/// The most that a record lets serve.
fn top_of(state: &RolloutState) -> u32 {
    let fall = state.fall.map_or(0, |fall| fall.from);
    state.reached.max(state.ramp.map_or(0, |ramp| ramp.to)).max(fall)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_laws_are_kept(plan in some_plan(), ops in proptest::collection::vec(op(), 1..60)) {
        let mut laws = Laws::new(plan);
        for op in &ops {
            laws.happen(op);
        }
    }
}
