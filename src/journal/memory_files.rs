//! Files in memory that fail, tear and forget at any step, for tests.
//!
//! Every step of an operation has a number: opening, cutting, writing, making durable, renaming. A plan says at which of
//! them the power fails or the disk refuses. What was not made durable can be lost.

use std::collections::BTreeMap;
use std::io::{self, Error, ErrorKind, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::files::JournalFiles;

/// A disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryFiles(Arc<Mutex<Disk>>);

/// What is left of what was not made durable when the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Everything: only the process was killed.
    Nothing,
    /// Names are as they were last, of added bytes half is there.
    Half,
    /// Nothing is left.
    All,
}

#[derive(Debug, Default)]
struct Disk {
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    contents: Vec<Content>,
    steps: u64,
    crash_at: Option<u64>,
    is_down: bool,
    refused: Range<u64>,
    refusal: Option<ErrorKind>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// The disk refused to make it durable: it will not be, until it is written again.
    is_forgotten: bool,
}

/// Whether a step is done.
enum Step {
    Done,
    /// A part of it, then the error.
    Half(Error),
}

impl MemoryFiles {
    /// The machine stops at this step.
    pub fn crash_at(&self, step: u64) {
        self.lock().crash_at = Some(step);
    }

    /// The disk refuses these steps.
    pub fn refuse(&self, steps: Range<u64>, kind: ErrorKind) {
        let mut disk = self.lock();
        disk.refused = steps;
        disk.refusal = Some(kind);
    }

    /// How many steps were done or tried.
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// Whether the machine has stopped.
    pub fn is_down(&self) -> bool {
        self.lock().is_down
    }

    /// Starts the machine again, without further faults.
    pub fn restart(&self, loss: Loss) {
        let mut disk = self.lock();
        if loss == Loss::All {
            disk.names = disk.durable_names.clone();
        }
        for content in &mut disk.contents {
            match loss {
                Loss::Nothing => {}
                Loss::Half => {
                    let added = content.now.len().saturating_sub(content.durable.len());
                    if added > 0 && content.now.starts_with(&content.durable) {
                        content.now.truncate(content.durable.len() + added / 2);
                    }
                }
                Loss::All => content.now.clone_from(&content.durable),
            }
        }
        disk.crash_at = None;
        disk.is_down = false;
        disk.refused = 0..0;
    }

    /// The content of a file.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.lock();
        disk.names.get(name).map(|at| disk.contents[*at].now.clone())
    }

    /// Sets the content of a file, durably.
    pub fn set(&self, name: &str, bytes: &[u8]) {
        let mut disk = self.lock();
        let at = disk.create(name);
        disk.contents[at] = Content { now: bytes.to_vec(), durable: bytes.to_vec(), is_forgotten: false };
        disk.durable_names = disk.names.clone();
    }

    /// Removes a file, durably.
    pub fn take(&self, name: &str) {
        let mut disk = self.lock();
        disk.names.remove(name);
        disk.durable_names.remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    fn step(&mut self) -> io::Result<Step> {
        if self.is_down {
            return Err(Error::other("the machine has stopped"));
        }
        let step = self.steps;
        self.steps += 1;
        if self.crash_at == Some(step) {
            self.is_down = true;
            return Ok(Step::Half(Error::other("the machine stops")));
        }
        match self.refusal {
            Some(kind) if self.refused.contains(&step) => Ok(Step::Half(Error::from(kind))),
            Some(_) | None => Ok(Step::Done),
        }
    }

    /// A step that is done as a whole or not at all.
    fn whole(&mut self) -> io::Result<()> {
        match self.step()? {
            Step::Done => Ok(()),
            Step::Half(error) => Err(error),
        }
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| Error::from(ErrorKind::NotFound))
    }

    fn create(&mut self, name: &str) -> usize {
        if let Some(at) = self.names.get(name) {
            return *at;
        }
        self.contents.push(Content::default());
        let at = self.contents.len() - 1;
        self.names.insert(name.to_owned(), at);
        at
    }

    fn write(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        let step = self.step()?;
        let content = &mut self.contents[at].now;
        match step {
            Step::Done => content.extend_from_slice(bytes),
            Step::Half(error) => {
                content.extend_from_slice(&bytes[..bytes.len() / 2]);
                return Err(error);
            }
        }
        Ok(())
    }

    fn sync(&mut self, at: usize) -> io::Result<()> {
        let step = self.step()?;
        let is_down = self.is_down;
        let content = &mut self.contents[at];
        if let Step::Half(error) = step {
            // A disk reports a failure once, and takes what is in memory for written.
            content.is_forgotten = !is_down;
            return Err(error);
        }
        if !content.is_forgotten {
            content.durable.clone_from(&content.now);
        }
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.whole()?;
        self.durable_names = self.names.clone();
        Ok(())
    }
}

impl JournalFiles for MemoryFiles {
    fn place(&self) -> String {
        "state".to_owned()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut disk = self.lock();
        disk.whole()?;
        Ok(disk.names.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let mut disk = self.lock();
        disk.whole()?;
        let at = disk.find(name)?;
        Ok(Box::new(io::Cursor::new(disk.contents[at].now.clone())))
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let mut disk = self.lock();
        let at = disk.find(name)?;
        disk.sync(at)?;
        disk.sync_names()
    }

    fn append(&self, name: &str, len: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole()?;
        let at = disk.find(name)?;
        let len = usize::try_from(len).expect("small");
        if disk.contents[at].now.len() < len {
            return Err(Error::from(ErrorKind::InvalidData));
        }
        if disk.contents[at].now.len() > len {
            disk.whole()?;
            disk.contents[at].now.truncate(len);
            disk.contents[at].is_forgotten = false;
        }
        disk.write(at, bytes)?;
        disk.sync(at)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole()?;
        let part = format!("{name}.tmp");
        // A new file under the old name: what was written to it before is gone.
        disk.names.remove(&part);
        let at = disk.create(&part);
        disk.write(at, bytes)?;
        disk.sync(at)?;
        disk.whole()?;
        disk.names.remove(&part);
        disk.names.insert(name.to_owned(), at);
        disk.sync_names()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole()?;
        let at = disk.find(from)?;
        disk.names.remove(from);
        disk.names.insert(to.to_owned(), at);
        disk.sync_names()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.lock();
        disk.whole()?;
        disk.find(name)?;
        disk.names.remove(name);
        disk.sync_names()
    }
}
