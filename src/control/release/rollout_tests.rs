//! What the controller knows about rollouts: a plan for tests, and how far one is after a start.

use crate::journal::{Actor, Deed, Record, RolloutDeed};
use crate::release::{Ramp, RolloutPhase, RolloutState, StageProgress};
use crate::route::{Guards, Require, Rollout, RolloutNotes, RolloutPlan, SourceLocation, Stage};

use super::rollouts::ActiveRollouts;
use super::saved_progress::SavedRollout;

fn stage(name: &str, weight: u32) -> Stage {
    Stage {
        name: name.to_owned(),
        weight,
        ramp_ms: 0,
        not_before_ms: None,
        min_duration_ms: 0,
        min_requests: None,
        min_keys: None,
        require: Require::default(),
        gates: Vec::new(),
        approve: Vec::new(),
        control: 0,
    }
}

/// A rollout of two stages without routes.
pub(super) fn rollout() -> Rollout {
    let plan = RolloutPlan {
        stages: vec![stage("beta", 100_000), stage("full", 1_000_000)],
        max_weight: 1_000_000,
        max_tenants: None,
        requires: Vec::new(),
        rollback_over_ms: 0,
        on_inconclusive: None,
        on_no_traffic: None,
        same_person: false,
    };
    Rollout {
        name: "r".to_owned(),
        place: SourceLocation::default(),
        plan,
        approvers: Vec::new(),
        freeze: Vec::new(),
        expires_ms: None,
        guards: Guards::default(),
        by_route: Vec::new(),
        queries: Vec::new(),
        webhooks: Vec::new(),
        notify: Vec::new(),
        members: Vec::new(),
        about: RolloutNotes::default(),
    }
}

fn record(seq: u64, act: &str, state: &RolloutState) -> Record {
    let deed = RolloutDeed {
        act: act.to_owned(),
        rollout: "r".to_owned(),
        revision: state.revision.clone(),
        stage: state.stage.clone(),
        from: 0.0,
        to: 0.0,
        raises: false,
        because: String::new(),
        role: None,
        routes: Vec::new(),
        evidence: serde_json::Value::Null,
        state: serde_json::to_value(state).expect("JSON"),
    };
    Record {
        v: 3,
        seq,
        at: format!("2026-12-01T00:00:{seq:02}.000Z"),
        who: Actor::process(),
        what: Deed::Rollout(deed),
        reason: None,
        key: None,
        config: String::new(),
        generation: 1,
        prev: String::new(),
    }
}

fn running(ramp: Option<Ramp>) -> RolloutState {
    RolloutState {
        phase: RolloutPhase::Running,
        stage: "full".to_owned(),
        reached: 100_000,
        ramp,
        ..RolloutState::default()
    }
}

const RAMP: Ramp = Ramp { from: 100_000, to: 1_000_000, over_ms: 90_000, run_ms: 0 };

fn active(seq: u64, state: &RolloutState) -> ActiveRollouts {
    let mut rollouts = ActiveRollouts::default();
    rollouts.restore(vec![record(seq, "enter", state)]);
    rollouts
}

/// How far the rollout was that has this record and this state now.
fn saved(seq: u64, now: &RolloutState) -> SavedRollout {
    active(seq, now).to_saved().remove("r").expect("saved")
}

#[test]
fn a_ramp_goes_on_from_where_it_was() {
    let half = RolloutState { reached: 550_000, ..running(Some(Ramp { run_ms: 45_000, ..RAMP })) };
    let mut rollouts = active(7, &running(Some(RAMP)));
    rollouts.restore_progress(&[("r".to_owned(), saved(7, &half))].into());
    assert_eq!(rollouts.get("r").expect("it").state, half);
    // Another record, another state: what was saved says nothing about it.
    let mut rollouts = active(8, &running(Some(RAMP)));
    rollouts.restore_progress(&[("r".to_owned(), saved(7, &half))].into());
    assert_eq!(rollouts.get("r").expect("it").state, running(Some(RAMP)));
}

#[test]
fn a_ramp_that_was_over_stays_over() {
    let progress = StageProgress { run_ms: 5_000, ..StageProgress::default() };
    let over = RolloutState { reached: 1_000_000, progress, ..running(None) };
    let mut rollouts = active(7, &running(Some(RAMP)));
    rollouts.restore_progress(&[("r".to_owned(), saved(7, &over))].into());
    assert_eq!(rollouts.get("r").expect("it").state, over);
}

#[test]
fn what_was_saved_raises_nothing_without_a_ramp() {
    let high = RolloutState { reached: 1_000_000, ..running(None) };
    let mut rollouts = active(7, &running(None));
    rollouts.restore_progress(&[("r".to_owned(), saved(7, &high))].into());
    assert_eq!(rollouts.get("r").expect("it").state.reached, 100_000);
    let beyond = RolloutState { reached: 1_000_000, ..running(Some(Ramp { run_ms: u64::MAX, ..RAMP })) };
    let mut rollouts = active(7, &running(Some(RAMP)));
    rollouts.restore_progress(&[("r".to_owned(), saved(7, &beyond))].into());
    assert!(rollouts.get("r").expect("it").state.ramp.expect("a ramp").is_over());
}

#[test]
fn a_later_record_stays() {
    let mut rollouts = active(7, &running(None));
    rollouts.apply(&record(6, "enter", &running(Some(RAMP))).into());
    assert_eq!(rollouts.get("r").expect("it").state, running(None));
    rollouts.apply(&record(9, "refused", &running(Some(RAMP))).into());
    assert_eq!(rollouts.get("r").expect("it").state, running(None), "a refusal changes nothing");
    rollouts.apply(&record(10, "archive", &running(None)).into());
    assert!(rollouts.get("r").is_none() && rollouts.records().count() == 1);
}

#[test]
fn a_phase_begins_with_its_record_where_the_step_has_set_the_state_before() {
    let mut rollouts = active(7, &running(None));
    let killed = RolloutState { phase: RolloutPhase::Killed, ..running(None) };
    rollouts.get_mut("r").expect("it").state = killed.clone();
    for seq in [8, 9] {
        rollouts.apply(&std::sync::Arc::new(record(seq, "killed", &killed)));
        assert_eq!(rollouts.get("r").expect("it").since, "2026-12-01T00:00:08.000Z", "record {seq}");
    }
}
