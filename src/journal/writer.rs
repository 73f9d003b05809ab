//! The writer: a thread that alone writes to the state folder, so that no request and no decision waits for a disk.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::files::JournalFiles;
use super::line::{FULL, hash, line};
use super::names::{CURRENT, SAVED, damaged, is_damaged, rotated, rotated_seq};
use super::open::HeldJournal;
use super::pending::{Draft, JournalProgress, Lost, NotRecorded, Pending, Work, refusal};
use super::record::{Actor, Deed, JOURNAL_VERSION, Record, rfc3339};
use super::resume::{NewFile, Resume};
use super::saved_state::SavedState;
use super::standing::{KEYS_FOR, Kills, Standing};
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
}

impl Default for WriterLimits {
    fn default() -> Self {
        Self {
            file_bytes_max: 16 * 1024 * 1024,
            files_max: 8,
            pause_min: Duration::from_secs(1),
            pause_max: Duration::from_secs(30),
        }
    }
}

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
        let writer = Writer {
            files,
            limits,
            clock,
            pending: Arc::clone(&pending),
            progress: Box::new(progress),
            resume,
            batch: Vec::new(),
            lost: None,
        };
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run())?;
        Ok(Self { pending, thread: Some(thread) })
    }

    /// Takes a record, gives it the next sequence number, and returns at once. Its `prev` is empty: only the line has it.
    /// The writer reports when it is durable.
    ///
    /// # Errors
    /// It is a revive, and the journal cannot be written now or is far behind; or it is too long for a line. No other
    /// record is refused.
    pub fn append(&self, draft: Draft) -> Result<Arc<Record>, NotRecorded> {
        self.pending.add(draft)
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

    /// Writes what waits, makes one more attempt when the disk fails, and ends the thread. Waits at most `timeout`; a disk
    /// that hangs is left behind. Returns whether everything is on the disk.
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
        self.pending.stop(Duration::ZERO);
    }
}

/// Why a step was not done.
enum Fault {
    /// Another program removed or cut the file: a new one is begun at once.
    Changed,
    /// The disk does not take it: why, with what to do.
    Disk(String),
}

/// The thread's state.
struct Writer {
    files: Arc<dyn JournalFiles>,
    limits: WriterLimits,
    clock: Clock,
    pending: Arc<Pending>,
    progress: Box<dyn Fn(JournalProgress) + Send>,
    resume: Resume,
    /// Records that are being written.
    batch: Vec<Arc<Record>>,
    /// What records add up to that were lost, being written.
    lost: Option<Lost>,
}

impl Writer {
    fn run(mut self) {
        let mut pause = self.limits.pause_min;
        loop {
            let is_last = self.pending.is_stopping();
            if !self.has_work() && !self.pending.wait() {
                break;
            }
            match self.step() {
                Ok(()) => {
                    pause = self.limits.pause_min;
                    if self.pending.set_failure(None) {
                        (self.progress)(JournalProgress::Recovered);
                    }
                }
                Err(Fault::Changed) => {}
                Err(Fault::Disk(why)) => {
                    self.fail(why);
                    if is_last {
                        break;
                    }
                    self.pending.wait_for(pause);
                    pause = (pause * 2).min(self.limits.pause_max);
                }
            }
        }
        self.pending.end();
    }

    fn has_work(&self) -> bool {
        let Resume { new_file, is_save_due, .. } = &self.resume;
        new_file.is_some() || *is_save_due || !self.batch.is_empty() || self.lost.is_some()
    }

    fn step(&mut self) -> Result<(), Fault> {
        if let Some(why) = &self.resume.closed {
            return Err(Fault::Disk(why.clone()));
        }
        if self.resume.new_file.is_some() {
            self.begin_file()?;
        }
        if self.batch.is_empty() && self.lost.is_none() {
            match self.pending.take() {
                Work::Records(records) => self.batch = records,
                Work::Lost(lost) => self.lost = Some(lost),
                Work::Nothing => {}
            }
        }
        self.write_lost()?;
        self.write_batch()?;
        if self.resume.is_save_due {
            self.save(&self.resume.tail.head, &self.resume.standing)?;
            self.resume.is_save_due = false;
        }
        if self.resume.tail.len.is_some_and(|len| len >= self.limits.file_bytes_max) {
            self.resume.new_file = Some(NewFile::Full);
        }
        Ok(())
    }

    /// Reports a failure, and refuses revives: they would take effect at a time when they are no longer wanted.
    fn fail(&mut self, why: String) {
        if let Some(len) = self.resume.tail.len.filter(|_| self.resume.closed.is_none()) {
            // A part of the batch may be in the file; if the cut fails too, the next attempt begins with it.
            let _ = self.files.append(CURRENT, len, b"");
        }
        let mut refused = self.lost.as_mut().map(|lost| std::mem::take(&mut lost.refused)).unwrap_or_default();
        for record in &mut self.batch {
            if let Some(replaced) = refusal(record, &why) {
                refused.push(replaced.seq);
                *record = Arc::new(replaced);
            }
        }
        // First the failure: from here on the queue takes no revive.
        let is_news = self.pending.set_failure(Some(why.clone()));
        refused.extend(self.pending.refuse(&why));
        if is_news {
            (self.progress)(JournalProgress::Failed { why: why.clone() });
        }
        for seq in refused {
            (self.progress)(JournalProgress::Refused { seq, why: why.clone() });
        }
    }

