//! An act of a person, from the event to its answer. A kill is in force before the disk has its record; a revive and a
//! resume raise exposure, so they are on the disk before they are published.

use std::sync::Arc;

use super::act::{Act, ActError, ActReply, PersonAct};
use super::answer::{Published, REVIVE_TIMEOUT, WaitingCaller, answer};
use super::check::{find_scope, variant_scope};
use super::recording::log;
use super::release_state::{WAITING_MAX, WaitingRevive};
use crate::control::controller::Controller;
use crate::control::event::{Event, ReleaseEvent};
use crate::drain::Phase;
use crate::journal::{Actor, Deed, Record, RolloutDeed, ScopeFields};
use crate::release::RolloutVerb;
use crate::route::{Edition, KillScope};

/// How many newer records an outdated act gets.
const NEWER_MAX: usize = 20;

impl Controller {
    /// Handles an event of release control.
    pub(in crate::control) fn handle_release(&mut self, event: ReleaseEvent) {
        match event {
            ReleaseEvent::Act(act, reply) => self.act(*act, reply),
            ReleaseEvent::Written => self.follow_journal(),
            ReleaseEvent::Held(held) => self.follow_folder(held),
            ReleaseEvent::TakenOver { undurable, held } => self.finish_take_over(undurable, held),
            ReleaseEvent::ReviveDue(seq) => self.take_back_revive(seq),
            ReleaseEvent::GuardsDue => return self.judge_releases(),
            ReleaseEvent::Replied(replied) => return self.release.rollouts.follow_answer(*replied),
            ReleaseEvent::Rehearsed(measured) => self.record_rehearsal(*measured),
            ReleaseEvent::OfSuccessor(record) => self.follow_successor(&Arc::new(*record)),
        }
        // Who acts reads the state next.
        self.show_rollouts();
        self.show_release();
    }

    fn act(&mut self, act: Act, reply: ActReply) {
        let place = Arc::clone(&self.release.places).try_acquire_owned().ok();
        let caller = WaitingCaller { reply, arrived: self.state.clock.now(), place, patience: self.release.patience };
        match self.judge(&act) {
            Ok(None) => {}
            Ok(Some(record)) => return self.repeat(&record, caller),
            Err(error) => return caller.refuse(error),
        }
        match act.what {
            PersonAct::Kill { .. } => self.kill(act, caller),
            PersonAct::Revive(_) | PersonAct::Resume { .. } => self.raise(act, caller),
            PersonAct::Rollout { .. } => self.act_on_rollout(&act, caller),
        }
    }

    /// Whether an act may be done. The record of an earlier call, if this is a repetition.
    fn judge(&self, act: &Act) -> Result<Option<Arc<Record>>, ActError> {
        // A kill counts in a drain too: requests and streams go on. After a hand-over, the new process decides.
        let is_draining = self.shutdown.phase() > Phase::Running;
        let may_act = matches!(act.what, PersonAct::Kill { .. }) && self.release.ledger.is_ours();
        if self.is_passing_journal() || (is_draining && !may_act) {
            return Err(ActError::Stopping);
        }
        if let Some(key) = &act.key
            && let Some(record) = self.release.ledger.record_of(key, self.state.clock.wall())
        {
            let is_same = record.key.as_ref() == Some(key) && record.who == act.who;
            return if is_same { Ok(Some(Arc::clone(record))) } else { Err(ActError::KeyReused) };
        }
        if let Some(expect) = act.expect.filter(|expect| *expect != self.release.ledger.seq()) {
            return Err(ActError::Stale(self.state.release.newest_after(expect, NEWER_MAX)));
        }
        let kills = &self.release.kills;
        match &act.what {
            PersonAct::Kill { scope, .. } => {
                find_scope(scope, &self.store.load().rules)?;
                if kills.is_full_for(scope) { Err(ActError::TooMany(kills.counts().by_people)) } else { Ok(None) }
            }
            PersonAct::Revive(scope) => match (kills.killed_by_people(scope), kills.place_in_file(scope)) {
                (Some(_), _) => Ok(None),
                (None, Some(place)) => Err(ActError::KilledByFile { scope: scope.clone(), place: place.clone() }),
                (None, None) => Err(ActError::NotKilled(scope.clone())),
            },
            PersonAct::Resume { release } => self.find_latched(release).map(|_| None),
            PersonAct::Rollout { .. } => Ok(None),
        }
    }

