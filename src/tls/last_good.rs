//! The last good certificate of each file: what is served on when a new one does not hold.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ahash::HashMap;

use super::{Authority, Certificate};

/// What was read from each file when it was last good. Shared by all loads of a process.
#[derive(Debug, Default)]
pub struct LastGood {
    certificates: Mutex<HashMap<PathBuf, Arc<Certificate>>>,
    authorities: Mutex<HashMap<PathBuf, Authority>>,
}

impl LastGood {
    /// A file holds this certificate.
    pub fn keep(&self, path: &Path, certificate: &Arc<Certificate>) {
        let mut known = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(path.to_owned(), Arc::clone(certificate));
    }

    /// What the file held when it was last good.
    #[must_use]
    pub fn of(&self, path: &Path) -> Option<Arc<Certificate>> {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
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
