//! Reading: files from the disk, bounded, and the globs of `include`.

use std::fmt;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// How large a file may be.
pub(super) const FILE_BYTES_MAX: u64 = 32 << 20;

/// Why a file was not read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The system's reason.
    System(std::io::Error),
    /// A directory, a device, a pipe.
    NotRegular(&'static str),
    /// Too large: its size, and the largest that is read.
    TooLarge(u64, u64),
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
            Self::TooLarge(bytes, most) => {
                write!(f, "it has {} MiB; at most {} are read", bytes >> 20, most >> 20)
            }
        }
    }
}

/// The bytes of a regular file of bounded size.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, ReadError> {
    bytes_within(path, FILE_BYTES_MAX)
}

/// The bytes of a regular file of at most this size.
pub(super) fn bytes_within(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
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

/// All that comes, at most so many bytes.
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

/// What a glob led to.
#[derive(Debug, Default)]
pub(super) struct GlobMatches {
    /// Regular files, sorted.
    pub(super) files: Vec<PathBuf>,
    /// The directories that were searched.
    pub(super) directories: Vec<PathBuf>,
}

/// The files that a glob fits; `*` and `?` stand for characters of one path element and never for a leading dot.
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
                next.extend(names(&path).into_iter().filter(|name| fits(&text, name)).map(|name| path.join(name)));
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

fn fits(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
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
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
