//! What the writer does, step by step: each step can fail anywhere and be done again.
//!
//! The order in which files change is such that after a crash at any point the folder has every record that was reported
//! durable, and the chain is intact: a line is made durable before it is reported; a new file is complete before it has
//! its name; the saved state follows the record, except before a damaged file is set aside.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use super::evidence::to_file;
use super::files::JournalFiles;
use super::line::{FULL, fit, hash, line};
use super::names::{CURRENT, EVIDENCE, OUTBOX, SAVED, damaged, damaged_seq, rotated, rotated_seq};
use super::pending::{JournalProgress, Lost, Pending, SavedFrom, Work, refusal};
use super::record::{Actor, Deed, Record, rfc3339};
use super::resume::{NewFile, Resume};
use super::saved_outbox::{OutboxPlace, outbox_file};
use super::saved_state::SavedState;
use super::standing::{InForce, KEYS_FOR, Standing};
use super::trouble::trouble;
use crate::clock::Clock;

/// Sizes and times of the writer.
#[derive(Clone, Copy, Debug)]
pub struct WriterLimits {
    /// A new file is begun when one has this many bytes.
    pub file_bytes_max: u64,
    /// How many full files are kept, and how many damaged ones.
    pub files_max: usize,
    /// The first pause after a failure; it doubles with each.
    pub pause_min: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// The least time between two writes of the evidence of guards.
    pub evidence_pause: Duration,
}

impl Default for WriterLimits {
    fn default() -> Self {
        Self {
            file_bytes_max: 16 * 1024 * 1024,
            files_max: 8,
            pause_min: Duration::from_secs(1),
            pause_max: Duration::from_secs(30),
            evidence_pause: Duration::from_secs(1),
        }
    }
}

/// Why a step was not done.
pub(super) enum WriteFault {
    /// Another program removed or cut the file: a new one is begun at once.
    Changed,
    /// The disk does not take it: why, with what to do.
    Disk(String),
}

/// The state of the writer.
pub(super) struct Writing {
    files: Arc<dyn JournalFiles>,
    resume: Resume,
    limits: WriterLimits,
    clock: Clock,
    pending: Arc<Pending>,
    /// Records that are being written.
    batch: Vec<Arc<Record>>,
    /// What records add up to that were lost, being written.
    lost: Option<Lost>,
    /// When evidence and outbox may be written again.
    from: SavedFrom,
    /// Evidence could not be written the last time.
    is_evidence_failing: bool,
    /// The outbox could not be written the last time.
    is_outbox_failing: bool,
    /// An outbox was written: before, one goes ahead of the records, so that none of them is missing in it after a crash.
    has_outbox: bool,
}

impl Writing {
    pub fn new(
        files: Arc<dyn JournalFiles>,
        resume: Resume,
        limits: WriterLimits,
        clock: Clock,
        pending: Arc<Pending>,
    ) -> Self {
        let now = clock.now();
        Self {
            files,
            resume,
            limits,
            clock,
            pending,
            batch: Vec::new(),
            lost: None,
            from: SavedFrom { evidence: now, outbox: now },
            is_evidence_failing: false,
            is_outbox_failing: false,
            has_outbox: false,
        }
    }

    pub fn pending(&self) -> Arc<Pending> {
        Arc::clone(&self.pending)
    }

    /// Waits until there is something to write in the queue; `false` at the end.
    pub fn wait(&self) -> bool {
        self.pending.wait(self.from, self.clock)
    }

    /// Why nothing may be written.
    pub fn closed(&self) -> Option<String> {
        self.resume.closed.clone()
    }

    /// Whether something is to be written, apart from what waits in the queue.
    pub fn has_work(&self) -> bool {
        let Resume { new_file, is_save_due, closed, .. } = &self.resume;
        let is_due = new_file.is_some() || *is_save_due || !self.batch.is_empty() || self.lost.is_some();
        is_due && closed.is_none()
    }

