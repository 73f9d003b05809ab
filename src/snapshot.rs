//! The snapshot: everything that a request runs under. Immutable, self-consistent, published by one.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::sync::watch;

use crate::route::{Generation, ListenerSpec, Protocol, Rules};
use crate::telemetry::{ListenerMeter, PerWorker, UpstreamSeries, VariantSeries};
use crate::tls::Server;

/// One endpoint as it can be connected to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Its address.
    pub address: SocketAddr,
    /// How to speak to it.
    pub protocol: Protocol,
    /// Its weight, from 1.
    pub weight: u32,
    /// Host and port as written, for people and logs.
    pub name: Arc<str>,
}

/// A listener whose socket is bound. Identity is the `Arc`: a reload that does not change it carries it over.
#[derive(Debug)]
pub struct Listener {
    /// What the file says.
    pub spec: ListenerSpec,
    /// The address that was bound.
    pub bound: SocketAddr,
    /// The socket, non-blocking and listening; workers duplicate it.
    pub socket: Arc<TcpListener>,
    /// Its meters; carried over when the specification's limits change.
    pub meters: Arc<PerWorker<ListenerMeter>>,
    /// What it presents under TLS; nothing when it speaks cleartext.
    pub tls: Option<Arc<Server>>,
}

/// What a request runs under.
#[derive(Debug)]
pub struct Snapshot {
    /// The number of the compiled configuration.
    pub generation: Generation,
    /// What the file means.
    pub rules: Arc<Rules>,
    /// Bound listeners.
    pub listeners: Vec<Arc<Listener>>,
    /// Per upstream (by [`crate::route::UpstreamId`]) its endpoints; empty while no name could be resolved.
    pub endpoints: Vec<Arc<[Endpoint]>>,
    /// Per route and variant its series; one for a route that answers by itself.
    pub series: Vec<Box<[Arc<VariantSeries>]>>,
    /// Per upstream its series.
    pub upstream_series: Vec<Arc<UpstreamSeries>>,
}

/// Where the snapshot stands: control publishes, workers follow.
#[derive(Debug)]
pub struct SnapshotStore(watch::Sender<Arc<Snapshot>>);

impl SnapshotStore {
    /// A store with its first snapshot.
    #[must_use]
    pub fn new(first: Snapshot) -> Self {
        Self(watch::channel(Arc::new(first)).0)
    }

    /// The snapshot now.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.borrow())
    }

    /// Publishes. Only the controller may call it.
    pub fn publish(&self, next: Snapshot) {
        self.0.send_replace(Arc::new(next));
    }

    /// Follows what is published.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.subscribe()
    }
}
