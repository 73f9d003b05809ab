//! Release control in a hand-over: the old process gives the journal up before its farewell, the new one takes it, and
//! decides for both while the old one still serves requests.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::ledger::Pen;
use crate::control::controller::Controller;
use crate::control::event::{Event, ProcessEvent, ReleaseEvent};
use crate::drain::Phase;
use crate::journal::{Record, StateLock};

/// How long the old process may take to write what waits.
const PASS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the new process waits for the lock, which the old one has released before its farewell.
const TAKE_OVER_WAIT: Duration = Duration::from_secs(2);
/// Why nothing is recorded here after a hand-over.
const PASSED: &str = "the process that takes over writes the journal";

impl Controller {
    /// The new process serves: writes what waits, gives the journal up, and reports that.
    pub(in crate::control) fn pass_journal(&mut self, taken: Vec<usize>) {
        let pen = self.release.ledger.give_up(PASSED.to_owned());
        let events = self.sender.clone();
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
            // Sending fails when the controller has ended.
            let _ = events.blocking_send(Event::Process(ProcessEvent::JournalPassed(taken)));
        });
    }

    /// Whether the journal is given up and the farewell is not sent yet: what is decided now would be lost.
    pub(in crate::control) fn is_passing_journal(&self) -> bool {
        self.is_successor_serving() && !self.release.ledger.is_ours()
    }

    /// The old process has said farewell: takes the journal, and what was decided there meanwhile is in force.
    ///
    /// # Errors
    /// The journal's thread cannot be started.
    pub(in crate::control) async fn take_over_journal(&mut self) -> io::Result<()> {
        let folder = self.release.folder.clone().waiting(TAKE_OVER_WAIT);
        match folder.hold().await {
            Ok(held) => self.follow_held_journal(held),
            Err(held) => {
                tracing::error!("the journal is not written: {held}");
                self.release.ledger.set_failure(held.to_string());
                Ok(())
            }
        }
    }

    /// Tries again to take a journal that another process held. Housekeeping calls it.
    pub(in crate::control) fn retry_journal(&self) {
        let is_wanted = !self.release.ledger.is_ours() && !self.is_handing_over();
        if !is_wanted || self.shutdown.phase() > Phase::Running {
            return;
        }
        let (folder, events) = (self.release.folder.clone().waiting(Duration::ZERO), self.sender.clone());
        tokio::spawn(async move {
            if let Ok(held) = folder.hold().await {
                // Sending fails when the controller has ended.
                let _ = events.send(Event::Release(ReleaseEvent::Held(Box::new(held)))).await;
            }
        });
    }

    /// Takes the lock of a folder that could not have one at the start, now that it can be written.
    pub(super) fn lock_recovered_folder(&self) {
        if !self.release.ledger.lacks_lock() {
            return;
        }
        let (dir, events) = (self.release.folder.dir.clone(), self.sender.clone());
        tokio::task::spawn_blocking(move || match StateLock::take(&dir) {
            Ok(lock) => drop(events.blocking_send(Event::Release(ReleaseEvent::Locked(lock)))),
            Err(error) => tracing::error!("the state folder has no lock: {error}"),
        });
    }

    /// Sends what was decided to the process before, which may still serve requests.
    pub(super) fn forward(&self, record: &Arc<Record>) {
        if let Some(forwarder) = &self.succession.forwarder {
            forwarder.send(record);
        }
    }
}