    /// Writes what is due, then some of what waits.
    pub fn step(&mut self, progress: &dyn Fn(JournalProgress)) -> Result<(), WriteFault> {
        if let Some(why) = &self.resume.closed {
            return Err(WriteFault::Disk(why.clone()));
        }
        if self.resume.new_file.is_some() {
            self.begin_file()?;
        }
        if !self.has_outbox {
            self.write_outbox(progress);
        }
        if self.batch.is_empty() && self.lost.is_none() {
            match self.pending.take() {
                Work::Records(records) => self.batch = records,
                Work::Lost(lost) => self.lost = Some(lost),
                Work::Nothing => {}
            }
        }
        self.write_lost(progress)?;
        self.write_batch(progress)?;
        if self.resume.is_save_due {
            self.save(&self.resume.tail.head, &self.resume.standing)?;
            self.resume.is_save_due = false;
        }
        let tail = &self.resume.tail;
        // A long checkpoint is not written anew for each record.
        let full = self.limits.file_bytes_max.max(tail.checkpoint_len.saturating_mul(2));
        if tail.len.is_some_and(|len| len >= full) && tail.seq > tail.first_seq {
            self.resume.new_file = Some(NewFile::Full);
        }
        self.write_outbox(progress);
        self.write_evidence(progress);
        Ok(())
    }

    /// Writes the newest outbox. A failure concerns nothing else.
    fn write_outbox(&mut self, progress: &dyn Fn(JournalProgress)) {
        let now = self.clock.now();
        if now < self.from.outbox && !self.pending.is_stopping() {
            return;
        }
        let Some(outbox) = self.pending.take_outbox() else { return };
        let is_first = self.resume.tail.len.is_none_or(|len| len == 0) && self.resume.tail.seq == 0;
        let place = if is_first { OutboxPlace::BeforeRecords } else { OutboxPlace::BesideJournal };
        let text = outbox_file(&outbox, place);
        let is_possible = text.is_ok();
        let written = text.and_then(|text| match self.files() {
            Ok(files) => files.replace(OUTBOX, &text).map_err(|error| trouble(&self.files.place(), &error)),
            // A successor saves its own.
            Err(_) => Ok(()),
        });
        let was_failing = std::mem::replace(&mut self.is_outbox_failing, written.is_err());
        match written {
            Ok(()) => self.has_outbox = true,
            Err(why) => {
                self.from.outbox = now + self.limits.pause_min;
                if is_possible {
                    self.pending.put_back_outbox(outbox);
                }
                if !was_failing {
                    progress(JournalProgress::OutboxNotSaved { why });
                }
            }
        }
    }

    /// Writes the newest evidence. A failure concerns nothing else: the next evidence is tried again.
    fn write_evidence(&mut self, progress: &dyn Fn(JournalProgress)) {
        let now = self.clock.now();
        if now < self.from.evidence && !self.pending.is_stopping() {
            return;
        }
        let Some(evidence) = self.pending.take_evidence() else { return };
        self.from.evidence = now + self.limits.evidence_pause;
        let written = to_file(&evidence).and_then(|text| match self.files() {
            Ok(files) => files.replace(EVIDENCE, &text).map_err(|error| trouble(&self.files.place(), &error)),
            // A successor saves its own.
            Err(_) => Ok(()),
        });
        let was_failing = std::mem::replace(&mut self.is_evidence_failing, written.is_err());
        if let Err(why) = written
            && !was_failing
        {
            progress(JournalProgress::EvidenceNotSaved { why });
        }
    }

    /// Reports a failure, and refuses revives, resumes and raises: they would take effect at a time when they are no longer wanted.
    pub fn fail(&mut self, why: &str, progress: &dyn Fn(JournalProgress)) {
        if let (Some(len), None, Ok(files)) = (self.resume.tail.len, &self.resume.closed, self.files()) {
            // A part of the batch may be in the file; if the cut fails too, the next attempt begins with it.
            let _ = files.append(CURRENT, len, b"");
        }
        let mut refused = self.lost.as_mut().map(|lost| std::mem::take(&mut lost.refused)).unwrap_or_default();
        for record in &mut self.batch {
            if let Some(replaced) = refusal(record, why) {
                refused.push(replaced.seq);
                *record = Arc::new(replaced);
            }
        }
        // First the failure: from here on the queue takes no revive.
        let is_news = self.pending.set_failure(Some(why.to_owned()));
        refused.extend(self.pending.refuse(why));
        if is_news {
            progress(JournalProgress::Failed { why: why.to_owned() });
        }
        for seq in refused {
            progress(JournalProgress::Refused { seq, why: why.to_owned() });
        }
    }

