//! A disk that can be full, or hang, for the journal of a proxy in a test.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use super::harness::Folder;
use crate::app::{App, workers};
use crate::control::ControlSettings;
use crate::journal::{DiskFiles, JournalFiles};

/// The files of a disk that can be full, or hang.
#[derive(Debug)]
pub(super) struct Faulty {
    disk: DiskFiles,
    pub(super) is_full: AtomicBool,
    pub(super) hangs: AtomicBool,
}

impl Faulty {
    pub(super) fn new(folder: &Folder) -> Arc<Self> {
        let disk = DiskFiles::new(&folder.path("state"));
        Arc::new(Self { disk, is_full: AtomicBool::new(false), hangs: AtomicBool::new(false) })
    }

    fn write<T>(&self, write: impl FnOnce(&DiskFiles) -> io::Result<T>) -> io::Result<T> {
        while self.hangs.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.is_full.load(SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { write(&self.disk) }
    }
}

impl JournalFiles for Faulty {
    fn place(&self) -> String {
        self.disk.place()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        self.disk.read(name)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        self.write(|disk| disk.sync(name))
    }

    fn append(&self, name: &str, len: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(|disk| disk.append(name, len, bytes))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.write(|disk| disk.replace(name, bytes))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.write(|disk| disk.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.write(|disk| disk.remove(name))
    }
}

/// On these files; the answers to acts wait a second, as in production.
pub(super) fn start_on(folder: &Folder, files: Arc<Faulty>) -> App {
    let settings = ControlSettings { journal_files: Some(files), ..folder.options().settings() };
    App::launch(settings, workers()).expect("started")
}
