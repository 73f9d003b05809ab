//! The state of one downstream connection, shared by its byte stream and its requests: client, listener, progress.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::HeaderValue;

use super::client_host::ClientHost;
use super::client_slot::ClientSlot;
use super::informational::InformationalResponses;
use super::tls_session::TlsSession;
use crate::net::Socket;
use crate::proxy::wire::field_rules::TRAILERS_MAX;
use crate::proxy::wire::grammar::Bounds;
use crate::proxy::wire::proxy_header::ProxyAddresses;
use crate::proxy::worker::Worker;
use crate::proxy::worker::budget::{Outbox, ReceiveWindow};
use crate::proxy::worker::connection_deadlines::ConnectionDeadlines;
use crate::proxy::worker::response_reader::{RequestSlot, ResponseReader};
use crate::proxy::worker::share::{self, Share};
use crate::route::VerifiedCert;
use crate::snapshot::Listener;
use crate::telemetry::Refusal;

/// Most bytes of chunk extensions in one body.
const CHUNK_EXTENSION_BYTES_MAX: usize = 16 * 1024;

/// Takes over the connection after an upgrade, with the bytes already read.
pub(crate) type Successor = Box<dyn FnOnce(Socket, Bytes) -> Pin<Box<dyn Future<Output = ()>>>>;

/// One downstream connection.
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Arc<Listener>,
    connection_slot: ClientSlot,
    /// The client's address: the source in the PROXY header, if there is one, else the peer of the connection.
    pub(crate) peer: SocketAddr,
    /// The address to which the client connected.
    local: SocketAddr,
    /// The sender of the PROXY header.
    pub(crate) sender: Option<SocketAddr>,
    pub(crate) local_port: HeaderValue,
    pub(crate) deadlines: Rc<ConnectionDeadlines>,
    /// The client's address in the form of `X-Forwarded-For`.
    pub(crate) peer_text: HeaderValue,
    /// Number of heads that were read.
    pub(crate) heads: Cell<u64>,
    /// Number of requests that the service has begun.
    pub(crate) requests: Cell<u64>,
    /// The batch size in which its request count is published to other workers.
    batch: i64,
    /// The request slot of the current request (HTTP/1.1).
    pub(crate) slot: RequestSlot,
    /// Requests that have not ended.
    pub(crate) in_flight: Cell<u32>,
    /// The head with this number stands for refused bytes.
    pub(crate) refused_head: Cell<Option<(u64, Refusal)>>,
    /// Takes over the connection when the head of the current response is sent.
    pub(crate) successor: Cell<Option<Successor>>,
    /// The refusal of the current body.
    pub(crate) refused_body: Cell<Option<Refusal>>,
    /// Informational responses to write before the next response.
    pub(crate) informational: Rc<InformationalResponses>,
    /// The reader of the stream that is being polled (HTTP/2).
    pub(crate) reader: RefCell<Option<Rc<ResponseReader>>>,
    /// All output was flushed to the socket.
    pub(super) flushed: Cell<bool>,
    /// The client has closed its writing direction (HTTP/1.1). It may still read.
    pub(crate) finished: Cell<bool>,
    /// The connection is between requests: no bytes of an unhandled request were read.
    pub(crate) between: Cell<bool>,
    /// The connection closes after the current responses.
    pub(crate) closing: Cell<bool>,
    /// The limit on frames that an ended HTTP/2 connection most likely exceeded.
    pub(super) suspect: Cell<Option<Refusal>>,
    /// The TLS session. Boxed, so that cleartext connections do not carry its size.
    pub(crate) tls: OnceCell<Box<TlsSession>>,
    /// The receive window (HTTP/2).
    receive_window: OnceCell<Rc<ReceiveWindow>>,
    /// The current response is of a killed variant, and its grace period is over (HTTP/1.1).
    pub(crate) killed: Cell<bool>,
    /// The connection was closed at a drain's deadline.
    pub(crate) cut: Cell<bool>,
    /// The host of the last request, and the fields that describe the client to an upstream for it. None while the
    /// connection hibernates (HTTP/1.1).
    pub(crate) described: RefCell<Option<Rc<ClientHost>>>,
}

impl Client {
    pub(crate) fn new(connection_slot: ClientSlot, peer: SocketAddr, local: SocketAddr) -> Rc<Self> {
        let (worker, listener) = (Rc::clone(&connection_slot.worker), Arc::clone(&connection_slot.listener));
        let deadlines = worker.connections.add(Arc::as_ptr(&listener.socket).addr());
        let draining = worker.draining.get();
        let ip = canonical(peer.ip());
        let batch = share::batch(listener.spec.limits.requests, worker.workers);
        let peer_text = text(ip);
        Rc::new(Self {
            local_port: HeaderValue::from(listener.bound.port()),
            worker,
            listener,
            connection_slot,
            peer: SocketAddr::new(ip, peer.port()),
            local: SocketAddr::new(canonical(local.ip()), local.port()),
            sender: None,
            peer_text,
            heads: Cell::new(0),
            requests: Cell::new(0),
            batch,
            slot: RequestSlot::default(),
            in_flight: Cell::new(0),
            refused_head: Cell::new(None),
            successor: Cell::new(None),
            refused_body: Cell::new(None),
            informational: InformationalResponses::new(&deadlines),
            deadlines,
            reader: RefCell::new(None),
            flushed: Cell::new(true),
            finished: Cell::new(false),
            between: Cell::new(true),
            closing: Cell::new(draining),
            suspect: Cell::new(None),
            tls: OnceCell::new(),
            receive_window: OnceCell::new(),
            killed: Cell::new(false),
            cut: Cell::new(false),
            described: RefCell::default(),
        })
    }