    /// Answers a call that was made before: with what is in force now, or together with the first while that waits.
    fn repeat(&mut self, record: &Arc<Record>, caller: WaitingCaller) {
        if let Some(first) = self.release.revives.get_mut(&record.seq) {
            if caller.place.is_none() {
                return caller.refuse(too_many_wait());
            }
            return first.repeats.push(caller);
        }
        let edition = self.store.load().edition;
        let scope = scope_of(record);
        let killed = scope.as_ref().is_some_and(|scope| self.release.kills.is_killed(scope));
        let record = Arc::clone(record);
        let published = Published { record, edition, still_killed_by: None, repeated: true, killed };
        self.answer_when_in_force(caller, published);
    }

    /// Kills: in force at once. The record goes to the journal's thread meanwhile.
    fn kill(&mut self, act: Act, caller: WaitingCaller) {
        let draft = self.draft_of(act);
        match self.release.ledger.append(draft) {
            Ok(record) => {
                self.release.kills.apply(&record);
                let edition = self.publish_kills();
                self.announce(&record);
                // A rollout that the kill covers is killed too: when the kill ends, it is held.
                self.step_rollouts();
                let published = Published { record, edition, still_killed_by: None, repeated: false, killed: true };
                self.answer_when_in_force(caller, published);
            }
            Err(why) => caller.refuse(ActError::NotRecorded(why.to_string())),
        }
    }

    /// Revives or resumes: recorded, and published when the record is on the disk.
    fn raise(&mut self, act: Act, caller: WaitingCaller) {
        let scope = match &act.what {
            PersonAct::Revive(scope) => scope.clone(),
            PersonAct::Resume { release } => variant_scope(release),
            PersonAct::Kill { .. } | PersonAct::Rollout { .. } => return,
        };
        if caller.place.is_none() {
            return caller.refuse(too_many_wait());
        }
        let draft = self.draft_of(act);
        let record = match self.release.ledger.append(draft) {
            Ok(record) => record,
            Err(why) => return caller.refuse(ActError::NotRecorded(why.to_string())),
        };
        self.wait_with_caller(record, scope, caller);
    }

