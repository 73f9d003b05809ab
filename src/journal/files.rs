//! What the journal does with files, as a trait: on a disk, and in tests in memory with faults at every step.

use std::io::{self, Read};

/// A folder of files with plain names. Every method that changes something returns when the change is durable.
pub trait JournalFiles: Send + Sync + std::fmt::Debug {
    /// The folder, for messages.
    fn place(&self) -> String;

    /// The names of all files; empty when there is no folder.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Reads a file from its beginning.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read.
    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;

    /// Makes durable what was written to a file before, and its name.
    ///
    /// # Errors
    /// The disk reports one.
    fn sync(&self, name: &str) -> io::Result<()>;

    /// Cuts a file to `len` bytes and adds `bytes`. It opens the file anew: after a failed write the state of an open
    /// file is unknown (a later sync of it may succeed although nothing was written).
    ///
    /// # Errors
    /// `NotFound` when there is no such file, `InvalidData` when it is shorter than `len`; else what the disk reports:
    /// then a part of `bytes` may be in the file.
    fn append(&self, name: &str, len: u64, bytes: &[u8]) -> io::Result<()>;

    /// Replaces a file as a whole, or creates it: readers see the old content or the new one. Creates the folder.
    ///
    /// # Errors
    /// The disk reports one; the old content is still there, or the new one is.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Renames a file; a file of the new name is replaced.
    ///
    /// # Errors
    /// There is no such file, or the disk reports one.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// There is no such file, or the disk reports one.
    fn remove(&self, name: &str) -> io::Result<()>;
}
