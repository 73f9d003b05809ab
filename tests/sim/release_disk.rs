//! The journal of a simulated release: lines that a crash may lose before they are durable, and what is saved each second
//! beside them.

use std::time::Duration;

use pointsman::journal::{Actor, Deed, Record, RolloutDeed, Via, fold, hash};
use pointsman::release::{
    RolloutDecision, RolloutEvidence, RolloutFacts, RolloutState, effective_weight, replay_rollout,
};
use pointsman::route::RolloutPlan;
use serde_json::Value;

/// A journal.
#[derive(Default)]
pub struct ReleaseDisk {
    durable: Vec<u8>,
    /// Lines that were written, and are not durable yet.
    waiting: Vec<Written>,
    seq: u64,
    head: String,
    saved: Option<SavedPosition>,
    /// Records have their evidence, so that they can be decided again.
    pub has_evidence: bool,
    /// The state of the newest durable record.
    pub last: RolloutState,
    /// Its number.
    pub last_seq: u64,
    pub replayed: u64,
}

struct Written {
    seq: u64,
    line: Vec<u8>,
    state: RolloutState,
}

/// What is saved each second.
struct SavedPosition {
    seq: u64,
    state: RolloutState,
}

/// What a decision was made by; `None` for the act of a person.
#[derive(Clone, Copy)]
pub struct Basis<'a> {
    pub plan: &'a RolloutPlan,
    pub before: &'a RolloutState,
    pub facts: Option<&'a RolloutFacts>,
}

impl ReleaseDisk {
    /// Writes the record of a decision; returns its number.
    pub fn write(&mut self, basis: Basis<'_>, decision: &RolloutDecision) -> u64 {
        let Basis { plan, before, facts } = basis;
        self.seq += 1;
        let facts = facts.filter(|_| self.has_evidence);
        let evidence = facts.map_or(Value::Null, |facts| RolloutEvidence::of(plan, before, facts));
        let deed = RolloutDeed {
            act: decision.act.name().to_owned(),
            rollout: "shop".to_owned(),
            revision: decision.state.revision.clone(),
            stage: decision.state.stage.clone(),
            from: effective_weight(plan, before).percent(),
            to: effective_weight(plan, &decision.state).percent(),
            raises: decision.raises,
            because: decision.sentence.clone(),
            role: None,
            routes: Vec::new(),
            evidence,
            state: serde_json::to_value(&decision.state).expect("a state is JSON"),
        };
        let record = Record {
            v: 3,
            seq: self.seq,
            at: "2026-12-02T10:30:00.000Z".to_owned(),
            who: Actor { name: "pointsman".to_owned(), via: Via::Process },
            what: Deed::Rollout(deed),
            reason: None,
            key: None,
            config: String::new(),
            generation: 1,
            prev: self.head.clone(),
        };
        let line = serde_json::to_vec(&record).expect("a record is JSON");
        self.head = hash(&line);
        self.waiting.push(Written { seq: self.seq, line, state: decision.state.clone() });
        self.seq
    }

    /// So many of the oldest lines become durable.
    pub fn flush(&mut self, lines: usize) {
        let lines = lines.min(self.waiting.len());
        for written in self.waiting.drain(..lines) {
            self.durable.extend(written.line);
            self.durable.push(b'\n');
            (self.last, self.last_seq) = (written.state, written.seq);
        }
    }

    /// The position since the last record is saved.
    pub fn save(&mut self, state: &RolloutState) {
        if self.waiting.is_empty() {
            self.saved = Some(SavedPosition { seq: self.seq, state: state.clone() });
        }
    }

    /// The process dies with so many bytes of the first line on the disk, and comes back.
    pub fn crash(&mut self, torn: usize) -> RolloutState {
        let mut text = self.durable.clone();
        if let Some(first) = self.waiting.first() {
            text.extend(&first.line[..torn.min(first.line.len())]);
        }
        self.waiting.clear();
        let folded = fold(&text, None, Duration::ZERO);
        assert_eq!(folded.damage, None);
        assert_eq!(folded.last_seq, self.last_seq);
        (self.seq, self.head) = (folded.last_seq, folded.head.clone());
        let Some(record) = folded.rollouts.last() else { return RolloutState::default() };
        let Deed::Rollout(deed) = &record.what else { panic!("{record:?}") };
        let mut state: RolloutState = serde_json::from_value(deed.state.clone()).expect("a state");
        assert_eq!(state, self.last, "what was durable comes back");
        if let Some(saved) = self.saved.as_ref().filter(|saved| saved.seq == self.seq) {
            state.progress = saved.state.progress.clone();
            if let (Some(ramp), Some(position)) = (&mut state.ramp, saved.state.ramp) {
                ramp.run_ms = position.run_ms;
                state.reached = saved.state.reached.min(ramp.to);
            }
            if let (Some(fall), Some(position)) = (&mut state.fall, saved.state.fall) {
                fall.run_ms = fall.run_ms.max(position.run_ms);
            }
        }
        state
    }

    /// Decides each automatic decision again from its line.
    pub fn replay(&mut self) {
        for line in self.durable.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let record: Record = serde_json::from_slice(line).expect("a record");
            let Deed::Rollout(deed) = record.what else { panic!("a decision about a rollout") };
            if !deed.evidence.is_null() {
                let again = replay_rollout(&deed.evidence).unwrap_or_else(|error| panic!("{}: {error}", deed.act));
                assert!(again.agrees(&deed.act, &deed.state), "{} is not decided again: {deed:?}", deed.act);
                self.replayed += 1;
            }
        }
    }
}
