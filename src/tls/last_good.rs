//! The last good certificates: what is served on when new files do not hold, or are gone.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ahash::HashMap;

use super::{Authority, Certificate};

/// What the last load that held has served, and whose certificates it has believed. Shared by all loads of a process.
#[derive(Debug, Default)]
pub struct LastGood {
    in_use: Mutex<Vec<InUse>>,
    authorities: Mutex<HashMap<PathBuf, Authority>>,
}

/// A certificate that is served, and where it came from.
#[derive(Clone, Debug)]
pub struct InUse {
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
    /// These are served from now on, and no others: what was taken away is forgotten.
    pub fn replace(&self, in_use: Vec<InUse>) {
        *self.in_use.lock().unwrap_or_else(PoisonError::into_inner) = in_use;
    }

    /// What is served in the place of these files: what the certificate's file held, else what went with the key's.
    #[must_use]
    pub fn of(&self, cert: &Path, key: Option<&Path>) -> Option<Arc<Certificate>> {
        let known = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let of_cert = known.iter().find(|one| one.cert == cert);
        let found = of_cert.or_else(|| known.iter().find(|one| key.is_some() && one.key.as_deref() == key));
        found.map(|one| Arc::clone(&one.certificate))
    }

    /// What was found in this directory, each certificate once.
    #[must_use]
    pub fn found_in(&self, directory: &Path) -> Vec<InUse> {
        let known = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<InUse> = Vec::new();
        for one in known.iter().filter(|one| one.directory.as_deref() == Some(directory)) {
            if found.iter().all(|other| other.cert != one.cert) {
                found.push(one.clone());
            }
        }
        found
    }

    /// A file holds these roots.
    pub fn keep_authority(&self, path: &Path, authority: &Authority) {
        let mut known = self.authorities.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(path.to_owned(), authority.clone());
    }

    /// The roots that the file held when it was last good.
    #[must_use]
    pub fn authority_of(&self, path: &Path) -> Option<Authority> {
        self.authorities.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }
}