    /// The caller of an act that raises waits until its record is on the disk.
    pub(super) fn wait_with_caller(&mut self, record: Arc<Record>, scope: KillScope, caller: WaitingCaller) {
        let (seq, due) = (record.seq, caller.arrived + REVIVE_TIMEOUT);
        self.release.revives.insert(seq, WaitingRevive { record, scope, caller, repeats: Vec::new() });
        let events = self.sender.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(due.into()).await;
            // Sending fails when the controller has ended.
            let _ = events.send(Event::Release(ReleaseEvent::ReviveDue(seq))).await;
        });
        self.follow_journal();
    }

    /// Publishes the revives whose records are on the disk, and answers those that the disk did not take.
    fn follow_journal(&mut self) {
        let mut written = self.release.ledger.take_written();
        for refused in std::mem::take(&mut written.refused) {
            self.refuse_raise(refused.seq);
            self.refuse_revive(refused.seq, &refused.why);
        }
        let durable_seq = written.durable_seq;
        while let Some(first) = self.release.revives.first_entry().filter(|first| *first.key() <= durable_seq) {
            let WaitingRevive { record, scope, caller, repeats } = first.remove();
            if matches!(record.what, Deed::Rollout(_)) {
                self.finish_act(&record);
            } else {
                self.release.apply(&record);
                self.begin_evidence_anew(&record);
            }
            let still_killed_by = self.release.kills.place_in_file(&scope).cloned();
            let killed = self.release.kills.is_killed(&scope);
            let edition = self.publish_kills();
            if !matches!(record.what, Deed::Rollout(_)) {
                self.announce(&record);
            }
            // A kill that ends leaves a rollout held.
            self.step_rollouts();
            if matches!(record.what, Deed::Release(_) | Deed::Rollout(_)) {
                // The caller who resumes reads the state next.
                self.show_all_releases();
            }
            let mut repeated = false;
            for caller in std::iter::once(caller).chain(repeats) {
                let (record, still_killed_by) = (Arc::clone(&record), still_killed_by.clone());
                self.answer_when_in_force(caller, Published { record, edition, still_killed_by, repeated, killed });
                repeated = true;
            }
        }
        self.finish_raises(durable_seq);
        self.report_failure(written);
    }

    /// Answers a revive that the disk did not take; it is not tried again, and its scope stays killed.
    fn refuse_revive(&mut self, seq: u64, why: &str) {
        self.release.ledger.forget(seq);
        let Some(WaitingRevive { record, scope, caller, repeats }) = self.release.revives.remove(&seq) else { return };
        let what = match &record.what {
            Deed::Rollout(deed) => Deed::Rollout(RolloutDeed {
                act: RolloutVerb::Refused.name().to_owned(),
                because: why.to_owned(),
                raises: false,
                state: serde_json::Value::Null,
                ..deed.clone()
            }),
            Deed::Start { .. }
            | Deed::Reload { .. }
            | Deed::Kill { .. }
            | Deed::Revive { .. }
            | Deed::Refused { .. }
            | Deed::Endpoint { .. }
            | Deed::Release(_)
            | Deed::Checkpoint { .. } => Deed::Refused { scope: ScopeFields::from(&scope), because: why.to_owned() },
        };
        self.announce(&Arc::new(Record { what, ..Record::clone(&record) }));
        for caller in std::iter::once(caller).chain(repeats) {
            caller.refuse(ActError::NotRecorded(why.to_owned()));
        }
    }

    /// Takes back a revive whose record the disk has not taken in time: should it get there after all, a kill follows.
    fn take_back_revive(&mut self, seq: u64) {
        let Some(WaitingRevive { record, scope, .. }) = self.release.revives.get(&seq) else { return };
        let (record, scope) = (Arc::clone(record), scope.clone());
        let (seconds, by) = (REVIVE_TIMEOUT.as_secs(), &record.who.name);
        let late = format!("the disk of the state folder has not taken the record within {seconds} s: examine it");
        if let Deed::Rollout(deed) = &record.what {
            self.refuse_revive(seq, &format!("{late}; the rollout stays as it is"));
            return self.take_back_raise(&deed.rollout, seq);
        }
        if let Deed::Release(resumed) = &record.what {
            self.refuse_revive(seq, &format!("{late}; the release stays rolled back"));
            return self.latch_again(resumed, by, seq);
        }
        self.refuse_revive(seq, &format!("{late}; the scope stays killed"));
        // A later kill of the scope outlives the revive by itself.
        if self.release.kills.killed_by_people(&scope).is_none_or(|kill| kill.seq > seq) {
            return;
        }
        let close_streams_ms = self.release.kills.close_streams_ms(&scope);
        let reason = format!("the revive by {by} (record {seq}) was not on the disk in time, and is taken back");
        let kill = Deed::Kill { scope: ScopeFields::from(&scope), close_streams_ms };
        let draft = self.draft(Actor::process(), kill, Some(reason));
        if let Ok(record) = self.release.ledger.append(draft) {
            self.release.kills.apply(&record);
            self.announce(&record);
        }
    }

    /// Applies what the process that took over has decided to what this one still serves.
    fn follow_successor(&mut self, record: &Arc<Record>) {
        self.release.apply(record);
        // This process does not let a rollback take its time.
        self.release.rollouts.end_falls();
        self.publish_kills();
        log(record);
        // The process before this one may still serve too.
        self.forward(record);
    }

    /// Publishes the union of all kills; returns the edition.
    pub(in crate::control) fn publish_kills(&mut self) -> Edition {
        let overlay = self.release.overlay(&self.store.load().rules);
        self.note_published();
        self.publish_overlay(overlay)
    }

    /// The rollouts are published as they are now.
    pub(in crate::control) fn note_published(&mut self) {
        let (snapshot, now_ms) = (self.store.load(), self.state.uptime_ms());
        self.release.rollouts.note_published(&snapshot.rules, now_ms);
    }

    pub(super) fn answer_when_in_force(&self, caller: WaitingCaller, published: Published) {
        let (state, written) = (Arc::clone(&self.state), self.release.ledger.follow());
        tokio::spawn(answer(caller, published, state, written));
    }
}

pub(super) fn too_many_wait() -> ActError {
    ActError::NotRecorded(format!("{WAITING_MAX} acts wait for the disk already; try again"))
}

/// The scope of a kill or a revive; of a release its variant.
fn scope_of(record: &Record) -> Option<KillScope> {
    match &record.what {
        Deed::Kill { scope, .. } | Deed::Revive { scope } | Deed::Refused { scope, .. } => scope.scope(),
        Deed::Release(deed) => Some(variant_scope(&deed.release)),
        Deed::Rollout(deed) => Some(KillScope::Rollout(deed.rollout.clone())),
        Deed::Start { .. } | Deed::Reload { .. } | Deed::Endpoint { .. } | Deed::Checkpoint { .. } => None,
    }
}
