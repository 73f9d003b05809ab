//! A fault of the disk in words, with what to do.

use std::io::{Error, ErrorKind};

/// What to do about the faults that a state folder meets most.
const REMEDIES: &[(ErrorKind, &str)] = &[
    (ErrorKind::PermissionDenied, "give the user that runs the proxy the right to read and write it"),
    (ErrorKind::ReadOnlyFilesystem, "mount it writable, or set `[state] dir` to a folder that is"),
    (ErrorKind::StorageFull, "make room on its disk"),
    (ErrorKind::QuotaExceeded, "make room on its disk"),
    (ErrorKind::NotADirectory, NOT_A_FOLDER),
    (ErrorKind::AlreadyExists, NOT_A_FOLDER),
    (ErrorKind::NotFound, "create the folder above it, or set `[state] dir` to another path"),
];

const NOT_A_FOLDER: &str = "a part of its path is not a folder: remove that, or set `[state] dir` to another path";

/// Why a state folder cannot be used, and what to do.
pub(super) fn trouble(place: &str, error: &Error) -> String {
    let known = REMEDIES.iter().find(|(kind, _)| *kind == error.kind());
    let remedy = known.map_or("examine its disk and file system", |(_, remedy)| remedy);
    format!("{place}: {error}; {remedy}")
}