    /// Begins a new file with a checkpoint, and puts the one before aside. Each part may be done already.
    fn begin_file(&mut self) -> Result<(), Fault> {
        let Some(reason) = self.resume.new_file.clone() else { return Ok(()) };
        let because = match &reason {
            NewFile::Full => FULL.to_owned(),
            NewFile::Damaged(why) => why.clone(),
        };
        let text = self.line(&self.checkpoint(&self.resume.standing, self.resume.tail.seq, because))?;
        let head = hash(&text);
        if matches!(reason, NewFile::Damaged(_)) {
            // Until the new file is there, the saved state alone has what the damaged one lost.
            self.save(&head, &self.resume.standing)?;
            self.resume.is_save_due = false;
        }
        let names = self.files.list().map_err(|error| self.fault(&error))?;
        if names.iter().any(|name| name == CURRENT) {
            let aside = aside(&names, &reason, self.resume.tail.first_seq);
            self.files.rename(CURRENT, &aside).map_err(|error| self.fault(&error))?;
        }
        let bytes = ended(text);
        self.files.replace(CURRENT, &bytes).map_err(|error| self.fault(&error))?;
        let tail = &mut self.resume.tail;
        tail.len = Some(length(&bytes));
        tail.first_seq = tail.seq;
        tail.head = head;
        self.resume.new_file = None;
        self.remove_oldest();
        Ok(())
    }

    /// Writes a checkpoint in the place of records that were lost.
    fn write_lost(&mut self) -> Result<(), Fault> {
        let Some(lost) = self.lost.take() else { return Ok(()) };
        let kills: Vec<Record> = lost.kills.values().map(|record| Record::clone(record)).collect();
        let mut standing = self.resume.standing.clone();
        standing.add_kills(&kills);
        let why = format!("{} records were lost: the disk did not take them in time", lost.count);
        let record = self.checkpoint(&standing, lost.seq, why.clone());
        let refused = lost.refused.clone();
        let written = self.line(&record).and_then(|text| {
            let head = hash(&text);
            self.write(&ended(text), record.seq).map(|()| head)
        });
        let head = written.inspect_err(|_| self.lost = Some(lost))?;
        self.resume.tail.seq = record.seq;
        self.resume.tail.head = head;
        self.resume.standing = standing;
        self.resume.is_save_due = true;
        for seq in refused {
            (self.progress)(JournalProgress::Refused { seq, why: why.clone() });
        }
        (self.progress)(JournalProgress::Durable(record.seq));
        Ok(())
    }

    fn write_batch(&mut self) -> Result<(), Fault> {
        let Some(last) = self.batch.last().cloned() else { return Ok(()) };
        let mut head = self.resume.tail.head.clone();
        let mut bytes = Vec::new();
        for record in &self.batch {
            let text = self.line(&Record { prev: head, ..Record::clone(record) })?;
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
            if self.resume.standing.apply(&record) == Kills::Changed {
                self.resume.is_save_due = true;
            }
        }
        (self.progress)(JournalProgress::Durable(last.seq));
        Ok(())
    }

    /// Adds lines to `journal.jsonl`; `first_seq` is the number of the first.
    fn write(&mut self, bytes: &[u8], first_seq: u64) -> Result<(), Fault> {
        let written = match self.resume.tail.len {
            Some(len) => self.files.append(CURRENT, len, bytes),
            None => self.files.replace(CURRENT, bytes),
        };
        match written {
            Ok(()) => {
                let tail = &mut self.resume.tail;
                if tail.len.is_none() {
                    tail.first_seq = first_seq;
                }
                tail.len = Some(tail.len.unwrap_or(0) + length(bytes));
                Ok(())
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData)
                    && self.resume.tail.len.is_some() =>
            {
                self.resume.new_file =
                    Some(NewFile::Damaged(format!("another program removed or cut {CURRENT}: {error}")));
                Err(Fault::Changed)
            }
            Err(error) => Err(self.fault(&error)),
        }
    }

    fn save(&self, head: &str, standing: &Standing) -> Result<(), Fault> {
        let state = SavedState::new(self.resume.tail.seq, head, standing.kills());
        let bytes = state.to_bytes().map_err(Fault::Disk)?;
        self.files.replace(SAVED, &bytes).map_err(|error| self.fault(&error))
    }

    fn checkpoint(&self, standing: &Standing, seq: u64, because: String) -> Record {
        let now = self.clock.wall();
        let keys = standing.keys(now.saturating_sub(KEYS_FOR));
        Record {
            v: JOURNAL_VERSION,
            seq,
            at: rfc3339(now),
            who: Actor::process(),
            what: Deed::Checkpoint { kills: standing.kills(), keys, because },
            reason: None,
            key: None,
            config: self.resume.tail.config.clone(),
            generation: self.resume.tail.generation,
            prev: self.resume.tail.head.clone(),
        }
    }

    fn line(&self, record: &Record) -> Result<Vec<u8>, Fault> {
        line(record).map_err(|why| Fault::Disk(format!("{}: {why}", self.files.place())))
    }

    fn fault(&self, error: &io::Error) -> Fault {
        Fault::Disk(trouble(&self.files.place(), error))
    }

    /// Removes full and damaged files that are too many. A failure only leaves them there until the next time.
    fn remove_oldest(&self) {
        let Ok(names) = self.files.list() else { return };
        let mut full: Vec<(u64, &String)> = names.iter().filter_map(|name| Some((rotated_seq(name)?, name))).collect();
        full.sort_unstable();
        let mut damaged: Vec<(u64, &String)> =
            names.iter().filter(|name| is_damaged(name)).map(|name| (first_number(name), name)).collect();
        damaged.sort_unstable();
        for all in [full, damaged] {
            for (_, name) in all.iter().take(all.len().saturating_sub(self.limits.files_max)) {
                let _ = self.files.remove(name);
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

fn first_number(name: &str) -> u64 {
    let digits: String = name.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

fn ended(mut line: Vec<u8>) -> Vec<u8> {
    line.push(b'\n');
    line
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
