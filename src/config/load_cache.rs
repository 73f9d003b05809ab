//! Loads the same files again and again: what has not changed is not read again.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::kept::KeptRoutes;
use super::load::{Loaded, load_changed, load_collecting};
use super::toml::context::Env;
use super::toml::diagnostic::Diagnostics;
use crate::tls::LastGood;

/// What the last load of some files leaves for the next one.
#[derive(Debug, Default)]
pub struct LoadCache(Mutex<Option<Arc<KeptRoutes>>>);

impl LoadCache {
    /// Loads like [`load_keeping`](super::load_keeping), with the same result. Routes whose text has not changed since the last
    /// load that succeeded are not read again.
    ///
    /// # Errors
    /// All errors and warnings.
    pub fn load(&self, path: &Path, env: Env<'_>, last_good: &LastGood) -> Result<Loaded, Diagnostics> {
        let last = self.kept().clone();
        let changed = last.and_then(|last| load_changed(path, env, last_good, &last));
        let (loaded, kept) = match changed {
            Some(changed) => changed,
            None => load_collecting(path, env, last_good)?,
        };
        *self.kept() = kept.map(Arc::new);
        Ok(loaded)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Arc<KeptRoutes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
