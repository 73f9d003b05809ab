//! Reads files with a size limit, and resolves the globs of `include`.

use std::fmt;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::toml::applied_files::FileUse;
use super::toml::context::Context;

/// The largest file.
pub(super) const FILE_BYTES_MAX: u64 = 32 << 20;

/// Why a check over the API does not open a file.
pub(super) const NOT_APPLIED: &str =
    "the running configuration does not use it in this way, and a check over the API opens no other files";

/// Why a file was not read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// An error of the system.
    System(std::io::Error),
    /// A directory, a device, a pipe.
    NotRegular(&'static str),
    /// Too large: its size and the limit, in bytes.
    TooLarge(u64, u64),
    /// The load may not open it.
    NotApplied,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) if error.kind() == std::io::ErrorKind::NotFound => f.write_str("there is no such file"),
            Self::System(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                f.write_str("permission denied")
            }
            Self::System(error) => write!(f, "{error}"),
            Self::NotRegular(what) => write!(f, "it is {what}, not a file"),
            Self::TooLarge(bytes, max) => {
                write!(f, "it has {} MiB; the limit is {} MiB", bytes >> 20, max >> 20)
            }
            Self::NotApplied => f.write_str(NOT_APPLIED),
        }
    }
}

/// Reads a file that the load may open, of at most [`FILE_BYTES_MAX`].
pub(super) fn opened(context: &mut Context<'_>, file_use: FileUse, path: &Path) -> Result<Vec<u8>, ReadError> {
    opened_within(context, file_use, path, FILE_BYTES_MAX)
}

/// Reads a file that the load may open, of at most `bytes_max`.
pub(super) fn opened_within(
    context: &mut Context<'_>,
    file_use: FileUse,
    path: &Path,
    bytes_max: u64,
) -> Result<Vec<u8>, ReadError> {
    if context.may_open(file_use, path) { bytes_within(path, bytes_max) } else { Err(ReadError::NotApplied) }
}

/// Reads a regular file of at most [`FILE_BYTES_MAX`].
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, ReadError> {
    bytes_within(path, FILE_BYTES_MAX)
}

/// Reads a regular file of at most `bytes_max`.
fn bytes_within(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
    let metadata = std::fs::metadata(path).map_err(ReadError::System)?;
    if metadata.is_dir() {
        return Err(ReadError::NotRegular("a directory"));
    }
    if !metadata.is_file() {
        return Err(ReadError::NotRegular("a device or pipe"));
    }
    if metadata.len() > bytes_max {
        return Err(ReadError::TooLarge(metadata.len(), bytes_max));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    let file = std::fs::File::open(path).map_err(ReadError::System)?;
    append(&mut bytes, file, bytes_max)?;
    Ok(bytes)
}

/// Reads to the end, at most `bytes_max`.
pub(super) fn all(input: impl Read, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    append(&mut bytes, input, bytes_max)?;
    Ok(bytes)
}

fn append(bytes: &mut Vec<u8>, input: impl Read, bytes_max: u64) -> Result<(), ReadError> {
    input.take(bytes_max + 1).read_to_end(bytes).map_err(ReadError::System)?;
    match bytes.len() as u64 {
        len if len > bytes_max => Err(ReadError::TooLarge(len, bytes_max)),
        _ => Ok(()),
    }
}

/// The matches of a glob.
#[derive(Debug, Default)]
pub(super) struct GlobMatches {
    /// Regular files, sorted.
    pub(super) files: Vec<PathBuf>,
    /// The directories that were searched.
    pub(super) directories: Vec<PathBuf>,
}

/// The files that match a glob. `*` and `?` match characters of one path segment, but no leading dot.
pub(super) fn glob(base: &Path, pattern: &str) -> GlobMatches {
    let mut found = GlobMatches::default();
    let mut paths = vec![base.to_owned()];
    let mut components = Path::new(pattern).components().peekable();
    while let Some(component) = components.next() {
        let text = component.as_os_str().to_string_lossy();
        let wild = matches!(component, Component::Normal(_)) && text.contains(['*', '?']);
        let is_last = components.peek().is_none();
        let mut next = Vec::new();
        for path in paths {
            if wild {
                found.directories.push(path.clone());
                next.extend(
                    names(&path).into_iter().filter(|name| matches_glob(&text, name)).map(|name| path.join(name)),
                );
            } else {
                next.push(path.join(component));
            }
        }
        next.retain(|path| if is_last { path.is_file() } else { !wild || path.is_dir() });
        paths = next;
    }
    paths.sort();
    found.files = paths;
    found
}

fn names(directory: &Path) -> Vec<String> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn matches_glob(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // Greedy matching: after a mismatch, the last `*` takes one more character. Earlier ones need no second try.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if p < pattern.len() && (pattern[p] == '?' || (pattern[p] == name[n] && pattern[p] != '*')) {
            p += 1;
            n += 1;
        } else if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, n));
            p += 1;
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            p = at + 1;
            n = from + 1;
        } else {
            return false;
        }
    }
    debug_assert!(p <= pattern.len() && n == name.len(), "the whole name was compared");
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", false),
            ("*.toml", ".a.toml", false),
            (".*", ".a", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxaxxbx", false),
            ("*", "", true),
            ("ab", "ab", true),
        ] {
            assert_eq!(matches_glob(pattern, name), expected, "{pattern} {name}");
        }
    }
}