    /// Sets the addresses of a PROXY header. From now on the limits of the source address apply.
    pub(super) fn set_source(&mut self, addresses: ProxyAddresses) -> Result<(), Refusal> {
        self.sender = Some(self.peer);
        self.peer = addresses.source;
        self.local = addresses.destination;
        self.peer_text = text(addresses.source.ip());
        self.local_port = HeaderValue::from(addresses.destination.port());
        self.connection_slot.set_client(addresses.source.ip())
    }

    /// The addresses for the PROXY header to an upstream.
    pub(crate) fn proxy_addresses(&self) -> ProxyAddresses {
        ProxyAddresses { source: self.peer, destination: self.local }
    }

    /// The share of the client's address. Trusted proxies have none.
    pub(crate) fn share(&self) -> Option<&Rc<Share>> {
        self.connection_slot.share.as_ref()
    }

    /// The response bytes that hyper has and the socket has not.
    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        self.deadlines.outbox.get_or_init(|| self.worker.budget.outbox(self.share()))
    }

    /// Takes a request slot, unless the request has one.
    #[inline]
    pub(crate) fn take_slot(&self, slot: &RequestSlot) {
        if slot.take() {
            self.count_request(1);
        }
    }

    /// Frees a request's slot, if it has one.
    #[inline]
    pub(crate) fn free_slot(&self, slot: &RequestSlot) {
        if slot.free() {
            self.count_request(-1);
        }
    }

    /// Adds `n` to the requests in flight.
    fn count_request(&self, n: i64) {
        self.listener.meters.of(self.worker.index).requests.add(n);
        if let Some(share) = self.share() {
            share.count_request(n, self.batch);
        }
    }

    /// Counts streams that the client reset, or that the proxy had to reset.
    pub(crate) fn count_resets(&self, n: u32) -> Result<(), Refusal> {
        let Some(share) = self.share() else { return Ok(()) };
        let worker = &self.worker;
        let now = worker.clock.instant().saturating_duration_since(worker.registry.started);
        worker.client_limits.admit_resets(share.ip(), n, &self.listener.spec.limits, now)
    }

    /// The address to which the client connected.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// The bounds for the scanner.
    pub(crate) fn bounds(&self) -> Bounds {
        let limits = &self.listener.spec.limits;
        Bounds {
            header_bytes: limits.header_bytes as usize,
            headers: limits.headers as usize,
            uri_bytes: limits.uri_bytes as usize,
            chunk_extension_bytes: CHUNK_EXTENSION_BYTES_MAX,
            trailers: TRAILERS_MAX,
        }
    }

    /// The receive window of an HTTP/2 connection.
    pub(crate) fn receive_window(&self) -> &Rc<ReceiveWindow> {
        self.receive_window.get_or_init(|| self.worker.budget.receive_window(self.share().cloned()))
    }

    /// The scheme of the connection's requests: `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.get().is_some() { "https" } else { "http" }
    }

    /// The client's verified certificate.
    pub(crate) fn certificate(&self) -> Option<&VerifiedCert> {
        self.tls.get()?.identity.as_ref().map(|identity| &identity.certificate)
    }

    /// Whether the connection is idle in both directions and stays open.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_answered() && self.between.get() && !self.closing.get()
    }

    /// Whether every request that was read has a response, and it is flushed.
    pub(crate) fn is_answered(&self) -> bool {
        self.in_flight.get() == 0 && self.heads.get() == self.requests.get() && self.flushed.get()
    }

    /// Whether the current request is the last one of this connection.
    pub(crate) fn is_last(&self) -> bool {
        self.closing.get() || (self.finished.get() && self.heads.get() == self.requests.get())
    }

    /// Sets the write deadline while a write is pending, and clears it when bytes flow.
    pub(crate) fn record_write<T>(&self, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() && self.finished.get() {
            // The client still reads: extend the deadline.
            self.deadlines.read_within(self.worker.now_ms(), self.listener.spec.limits.idle_timeout);
        }
        if poll.is_pending() {
            self.free_slot(&self.slot);
            self.deadlines.write_within_once(self.worker.now_ms(), self.listener.spec.limits.stall_timeout);
        } else {
            self.deadlines.clear_write();
        }
        poll
    }

    /// Begins a request.
    pub(crate) fn begin_request(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.deadlines.clear_read();
        self.deadlines.cancel_hibernation();
        self.deadlines.mark_busy();
    }

    /// Ends a request. After the last one in flight, the connection is idle.
    pub(crate) fn end_request(&self) {
        debug_assert!(self.in_flight.get() > 0, "a request in flight is counted");
        let left = self.in_flight.get().saturating_sub(1);
        self.in_flight.set(left);
        if left == 0 {
            let limits = &self.listener.spec.limits;
            let patience = if self.between.get() { limits.idle_timeout } else { limits.header_timeout };
            self.deadlines.read_within(self.worker.now_ms(), patience);
            self.deadlines.mark_idle(self.worker.now_ms());
            self.deadlines.hibernate_later(self.worker.now_ms());
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.worker.connections.remove(&self.deadlines);
    }
}

/// An address as a field value.
fn text(ip: IpAddr) -> HeaderValue {
    HeaderValue::try_from(ip.to_string()).unwrap_or(HeaderValue::from_static("unknown"))
}

/// Converts an IPv4-mapped IPv6 address to its IPv4 address.
pub(crate) fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
