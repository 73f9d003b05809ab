//! The tries of endpoints that are under way.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::failover::EndpointKey;

/// The most tries at once; more wait.
const AT_ONCE_MAX: usize = 64;

/// The tries under way.
#[derive(Debug)]
pub(in crate::control) struct Probes {
    /// By upstream and endpoint: an endpoint is tried once at a time.
    pub(super) under_way: HashSet<(String, EndpointKey)>,
    pub(super) places: Arc<Semaphore>,
}

impl Default for Probes {
    fn default() -> Self {
        Self { under_way: HashSet::new(), places: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }
}
