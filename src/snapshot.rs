//! The snapshot: everything that decides about a request. Immutable, consistent, published by the controller alone.

use std::net::{Shutdown, SocketAddr, TcpListener};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::watch;

use crate::failover::{EndpointHealth, UpstreamHealth};
use crate::identity::IdentityProviders;
use crate::route::{Edition, EffectiveConfig, Generation, ListenerSpec, Needs, Overlay, Protocol, Rules, UpstreamId};
use crate::telemetry::{
    ExposedCallers, GuardWatch, ListenerMeter, PerWorker, Sample, ShadowSeries, UpstreamSeries, VariantSeries,
};
use crate::tls::{EndpointTls, Server};

/// A listening socket, and whether another process holds it too.
#[derive(Debug)]
pub struct ListeningSocket {
    socket: TcpListener,
    /// A successor or systemd holds the same socket and accepts from its backlog.
    shared: AtomicBool,
}

impl ListeningSocket {
    /// A socket of this process only.
    #[must_use]
    pub const fn own(socket: TcpListener) -> Self {
        Self { socket, shared: AtomicBool::new(false) }
    }

    /// A socket that another process holds too.
    #[must_use]
    pub const fn shared(socket: TcpListener) -> Self {
        Self { socket, shared: AtomicBool::new(true) }
    }

    /// Marks the socket as held by another process too.
    pub fn share(&self) {
        self.shared.store(true, Relaxed);
    }

    /// Whether another process holds the socket too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared.load(Relaxed)
    }

    /// Shuts the socket down, unless another process holds it. Dropping is not enough: the duplicates of the workers
    /// keep it open, and clients would wait in a backlog that is never accepted.
    ///
    /// # Errors
    /// When the socket is shut down already.
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

/// A listener with a bound socket. Its identity is the `Arc`: a reload that does not change it carries it over.
#[derive(Debug)]
pub struct Listener {
    /// The specification in the file.
    pub spec: ListenerSpec,
    /// The address that was bound.
    pub bound: SocketAddr,
    /// The socket, non-blocking and listening; each worker duplicates it.
    pub socket: Arc<ListeningSocket>,
    /// Its meters; carried over when only limits change.
    pub meters: Arc<PerWorker<ListenerMeter>>,
    /// Its TLS configuration; `None` for cleartext.
    pub tls: Option<Arc<Server>>,
}

/// The state of a route; carried over while a route of this name exists.
#[derive(Debug)]
pub struct RouteState {
    /// The series of each variant; one for a redirect or a fixed response.
    pub series: Box<[Arc<VariantSeries>]>,
    /// The random sample of the weights' decisions; `None` for a route with one variant.
    pub sample: Option<Arc<Sample>>,
    /// What its guards count; `None` when none watches.
    pub watch: Option<Arc<GuardWatch>>,
    /// The distinct callers that the canaries of its rollout got; `None` without a rollout.
    pub exposed: Option<Arc<ExposedCallers>>,
    /// The series of its shadow, if it has one.
    pub shadow: Option<Arc<ShadowSeries>>,
    /// The facts about callers that its rules need.
    pub needs: Needs,
}

/// The state of an upstream; carried over while an upstream of this name exists.
#[derive(Debug)]
pub struct UpstreamState {
    /// Its series.
    pub series: Arc<UpstreamSeries>,
    /// The series of shadow requests to it; `None` when no route has a shadow.
    pub shadow_series: Option<Arc<UpstreamSeries>>,
    /// Its endpoints; empty until a name is resolved.
    pub endpoints: Arc<[Arc<EndpointState>]>,
    /// Which of them fail, and the budget of further tries.
    pub health: Arc<UpstreamHealth>,
}

/// One endpoint with its address. Equal values are the same endpoint.
#[derive(Debug)]
pub struct EndpointState {
    /// Its address.
    pub address: SocketAddr,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its weight, from 1.
    pub weight: u32,
    /// Its TLS configuration; `None` for cleartext.
    pub tls: Option<Arc<EndpointTls>>,
    /// Host and port as written, for people and logs.
    pub name: Arc<str>,
    /// The name that was resolved to the address, when the host is a name.
    pub looked_up: Option<Arc<str>>,
    /// Whether it fails. An endpoint of this address and protocol in this upstream keeps it.
    pub health: Arc<EndpointHealth>,
}

impl PartialEq for EndpointState {
    fn eq(&self, other: &Self) -> bool {
        let Self { address, protocol, weight, tls, name, looked_up, health } = self;
        (*address, *protocol, *weight) == (other.address, other.protocol, other.weight)
            && *tls == other.tls
            && *name == other.name
            && *looked_up == other.looked_up
            && Arc::ptr_eq(health, &other.health)
    }
}

impl Eq for EndpointState {}

/// The configuration and state that requests use. A clone shares everything.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The number of the compiled configuration.
    pub generation: Generation,
    /// The number of its publication.
    pub edition: Edition,
    /// The compiled rules of the files.
    pub rules: Arc<Rules>,
    /// The current weights and kills.
    pub overlay: Overlay,
    /// Bound listeners.
    pub listeners: Arc<[Arc<Listener>]>,
    /// The routes' states, by [`crate::route::RouteId`].
    pub routes: Arc<[Arc<RouteState>]>,
    /// The upstreams' states, by [`UpstreamId`].
    pub upstreams: Arc<[Arc<UpstreamState>]>,
    /// The identity providers: token keys and country data.
    pub identity_providers: IdentityProviders,
}

impl Snapshot {
    /// The effective configuration.
    #[must_use]
    pub fn effective(&self) -> EffectiveConfig<'_> {
        EffectiveConfig { rules: &self.rules, overlay: &self.overlay }
    }

    /// Whether any route can answer requests: by itself, or by an upstream that has an address.
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

/// The published snapshot: the controller publishes, workers follow.
#[derive(Debug)]
pub struct SnapshotStore(watch::Sender<Arc<Snapshot>>);

impl SnapshotStore {
    /// A store with its first snapshot.
    #[must_use]
    pub fn new(first: Snapshot) -> Self {
        Self(watch::channel(Arc::new(first)).0)
    }

    /// The current snapshot.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.borrow())
    }

    /// Publishes a snapshot. Only the controller calls it.
    pub fn publish(&self, next: Snapshot) {
        self.0.send_replace(Arc::new(next));
    }

    /// Subscribes to the published snapshots.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.subscribe()
    }
}
