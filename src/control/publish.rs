//! Publishing: the only file that calls [`SnapshotStore::publish`](crate::snapshot::SnapshotStore::publish). What is
//! published elsewhere goes through here.

use std::sync::Arc;

use super::carry;
use super::controller::Controller;
use crate::snapshot::{Listener, Snapshot};

impl Controller {
    /// Rules with the next number, and all that belongs to them.
    pub(super) fn publish_generation(&mut self, next: Snapshot) {
        debug_assert!(next.generation > self.store.load().generation, "generations go up");
        self.publish(next);
    }

    /// The endpoints with the addresses that are known now, under the same rules.
    pub(super) fn publish_addresses(&mut self) {
        let old = self.store.load();
        let addresses = self.ledger.addresses();
        let endpoints = carry::all_endpoints(Some(&old), &old.rules, &addresses);
        self.publish(Snapshot {
            generation: old.generation,
            rules: Arc::clone(&old.rules),
            listeners: old.listeners.clone(),
            endpoints,
            series: old.series.clone(),
            samples: Arc::clone(&old.samples),
            upstream_series: old.upstream_series.clone(),
            shadows: Arc::clone(&old.shadows),
            shadow_pools: Arc::clone(&old.shadow_pools),
            witnesses: old.witnesses.clone(),
            needs: Arc::clone(&old.needs),
        });
    }

    /// The listeners of the first generation, when this process may accept.
    pub(super) fn publish_listeners(&mut self, listeners: Vec<Arc<Listener>>) {
        self.publish(self.store.load().with_listeners(listeners));
    }

    /// Publishes, and keeps what was published before until no worker holds it.
    fn publish(&mut self, next: Snapshot) {
        let old = self.store.load();
        self.store.publish(next);
        self.retired.add(old);
    }
}
