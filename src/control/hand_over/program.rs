//! The program that a hand-over starts: the path and arguments that this process was started with, whatever file is
//! there now.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// A program with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its path.
    pub path: PathBuf,
    /// Its arguments, without its own name.
    pub arguments: Vec<OsString>,
}

impl Program {
    /// The program of this process. Call it at the start: the file may be replaced later.
    #[must_use]
    pub fn of_this_process() -> Option<Self> {
        let executable = std::env::current_exe().ok()?;
        let mut given = std::env::args_os();
        let called = given.next().unwrap_or_default();
        let search = std::env::var_os("PATH").unwrap_or_default();
        let path = as_called(&called, &search, &executable).unwrap_or(executable);
        Some(Self { path, arguments: given.collect() })
    }
}

/// The path by which `executable` was started. The system reports the target of all symbolic links; by the time of a
/// hand-over, a link may point to the next release.
fn as_called(called: &OsStr, search: &OsStr, executable: &Path) -> Option<PathBuf> {
    let called = Path::new(called);
    let is_it = |path: &PathBuf| path.canonicalize().is_ok_and(|real| real == executable);
    if called.components().count() > 1 {
        return std::path::absolute(called).ok().filter(is_it);
    }
    std::env::split_paths(search).filter_map(|dir| std::path::absolute(dir.join(called)).ok()).find(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_is_kept_and_not_its_end() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("a path");
        let release = root.join("release-1");
        std::fs::create_dir(&release).expect("made");
        let binary = release.join("pointsman");
        std::fs::write(&binary, "").expect("written");
        let current = root.join("current");
        std::os::unix::fs::symlink(&release, &current).expect("linked");
        let link = current.join("pointsman");
        let elsewhere = root.join("elsewhere");
        std::fs::create_dir(&elsewhere).expect("made");
        std::fs::write(elsewhere.join("pointsman"), "").expect("written");
        let search = std::env::join_paths([&elsewhere, &current]).expect("a search path");
        let check = |called: &Path, expected: Option<&PathBuf>| {
            assert_eq!(as_called(called.as_os_str(), &search, &binary).as_ref(), expected, "{}", called.display());
        };
        check(&link, Some(&link));
        check(&binary, Some(&binary));
        check(Path::new("pointsman"), Some(&link));
        check(Path::new("another-name"), None);
        check(&elsewhere.join("pointsman"), None);
    }
}
