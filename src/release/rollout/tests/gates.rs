//! From stage to stage: what each stage waits for.

use super::course::{Course, HOUR, MINUTE, WALL, four, plan, stage};
use crate::release::rollout::*;
use crate::route::{Gate, Require, RolloutPlan};

#[test]
fn a_plan_goes_from_its_first_stage_to_its_end() {
    let mut course = Course::new(four());
    assert_eq!(course.tick(), [RolloutVerb::Begin, RolloutVerb::Enter]);
    assert_eq!((course.state.stage.as_str(), course.weight()), ("dark", 0));
    for (next, weight) in [("beta", 10), ("half", 50), ("full", 100)] {
        assert_eq!(course.blocks(), [BlockKind::Duration]);
        assert_eq!(course.pass(10 * MINUTE - 100), []);
        assert_eq!(course.tick(), [RolloutVerb::Enter]);
        assert_eq!((course.state.stage.as_str(), course.weight()), (next, weight));
    }
    assert_eq!(course.pass(10 * MINUTE), [RolloutVerb::Complete]);
    assert_eq!((course.state.phase.name(), course.weight()), ("complete", 100));
    assert_eq!(course.pass(HOUR), []);
    assert!(course.blocks().is_empty());
}

#[test]
fn the_first_stage_waits_for_its_moment() {
    let mut course = Course::new(four());
    course.plan.stages[0].not_before_ms = Some(WALL + HOUR);
    assert_eq!(course.tick(), [RolloutVerb::Begin]);
    assert_eq!((course.state.phase.name(), course.blocks()), ("pending", vec![BlockKind::NotBefore]));
    assert_eq!(course.pass(HOUR - 10_000), []);
    assert_eq!(course.pass(10_000), [RolloutVerb::Enter]);
}

/// What is in the way of leaving `beta`, and what it is after the repair.
struct Case {
    name: &'static str,
    block: BlockKind,
    spoil: fn(&mut Course),
    mend: fn(&mut Course),
}