    /// The files, unless a successor writes to them by now.
    fn files(&self) -> Result<&dyn JournalFiles, WriteFault> {
        if self.pending.is_abandoned() {
            return Err(WriteFault::Disk(format!("{}: the time to finish has passed", self.files.place())));
        }
        Ok(&*self.files)
    }

    /// Begins a new file with a checkpoint, and puts the one before aside. Each part may be done already.
    fn begin_file(&mut self) -> Result<(), WriteFault> {
        let Some(reason) = self.resume.new_file.clone() else { return Ok(()) };
        let because = match &reason {
            NewFile::Full => FULL.to_owned(),
            NewFile::Damaged(why) => why.clone(),
        };
        let text = match self.checkpoint(&self.resume.standing, self.resume.tail.seq, because) {
            Err(_) if reason == NewFile::Full && self.resume.tail.len.is_some() => {
                // So many kills and latches that they fit in no line: the file grows on, to twice its length.
                self.resume.tail.checkpoint_len = self.resume.tail.len.unwrap_or_default();
                self.resume.new_file = None;
                return Ok(());
            }
            text => text?,
        };
        let head = hash(&text);
        if matches!(reason, NewFile::Damaged(_)) {
            // Until the new file is there, the saved state alone has what the damaged one lost.
            self.save(&head, &self.resume.standing)?;
            self.resume.is_save_due = false;
        }
        let names = self.files()?.list().map_err(|error| self.fault(&error))?;
        if names.iter().any(|name| name == CURRENT) {
            let aside = aside(&names, &reason, self.resume.tail.first_seq);
            self.files()?.rename(CURRENT, &aside).map_err(|error| self.fault(&error))?;
        }
        let bytes = ended(text);
        self.files()?.replace(CURRENT, &bytes).map_err(|error| self.fault(&error))?;
        let tail = &mut self.resume.tail;
        tail.len = Some(length(&bytes));
        tail.checkpoint_len = length(&bytes);
        tail.first_seq = tail.seq;
        tail.head = head;
        self.resume.new_file = None;
        self.remove_oldest();
        Ok(())
    }

    /// Writes a checkpoint in the place of records that were lost.
    fn write_lost(&mut self, progress: &dyn Fn(JournalProgress)) -> Result<(), WriteFault> {
        let Some(lost) = self.lost.clone() else { return Ok(()) };
        let records = |records: Vec<&Arc<Record>>| -> Vec<Record> {
            records.into_iter().map(|record| Record::clone(record)).collect()
        };
        let mut standing = self.resume.standing.clone();
        standing.add_kills(&records(lost.kills.values().collect()));
        standing.add_latches(&records(lost.latches.values().collect()));
        standing.add_rollouts(&lost.rollouts.records());
        let why = format!("{} records were lost: the disk did not take them in time", lost.count);
        let text = self.checkpoint(&standing, lost.seq, why.clone())?;
        let head = hash(&text);
        self.write(&ended(text), lost.seq)?;
        self.resume.tail.seq = lost.seq;
        self.resume.tail.head = head;
        self.resume.standing = standing;
        self.resume.is_save_due = true;
        self.lost = None;
        for seq in lost.refused {
            progress(JournalProgress::Refused { seq, why: why.clone() });
        }
        progress(JournalProgress::Durable(lost.seq));
        Ok(())
    }

    fn write_batch(&mut self, progress: &dyn Fn(JournalProgress)) -> Result<(), WriteFault> {
        let Some(last) = self.batch.last().cloned() else { return Ok(()) };
        let mut head = self.resume.tail.head.clone();
        let mut bytes = Vec::new();
        for record in &self.batch {
            let text = line(&Record { prev: head, ..Record::clone(record) }).map_err(|why| self.odd(&why))?;
            head = hash(&text);
            bytes.extend_from_slice(&ended(text));
        }
        self.write(&bytes, self.resume.tail.seq + 1)?;
        let tail = &mut self.resume.tail;
        debug_assert_eq!(self.batch.first().map(|first| first.seq), Some(tail.seq + 1), "no number is left out");
        tail.seq = last.seq;
        tail.head = head;
        tail.config.clone_from(&last.config);
        tail.generation = last.generation;
        for record in std::mem::take(&mut self.batch) {
            if self.resume.standing.apply(&record) == InForce::Changed {
                self.resume.is_save_due = true;
            }
        }
        progress(JournalProgress::Durable(last.seq));
        Ok(())
    }

