//! An act of a person, from the event to its answer. A kill is in force before the disk has its record; a revive raises
//! exposure, so it is on the disk before it is published.

use std::sync::Arc;

use super::act::{Act, ActError, ActReply, PersonAct};
use super::answer::{Published, REVIVE_TIMEOUT, WaitingCaller, answer};
use super::check::find_scope;
use super::recording::log;
use super::release_state::{WAITING_MAX, WaitingRevive};
use crate::control::controller::Controller;
use crate::control::event::{Event, ReleaseEvent};
use crate::drain::Phase;
use crate::journal::{Actor, Deed, Record, ScopeFields};
use crate::route::Edition;

/// How many newer records an outdated act gets.
const NEWER_MAX: usize = 20;

impl Controller {
    /// Handles an event of release control.
    pub(in crate::control) fn handle_release(&mut self, event: ReleaseEvent) {
        match event {
            ReleaseEvent::Act(act, reply) => self.act(*act, reply),
            ReleaseEvent::Written => self.follow_journal(),
            ReleaseEvent::Held(held) => {
                if let Err(error) = self.follow_held_journal(*held) {
                    tracing::error!(%error, "the journal's thread cannot be started");
                }
            }
            ReleaseEvent::Locked(lock) => self.release.ledger.set_lock(lock),
            ReleaseEvent::ReviveDue(seq) => self.take_back_revive(seq),
            ReleaseEvent::OfSuccessor(record) => self.follow_successor(&Arc::new(*record)),
        }
        self.show_release();
    }

    fn act(&mut self, act: Act, reply: ActReply) {
        let place = Arc::clone(&self.release.places).try_acquire_owned().ok();
        let caller = WaitingCaller { reply, arrived: self.state.clock.now(), place, patience: self.release.patience };
        match self.judge(&act) {
            Ok(None) => {}
            Ok(Some(record)) => {
                let edition = self.store.load().edition;
                let published = Published { record, edition, still_killed_by: None, repeated: true };
                return self.answer_when_in_force(caller, published);
            }
            Err(error) => return caller.refuse(error),
        }
        match act.what {
            PersonAct::Kill { .. } => self.kill(act, caller),
            PersonAct::Revive(_) => self.revive(act, caller),
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
            && let Some(record) = self.release.ledger.record_of(key)
        {
            let is_same = record.key.as_ref() == Some(key);
            return if is_same { Ok(Some(Arc::clone(record))) } else { Err(ActError::KeyReused) };
        }
        if let Some(expect) = act.expect.filter(|expect| *expect != self.release.ledger.seq()) {
            return Err(ActError::Stale(self.state.release.newest_after(expect, NEWER_MAX)));
        }
        let kills = &self.release.kills;
        match &act.what {
            PersonAct::Kill { scope, .. } => {
                find_scope(scope, &self.store.load().rules)?;
                let is_new = kills.killed_by_people(scope).is_none();
                if is_new && kills.is_full() { Err(ActError::TooMany(kills.counts().by_people)) } else { Ok(None) }
            }
            PersonAct::Revive(scope) => match (kills.killed_by_people(scope), kills.place_in_file(scope)) {
                (Some(_), _) => Ok(None),
                (None, Some(place)) => Err(ActError::KilledByFile { scope: scope.clone(), place: place.clone() }),
                (None, None) => Err(ActError::NotKilled(scope.clone())),
            },
        }
    }

    /// Kills: in force at once. The record goes to the journal's thread meanwhile.
    fn kill(&mut self, act: Act, caller: WaitingCaller) {
        let draft = self.draft_of(act);
        match self.release.ledger.append(draft) {
            Ok(record) => {
                self.release.kills.apply(&record);
                let edition = self.publish_kills();
                self.announce(&record);
                let published = Published { record, edition, still_killed_by: None, repeated: false };
                self.answer_when_in_force(caller, published);
            }
            Err(why) => caller.refuse(ActError::NotRecorded(why.to_string())),
        }
    }

    /// Revives: recorded, and published when the record is on the disk.
    fn revive(&mut self, act: Act, caller: WaitingCaller) {
        let PersonAct::Revive(scope) = act.what.clone() else { return };
        if caller.place.is_none() {
            let why = format!("{WAITING_MAX} acts wait for the disk already; try again");
            return caller.refuse(ActError::NotRecorded(why));
        }
        let draft = self.draft_of(act);
        let record = match self.release.ledger.append(draft) {
            Ok(record) => record,
            Err(why) => return caller.refuse(ActError::NotRecorded(why.to_string())),
        };
        self.announce(&record);
        let (seq, due) = (record.seq, caller.arrived + REVIVE_TIMEOUT);
        self.release.revives.insert(seq, WaitingRevive { record, scope, caller });
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
        for refused in self.release.ledger.take_refused() {
            self.refuse_revive(refused.seq, &refused.why);
        }
        let written = self.release.ledger.written();
        let durable_seq = written.durable_seq;
        while let Some(first) = self.release.revives.first_entry().filter(|first| *first.key() <= durable_seq) {
            let WaitingRevive { record, scope, caller } = first.remove();
            self.release.kills.apply(&record);
            let still_killed_by = self.release.kills.place_in_file(&scope).cloned();
            let edition = self.publish_kills();
            self.forward(&record);
            self.answer_when_in_force(caller, Published { record, edition, still_killed_by, repeated: false });
        }
        self.report_failure(written);
    }

    /// Answers a revive that the disk did not take; it is not tried again, and its scope stays killed.
    fn refuse_revive(&mut self, seq: u64, why: &str) {
        self.release.ledger.forget(seq);
        let Some(WaitingRevive { record, scope, caller }) = self.release.revives.remove(&seq) else { return };
        let what = Deed::Refused { scope: ScopeFields::from(&scope), because: why.to_owned() };
        let record = Arc::new(Record { what, ..Record::clone(&record) });
        self.announce_refusal(&record);
        caller.refuse(ActError::NotRecorded(why.to_owned()));
    }

    /// Takes back a revive whose record the disk has not taken in time: should it get there after all, a kill follows.
    fn take_back_revive(&mut self, seq: u64) {
        let Some(WaitingRevive { record, scope, caller }) = self.release.revives.remove(&seq) else { return };
        self.release.ledger.forget(seq);
        let close_streams_ms = self.release.kills.close_streams_ms(&scope);
        let by = &record.who.name;
        let reason = format!("the revive by {by} (record {seq}) was not on the disk in time, and is taken back");
        let kill = Deed::Kill { scope: ScopeFields::from(&scope), close_streams_ms };
        let draft = self.draft(Actor::process(), kill, Some(reason));
        if let Ok(record) = self.release.ledger.append(draft) {
            self.release.kills.apply(&record);
            self.announce(&record);
        }
        let seconds = REVIVE_TIMEOUT.as_secs();
        caller.refuse(ActError::NotRecorded(format!(
            "the disk of the state folder has not taken the record within {seconds} s: examine it; the scope stays killed"
        )));
    }

    /// Applies what the process that took over has decided to what this one still serves.
    fn follow_successor(&mut self, record: &Arc<Record>) {
        self.release.kills.apply(record);
        self.publish_kills();
        log(record);
    }

    /// Publishes the union of all kills; returns the edition.
    pub(in crate::control) fn publish_kills(&mut self) -> Edition {
        let overlay = self.release.kills.union(&self.store.load().rules);
        self.publish_overlay(overlay)
    }

    fn answer_when_in_force(&self, caller: WaitingCaller, published: Published) {
        let (state, written) = (Arc::clone(&self.state), self.release.ledger.follow());
        tokio::spawn(answer(caller, published, state, written));
    }
}
