//! `lock`: one process at a time holds a state folder.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::trouble::trouble;

/// The name of the file.
const LOCK: &str = "lock";

/// The folder is ours until this is dropped or released.
#[derive(Debug)]
pub struct StateLock {
    file: File,
}

/// Why the lock was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockError {
    /// Another process has it.
    Held {
        /// Its process id, where the file names it.
        pid: Option<u32>,
        /// The folder.
        dir: String,
    },
    /// The file cannot be created or locked: why, with what to do.
    Unusable(String),
}

impl StateLock {
    /// Takes the lock of this folder, which must exist; does not wait.
    ///
    /// # Errors
    /// Another process has it, or the file cannot be created or locked.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(LOCK);
        let unusable = |error: &std::io::Error| LockError::Unusable(trouble(&path.display().to_string(), error));
        // The files of the standard library are closed in child processes.
        let writable = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = match writable {
            // A folder that is read-only now may have the file from before.
            Err(error) if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => {
                File::open(&path).map_err(|_| unusable(&error))?
            }
            opened => opened.map_err(|error| unusable(&error))?,
        };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LockError::Held { pid: holder(&mut file), dir: dir.display().to_string() });
            }
            Err(error) => return Err(unusable(&error.into())),
        }
        // The process id is for people: the lock is valid without it, such as on a full disk.
        let _ = file.set_len(0).and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
        Ok(Self { file })
    }

    /// Gives the lock up, for a successor.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for StateLock {
    fn drop(&mut self) {
        // Closing alone would not do while a child process that is just being started has a copy.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// The process id in the file.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { pid: Some(pid), dir } => write!(
                f,
                "process {pid} uses the state folder {dir}; stop it, or set `[state] dir` to a folder of its own for each \
                 process"
            ),
            Self::Held { pid: None, dir } => write!(
                f,
                "another process uses the state folder {dir}; stop it, or set `[state] dir` to a folder of its own for \
                 each process"
            ),
            Self::Unusable(why) => f.write_str(why),
        }
    }
}
