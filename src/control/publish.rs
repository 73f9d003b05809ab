//! Publishing: the only file that calls [`SnapshotStore::publish`](crate::snapshot::SnapshotStore::publish).

use std::sync::Arc;

use super::controller::Controller;
use super::next_snapshot;
use super::next_snapshot::EndpointInputs;
use crate::route::{Edition, Overlay};
use crate::snapshot::{Listener, Snapshot};

impl Controller {
    /// Publishes the next generation.
    pub(super) fn publish_generation(&mut self, next: Snapshot) {
        debug_assert_eq!(next.overlay.routes(), next.rules.routes.len(), "an overlay of these rules");
        debug_assert!(next.generation > self.store.load().generation, "generations go up");
        self.publish(next);
        self.follow_guards();
    }

    /// Publishes the current addresses of `name` under the same rules.
    pub(super) fn publish_addresses(&mut self, name: &str) {
        let old = self.store.load();
        let (addresses, now_ms) = (self.state.addresses(), self.state.uptime_ms());
        let inputs = EndpointInputs { addresses: &addresses, now_ms };
        let upstreams = next_snapshot::with_addresses(&old, name, inputs);
        self.publish(Snapshot { upstreams, ..(*old).clone() });
    }

    /// Publishes the listeners of the first generation: from now on workers accept.
    pub(super) fn publish_listeners(&mut self, listeners: Arc<[Arc<Listener>]>) {
        let unopened = self.store.load();
        self.publish(Snapshot { listeners, ..(*unopened).clone() });
    }

    /// Publishes an overlay under the same rules; returns its edition. The measured shares of routes whose weights or
    /// kills change begin anew.
    pub(super) fn publish_overlay(&mut self, overlay: Overlay) -> Edition {
        let old = self.store.load();
        let next = next_snapshot::with_overlay(&old, overlay, &self.state.counts.registry, self.state.clock.wall());
        let edition = self.publish(next);
        self.state.lock().baselines.follow_overlay(&old, &self.store.load());
        self.follow_shares();
        edition
    }

    /// Publishes, and keeps the previous snapshot until no worker uses it. Returns the edition.
    fn publish(&mut self, next: Snapshot) -> Edition {
        let old = self.store.load();
        let edition = Edition(old.edition.0 + 1);
        self.store.publish(Snapshot { edition, ..next });
        self.retired.add(old);
        edition
    }
}
