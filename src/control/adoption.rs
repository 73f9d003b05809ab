//! Waits until the workers use what was published.

use std::pin::pin;
use std::time::Instant;

use super::state::ControlState;
use crate::route::Edition;

/// Waits until every worker uses `edition` or a later one, at most until `deadline`. Returns how many workers use it.
/// Workers wake the wait, so that it ends within microseconds of the last adoption.
pub(super) async fn wait_for_workers(state: &ControlState, edition: Edition, deadline: Instant) -> usize {
    let registry = &state.counts.registry;
    loop {
        let mut adoption = pin!(registry.adoption.notified());
        // Before the count: an adoption between the two must not be missed.
        adoption.as_mut().enable();
        let adopted = registry.adopted(edition);
        let left = deadline.saturating_duration_since(state.clock.now());
        if adopted >= registry.workers || left.is_zero() {
            return adopted;
        }
        // Woken or timed out: the count decides.
        let _ = tokio::time::timeout(left, adoption).await;
    }
}
