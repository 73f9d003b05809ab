//! Certificates and their keys in a directory, by the names that authorities, tools and Kubernetes give them.

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

/// Where PEM is read.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::config) enum Pem {
    File(PathBuf),
    /// In the file that would name it, or in the environment.
    Inline(Vec<u8>),
}

impl Pem {
    /// The file, if it is one.
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
            Self::Inline(_) => f.write_str("the PEM that stands here"),
        }
    }
}

impl fmt::Debug for Pem {
    /// Never the bytes: they may be a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a directory holds.
#[derive(Debug, Default)]
pub(in crate::config) struct CertificateDirectory {
    /// By name.
    pub(in crate::config) pairs: Vec<CertificatePair>,
    /// What is served and has lost its certificate's or its key's file: one of them is still there.
    pub(in crate::config) halves: Vec<CertificatePair>,
    /// Keys without a certificate.
    pub(in crate::config) lone_keys: Vec<PathBuf>,
    /// Further directories that were looked into.
    pub(in crate::config) directories: Vec<PathBuf>,
}

/// Looks into a directory and the directories in it, of which these certificates are served.
pub(in crate::config) fn of(directory: &Path, in_use: &[CertificateSource]) -> io::Result<CertificateDirectory> {
    let mut found = CertificateDirectory::default();
    let below = look(directory, in_use, &mut found)?;
    for directory in below {
        // One that vanishes meanwhile is seen by the next look.
        if look(&directory, in_use, &mut found).is_ok() {
            found.directories.push(directory);
        }
    }
    Ok(found)
}

/// Looks into one directory; gives the directories in it. Hidden entries, such as those of Kubernetes, are left alone.
fn look(directory: &Path, in_use: &[CertificateSource], found: &mut CertificateDirectory) -> io::Result<Vec<PathBuf>> {
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
    let (mut taken, mut lone) = (Vec::new(), Vec::new());
    for (key, key_name) in files.iter().zip(&names) {
        let Some(wanted) = certificates_of(key_name) else { continue };
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

/// The names that the certificate of a key may have, if that is what it is.
fn certificates_of(key: &str) -> Option<Vec<String>> {
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
    fn pairs_are_found_by_the_names_that_people_use() {
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
        let found = of(dir.path(), &[]).unwrap();
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
        assert!(of(&dir.path().join("a.crt"), &[]).is_err());
    }
}
