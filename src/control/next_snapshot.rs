//! Builds the next snapshot from the new rules and from everything in the last snapshot that the file did not change.
//! What is carried over is the same `Arc`, so that its users notice nothing.
//!
//! Identities: a listener is found by name and address (its socket also by address alone, when its name or its limits
//! change), its TLS configuration by its certificates (the ticket keys also survive new certificates), the state of a
//! route or an upstream by name while nothing of it changes. When something changes, its parts are carried over: a
//! series of meters by its labels, a sample by the route's name, weights and sticky key, an endpoint when it is equal.

mod limits;
mod listeners;
mod previous;
mod rollout_callers;
mod routes;
mod upstreams;

use std::sync::Arc;
use std::time::Duration;

pub use listeners::{certificate_changes, listeners};
pub use routes::with_overlay;
use routes::{BuiltAt, route_states};

use upstreams::upstream_states;
pub use upstreams::{Addresses, EndpointInputs, collector_tls, names_to_resolve, with_addresses};

use crate::identity::IdentityProviders;
use crate::route::{Edition, EffectiveConfig, Generation, Overlay, Rules};
use crate::snapshot::{Listener, Snapshot};
use crate::telemetry::MeterRegistry;

/// The inputs of the next snapshot.
pub struct SnapshotInputs<'a> {
    /// The generation.
    pub generation: Generation,
    /// The compiled rules.
    pub rules: Arc<Rules>,
    /// The current weights and kills: those of the file. The caller carries over kills and latches from other sources.
    pub overlay: Overlay,
    /// The bound listeners.
    pub listeners: Arc<[Arc<Listener>]>,
    /// The identity providers: token keys and country data.
    pub identity_providers: IdentityProviders,
    /// The resolved addresses.
    pub addresses: &'a Addresses,
    /// The meters of the process.
    pub registry: &'a MeterRegistry,
    /// The wall-clock time.
    pub now: Duration,
    /// Milliseconds since the start of the process.
    pub uptime_ms: u64,
}

/// Builds the next snapshot.
#[must_use]
pub fn build(old: Option<&Snapshot>, inputs: SnapshotInputs<'_>) -> Snapshot {
    let SnapshotInputs {
        generation,
        rules,
        overlay,
        listeners,
        identity_providers,
        addresses,
        registry,
        now,
        uptime_ms,
    } = inputs;
    let at = BuiltAt { generation, now, uptime: Duration::from_millis(uptime_ms) };
    let next = Snapshot {
        generation,
        edition: old.map_or(Edition(1), |old| old.edition),
        listeners,
        routes: route_states(old, EffectiveConfig { rules: &rules, overlay: &overlay }, registry, at),
        upstreams: upstream_states(old, &rules, registry, EndpointInputs { addresses, now_ms: uptime_ms }),
        identity_providers: old
            .map_or_else(IdentityProviders::default, |old| old.identity_providers.clone())
            .reuse_unchanged(identity_providers),
        rules,
        overlay,
    };
    debug_assert_eq!(next.routes.len(), next.rules.routes.len(), "one state for each route");
    debug_assert_eq!(next.upstreams.len(), next.rules.upstreams.len(), "one state for each upstream");
    next
}

#[cfg(test)]
mod tests;
