//! Finds certificates and their keys in a directory, by the usual file names of ACME clients, mkcert and Kubernetes.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::tls::CertificateSource;

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct CertificatePair {
    pub(in crate::config) cert: Pem,
    pub(in crate::config) key: Pem,
}

/// The source of a PEM text.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::config) enum Pem {
    File(PathBuf),
    /// In the configuration or in the environment.
    Inline(Vec<u8>),
}

impl Pem {
    /// The path of the file; `None` for inline PEM.
    pub(in crate::config) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Inline(_) => None,
        }
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Inline(_) => f.write_str("the inline PEM"),
        }
    }
}

impl fmt::Debug for Pem {
    /// Never shows the bytes: they may be a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The certificates of a directory.
#[derive(Debug, Default)]
pub(in crate::config) struct CertificateDirectory {
    /// Pairs of a certificate and its key, by file name.
    pub(in crate::config) pairs: Vec<CertificatePair>,
    /// Served pairs of which exactly one file is missing now.
    pub(in crate::config) halves: Vec<CertificatePair>,
    /// Keys without a certificate.
    pub(in crate::config) lone_keys: Vec<PathBuf>,
    /// The subdirectories that were searched.
    pub(in crate::config) directories: Vec<PathBuf>,
}

/// Searches a directory and its direct subdirectories. `in_use` are the served certificates of this directory.
pub(in crate::config) fn find(directory: &Path, in_use: &[CertificateSource]) -> io::Result<CertificateDirectory> {
    let mut found = CertificateDirectory::default();
    let below = search(directory, in_use, &mut found)?;
    for directory in below {
        // A subdirectory that was removed meanwhile is no error: the next load does not find it.
        if search(&directory, in_use, &mut found).is_ok() {
            found.directories.push(directory);
        }
    }
    Ok(found)
}

/// Searches one directory; returns its subdirectories. Hidden entries are skipped: Kubernetes keeps the versions of a
/// volume there.
fn search(
    directory: &Path,
    in_use: &[CertificateSource],
    found: &mut CertificateDirectory,
) -> io::Result<Vec<PathBuf>> {
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if path.is_dir() {
            directories.push(path);
        } else {
            files.push(path);
        }
    }
    files.sort();
    directories.sort();
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let names: Vec<String> = files.iter().map(name).collect();
    debug_assert_eq!(names.len(), files.len(), "names and files have the same indexes");
    let (mut taken, mut lone) = (Vec::new(), Vec::new());
    for (key, key_name) in files.iter().zip(&names) {
        let Some(wanted) = certificate_names(key_name) else { continue };
        let cert = wanted.iter().find_map(|wanted| names.iter().position(|name| name == wanted));
        match cert {
            Some(at) => {
                taken.push(at);
                found.pairs.push(CertificatePair { cert: Pem::File(files[at].clone()), key: Pem::File(key.clone()) });
            }
            None => lone.push(key.clone()),
        }
    }
    for one in in_use.iter().filter(|one| one.cert.parent() == Some(directory)) {
        let Some(key) = &one.key else { continue };
        let half = match files.iter().position(|file| *file == one.cert) {
            Some(at) => !taken.contains(&at),
            None => lone.contains(key),
        };
        if half {
            lone.retain(|lone| lone != key);
            found.halves.push(CertificatePair { cert: Pem::File(one.cert.clone()), key: Pem::File(key.clone()) });
        }
    }
    found.lone_keys.append(&mut lone);
    Ok(directories)
}

/// The possible file names of the certificate for a key; `None` if the file is not a key.
fn certificate_names(key: &str) -> Option<Vec<String>> {
    if key == "privkey.pem" {
        return Some(vec!["fullchain.pem".to_owned(), "cert.pem".to_owned()]);
    }
    let stem = [".key.pem", "-key.pem", "_key.pem", ".key"].iter().find_map(|end| key.strip_suffix(end))?;
    let endings = [".crt", ".pem", ".cert", ".cer", ".crt.pem", "-cert.pem", ".cert.pem"];
    Some(endings.iter().map(|end| format!("{stem}{end}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_found_by_their_usual_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "a.crt",
            "a.key",
            "b.pem",
            "b-key.pem",
            "clients.pem",
            "lone.key",
            ".hidden.key",
            "live/x/ignored.key",
            "live/fullchain.pem",
            "live/cert.pem",
            "live/privkey.pem",
            "tls/tls.crt",
            "tls/tls.key",
            "notes.txt",
        ] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = find(dir.path(), &[]).unwrap();
        let short = |path: &Path| path.strip_prefix(dir.path()).unwrap().display().to_string();
        let pairs: Vec<_> = found
            .pairs
            .iter()
            .map(|pair| (short(pair.cert.path().unwrap()), short(pair.key.path().unwrap())))
            .collect();
        let expected = [
            ("a.crt", "a.key"),
            ("b.pem", "b-key.pem"),
            ("live/fullchain.pem", "live/privkey.pem"),
            ("tls/tls.crt", "tls/tls.key"),
        ];
        assert_eq!(pairs, expected.map(|(cert, key)| (cert.to_owned(), key.to_owned())));
        assert_eq!(found.lone_keys.iter().map(|path| short(path)).collect::<Vec<_>>(), ["lone.key"]);
        assert_eq!(found.directories.iter().map(|path| short(path)).collect::<Vec<_>>(), ["live", "tls"]);
        assert!(find(&dir.path().join("a.crt"), &[]).is_err());
    }
}
