//! What is known of one downstream connection: who is there, on which listener, and what its reading side has found.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::HeaderValue;

use super::client_slot::ClientSlot;
use super::informational::InformationalResponses;
use super::tls_session::TlsSession;
use crate::net::Socket;
use crate::proxy::wire::field_rules::TRAILERS_MAX;
use crate::proxy::wire::grammar::Bounds;
use crate::proxy::wire::proxy_header::ProxyAddresses;
use crate::proxy::wire::raw_query::RawQuery;
use crate::proxy::worker::Worker;
use crate::proxy::worker::budget::{Outbox, ReceiveWindow};
use crate::proxy::worker::connection_deadlines::ConnectionDeadlines;
use crate::proxy::worker::response_reader::{RequestSlot, ResponseReader};
use crate::proxy::worker::share::{self, Share};
use crate::proxy::worker::trailer_writer::TrailerWriter;
use crate::route::VerifiedCert;
use crate::snapshot::Listener;
use crate::telemetry::Refusal;

/// Bytes of chunk extensions in one body (page of limits: 16 KiB).
const CHUNK_EXTENSION_BYTES_MAX: usize = 16 * 1024;

/// Takes over the connection after an upgrade, with the bytes already read.
pub(crate) type Successor = Box<dyn FnOnce(Socket, Bytes) -> Pin<Box<dyn Future<Output = ()>>>>;

/// One downstream connection.
pub(crate) struct Client {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Arc<Listener>,
    client_slot: ClientSlot,
    /// Who connects; behind one who vouches for him, as that one says.
    pub(crate) peer: SocketAddr,
    /// The address that the peer connected to.
    local: SocketAddr,
    /// Who vouches for the peer in a PROXY header.
    pub(crate) sender: Option<SocketAddr>,
    pub(crate) local_port: HeaderValue,
    pub(crate) deadlines: Rc<ConnectionDeadlines>,
    /// The peer's address as `X-Forwarded-For` carries it.
    pub(crate) peer_text: HeaderValue,
    /// The last `Forwarded` value made and the `Host` that it was made for.
    pub(crate) forwarded: RefCell<Option<(HeaderValue, HeaderValue)>>,
    /// Heads that were handed to hyper.
    pub(crate) heads: Cell<u64>,
    /// Queries that are to be forwarded as they came, by the number of their head.
    pub(super) raw_queries: RefCell<Vec<(u64, RawQuery)>>,
    /// Requests that hyper has handed to us.
    pub(crate) requests: Cell<u64>,
    /// In what batches its requests are published to other workers.
    batch: i64,
    /// The place of the request under way among all requests (HTTP/1.1).
    pub(crate) slot: RequestSlot,
    /// Requests that have not ended.
    pub(crate) in_flight: Cell<u32>,
    /// The head of this number stands for bytes that were refused.
    pub(crate) refused_head: Cell<Option<(u64, Refusal)>>,
    /// The last head asked for something else than HTTP, and nobody has said no yet.
    pub(super) switching: Cell<bool>,
    /// What the connection becomes when the head of the answer under way has left.
    pub(crate) successor: Cell<Option<Successor>>,
    /// The body under way was refused.
    pub(crate) refused_body: Cell<Option<Refusal>>,
    /// Trailers of the response that is being written (HTTP/1.1).
    pub(crate) trailing: TrailerWriter,
    /// Informational responses to write before the next response.
    pub(crate) informational: Rc<InformationalResponses>,
    /// The reader of the stream that is being polled (HTTP/2).
    pub(crate) reader: RefCell<Option<Rc<ResponseReader>>>,
    /// The connection's task has been woken and has read nothing yet.
    pub(super) turn_begins: Cell<bool>,
    /// Everything that was written has left.
    pub(super) flushed: Cell<bool>,
    /// The client sends nothing more (HTTP/1.1): it may still read.
    pub(crate) finished: Cell<bool>,
    /// No part of a request has been read that is not handled.
    pub(crate) between: Cell<bool>,
    /// What was to be read did not come in time.
    pub(crate) expired: Cell<bool>,
    /// The connection is to be closed after the responses under way.
    pub(crate) closing: Cell<bool>,
    /// What an HTTP/2 connection that has ended was flooded with, if with anything.
    pub(super) suspect: Cell<Option<Refusal>>,
    /// What a TLS handshake has settled. Boxed, so that cleartext connections do not carry its size.
    pub(crate) tls: OnceCell<Box<TlsSession>>,
    /// What may be sent before it is read (HTTP/2).
    receive_window: OnceCell<Rc<ReceiveWindow>>,
    /// The answer under way is of a killed variant, and its time is over (HTTP/1.1).
    pub(crate) killed: Cell<bool>,
    /// The connection was cut at a drain's deadline.
    pub(crate) cut: Cell<bool>,
}

