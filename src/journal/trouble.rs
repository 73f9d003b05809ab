//! A fault of the disk in words, with what to do.

use std::io::{Error, ErrorKind};

/// Why a state folder cannot be used, and what to do.
pub(super) fn trouble(place: &str, error: &Error) -> String {
    let remedy = match error.kind() {
        ErrorKind::PermissionDenied => "give the user that runs the proxy the right to read and write it",
        ErrorKind::ReadOnlyFilesystem => "mount it writable, or set `[state] dir` to a folder that is",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on its disk",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "a part of its path is not a folder: remove that, or set `[state] dir` to another path"
        }
        ErrorKind::NotFound => "create the folder above it, or set `[state] dir` to another path",
        _ => "examine its disk and file system",
    };
    format!("{place}: {error}; {remedy}")
}
