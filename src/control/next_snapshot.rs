//! Carrying over: the next snapshot is made of what the file says now and of everything in the last snapshot that the
//! file did not change. What is carried over is the very same object, so that nobody who holds it notices.
//!
//! Identities: a listener by its name and address (its socket also when only its name or its limits change), what it
//! presents under TLS by its certificates (the keys of its tickets also when certificates change), a route's and an
//! upstream's state by its name while nothing of it changes. When something does, the rest of it goes on: a series of
//! meters by its labels, a sample by its route's name, weights and sticky key, an endpoint when it is equal.

mod listeners;
mod previous;
mod routes;
mod upstreams;

use std::sync::Arc;
use std::time::Duration;

pub use listeners::{certificate_changes, listeners};
use routes::route_states;
pub use routes::with_overlay;
use upstreams::upstream_states;
pub use upstreams::{Addresses, collector_tls, names_to_resolve, with_addresses};

use crate::identity::IdentityProviders;
use crate::route::{EffectiveConfig, Generation, Overlay, Rules};
use crate::snapshot::{Listener, Snapshot};
use crate::telemetry::MeterRegistry;

/// What the next snapshot is made of.
pub struct SnapshotInputs<'a> {
    /// Its number.
    pub generation: Generation,
    /// What the file means.
    pub rules: Arc<Rules>,
    /// The weights and kills in force: the files' own. Kills and latches that come from elsewhere are carried over by
    /// their maker.
    pub overlay: Overlay,
    /// Its listeners.
    pub listeners: Arc<[Arc<Listener>]>,
    /// Who can tell more about callers.
    pub identity_providers: IdentityProviders,
    /// The addresses of the names.
    pub addresses: &'a Addresses,
    /// The process's meters.
    pub registry: &'a MeterRegistry,
    /// The time, by the wall clock.
    pub now: Duration,
}

/// Makes the next snapshot.
#[must_use]
pub fn build(old: Option<&Snapshot>, inputs: SnapshotInputs<'_>) -> Snapshot {
    let SnapshotInputs { generation, rules, overlay, listeners, identity_providers, addresses, registry, now } = inputs;
    Snapshot {
        generation,
        listeners,
        routes: route_states(old, EffectiveConfig { rules: &rules, overlay: &overlay }, registry, now),
        upstreams: upstream_states(old, &rules, registry, addresses),
        identity_providers: old
            .map_or_else(IdentityProviders::default, |old| old.identity_providers.clone())
            .reuse_unchanged(identity_providers),
        rules,
        overlay,
    }
}

#[cfg(test)]
mod tests;