impl Client {
    pub(crate) fn new(client_slot: ClientSlot, peer: SocketAddr, local: SocketAddr) -> Rc<Self> {
        let (worker, listener) = (Rc::clone(&client_slot.worker), Arc::clone(&client_slot.listener));
        let deadlines = worker.connections.add(Arc::as_ptr(&listener.socket).addr());
        let draining = worker.draining.get();
        let ip = canonical(peer.ip());
        let batch = share::batch(listener.spec.limits.requests, worker.workers);
        let peer_text = text(ip);
        Rc::new(Self {
            local_port: HeaderValue::from(listener.bound.port()),
            worker,
            listener,
            client_slot,
            peer: SocketAddr::new(ip, peer.port()),
            local: SocketAddr::new(canonical(local.ip()), local.port()),
            sender: None,
            peer_text,
            forwarded: RefCell::new(None),
            heads: Cell::new(0),
            raw_queries: RefCell::default(),
            requests: Cell::new(0),
            batch,
            slot: RequestSlot::default(),
            in_flight: Cell::new(0),
            refused_head: Cell::new(None),
            switching: Cell::new(false),
            successor: Cell::new(None),
            refused_body: Cell::new(None),
            trailing: TrailerWriter::default(),
            informational: InformationalResponses::new(&deadlines),
            deadlines,
            reader: RefCell::new(None),
            turn_begins: Cell::new(true),
            flushed: Cell::new(true),
            finished: Cell::new(false),
            between: Cell::new(true),
            expired: Cell::new(false),
            closing: Cell::new(draining),
            suspect: Cell::new(None),
            tls: OnceCell::new(),
            receive_window: OnceCell::new(),
            killed: Cell::new(false),
            cut: Cell::new(false),
        })
    }

    /// Another one vouches that the peer is somebody else: from here on it is. The limits of that address hold.
    pub(super) fn set_source(&mut self, addresses: ProxyAddresses) -> Result<(), Refusal> {
        self.sender = Some(self.peer);
        self.peer = addresses.source;
        self.local = addresses.destination;
        self.peer_text = text(addresses.source.ip());
        self.local_port = HeaderValue::from(addresses.destination.port());
        self.client_slot.set_client(addresses.source.ip())
    }

    /// Both ends of the connection, for an upstream that wants to know them.
    pub(crate) fn proxy_addresses(&self) -> ProxyAddresses {
        ProxyAddresses { source: self.peer, destination: self.local }
    }

    /// What its address has under way; trusted proxies have no share.
    pub(crate) fn share(&self) -> Option<&Rc<Share>> {
        self.client_slot.share.as_ref()
    }

    /// What it has been given and has not sent.
    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        self.deadlines.outbox.get_or_init(|| self.worker.budget.outbox(self.share()))
    }

    /// A request takes a place among those under way, unless it has one.
    #[inline]
    pub(crate) fn take_slot(&self, slot: &RequestSlot) {
        if slot.take() {
            self.count_request(1);
        }
    }

    /// A request gives its place back, if it has one.
    #[inline]
    pub(crate) fn free_slot(&self, slot: &RequestSlot) {
        if slot.free() {
            self.count_request(-1);
        }
    }

    /// So many more requests are under way.
    fn count_request(&self, n: i64) {
        self.listener.meters.of(self.worker.index).requests.add(n);
        if let Some(share) = self.share() {
            share.count_request(n, self.batch);
        }
    }

    /// The client has reset so many streams, or made us reset them.
    pub(crate) fn count_resets(&self, n: u32) -> Result<(), Refusal> {
        let Some(share) = self.share() else { return Ok(()) };
        let worker = &self.worker;
        let now = worker.clock.now().saturating_duration_since(worker.registry.started);
        worker.client_limits.admit_resets(share.ip(), n, &self.listener.spec.limits, now)
    }

    /// The address that the peer connected to.
    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    /// The bounds that the scanner keeps.
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

    /// What may be sent before it is read, where this is a connection of HTTP/2.
    pub(crate) fn receive_window(&self) -> &Rc<ReceiveWindow> {
        self.receive_window.get_or_init(|| self.worker.budget.receive_window(self.share().cloned()))
    }

    /// How the requests of this connection came: `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.get().is_some() { "https" } else { "http" }
    }

    /// The client's certificate, if it was verified.
    pub(crate) fn certificate(&self) -> Option<&VerifiedCert> {
        self.tls.get()?.identity.as_ref().map(|identity| &identity.certificate)
    }

    /// Whether nothing is under way in either direction.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_answered() && self.between.get() && !self.closing.get()
    }

    /// Takes the query of the head of this number, if it is to be forwarded as it came.
    pub(crate) fn raw_query(&self, number: u64) -> Option<RawQuery> {
        let mut queries = self.raw_queries.borrow_mut();
        let at = queries.iter().position(|(of, _)| *of == number)?;
        Some(queries.remove(at).1)
    }

    /// Whether every request that was read has been answered, and its answer has left.
    pub(crate) fn is_answered(&self) -> bool {
        self.in_flight.get() == 0 && self.heads.get() == self.requests.get() && self.flushed.get()
    }

    /// Whether the request under way is the last one that will be answered on this connection.
    pub(crate) fn is_last(&self) -> bool {
        self.closing.get() || (self.finished.get() && self.heads.get() == self.requests.get())
    }

    /// Arms the write deadline when a write is stuck, clears it when bytes flow.
    pub(crate) fn record_write<T>(&self, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() && self.finished.get() {
            // It takes what it is sent: it is waited for longer.
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

    /// A request begins.
    pub(crate) fn begin_request(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.deadlines.clear_read();
        self.deadlines.cancel_hibernation();
        self.deadlines.mark_busy();
    }

    /// A request has ended; when it was the last one under way, the connection is idle.
    pub(crate) fn end_request(&self) {
        let left = self.in_flight.get().saturating_sub(1);
        self.in_flight.set(left);
        if self.requests.get() == self.heads.get() {
            // The head that asked for it was answered with something else.
            self.switching.set(false);
        }
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

/// An address as a header carries it.
fn text(ip: IpAddr) -> HeaderValue {
    HeaderValue::try_from(ip.to_string()).unwrap_or(HeaderValue::from_static("unknown"))
}

/// An IPv4 address that is mapped into IPv6 is that IPv4 address.
pub(crate) fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
