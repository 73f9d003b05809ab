//! The last good certificates: what is served on when new files do not hold, or are gone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ahash::HashMap;

use super::{Authority, Certificate};

/// What a configuration serves, and whose certificates it believes. A load falls back to that of the configuration in
/// use and makes that of the next one; it takes effect when the next one does.
#[derive(Clone, Debug, Default)]
pub struct LastGood {
    certificates: Vec<CertificateSource>,
    authorities: HashMap<PathBuf, Authority>,
}

/// A certificate that is served, and where it came from.
#[derive(Clone, Debug)]
pub struct CertificateSource {
    /// The file of the certificate.
    pub cert: PathBuf,
    /// The file of its key, unless the key stood elsewhere.
    pub key: Option<PathBuf>,
    /// The directory in which both were found, if they were not named one by one.
    pub directory: Option<PathBuf>,
    /// The certificate.
    pub certificate: Arc<Certificate>,
}

impl LastGood {
    /// Adds a certificate that is served.
    pub fn add_certificate(&mut self, one: CertificateSource) {
        self.certificates.push(one);
    }

    /// Adds the roots of a file.
    pub fn add_authority(&mut self, path: &Path, authority: &Authority) {
        self.authorities.insert(path.to_owned(), authority.clone());
    }

    /// What is served in the place of these files: what the certificate's file held, else what went with the key's.
    #[must_use]
    pub fn of(&self, cert: &Path, key: Option<&Path>) -> Option<Arc<Certificate>> {
        let of_cert = self.certificates.iter().find(|one| one.cert == cert);
        let of_key = || self.certificates.iter().find(|one| key.is_some() && one.key.as_deref() == key);
        of_cert.or_else(of_key).map(|one| Arc::clone(&one.certificate))
    }

    /// What was found in this directory, each certificate once.
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

    /// The roots that the file held when it was last good.
    #[must_use]
    pub fn authority_of(&self, path: &Path) -> Option<&Authority> {
        self.authorities.get(path)
    }
}