const CASES: &[Case] = &[
    Case {
        name: "requests",
        block: BlockKind::Requests,
        spoil: |course| course.plan.stages[1].min_requests = Some(5_000),
        mend: |course| course.facts.evidence.answered += 5_000,
    },
    Case {
        name: "keys",
        block: BlockKind::Requests,
        spoil: |course| course.plan.stages[1].min_keys = Some(50),
        mend: |course| course.facts.evidence.keys = 50,
    },
    Case {
        name: "webhook",
        block: BlockKind::Webhook,
        spoil: |course| {
            let url = "https://ci.example.com/gate".to_owned();
            course.plan.stages[1].gates = vec![Gate::Webhook { url, every_ms: 30_000, timeout_ms: 5_000 }];
        },
        mend: |course| course.facts.gates = vec![answer(GateVerdict::Pass, course.facts.now_ms)],
    },
    Case {
        name: "prometheus",
        block: BlockKind::Prometheus,
        spoil: |course| {
            let query = "up".to_owned();
            course.plan.stages[1].gates = vec![Gate::Prometheus { query, max: Some(0.2), min: None, every_ms: 30_000 }];
            course.facts.gates = vec![answer(GateVerdict::Failed, course.facts.now_ms)];
        },
        mend: |course| course.facts.gates = vec![answer(GateVerdict::Pass, course.facts.now_ms)],
    },
    Case {
        name: "evidence",
        block: BlockKind::Evidence,
        spoil: |course| {
            let require = Require { non_inferior: Some(2.0), ..Require::default() };
            course.plan.stages[1].require = require;
            course.plan.stages[1].min_requests = Some(0);
            course.plan.stages[1].min_keys = Some(0);
        },
        mend: |course| course.facts.evidence.non_inferior = Some(test(2.0, 1.4)),
    },
    Case {
        name: "shadow",
        block: BlockKind::Shadow,
        spoil: |course| course.plan.stages[1].require.shadow_mismatch = Some(0.01),
        mend: |course| course.facts.evidence.shadow = Some(ShadowFacts { compared: 1_000, different: 10 }),
    },
    Case {
        name: "moment",
        block: BlockKind::NotBefore,
        spoil: |course| course.plan.stages[2].not_before_ms = Some(course.facts.wall_ms + 20 * MINUTE),
        mend: |course| course.plan.stages[2].not_before_ms = Some(course.facts.wall_ms),
    },
    Case {
        name: "freeze",
        block: BlockKind::Freeze,
        spoil: |course| course.facts.freeze = Some(FreezeFact { text: "fri".to_owned(), until_ms: WALL + HOUR }),
        mend: |course| course.facts.freeze = None,
    },
    Case {
        name: "expired",
        block: BlockKind::Expired,
        spoil: |course| course.facts.expired = Some("2026-12-31".to_owned()),
        mend: |course| course.facts.expired = None,
    },
    Case {
        name: "tenants",
        block: BlockKind::Tenants,
        spoil: |course| (course.plan.max_tenants, course.facts.tenants) = (Some(200), Some(200)),
        mend: |course| course.plan.max_tenants = Some(201),
    },
    Case {
        name: "ceiling",
        block: BlockKind::MaxWeight,
        spoil: |course| course.plan.max_weight = 200_000,
        mend: |course| course.plan.max_weight = 500_000,
    },
    Case {
        name: "no endpoint",
        block: BlockKind::Endpoints,
        spoil: |course| course.facts.endpoints.canary_usable = false,
        mend: |course| course.facts.endpoints.canary_usable = true,
    },
    Case {
        name: "ejected",
        block: BlockKind::Endpoints,
        spoil: |course| course.facts.endpoints.ejected = vec!["10.0.0.7:8080".to_owned()],
        mend: |course| course.facts.endpoints.ejected.clear(),
    },
    Case {
        name: "stable",
        block: BlockKind::Stable,
        spoil: |course| course.facts.endpoints.stable_trouble = Some("12 % of its answers fail".to_owned()),
        mend: |course| course.facts.endpoints.stable_trouble = None,
    },
    Case {
        name: "no target",
        block: BlockKind::Stable,
        spoil: |course| course.facts.endpoints.has_target = false,
        mend: |course| course.facts.endpoints.has_target = true,
    },
    Case {
        name: "file",
        block: BlockKind::Config,
        spoil: |course| course.facts.rejected_config = Some("routes.toml:3: no such key".to_owned()),
        mend: |course| course.facts.rejected_config = None,
    },
    Case {
        name: "journal",
        block: BlockKind::Journal,
        spoil: |course| course.facts.journal = Some("no space left on the device".to_owned()),
        mend: |course| course.facts.journal = None,
    },
];

fn answer(verdict: GateVerdict, asked_ms: u64) -> GateAnswer {
    GateAnswer { verdict, sentence: "0.4 is above 0.2".to_owned(), asked_ms }
}

fn test(bound: f64, evidence_log10: f64) -> PromotionTest {
    PromotionTest { bound, evidence_log10, counts: serde_json::Value::Null }
}

#[test]
fn each_condition_is_in_the_way_until_it_is_met() {
    for case in CASES {
        let mut course = Course::at(four(), "beta");
        (case.spoil)(&mut course);
        assert_eq!(course.pass(15 * MINUTE), [], "{}", case.name);
        let blocks = outline(&course.plan, &course.state, &course.facts).blocks;
        let last = blocks.last().unwrap();
        assert_eq!((blocks[0].kind, last.kind.name().is_empty()), (case.block, false), "{}", case.name);
        assert!(blocks.iter().all(|block| !block.says.is_empty() && !block.unblock.is_empty()), "{}", case.name);
        (case.mend)(&mut course);
        // In a freeze window the time of the stage stands still.
        let acts = if case.block == BlockKind::Freeze { course.pass(10 * MINUTE) } else { course.tick() };
        assert_eq!(acts, [RolloutVerb::Enter], "{}: {:?}", case.name, course.blocks());
        assert_eq!(course.weight(), 50, "{}", case.name);
    }
}

