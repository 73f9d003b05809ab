//! The start of release control: takes the state folder, folds the journal, and goes on with it. A hand-over's new
//! process first reads without the folder's lock, and takes it when the old one has given it up.

use std::io;
use std::path::Path;

use super::folder::HeldFolder;
use super::ledger::Pen;
use super::release_state::Release;
use crate::control::controller::Controller;
use crate::control::event::{Event, ReleaseEvent};
use crate::control::start_error::StartError;
use crate::journal::{Actor, DamageKind, Deed, JournalWriter, LockError, Opened, WriterLimits, host_name};
use crate::telemetry;

impl Controller {
    /// Takes the state folder and puts its kills in force, before a listener is open. In a hand-over it only reads: the
    /// process before has the folder until its farewell.
    ///
    /// # Errors
    /// Another process has the folder, or the journal's thread cannot be started.
    pub(in crate::control) async fn resume(&mut self) -> Result<(), StartError> {
        // Releases are shown once, at the end: with many routes that is most of a start.
        self.release.guards.follow(&self.store.load(), self.state.uptime_ms());
        self.follow_receivers();
        let folder = self.release.folder.clone();
        if self.succession.predecessor.is_some() {
            let absolute = |dir: &Path| std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
            let before = self.succession.state_dir.as_deref().map(absolute);
            if let Some(before) = before.filter(|before| *before != absolute(&folder.dir)) {
                return Err(StartError::of_other_state_dir(&before, &folder.dir));
            }
            self.read_journal().await;
        } else {
            match folder.hold().await {
                Ok(held) => {
                    self.hold_journal(held).map_err(|error| StartError::Io("the journal's thread", error))?;
                    self.publish_kills();
                }
                Err(held @ LockError::Held { .. }) => return Err(StartError::State(held)),
                // No failed start: kills are in force without being durable until the folder can be taken.
                Err(LockError::Unusable(why)) => {
                    self.read_journal().await;
                    telemetry::control::count_journal_failure(&self.state.counts.recorder);
                    self.miss_journal(why);
                }
            }
        }
        self.release.kills.log_from_before();
        self.release.latches.log_from_before();
        self.show_all_releases();
        self.watch_journal();
        self.show_release();
        Ok(())
    }

    /// Reads the journal without holding it: its kills are in force.
    pub(in crate::control) async fn read_journal(&mut self) {
        let opened = self.release.folder.clone().read().await;
        let saved = opened.evidence.clone();
        self.restore(opened);
        if let Some(saved) = saved {
            // A ramp goes on from where it was.
            self.release.restore_rollouts(&saved);
        }
        self.publish_kills();
    }

    /// Goes on with a journal that this process holds from now on, and publishes what it says.
    ///
    /// # Errors
    /// The journal's thread cannot be started.
    pub(super) fn follow_held_journal(&mut self, held: HeldFolder) -> io::Result<()> {
        if self.release.ledger.is_ours() {
            return Ok(());
        }
        self.hold_journal(held)?;
        self.publish_kills();
        self.show_all_releases();
        self.show_release();
        Ok(())
    }

    /// Goes on with a journal that this process holds from now on: what it says is in force, and what was decided
    /// meanwhile is recorded.
    ///
    /// # Errors
    /// The journal's thread cannot be started.
    fn hold_journal(&mut self, held: HeldFolder) -> io::Result<()> {
        let HeldFolder { journal, later, outbox, missed, lock } = held;
        let opened = journal.opened.clone();
        opened.folded.notes.iter().for_each(|note| tracing::warn!("journal: {note}"));
        let last_seq = opened.folded.last_seq;
        let ledger = &mut self.release.ledger;
        ledger.begin(last_seq);
        self.release.known = ledger.written();
        let writer = JournalWriter::start(journal, WriterLimits::default(), self.state.clock, ledger.progress())?;
        let decided = ledger.take_over(Pen { writer, lock });
        let evidence = opened.evidence.clone();
        // The journal's thread writes it before the records that follow, and what waits goes before what they say.
        self.adopt_outbox(outbox, &missed, last_seq);
        self.save_outbox_first();
        self.restore(opened);
        if let Some(Err(why)) = evidence.map(|evidence| self.release.restore_progress(&evidence)) {
            tracing::warn!("the evidence of guards from before cannot be read, and they begin anew: {why}");
        }
        if !later.is_empty() {
            self.release.begin_anew_after(&later, self.state.uptime_ms());
            self.save_evidence();
        }
        if let Some(damage) = &self.release.damage {
            tracing::error!("the journal is damaged: {damage}");
        }
        let (version, host) = (env!("CARGO_PKG_VERSION").to_owned(), host_name());
        self.record_deed(Actor::process(), Deed::Start { version, host, pid: std::process::id() }, None);
        // They were heard of when they were decided, under another number: the outbox has them before they are recorded.
        let decided_count = u64::try_from(decided.len()).unwrap_or(u64::MAX);
        self.skip_notifications_to(self.release.ledger.seq().saturating_add(decided_count));
        for draft in decided {
            if let Ok(record) = self.release.ledger.append(draft) {
                self.release.apply(&record);
                self.state.release.add(record);
            }
        }
        self.skip_notifications_to(self.release.ledger.seq());
        self.notice_journal_works();
        Ok(())
    }

    /// Puts in force what the journal says. A damaged one lifts no kill.
    fn restore(&mut self, opened: Opened) {
        let folded = opened.folded;
        self.release.rollouts.is_damaged = folded.damage.is_some();
        let rollouts = folded.rollouts;
        let Release { kills, latches, .. } = &mut self.release;
        if folded.damage.is_none() {
            kills.restore(folded.kills);
            latches.restore(folded.latches);
        } else {
            kills.add(folded.kills);
            latches.add(folded.latches);
        }
        // A file that cannot be read is a failure, and may be intact.
        let damage = folded.damage.filter(|damage| !matches!(damage.kind, DamageKind::Unreadable(_)));
        self.release.damage = damage.map(|damage| damage.to_string());
        self.release.ledger.follow_theirs(folded.last_seq);
        self.release.ledger.remember(folded.keys);
        self.state.release.begin_after(folded.last_seq);
        self.restore_rollouts(rollouts);
    }

    /// Sends an event whenever the journal's thread has reported.
    fn watch_journal(&self) {
        let (mut written, events) = (self.release.ledger.follow(), self.sender.clone());
        tokio::spawn(async move {
            while written.changed().await.is_ok() {
                if events.send(Event::Release(ReleaseEvent::Written)).await.is_err() {
                    return;
                }
            }
        });
    }
}
