//! Reading: the files are loaded on a thread that may block, and names that are new get their first answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::carry;
use super::resolve::{Answered, Resolve, first_answers};
use super::source::{Load, Unread};
use crate::clock::Clock;
use crate::config::Loaded;

/// What was read.
pub struct Reading {
    /// When it began, by the wall clock: what changed later was perhaps not seen.
    pub began_at: Duration,
    /// What it came to.
    pub result: Result<Loaded, Unread>,
    /// The first answers of names that are new.
    pub answers: BTreeMap<String, Answered>,
}

/// Reads, and resolves the names that are not `known`, for at most `patience`.
pub async fn read(
    load: Load,
    resolver: Arc<dyn Resolve>,
    known: BTreeSet<String>,
    patience: Duration,
    clock: Clock,
) -> Reading {
    let began_at = clock.wall();
    let result = match tokio::task::spawn_blocking(move || load()).await {
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