    /// Adds lines to `journal.jsonl`; `first_seq` is the number of the first.
    fn write(&mut self, bytes: &[u8], first_seq: u64) -> Result<(), WriteFault> {
        let files = self.files()?;
        let Some(len) = self.resume.tail.len else {
            let names = files.list().map_err(|error| self.fault(&error))?;
            if names.iter().any(|name| name == CURRENT) {
                // Never in the place of records that were not read.
                let why = format!("{CURRENT} was made by another program, after this one had read the folder");
                self.resume.new_file = Some(NewFile::Damaged(why));
                return Err(WriteFault::Changed);
            }
            files.replace(CURRENT, bytes).map_err(|error| self.fault(&error))?;
            self.resume.tail.len = Some(length(bytes));
            self.resume.tail.first_seq = first_seq;
            return Ok(());
        };
        match files.append(CURRENT, len, bytes) {
            Ok(()) => {
                self.resume.tail.len = Some(len + length(bytes));
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => {
                let why = format!("{CURRENT} was removed or cut by another program: {error}");
                self.resume.new_file = Some(NewFile::Damaged(why));
                Err(WriteFault::Changed)
            }
            Err(error) => Err(self.fault(&error)),
        }
    }

    fn save(&self, head: &str, standing: &Standing) -> Result<(), WriteFault> {
        let state = SavedState::new(self.resume.tail.seq, head, standing.kills(), standing.latches())
            .with_rollouts(standing.rollouts());
        let bytes = state.to_bytes().map_err(|why| self.odd(&why))?;
        self.files()?.replace(SAVED, &bytes).map_err(|error| self.fault(&error))
    }

    /// The line of a checkpoint with this state.
    fn checkpoint(&self, standing: &Standing, seq: u64, because: String) -> Result<Vec<u8>, WriteFault> {
        let now = self.clock.wall();
        let keys = standing.keys(now.saturating_sub(KEYS_FOR));
        let (kills, latches, rollouts) = (standing.kills(), standing.latches(), standing.rollouts());
        let what = Deed::Checkpoint { kills, keys, latches, rollouts, because };
        let record = Record {
            v: what.version(),
            seq,
            at: rfc3339(now),
            who: Actor::process(),
            what,
            reason: None,
            key: None,
            config: self.resume.tail.config.clone(),
            generation: self.resume.tail.generation,
            prev: self.resume.tail.head.clone(),
        };
        fit(record).and_then(|record| line(&record)).map_err(|why| self.odd(&why))
    }

    /// A record that fits in no line.
    fn odd(&self, why: &str) -> WriteFault {
        WriteFault::Disk(format!(
            "{}: {why}; revive kills and resume releases that are no longer needed",
            self.files.place()
        ))
    }

    fn fault(&self, error: &io::Error) -> WriteFault {
        WriteFault::Disk(trouble(&self.files.place(), error))
    }

    /// Removes full and damaged files that are too many. A failure only leaves them there until the next time.
    fn remove_oldest(&self) {
        let Ok(names) = self.files.list() else { return };
        for number in [rotated_seq, damaged_seq] {
            let mut files: Vec<(u64, &String)> = names.iter().filter_map(|name| Some((number(name)?, name))).collect();
            files.sort_unstable();
            for (_, name) in files.iter().take(files.len().saturating_sub(self.limits.files_max)) {
                if let Ok(files) = self.files() {
                    let _ = files.remove(name);
                }
            }
        }
    }
}

/// The name under which the file before is kept: one that is not used.
fn aside(names: &[String], reason: &NewFile, first_seq: u64) -> String {
    let is_free = |name: &String| !names.contains(name);
    let full = Some(rotated(first_seq)).filter(|name| *reason == NewFile::Full && is_free(name));
    full.or_else(|| (1..=u32::MAX).map(|attempt| damaged(first_seq, attempt)).find(is_free))
        .unwrap_or_else(|| damaged(first_seq, 1))
}

fn ended(mut line: Vec<u8>) -> Vec<u8> {
    line.push(b'\n');
    line
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
