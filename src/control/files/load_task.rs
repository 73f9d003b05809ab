//! The load task: loads the files on a thread of its own and resolves the names that are new.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::load::{LoadError, LoadResult};
use crate::clock::Clock;
use crate::config::{Diagnostics, Loaded};
use crate::control::resolver::{Resolve, first_answers};
use crate::control::{background, next_snapshot};

/// Loads, and resolves the names that are not `known`, for at most `timeout`.
pub async fn run_load(
    load: impl FnOnce() -> Result<Loaded, Diagnostics> + Send + 'static,
    resolver: Arc<dyn Resolve>,
    known: BTreeSet<String>,
    timeout: Duration,
    clock: Clock,
) -> LoadResult {
    let began_at = clock.wall();
    let result = match on_own_thread(load).await {
        Ok(loaded) => loaded.map_err(LoadError::Invalid),
        Err(error) => Err(LoadError::Internal(error)),
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

/// Works on a thread that ends with the work.
async fn on_own_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (sender, result) = oneshot::channel();
    // The receiver is gone when the proxy stops.
    let spawned = background::spawn("loader", move || drop(sender.send(work())));
    spawned.map_err(|error| format!("no thread for the loader: {error}"))?;
    result.await.map_err(|_| "the loader has panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_comes_back_and_a_panic_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(on_own_thread(|| 7)), Ok(7));
        assert!(runtime.block_on(on_own_thread(|| -> u8 { panic!("out of paper") })).is_err());
    }
}
