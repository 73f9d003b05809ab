//! Reading: the files are loaded on a thread that may block, and names that are new get their first answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::source::{Reading, Unread};
use crate::clock::Clock;
use crate::config::{Diagnostics, Loaded};
use crate::control::carry;
use crate::control::net::{Resolve, first_answers};

/// Reads, and resolves the names that are not `known`, for at most `patience`.
pub async fn read(
    load: impl FnOnce() -> Result<Loaded, Diagnostics> + Send + 'static,
    resolver: Arc<dyn Resolve>,
    known: BTreeSet<String>,
    patience: Duration,
    clock: Clock,
) -> Reading {
    let began_at = clock.wall();
    let result = match tokio::task::spawn_blocking(load).await {
        Ok(loaded) => loaded.map_err(Unread::Refused),
        Err(error) => Err(Unread::Broken(error.to_string())),
    };
    let answers = match &result {
        Ok(loaded) => {
            let new = carry::names(&loaded.rules).into_iter().filter(|name| !known.contains(name));
            first_answers(&resolver, new, patience).await
        }
        Err(_) => BTreeMap::new(),
    };
    Reading { began_at, result, answers }
}
