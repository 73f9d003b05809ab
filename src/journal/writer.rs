//! The writer's thread: it alone writes to the state folder, so that no request and no decision waits for a disk.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::open::HeldJournal;
use super::pending::{Draft, JournalProgress, NotRecorded, Pending};
use super::record::Record;
use super::writing::{WriteFault, WriterLimits, Writing};
use crate::clock::Clock;

/// Gives records to the writer's thread. The controller owns it.
#[derive(Debug)]
pub struct JournalWriter {
    pending: Arc<Pending>,
    thread: Option<JoinHandle<()>>,
}

impl JournalWriter {
    /// Starts the thread. `progress` is called on it: it must not block.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        held: HeldJournal,
        limits: WriterLimits,
        clock: Clock,
        progress: impl Fn(JournalProgress) + Send + 'static,
    ) -> io::Result<Self> {
        let HeldJournal { files, resume, .. } = held;
        let pending = Arc::new(Pending::after(resume.tail.seq));
        let writing = Writing::new(files, resume, limits, clock, Arc::clone(&pending));
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write_all(writing, limits, &progress))?;
        Ok(Self { pending, thread: Some(thread) })
    }

    /// Takes a record, gives it the next sequence number, and returns at once. Its `prev` is empty: only the line has it.
    /// The writer reports when it is durable. Details that make a record longer than 64 KiB are left out.
    ///
    /// # Errors
    /// It is a revive, a resume or a raise of a rollout, and the journal cannot be written now or is far behind; or its scope is
    /// not valid, or its scope or release is longer than 4 KiB, or the state of a rollout longer than 64 KiB. No other record
    /// is refused.
    pub fn append(&self, draft: Draft) -> Result<Arc<Record>, NotRecorded> {
        self.pending.add(draft)
    }

    /// Takes the evidence of guards, as JSON, and returns at once: it outlives the process. The newest replaces one that is
    /// not written yet. The thread writes it at most once a second and at its end; evidence that is longer than
    /// [`EVIDENCE_MAX`](super::EVIDENCE_MAX) bytes, or that the disk does not take, is dropped and reported. No record waits
    /// for it.
    pub fn save_evidence(&self, evidence: Vec<u8>) {
        self.pending.set_evidence(evidence);
    }

    /// Takes the notifications that wait, as JSON, and returns at once: they outlive the process. The newest replaces one that
    /// is not written yet. The thread writes it behind the records that it has, the first one before them; one that the disk
    /// does not take is tried again. No record waits for it.
    pub fn save_outbox(&self, outbox: Vec<u8>) {
        self.pending.set_outbox(outbox);
    }

    /// The last sequence number that was given.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.pending.seq()
    }

    /// Why the journal cannot be written now, with what to do.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.pending.failure()
    }

    /// Writes what waits, makes one more attempt when the disk fails, and ends the thread. Waits at most `timeout`; then
    /// the thread begins no other write, so that a successor may go on. Returns whether everything is on the disk.
    pub fn stop(&mut self, timeout: Duration) -> bool {
        let Some(thread) = self.thread.take() else { return self.failure().is_none() };
        if !self.pending.stop(timeout) {
            return false;
        }
        // A panic of the writer has been printed already.
        thread.join().is_ok() && self.failure().is_none()
    }
}

impl Drop for JournalWriter {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.pending.finish();
        }
    }
}

fn write_all(mut writing: Writing, limits: WriterLimits, progress: &dyn Fn(JournalProgress)) {
    let pending = writing.pending();
    let mut pause = limits.pause_min;
    if let Some(why) = writing.closed() {
        writing.fail(&why, progress);
    }
    loop {
        let is_last = pending.is_stopping();
        if !writing.has_work() && !writing.wait() {
            break;
        }
        match writing.step(progress) {
            Ok(()) => {
                pause = limits.pause_min;
                if pending.set_failure(None) {
                    progress(JournalProgress::Recovered);
                }
            }
            Err(WriteFault::Changed) => {}
            Err(WriteFault::Disk(why)) => {
                writing.fail(&why, progress);
                if is_last {
                    break;
                }
                pending.wait_for(pause);
                pause = (pause * 2).min(limits.pause_max);
            }
        }
    }
    pending.end();
}
