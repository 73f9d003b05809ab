//! The snapshot: everything that decides about a request. Immutable, consistent, published by the controller alone.

mod route_state;
mod route_states;

use std::cell::OnceCell;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::watch;

pub use route_state::{LimitCounts, LimitState, RouteState};
pub use route_states::RouteStates;

use crate::balance::HashRing;
use crate::failover::{EndpointHealth, UpstreamHealth};
use crate::identity::IdentityProviders;
use crate::route::{
    Edition, EffectiveConfig, EndpointRole, Generation, ListenerSpec, Overlay, Protocol, Rules, UpstreamId,
};
use crate::telemetry::{ListenerMeter, PerWorker, UpstreamSeries};
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
    /// The ring of `balance = "hash"`; carried over while addresses and weights stay.
    pub ring: Option<Arc<HashRing>>,
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
    /// When it gets requests.
    pub role: EndpointRole,
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
        (self.weight, self.role) == (other.weight, other.role) && self.has_same_connections(other)
    }
}

impl Eq for EndpointState {}

impl EndpointState {
    /// Whether both are the same endpoint. One that was missing in a snapshot comes back in another `Arc`.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self == other
    }

    /// Whether both are the same endpoint but for weight and role, which connections do not depend on.
    #[must_use]
    pub fn has_same_connections(&self, other: &Self) -> bool {
        let Self { address, protocol, weight: _, role: _, tls, name, looked_up, health } = self;
        (*address, *protocol) == (other.address, other.protocol)
            && *tls == other.tls
            && *name == other.name
            && *looked_up == other.looked_up
            && Arc::ptr_eq(health, &other.health)
    }
}

/// What makes two endpoints the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointIdentity {
    /// All settings.
    Settings,
    /// Those that its connections depend on: all but weight and role.
    Connections,
}

impl EndpointIdentity {
    fn is_same(self, a: &EndpointState, b: &EndpointState) -> bool {
        match self {
            Self::Settings => a.is_same(b),
            Self::Connections => a.has_same_connections(b),
        }
    }

    /// What endpoints that are the same one have in common.
    const fn key(self, endpoint: &EndpointState) -> EndpointTableKey {
        let share = match self {
            Self::Settings => Some((endpoint.weight, endpoint.role)),
            Self::Connections => None,
        };
        (endpoint.address, endpoint.protocol, share)
    }
}

type EndpointTableKey = (SocketAddr, Protocol, Option<(u32, EndpointRole)>);

/// Finds endpoints in an earlier list: at the same index, else by their address and the like. The table for that is made
/// at the first miss, so that one pass over a list of any length takes linear time.
pub struct EndpointIndex<F> {
    identity: EndpointIdentity,
    count: usize,
    endpoint: F,
    table: OnceCell<EndpointTable>,
}

struct EndpointTable {
    first: ahash::HashMap<EndpointTableKey, usize>,
    /// For each endpoint, the next one with the same key.
    next: Box<[Option<usize>]>,
}

impl<'a, F: Fn(usize) -> &'a EndpointState> EndpointIndex<F> {
    /// For a list of this length, with its endpoints by index.
    pub const fn new(identity: EndpointIdentity, count: usize, endpoint: F) -> Self {
        Self { identity, count, endpoint, table: OnceCell::new() }
    }

    /// The index of the same endpoint; `at` is the index of the sought one in its own list.
    pub fn find(&self, at: usize, sought: &EndpointState) -> Option<usize> {
        let is_it = |at: &usize| self.identity.is_same((self.endpoint)(*at), sought);
        if at < self.count && is_it(&at) {
            return Some(at);
        }
        let table = self.table.get_or_init(|| self.table());
        let first = table.first.get(&self.identity.key(sought)).copied();
        std::iter::successors(first, |at| table.next.get(*at).copied().flatten()).find(is_it)
    }

    fn table(&self) -> EndpointTable {
        let mut first = ahash::HashMap::default();
        let mut next: Box<[Option<usize>]> = vec![None; self.count].into();
        for at in (0..self.count).rev() {
            let endpoint = (self.endpoint)(at);
            next[at] = first.insert(self.identity.key(endpoint), at);
        }
        EndpointTable { first, next }
    }
}

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
    pub routes: RouteStates,
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

#[cfg(test)]
mod tests;
