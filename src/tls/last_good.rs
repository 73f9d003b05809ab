//! The last good certificates. They stay in use when new files are invalid or missing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ahash::HashMap;

use super::{Authority, Certificate};

/// The certificates and the client authorities of a configuration. A load falls back to those of the active
/// configuration, and creates those of the next one, which take effect together with it.
#[derive(Clone, Debug, Default)]
pub struct LastGood {
    certificates: Vec<CertificateSource>,
    authorities: HashMap<PathBuf, Authority>,
}

/// A served certificate, and the files that it was read from.
#[derive(Clone, Debug)]
pub struct CertificateSource {
    /// The file of the certificate.
    pub cert: PathBuf,
    /// The file of its key; `None` if the key was not in a file.
    pub key: Option<PathBuf>,
    /// The directory that both were found in; `None` if the configuration names the files.
    pub directory: Option<PathBuf>,
    /// The certificate.
    pub certificate: Arc<Certificate>,
}

impl LastGood {
    /// Adds a served certificate.
    pub fn add_certificate(&mut self, one: CertificateSource) {
        self.certificates.push(one);
    }

    /// Adds the authorities of a file.
    pub fn add_authority(&mut self, path: &Path, authority: &Authority) {
        self.authorities.insert(path.to_owned(), authority.clone());
    }

    /// The last good certificate for these files: that of the certificate file, or else that of the key file.
    #[must_use]
    pub fn of(&self, cert: &Path, key: Option<&Path>) -> Option<Arc<Certificate>> {
        let of_cert = self.certificates.iter().find(|one| one.cert == cert);
        let of_key = || self.certificates.iter().find(|one| key.is_some() && one.key.as_deref() == key);
        of_cert.or_else(of_key).map(|one| Arc::clone(&one.certificate))
    }

    /// The certificates that were found in this directory, without duplicates.
    #[must_use]
    pub fn found_in(&self, directory: &Path) -> Vec<CertificateSource> {
        let mut found: Vec<CertificateSource> = Vec::new();
        for one in self.certificates.iter().filter(|one| one.directory.as_deref() == Some(directory)) {
            if found.iter().all(|other| other.cert != one.cert) {
                found.push(one.clone());
            }
        }
        found
    }

    /// The last good authorities of this file.
    #[must_use]
    pub fn authority_of(&self, path: &Path) -> Option<&Authority> {
        self.authorities.get(path)
    }
}
