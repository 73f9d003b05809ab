//! An act of a person, from the event to its answer. A kill is published first and recorded then; a revive raises
//! exposure, so it is on the disk before it is published.

use std::sync::Arc;

use super::act::{Act, ActError, ActReply, PersonAct};
use super::answer::{ANSWER_TIMEOUT, Published, WaitingCaller, answer};
use super::check::find_scope;
use super::ledger::{Circumstances, ReleaseDecision, Written};
use super::release_state::{WAITING_MAX, WaitingRevive};
use super::view::JournalHealth;
use crate::control::controller::Controller;
use crate::control::event::{Event, ReleaseEvent};
use crate::drain::Phase;
use crate::journal::{Deed, Record, ScopeFields, rfc3339};
use crate::route::Edition;
use crate::telemetry;

/// How many newer records an outdated act gets.
const NEWER_MAX: usize = 20;

impl Controller {
    /// Handles an event of release control.
    pub(in crate::control) fn handle_release(&mut self, event: ReleaseEvent) {
        match event {
            ReleaseEvent::Act(act, reply) => self.act(*act, reply),
            ReleaseEvent::ReviveDue(seq) => self.give_up_revive(seq),
        }
    }

    fn act(&mut self, act: Act, reply: ActReply) {
        let place = Arc::clone(&self.release.places).try_acquire_owned().ok();
        let caller = WaitingCaller { reply, arrived: self.state.clock.now(), place };
        match self.judge(&act) {
            Ok(None) => {}
            Ok(Some(record)) => {
                let edition = self.store.load().edition;
                let published = Published { record, edition, still_killed_by: None, repeated: true };
                return self.answer_when_in_force(caller, published);
            }
            // An error means that the caller has left.
            Err(error) => return drop(caller.reply.send(Err(error))),
        }
        match act.what {
            PersonAct::Kill { .. } => self.kill(act, caller),
            PersonAct::Revive(_) => self.revive(act, caller),
        }
    }

    /// Whether an act may be done. The record of an earlier call, if this is a repetition.
    fn judge(&self, act: &Act) -> Result<Option<Arc<Record>>, ActError> {
        if self.shutdown.phase() > Phase::Running {
            return Err(ActError::Stopping);
        }
        if let Some(key) = &act.key
            && let Some(record) = self.release.ledger.record_of(key)
        {
            let is_same = record.key.as_ref() == Some(key);
            return if is_same { Ok(Some(Arc::clone(record))) } else { Err(ActError::KeyReused) };
        }
        if let Some(expect) = act.expect.filter(|expect| *expect < self.release.ledger.seq()) {
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

    /// Kills: published at once, recorded then.
    fn kill(&mut self, act: Act, caller: WaitingCaller) {
        let record = self.number(decision(act));
        self.release.kills.apply(&record);
        let edition = self.publish_kills();
        self.write(&record);
        self.answer_when_in_force(caller, Published { record, edition, still_killed_by: None, repeated: false });
    }

    /// Revives: recorded, and published when the record is on the disk.
    fn revive(&mut self, act: Act, caller: WaitingCaller) {
        let PersonAct::Revive(scope) = act.what.clone() else { return };
        let written = self.release.ledger.written();
        let refused = match (&caller.place, written.failure) {
            (_, Some(why)) => Some(why),
            (None, None) => Some(format!("{WAITING_MAX} acts wait for the disk already")),
            (Some(_), None) => None,
        };
        if let Some(why) = refused {
            return drop(caller.reply.send(Err(ActError::NotRecorded(why))));
        }
        let record = self.number(decision(act));
        let (seq, due) = (record.seq, caller.arrived + ANSWER_TIMEOUT);
        self.release.revives.insert(seq, WaitingRevive { record: Arc::clone(&record), scope, caller });
        self.write(&record);
        let events = self.sender.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(due.into()).await;
            // Sending fails when the controller has ended.
            let _ = events.send(Event::Release(ReleaseEvent::ReviveDue(seq))).await;
        });
        self.publish_written_revives();
    }

    /// Publishes the revives whose records are on the disk.
    fn publish_written_revives(&mut self) {
        let Written { durable_seq, .. } = self.release.ledger.written();
        while let Some(first) = self.release.revives.first_entry().filter(|first| *first.key() <= durable_seq) {
            let WaitingRevive { record, scope, caller } = first.remove();
            self.release.kills.apply(&record);
            let still_killed_by = self.release.kills.place_in_file(&scope).cloned();
            let edition = self.publish_kills();
            self.answer_when_in_force(caller, Published { record, edition, still_killed_by, repeated: false });
        }
    }

    /// Refuses a revive whose record the disk has not taken in time.
    fn give_up_revive(&mut self, seq: u64) {
        let Some(revive) = self.release.revives.remove(&seq) else { return };
        let why = "the disk has not taken the record within a second".to_owned();
        let _ = revive.caller.reply.send(Err(ActError::NotRecorded(why)));
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

    /// Makes the next record, and logs what it says.
    fn number(&mut self, decision: ReleaseDecision) -> Arc<Record> {
        let circumstances = Circumstances {
            at: rfc3339(self.state.clock.wall()),
            config: self.state.lock().hash.clone(),
            generation: self.store.load().generation.0,
        };
        self.release.ledger.number(decision, circumstances)
    }

    /// Hands a record to the journal, logs it, and shows it.
    fn write(&mut self, record: &Arc<Record>) {
        self.release.ledger.write(record);
        log(record);
        self.state.release.add(Arc::clone(record));
        self.show_release();
    }

    /// Shows kills and journal to the admin listener and the metrics.
    pub(in crate::control) fn show_release(&self) {
        let (kills, ledger) = (&self.release.kills, &self.release.ledger);
        let Written { durable_seq, failure } = ledger.written();
        let counts = kills.counts();
        telemetry::control::set_kills(&self.state.counts.recorder, counts.by_file, counts.by_people);
        self.state.release.set_kills(kills.list(&self.store.load().rules, durable_seq), kills.file_overlay().clone());
        let dir = self.store.load().rules.state.dir.display().to_string();
        let health = JournalHealth { dir, seq: ledger.seq(), durable_seq, failure, damage: None };
        self.state.release.set_health(health);
    }
}

/// What an act decides.
fn decision(act: Act) -> ReleaseDecision {
    let Act { who, what, reason, key, expect: _ } = act;
    let what = match what {
        PersonAct::Kill { scope, close_streams } => Deed::Kill {
            scope: ScopeFields::from(&scope),
            close_streams_ms: close_streams.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        },
        PersonAct::Revive(scope) => Deed::Revive { scope: ScopeFields::from(&scope) },
    };
    ReleaseDecision { who, what, reason: Some(reason), key }
}

/// Logs a kill or a revive: who, what and why.
fn log(record: &Record) {
    let (word, scope) = match &record.what {
        Deed::Kill { scope, .. } => ("killed", scope),
        Deed::Revive { scope } => ("revived", scope),
        Deed::Start { .. } | Deed::Reload { .. } | Deed::Refused { .. } | Deed::Checkpoint { .. } => return,
    };
    let scope = scope.scope().map(|scope| scope.to_string()).unwrap_or_default();
    let (seq, who, why) = (record.seq, record.who.name.as_str(), record.reason.as_deref().unwrap_or_default());
    tracing::warn!(seq, who, via = ?record.who.via, why, "{word}: {scope}");
}
