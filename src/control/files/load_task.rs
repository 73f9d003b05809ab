//! The load task: loads the files on a blocking thread and resolves the names that are new.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::load::{LoadError, LoadResult};
use crate::clock::Clock;
use crate::config::{Diagnostics, Loaded};
use crate::control::next_snapshot;
use crate::control::resolver::{Resolve, first_answers};

/// Loads, and resolves the names that are not `known`, for at most `timeout`.
pub async fn run_load(
    load: impl FnOnce() -> Result<Loaded, Diagnostics> + Send + 'static,
    resolver: Arc<dyn Resolve>,
    known: BTreeSet<String>,
    timeout: Duration,
    clock: Clock,
) -> LoadResult {
    let began_at = clock.wall();
    let result = match tokio::task::spawn_blocking(load).await {
        Ok(loaded) => loaded.map_err(LoadError::Invalid),
        Err(error) => Err(LoadError::Internal(error.to_string())),
    };
    let answers = match &result {
        Ok(loaded) => {
            let new = next_snapshot::names_to_resolve(&loaded.rules).into_iter().filter(|name| !known.contains(name));
            first_answers(&resolver, new, timeout).await
        }
        Err(_) => BTreeMap::new(),
    };
    LoadResult { began_at, result, answers }
}
