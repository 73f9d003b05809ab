//! An HTTP/2 connection to an upstream in its pool, and the streams of requests on it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use hyper::client::conn::http2;

use super::endpoint_queue::EndpointQueue;
use super::h1::connection::Http1Connection;
use super::h2_peer::H2PeerState;
use crate::proxy::body::request_body::RequestBody;
use crate::proxy::worker::budget::STREAMS_MAX;
use crate::telemetry::UpstreamSeries;

/// What a request that waits for a connection can be given on its worker.
pub(crate) enum Freed {
    /// An HTTP/1.1 connection.
    Connection(Box<Http1Connection>),
    /// A stream of an HTTP/2 connection.
    Stream(H2Stream),
}

/// An HTTP/2 connection.
#[derive(Clone)]
pub(crate) struct Http2Connection {
    pub(crate) sender: http2::SendRequest<RequestBody>,
    streams: Rc<OpenStreams>,
    pub(crate) peer: Rc<H2PeerState>,
    used_ms: Cell<u64>,
}

/// The open streams of a connection, and what happens when one ends.
pub(super) struct OpenStreams {
    open: Cell<usize>,
    /// The requests of this worker that wait for a connection to its endpoint.
    queue: Rc<EndpointQueue<Freed>>,
    worker: usize,
    series: Arc<UpstreamSeries>,
}

/// A stream of an HTTP/2 connection, counted until it is dropped.
pub(crate) struct H2Stream {
    pub(crate) sender: http2::SendRequest<RequestBody>,
    streams: Rc<OpenStreams>,
    /// The state that the upstream announced.
    pub(crate) peer: Rc<H2PeerState>,
}

impl OpenStreams {
    /// None yet.
    pub(super) fn new(queue: &Rc<EndpointQueue<Freed>>, worker: usize, series: Arc<UpstreamSeries>) -> Rc<Self> {
        Rc::new(Self { open: Cell::new(0), queue: Rc::clone(queue), worker, series })
    }
}

impl Http2Connection {
    pub(super) fn new(
        sender: http2::SendRequest<RequestBody>,
        peer: Rc<H2PeerState>,
        streams: Rc<OpenStreams>,
        now_ms: u64,
    ) -> Self {
        Self { sender, streams, peer, used_ms: Cell::new(now_ms) }
    }

    /// Whether it accepts streams, now or later. A connection whose limit is 0 counts as closed.
    fn is_alive(&self) -> bool {
        !self.sender.is_closed() && !self.peer.is_going_away() && self.peer.streams_max() > 0
    }

    /// Whether it accepts one more stream, within the upstream's limit and the proxy's own.
    pub(super) fn has_room(&self) -> bool {
        self.is_alive() && self.streams.open.get() < self.peer.streams_max().min(STREAMS_MAX)
    }

    /// Whether no request uses it.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.open.get() == 0
    }

    /// Whether it stays open: it has a stream, or had one within the idle timeout.
    pub(super) fn stays(&self, now_ms: u64, idle_ms_max: u64) -> bool {
        if !self.is_idle() {
            self.used_ms.set(now_ms);
        }
        self.is_alive() && now_ms < self.used_ms.get() + idle_ms_max
    }

    /// Gives its free streams to requests of its worker that wait.
    pub(super) fn serve_waiting(&self) {
        let OpenStreams { queue, series, .. } = &*self.streams;
        while !queue.is_empty() && self.has_room() {
            let Some(next) = queue.next_for_stream(&series.slots, &self.peer) else { return };
            next.give(Freed::Stream(H2Stream::new(self.clone())));
        }
    }
}

impl H2Stream {
    /// Counts one more stream on `connection`.
    pub(crate) fn new(connection: Http2Connection) -> Self {
        connection.streams.open.set(connection.streams.open.get() + 1);
        Self { sender: connection.sender, streams: connection.streams, peer: connection.peer }
    }

    /// A stream ended: another request of this worker may wait for it. Without one, a request of another worker may
    /// wait for the end of an idle connection.
    #[cold]
    fn pass_on(&self) {
        let (sender, streams, peer) = (self.sender.clone(), Rc::clone(&self.streams), Rc::clone(&self.peer));
        let connection = Http2Connection::new(sender, peer, streams, 0);
        connection.serve_waiting();
        if connection.is_idle() {
            self.streams.series.slots.ask(self.streams.worker);
        }
    }
}

impl Drop for H2Stream {
    fn drop(&mut self) {
        let OpenStreams { open, queue, series, .. } = &*self.streams;
        debug_assert!(open.get() > 0, "an open stream is counted");
        open.set(open.get().saturating_sub(1));
        if (open.get() == 0 || !queue.is_empty()) && series.slots.is_wanted() {
            self.pass_on();
        }
    }
}
