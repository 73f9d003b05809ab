//! The files that a load reads, each with its use. A check over the API opens only files that the running configuration
//! uses in the same way: it must not show the content of others.
//!
//! Paths are compared as they are written, without a look at the disk: the answer says nothing of other files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a file is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::config) enum FileUse {
    /// A file of `include`.
    Included,
    /// A pattern of `include`: all files that match it.
    Pattern,
    /// A certificate or a key.
    Pem,
    /// A directory of certificates.
    PemDirectory,
    /// A list of tenants.
    Tenants,
    /// A list of endpoints.
    Endpoints,
    /// Tokens of the admin listener.
    Tokens,
    /// Keys or data of an identity provider.
    Identity,
}

/// Files with their uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppliedFiles(BTreeSet<(FileUse, PathBuf)>);

impl AppliedFiles {
    pub(in crate::config) fn insert(&mut self, file_use: FileUse, path: &Path) {
        self.0.insert((file_use, path.to_owned()));
    }

    /// Whether this file is used so, or lies in a directory whose files all are.
    pub(in crate::config) fn contain(&self, file_use: FileUse, path: &Path) -> bool {
        let has = |file_use, path: &Path| self.0.contains(&(file_use, path.to_owned()));
        let in_directory = || path.parent().is_some_and(|directory| has(FileUse::PemDirectory, directory));
        has(file_use, path) || (file_use == FileUse::Pem && in_directory())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_allowed_for_its_own_use_only() {
        let mut applied = AppliedFiles::default();
        applied.insert(FileUse::Included, Path::new("dir/./a.toml"));
        applied.insert(FileUse::PemDirectory, Path::new("dir/certs"));
        for (file_use, path, expected) in [
            (FileUse::Included, "dir/a.toml", true),
            (FileUse::Tenants, "dir/a.toml", false),
            (FileUse::Included, "dir/b.toml", false),
            (FileUse::Included, "dir/x/../a.toml", false),
            (FileUse::Pem, "dir/certs/a.key", true),
            (FileUse::Included, "dir/certs/a.key", false),
            (FileUse::Pem, "dir/certs/../a.key", false),
        ] {
            assert_eq!(applied.contain(file_use, Path::new(path)), expected, "{file_use:?} {path}");
        }
    }
}
