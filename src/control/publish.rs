//! Publishing: the only file that calls [`SnapshotStore::publish`](crate::snapshot::SnapshotStore::publish). What is
//! published elsewhere goes through here.

use std::sync::Arc;

use super::controller::Controller;
use super::next_snapshot;
use crate::snapshot::{Listener, Snapshot};

impl Controller {
    /// Rules with the next number, and all that belongs to them.
    pub(super) fn publish_generation(&mut self, next: Snapshot) {
        debug_assert_eq!(next.overlay.routes(), next.rules.routes.len(), "an overlay of these rules");
        debug_assert!(next.generation > self.store.load().generation, "generations go up");
        self.publish(next);
    }

    /// The addresses of `name` that are known now, under the same rules.
    pub(super) fn publish_addresses(&mut self, name: &str) {
        let old = self.store.load();
        let upstreams = next_snapshot::with_addresses(&old, name, &self.state.addresses());
        self.publish(Snapshot { upstreams, ..(*old).clone() });
    }

    /// The listeners of the first generation, when this process may accept.
    pub(super) fn publish_listeners(&mut self, listeners: Arc<[Arc<Listener>]>) {
        let unopened = self.store.load();
        self.publish(Snapshot { listeners, ..(*unopened).clone() });
    }

    /// Publishes, and keeps what was published before until no worker holds it.
    fn publish(&mut self, next: Snapshot) {
        let old = self.store.load();
        self.store.publish(next);
        self.retired.add(old);
    }
}
