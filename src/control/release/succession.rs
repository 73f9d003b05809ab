//! Release control in a hand-over: the old process gives the journal up before its farewell, the new one takes it, and
//! decides for both while the old one still serves requests.

use std::sync::Arc;
use std::time::Duration;

use super::check::variant_scope;
use super::folder::HeldFolder;
use super::ledger::Pen;
use super::release_state::Release;
use crate::control::controller::Controller;
use crate::control::event::{Event, ProcessEvent, ReleaseEvent};
use crate::control::hand_over::HandOver;
use crate::drain::Phase;
use crate::journal::{Deed, LockError, Record, ReleaseVerb};
use crate::route::KillScope;

/// How long the old process may take to write what waits.
const PASS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the new process waits for the lock, which the old one has released before its farewell.
const TAKE_OVER_WAIT: Duration = Duration::from_secs(2);
/// Why nothing is recorded here after a hand-over.
const PASSED: &str = "the process that takes over writes the journal";
/// Why nothing is recorded here before the farewell of the old process.
const TAKING_OVER: &str = "this process takes over: it records the kill when the process before has passed the journal";

impl Controller {
    /// The new process serves: writes what waits, gives the journal up, and reports that.
    pub(in crate::control) fn pass_journal(&mut self, taken: Vec<usize>) {
        self.save_evidence();
        self.pass_notifications();
        let pen = self.release.ledger.give_up();
        let Release { kills, latches, rollouts, .. } = &self.release;
        let stops = kills.records().chain(latches.records()).chain(rollouts.records());
        let stops: Vec<Arc<Record>> = stops.cloned().collect();
        let revives: Vec<(u64, KillScope)> =
            self.release.revives.iter().map(|(seq, waiting)| (*seq, waiting.scope.clone())).collect();
        let sender = self.succession.handing_over.as_ref().and_then(HandOver::kill_sender);
        let (written, events) = (self.release.ledger.follow(), self.sender.clone());
        tokio::task::spawn_blocking(move || {
            if let Some(Pen { mut writer, lock }) = pen {
                if writer.stop(PASS_TIMEOUT) {
                    // Only now: the new process reads what was written.
                    drop(lock);
                } else {
                    tracing::error!("hand-over: not every record of the journal is on the disk");
                    // The thread may still write: the folder is free when this process ends.
                    std::mem::forget(lock);
                }
            }
            let durable_seq = written.borrow().durable_seq;
            if let Some(sender) = sender {
                // A revive or resume that is not on the disk by now is refused, and must not take effect later.
                let late: Vec<&KillScope> =
                    revives.iter().filter(|(seq, _)| *seq > durable_seq).map(|(_, scope)| scope).collect();
                let is_late = |stop: &Record| stopped_scope(stop).is_some_and(|scope| late.contains(&&scope));
                stops.iter().filter(|stop| stop.seq > durable_seq || is_late(stop)).for_each(|stop| sender.send(stop));
            }
            // Sending fails when the controller has ended.
            let _ = events.blocking_send(Event::Process(ProcessEvent::JournalPassed(taken)));
        });
    }

    /// The journal is passed: from now on the other process records what is decided.
    pub(in crate::control) fn note_passed_journal(&mut self) {
        self.release.ledger.set_failure(PASSED.to_owned());
    }

    /// Whether the journal is given up and the farewell is not sent yet: what is decided now would be lost.
    pub(in crate::control) fn is_passing_journal(&self) -> bool {
        self.is_successor_serving() && !self.release.ledger.is_ours()
    }

    /// This process accepts: confirms that to the old one, and takes the journal after its farewell. What is decided until
    /// then is in force at once, and is recorded then.
    pub(in crate::control) fn begin_take_over(&mut self) {
        let Some(predecessor) = self.succession.predecessor.clone() else { return };
        predecessor.confirm_serving();
        self.succession.forwarder = Some(predecessor.clone().forwarder());
        self.release.ledger.set_failure(TAKING_OVER.to_owned());
        let (folder, events) = (self.release.folder.clone().waiting(TAKE_OVER_WAIT), self.sender.clone());
        tokio::spawn(async move {
            let undurable = predecessor.wait_for_farewell().await;
            let held = folder.hold().await.map(Box::new);
            // Sending fails when the controller has ended.
            let _ = events.send(Event::Release(ReleaseEvent::TakenOver { undurable, held })).await;
        });
    }

    /// The old process has said farewell: its kills that no disk has are in force here too, and the journal is ours.
    pub(super) fn finish_take_over(&mut self, undurable: Vec<Record>, held: Result<Box<HeldFolder>, LockError>) {
        self.succession.predecessor = None;
        for record in undurable {
            if let Some(record) = self.release.ledger.keep(record) {
                self.release.apply(&record);
            }
        }
        self.publish_kills();
        self.follow_folder(held);
        self.begin_service_after_hand_over();
    }

    /// The folder is ours, or why not.
    pub(super) fn follow_folder(&mut self, held: Result<Box<HeldFolder>, LockError>) {
        self.release.is_folder_awaited = false;
        match held {
            Ok(held) => {
                let failure = self.release.ledger.written().failure;
                if let Err(error) = self.follow_held_journal(*held) {
                    self.miss_journal(format!("the journal's thread cannot be started: {error}"));
                } else if failure.is_some_and(|why| why != TAKING_OVER) {
                    tracing::info!("the journal can be written again");
                }
            }
            Err(why) if self.release.ledger.is_ours() => tracing::debug!(%why, "the folder is ours already"),
            Err(why) => self.miss_journal(why.to_string()),
        }
    }

    /// The journal cannot be had, for this reason.
    pub(super) fn miss_journal(&mut self, why: String) {
        if self.release.ledger.written().failure.as_ref() != Some(&why) {
            tracing::error!("the journal cannot be written: {why}; kills are in force without being durable");
            self.notice_journal_failure(&why);
            self.release.ledger.set_failure(why);
        }
    }

    /// Tries again to take a folder that another process held, or that could not have a lock. Housekeeping calls it.
    pub(in crate::control) fn retry_journal(&mut self) {
        let is_in_hand_over = self.is_handing_over() || self.succession.predecessor.is_some();
        if self.release.ledger.is_ours() || is_in_hand_over || self.shutdown.phase() > Phase::Running {
            return;
        }
        // One attempt at a time: a disk may hang.
        if std::mem::replace(&mut self.release.is_folder_awaited, true) {
            return;
        }
        let (folder, events) = (self.release.folder.clone().waiting(Duration::ZERO), self.sender.clone());
        tokio::spawn(async move {
            let held = folder.hold().await.map(Box::new);
            // Sending fails when the controller has ended.
            let _ = events.send(Event::Release(ReleaseEvent::Held(held))).await;
        });
    }

    /// Sends what was decided to the process before, which may still serve requests.
    pub(super) fn forward(&self, record: &Arc<Record>) {
        if let Some(forwarder) = &self.succession.forwarder {
            forwarder.send(record);
        }
    }
}

/// What a kill or a rollback takes out of service.
fn stopped_scope(record: &Record) -> Option<KillScope> {
    match &record.what {
        Deed::Kill { scope, .. } => scope.scope(),
        Deed::Release(deed) if deed.act == ReleaseVerb::Rollback => Some(variant_scope(&deed.release)),
        Deed::Rollout(deed) => Some(KillScope::Rollout(deed.rollout.clone())),
        Deed::Start { .. }
        | Deed::Reload { .. }
        | Deed::Revive { .. }
        | Deed::Refused { .. }
        | Deed::Endpoint { .. }
        | Deed::Release(_)
        | Deed::Checkpoint { .. } => None,
    }
}
