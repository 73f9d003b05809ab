//! Publishing: the only file that calls [`SnapshotStore::publish`](crate::snapshot::SnapshotStore::publish).

use std::sync::Arc;

use super::controller::Controller;
use super::next_snapshot;
use crate::snapshot::{Listener, Snapshot};

impl Controller {
    /// Publishes the next generation.
    pub(super) fn publish_generation(&mut self, next: Snapshot) {
        debug_assert_eq!(next.overlay.routes(), next.rules.routes.len(), "an overlay of these rules");
        debug_assert!(next.generation > self.store.load().generation, "generations go up");
        self.publish(next);
    }

    /// Publishes the current addresses of `name` under the same rules.
    pub(super) fn publish_addresses(&mut self, name: &str) {
        let old = self.store.load();
        let upstreams = next_snapshot::with_addresses(&old, name, &self.state.addresses());
        self.publish(Snapshot { upstreams, ..(*old).clone() });
    }

    /// Publishes the listeners of the first generation: from now on workers accept.
    pub(super) fn publish_listeners(&mut self, listeners: Arc<[Arc<Listener>]>) {
        let unopened = self.store.load();
        self.publish(Snapshot { listeners, ..(*unopened).clone() });
    }

    /// Publishes, and keeps the previous snapshot until no worker uses it.
    fn publish(&mut self, next: Snapshot) {
        let old = self.store.load();
        self.store.publish(next);
        self.retired.add(old);
    }
}
