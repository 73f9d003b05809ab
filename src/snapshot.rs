//! The snapshot: everything that a request runs under. Immutable, self-consistent, published by one.

use std::net::{Shutdown, SocketAddr, TcpListener};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::watch;

use crate::identity::IdentityProviders;
use crate::route::{EffectiveConfig, Generation, ListenerSpec, Needs, Overlay, Protocol, Rules, UpstreamId};
use crate::telemetry::{ListenerMeter, PerWorker, Sample, ShadowSeries, UpstreamSeries, VariantSeries};
use crate::tls::{EndpointTls, Server};

/// A socket that listens, and whether it does so for this process alone.
#[derive(Debug)]
pub struct ListeningSocket {
    socket: TcpListener,
    /// Somebody outside holds the same socket and sees to its queue: a successor, or systemd.
    shared: AtomicBool,
}

impl ListeningSocket {
    /// A socket of this process alone.
    #[must_use]
    pub const fn own(socket: TcpListener) -> Self {
        Self { socket, shared: AtomicBool::new(false) }
    }

    /// A socket that goes on after this process.
    #[must_use]
    pub const fn shared(socket: TcpListener) -> Self {
        Self { socket, shared: AtomicBool::new(true) }
    }

    /// From now on somebody else sees to its queue.
    pub fn share(&self) {
        self.shared.store(true, Relaxed);
    }

    /// Whether somebody else sees to its queue.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared.load(Relaxed)
    }

    /// Ends it for everybody who holds it, unless it goes on elsewhere. Dropping it would not be enough: duplicates keep
    /// it open, and clients would queue up at it in vain.
    ///
    /// # Errors
    /// When the system says that it was closed already.
    pub fn close(&self) -> std::io::Result<()> {
        if self.is_shared() { Ok(()) } else { socket2::SockRef::from(&self.socket).shutdown(Shutdown::Both) }
    }
}

impl Deref for ListeningSocket {
    type Target = TcpListener;

    fn deref(&self) -> &TcpListener {
        &self.socket
    }
}

/// A listener whose socket is bound. Identity is the `Arc`: a reload that does not change it carries it over.
#[derive(Debug)]
pub struct Listener {
    /// What the file says.
    pub spec: ListenerSpec,
    /// The address that was bound.
    pub bound: SocketAddr,
    /// The socket, non-blocking and listening; workers duplicate it.
    pub socket: Arc<ListeningSocket>,
    /// Its meters; carried over when the specification's limits change.
    pub meters: Arc<PerWorker<ListenerMeter>>,
    /// What it presents under TLS; nothing when it speaks cleartext.
    pub tls: Option<Arc<Server>>,
}

/// A route's state: what is carried over while there is a route of its name.
#[derive(Debug)]
pub struct RouteState {
    /// Per variant its series; one for a route that answers by itself.
    pub series: Box<[Arc<VariantSeries>]>,
    /// Who was sent where by weight; nothing for a route with one variant.
    pub sample: Option<Arc<Sample>>,
    /// The series of its shadow.
    pub shadow: Option<Arc<ShadowSeries>>,
    /// What must be found out about callers.
    pub needs: Needs,
}

/// An upstream's state: what is carried over while there is an upstream of its name.
#[derive(Debug)]
pub struct UpstreamState {
    /// Its series.
    pub series: Arc<UpstreamSeries>,
    /// The series of what shadows use of it; nothing when no route has a shadow.
    pub shadow_series: Option<Arc<UpstreamSeries>>,
    /// Its endpoints; empty while no name could be resolved.
    pub endpoints: Arc<[Arc<EndpointState>]>,
}

/// One endpoint as it can be connected to. Equal ones are the same endpoint.
#[derive(Debug, PartialEq, Eq)]
pub struct EndpointState {
    /// Its address.
    pub address: SocketAddr,
    /// How to speak to it.
    pub protocol: Protocol,
    /// Its weight, from 1.
    pub weight: u32,
    /// How it is secured, when it is.
    pub tls: Option<Arc<EndpointTls>>,
    /// Host and port as written, for people and logs.
    pub name: Arc<str>,
    /// The name that was looked up for the address, when the host is one.
    pub looked_up: Option<Arc<str>>,
}

/// What a request runs under. A clone shares everything.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The number of the compiled configuration.
    pub generation: Generation,
    /// What the file means.
    pub rules: Arc<Rules>,
    /// The weights and kills in force.
    pub overlay: Overlay,
    /// Bound listeners.
    pub listeners: Arc<[Arc<Listener>]>,
    /// The routes' states, by [`crate::route::RouteId`].
    pub routes: Arc<[Arc<RouteState>]>,
    /// The upstreams' states, by [`UpstreamId`].
    pub upstreams: Arc<[Arc<UpstreamState>]>,
    /// Who can tell more about callers.
    pub identity_providers: IdentityProviders,
}

impl Snapshot {
    /// The effective configuration.
    #[must_use]
    pub fn effective(&self) -> EffectiveConfig<'_> {
        EffectiveConfig { rules: &self.rules, overlay: &self.overlay }
    }

    /// Whether requests can be answered by any route at all: by the proxy itself, or by an upstream that has an address.
    #[must_use]
    pub fn serves_any_route(&self) -> bool {
        let has_address =
            |id: UpstreamId| self.upstreams.get(id.0 as usize).is_some_and(|state| !state.endpoints.is_empty());
        self.rules.routes.is_empty()
            || self.rules.routes.iter().any(|route| {
                route.split().is_none_or(|split| split.variants.iter().any(|variant| has_address(variant.upstream)))
            })
    }
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
