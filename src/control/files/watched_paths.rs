//! Watched paths: every file system entry that can change the content of a configured path. These are the file itself,
//! its directory, and each symbolic link on the way, at every level: Kubernetes swaps a link (`..data`) two links
//! before the file; editors replace the file.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use xxhash_rust::xxh3::Xxh3;

/// Links that are followed before a path counts as a loop (the limit of Linux).
const LINKS_MAX: usize = 40;
/// Files up to this size are also compared by content.
const CONTENT_BYTES_MAX: u64 = 1024 * 1024;

/// The entries that can change the content of any configured path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WatchedPaths {
    /// Entries without symbolic links in their directories.
    entries: BTreeSet<PathBuf>,
    /// Configured directories, of which every entry counts.
    directories: BTreeSet<PathBuf>,
}

/// The state of the watched paths at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// The paths that were read.
    pub watched: WatchedPaths,
    /// A hash over metadata and small contents.
    pub hash: u64,
    /// The last change of any entry, by the file system's clock.
    pub changed_at: Duration,
}

impl WatchedPaths {
    /// Resolves these paths.
    pub fn of(paths: &[PathBuf]) -> Self {
        let mut watched = Self::default();
        for path in paths {
            watched.resolve(&std::path::absolute(path).unwrap_or_else(|_| path.clone()));
        }
        watched
    }

    /// Whether this path is one of the entries.
    pub fn contains(&self, path: &Path) -> bool {
        self.entries.contains(path)
            || self.directories.contains(path)
            || path.parent().is_some_and(|dir| self.directories.contains(dir))
    }

    /// The directories to set watches on.
    pub fn directories_to_watch(&self) -> BTreeSet<PathBuf> {
        let parents = self.entries.iter().filter_map(|entry| entry.parent());
        parents.map(Path::to_path_buf).chain(self.directories.iter().cloned()).collect()
    }

    fn resolve(&mut self, path: &Path) {
        let mut todo: VecDeque<OsString> = pieces(path).collect();
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(piece) = todo.pop_front() {
            if piece == ".." {
                at.pop();
                continue;
            }
            let here = at.join(&piece);
            let Ok(metadata) = std::fs::symlink_metadata(&here) else {
                // The entry does not exist: its creation changes the content.
                self.entries.insert(here);
                return;
            };
            if metadata.is_symlink() && links < LINKS_MAX {
                links += 1;
                let target = std::fs::read_link(&here).unwrap_or_default();
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                pieces(&target).rev().for_each(|piece| todo.push_front(piece));
                self.entries.insert(here);
            } else if todo.is_empty() {
                // The directory too, so that its replacement is noticed.
                self.entries.insert(at.clone());
                if metadata.is_dir() {
                    self.directories.insert(here.clone());
                }
                self.entries.insert(here);
            } else {
                at = here;
            }
        }
    }
}

fn pieces(path: &Path) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

impl Fingerprint {
    /// Reads metadata and small files; may block.
    pub fn read(paths: &[PathBuf]) -> Self {
        let watched = WatchedPaths::of(paths);
        let mut hash = Xxh3::new();
        let mut changed_at = Duration::ZERO;
        for entry in &watched.entries {
            hash.update(entry.as_os_str().as_bytes());
            if let Ok(metadata) = std::fs::symlink_metadata(entry) {
                let matters = !metadata.is_dir() || watched.directories.contains(entry);
                if matters {
                    changed_at = changed_at.max(changed(&metadata));
                    hash_of(&mut hash, entry, &metadata);
                } else {
                    hash.update(&metadata.ino().to_le_bytes());
                }
            } else if let Some(Ok(directory)) = entry.parent().map(std::fs::symlink_metadata) {
                // A missing entry has no times; its directory has the time of the removal.
                changed_at = changed_at.max(changed(&directory));
            }
            hash.update(&[0]);
        }
        Self { watched, hash: hash.digest(), changed_at }
    }
}

fn changed(metadata: &Metadata) -> Duration {
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    Duration::new(seconds, u32::try_from(metadata.ctime_nsec()).unwrap_or(0))
}

fn hash_of(hash: &mut Xxh3, path: &Path, metadata: &Metadata) {
    for number in [metadata.dev(), metadata.ino(), metadata.len(), u64::from(metadata.mode())] {
        hash.update(&number.to_le_bytes());
    }
    for time in [metadata.mtime(), metadata.mtime_nsec()] {
        hash.update(&time.to_le_bytes());
    }
    if metadata.is_symlink() {
        hash.update(std::fs::read_link(path).unwrap_or_default().as_os_str().as_bytes());
    } else if metadata.is_file() && metadata.len() <= CONTENT_BYTES_MAX {
        hash.update(&std::fs::read(path).unwrap_or_default());
    } else if metadata.is_dir() {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        let names: BTreeSet<OsString> = entries.map(|entry| entry.file_name()).collect();
        for name in names {
            hash.update(name.as_bytes());
            hash.update(&[0]);
        }
    }
}