#[test]
fn all_that_is_in_the_way_is_named_in_order() {
    let mut course = Course::at(four(), "beta");
    for case in CASES.iter().filter(|case| !["keys", "prometheus", "no target", "no endpoint"].contains(&case.name)) {
        (case.spoil)(&mut course);
    }
    course.plan.stages[1].min_requests = Some(1_000_000);
    course.facts.unmet = vec![];
    let kinds = course.blocks();
    let expected = [
        BlockKind::Freeze,
        BlockKind::Duration,
        BlockKind::Requests,
        BlockKind::Evidence,
        BlockKind::Shadow,
        BlockKind::Webhook,
        BlockKind::NotBefore,
        BlockKind::Expired,
        BlockKind::Tenants,
        BlockKind::MaxWeight,
        BlockKind::Endpoints,
        BlockKind::Stable,
        BlockKind::Config,
        BlockKind::Journal,
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn an_answer_of_a_gate_is_too_old_after_three_intervals() {
    let mut course = Course::at(four(), "beta");
    let url = "https://ci.example.com/gate".to_owned();
    course.plan.stages[1].gates = vec![Gate::Webhook { url, every_ms: 30_000, timeout_ms: 5_000 }];
    course.facts.gates = vec![answer(GateVerdict::Pass, course.facts.now_ms)];
    assert_eq!(course.pass(10 * MINUTE), []);
    assert_eq!(course.blocks(), [BlockKind::Webhook]);
    for verdict in [GateVerdict::Block, GateVerdict::NotAsked, GateVerdict::Failed] {
        course.facts.gates = vec![answer(verdict, course.facts.now_ms)];
        assert_eq!(course.tick(), []);
    }
    course.facts.gates = vec![answer(GateVerdict::Pass, course.facts.now_ms - 89_000)];
    assert_eq!(course.tick(), [RolloutVerb::Enter]);
}

#[test]
fn evidence_asks_for_requests_and_keys_by_itself() {
    let mut with_rate = plan(vec![stage("beta", 10), stage("full", 100)]);
    with_rate.stages[0].require.or_rate_below = Some(0.001);
    let needs = |rate: Option<f64>, plan: &RolloutPlan| {
        let mut course = Course::new(plan.clone());
        course.tick();
        course.facts.evidence.stable_rate = rate;
        course.facts.evidence.rate_below = Some(test(0.001, 3.0));
        (course.facts.evidence.answered, course.facts.evidence.keys) = (0, 1_000);
        course.pass(20 * MINUTE);
        let mut found = None;
        for answered in [0, 499, 500, 4_999, 5_000] {
            course.facts.evidence.answered = answered;
            course.tick();
            if course.state.stage == "full" {
                found = Some(answered);
                break;
            }
        }
        found
    };
    assert_eq!(needs(Some(0.01), &with_rate), Some(500));
    assert_eq!(needs(Some(0.000_1), &with_rate), Some(5_000), "at most");
    assert_eq!(needs(None, &with_rate), Some(5_000));
    assert_eq!(needs(Some(0.0), &with_rate), Some(5_000));
    // Without a rate in `require`, or with a value, there is no default.
    let mut plain = with_rate.clone();
    plain.stages[0].require = Require::default();
    assert_eq!(needs(Some(0.01), &plain), Some(0));
    with_rate.stages[0].min_requests = Some(0);
    assert_eq!(needs(Some(0.01), &with_rate), Some(0));
}

#[test]
fn one_of_the_two_tests_suffices_and_only_with_the_bound_of_the_plan() {
    let mut course = Course::at(four(), "beta");
    let require = Require { non_inferior: Some(2.0), or_rate_below: Some(0.001), shadow_mismatch: None };
    course.plan.stages[1].require = require;
    (course.plan.stages[1].min_requests, course.plan.stages[1].min_keys) = (Some(0), Some(0));
    course.facts.evidence.non_inferior = Some(test(2.0, 1.2));
    course.facts.evidence.rate_below = Some(test(0.002, 9.0));
    assert_eq!(course.pass(15 * MINUTE), []);
    assert_eq!(course.blocks(), [BlockKind::Evidence]);
    course.facts.evidence.rate_below = Some(test(0.001, PROMOTION_LOG10));
    assert_eq!(course.tick(), [RolloutVerb::Enter]);
}

#[test]
fn copies_that_differ_or_are_missing_are_in_the_way() {
    let mut course = Course::at(four(), "dark");
    course.plan.stages[0].require.shadow_mismatch = Some(0.002);
    course.pass(10 * MINUTE);
    for (compared, different) in [(0, 0), (499, 0), (500, 2), (100_000, 201)] {
        course.facts.evidence.shadow = Some(ShadowFacts { compared, different });
        assert_eq!(course.tick(), [], "{different} of {compared}");
        assert_eq!(course.blocks(), [BlockKind::Shadow]);
    }
    course.facts.evidence.shadow = Some(ShadowFacts { compared: 100_000, different: 200 });
    assert_eq!(course.tick(), [RolloutVerb::Enter]);
}

#[test]
fn an_expired_plan_says_so_before_the_time_of_the_stage_is_over() {
    let mut course = Course::at(four(), "beta");
    course.facts.expired = Some("2026-12-31".to_owned());
    assert_eq!(course.tick(), []);
    assert_eq!(course.blocks()[..2], [BlockKind::Duration, BlockKind::Expired]);
    let shown = outline(&course.plan, &course.state, &course.facts);
    assert!(shown.says.contains("the plan has expired: `expires = 2026-12-31`"), "{}", shown.says);
    assert_eq!((shown.unblock.as_deref(), shown.next_ms), (Some("a later `expires` in the file"), None));
    // Where something else stands in the way that does not end by itself, that comes first.
    course.plan.stages[1].min_duration_ms = 0;
    course.plan.stages[1].min_requests = Some(1_000_000);
    let shown = outline(&course.plan, &course.state, &course.facts);
    assert!(!shown.says.contains("expired"), "{}", shown.says);
}

#[test]
fn approvals_come_last_and_are_asked_once() {
    let mut course = Course::at(four(), "beta");
    course.plan.stages[1].approve = vec!["lead".to_owned(), "operations".to_owned()];
    assert_eq!(course.pass(10 * MINUTE), [RolloutVerb::Ask]);
    assert_eq!(course.pass(HOUR), []);
    assert_eq!(course.blocks(), [BlockKind::Approval]);
    let asked = outline(&course.plan, &course.state, &course.facts);
    assert_eq!((asked.doing, asked.awaited), ("awaiting_approval", vec!["lead".to_owned(), "operations".to_owned()]));
    course.person("lead", &PersonVerb::Approve { role: None }).unwrap();
    assert_eq!(course.tick(), []);
    course.person("operations", &PersonVerb::Approve { role: None }).unwrap();
    assert_eq!(course.tick(), [RolloutVerb::Enter]);
    // On the last stage they come before its end.
    course.plan.stages[3].approve = vec!["lead".to_owned()];
    assert_eq!(course.pass(10 * MINUTE), [RolloutVerb::Enter]);
    assert_eq!(course.pass(10 * MINUTE), [RolloutVerb::Ask]);
    course.person("lead", &PersonVerb::Approve { role: None }).unwrap();
    assert_eq!(course.tick(), [RolloutVerb::Complete]);
}

#[test]
fn time_counts_only_while_it_runs() {
    let freeze = Some(FreezeFact { text: "daily".to_owned(), until_ms: WALL });
    let mut course = Course::at(four(), "beta");
    let began = course.state.progress.run_ms;
    course.facts.freeze.clone_from(&freeze);
    course.pass(HOUR);
    course.facts.freeze = None;
    course.facts.kill.all = true;
    course.pass(HOUR);
    course.facts.kill.all = false;
    assert_eq!((course.state.progress.run_ms, course.weight()), (began, 10), "the weight stays");
    // A machine sleeps.
    course.facts.elapsed_ms = 24 * HOUR;
    let slept = step(&course.plan, &course.state, &course.facts);
    assert!(slept.decisions.is_empty() && slept.state.progress.run_ms <= began + 10_500);
    assert_eq!(course.pass(9 * MINUTE), []);
    assert_eq!(course.pass(MINUTE), [RolloutVerb::Enter]);
}

#[test]
fn a_clock_that_jumps_raises_nothing() {
    let jumps: [fn(u64) -> u64; 3] = [|wall| wall + 24 * HOUR, |wall| wall - 24 * HOUR, |_| 0];
    for jump in jumps {
        let mut course = Course::at(four(), "beta");
        course.plan.stages[2].not_before_ms = Some(WALL + 20 * HOUR);
        course.pass(20 * MINUTE);
        let run = course.state.progress.run_ms;
        course.facts.wall_ms = jump(course.facts.wall_ms);
        assert_eq!(course.tick(), []);
        let blocks = outline(&course.plan, &course.state, &course.facts).blocks;
        assert_eq!(blocks[0].kind, BlockKind::Stopped);
        assert!(blocks[0].says.contains("has jumped by") && blocks[0].until_ms.is_some(), "{blocks:?}");
        assert_eq!(course.state.progress.run_ms, run + 100, "durations are of the monotonic clock");
        assert_eq!(course.pass(9 * MINUTE), []);
        // A clock that was set right soon: as if nothing had been.
        course.facts.wall_ms = WALL + 2 * HOUR;
        assert_eq!(course.pass(11 * MINUTE), []);
        assert_eq!(course.blocks(), [BlockKind::NotBefore]);
        assert_eq!(course.pass(20 * HOUR).first(), Some(&RolloutVerb::Enter));
    }
    // The first step of a process has nothing to compare the clock with.
    let mut course = Course::at(four(), "beta");
    course.state.progress.run_ms = 10 * MINUTE - 100;
    course.facts.wall_ms += 3 * HOUR;
    assert_eq!(course.step(0), []);
    assert_eq!(course.tick(), [RolloutVerb::Enter]);
}

#[test]
fn requests_of_before_and_of_a_hold_are_no_progress() {
    let mut course = Course::new(four());
    course.facts.evidence.answered = 1_000_000;
    course.go_to("beta");
    course.plan.stages[1].min_requests = Some(1_000_000);
    course.tick();
    let before = course.state.progress.answered;
    course.person("ana", &PersonVerb::Hold).unwrap();
    course.facts.evidence.answered += 5_000;
    course.tick();
    course.person("ana", &PersonVerb::Resume).unwrap();
    course.tick();
    assert_eq!(course.state.progress.answered, before);
    course.facts.evidence.answered += 5;
    course.tick();
    assert_eq!(course.state.progress.answered, before + 5);
}

#[test]
fn answers_are_counted_over_a_restart() {
    let mut course = Course::at(four(), "beta");
    course.plan.stages[1].min_requests = Some(1_000);
    course.facts.evidence.answered += 600;
    course.pass(15 * MINUTE);
    let before = course.state.progress.answered;
    course.facts.evidence.answered = 7;
    course.tick();
    assert_eq!(course.state.progress.answered, before + 7, "a process counts from 0");
    course.facts.evidence.answered = 1_000;
    assert_eq!(course.tick(), [RolloutVerb::Enter]);
}
