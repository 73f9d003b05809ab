//! What an exchange holds of an upstream while it lasts: a connection, and its place among the requests in flight.

use std::cell::Cell;
use std::rc::Rc;

use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http2;

use super::h2_peer::H2PeerState;
use super::pool::{EndpointPool, Http1Connection, Http2Connection, UpstreamPool};
use crate::proxy::body::request_body::RequestBody;
use crate::proxy::body::upload::Upload;
use crate::proxy::wire::fault::Fault;
use crate::proxy::worker::Worker;
use crate::proxy::worker::send_task::SendTask;

/// A connection, or a stream of one.
pub(crate) enum Lease {
    /// A whole HTTP/1.1 connection.
    Whole {
        /// The connection.
        connection: Http1Connection,
        /// Where it goes back to.
        endpoint: Rc<EndpointPool>,
    },
    /// A stream of an HTTP/2 connection.
    Stream(H2Stream),
}

/// A stream of an HTTP/2 connection; frees its place when dropped.
pub(crate) struct H2Stream {
    pub(crate) sender: http2::SendRequest<RequestBody>,
    streams: Rc<Cell<usize>>,
    /// What the other side says of the connection.
    pub(crate) peer: Rc<H2PeerState>,
}

impl H2Stream {
    /// Takes a place on `connection`.
    pub(crate) fn new(connection: Http2Connection) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Self { sender: connection.sender, streams: connection.streams, peer: connection.peer }
    }
}

impl Drop for H2Stream {
    fn drop(&mut self) {
        self.streams.set(self.streams.get().saturating_sub(1));
    }
}

impl Lease {
    /// What the other side says of an HTTP/2 connection.
    pub(crate) fn h2_peer(&self) -> Option<Rc<H2PeerState>> {
        match self {
            Self::Whole { .. } => None,
            Self::Stream(stream) => Some(Rc::clone(&stream.peer)),
        }
    }

    /// Whether the other side has refused us, under TLS.
    pub(crate) fn is_tls_refusal(&self) -> bool {
        match self {
            Self::Whole { connection, .. } => connection.state.is_tls_refusal(),
            Self::Stream(stream) => stream.peer.is_tls_refusal(),
        }
    }

    /// Whether an answer of which no more comes is whole: on a stream, its end must have been sent.
    pub(crate) fn has_ended(&self, answer: &Incoming) -> bool {
        match self {
            Self::Whole { .. } => true,
            Self::Stream(_) => answer.is_end_stream(),
        }
    }

    /// The exchange ends before its time. hyper lets go of a connection or a stream only when the other side has read what
    /// was begun of a body, which may be never: with a body, it is cut here.
    pub(crate) fn abandon(self, upload: Option<&Rc<Upload>>) {
        let Some(upload) = upload else { return };
        match self {
            Self::Whole { connection, .. } => connection.task.abort(),
            Self::Stream(_) => upload.cut(),
        }
    }

    /// The answer was read whole: the connection goes back to its pool, unless the request's body is still on its way, of
    /// which no more is sent.
    pub(crate) fn finish(self, upload: Option<&Rc<Upload>>, now_ms: u64) {
        match self {
            Self::Whole { connection, endpoint } => {
                if upload.is_some_and(|upload| !upload.ended.get()) {
                    connection.task.abort();
                } else if !connection.sender.is_closed() {
                    endpoint.push(connection, now_ms);
                }
            }
            Self::Stream(_) => {
                if let Some(upload) = upload.filter(|upload| !upload.ended.get()) {
                    upload.cut();
                }
            }
        }
    }
}

/// What a copy holds of an upstream. Unless it is given back, it is cut when it is dropped: nobody reads on, and nothing
/// more is sent.
pub(crate) struct CopyLease {
    lease: Option<Lease>,
    send_task: Rc<SendTask>,
}

impl CopyLease {
    pub(crate) fn new(lease: Lease, send_task: Rc<SendTask>) -> Self {
        Self { lease: Some(lease), send_task }
    }

    pub(crate) fn lease(&mut self) -> Option<&mut Lease> {
        self.lease.as_mut()
    }

    /// The answer was read whole: what can be used again goes back to its pool.
    pub(crate) fn release(mut self, now_ms: u64) {
        if self.send_task.has_ended()
            && let Some(lease) = self.lease.take()
        {
            lease.finish(None, now_ms);
        }
    }
}

impl Drop for CopyLease {
    fn drop(&mut self) {
        self.send_task.cancel();
        match self.lease.take() {
            Some(Lease::Whole { connection, .. }) => connection.task.abort(),
            Some(Lease::Stream(_)) | None => {}
        }
    }
}

/// A place among the requests in flight; given back when dropped.
pub(crate) struct InFlightGuard {
    worker: Rc<Worker>,
    upstream: Rc<UpstreamPool>,
    endpoint: Rc<EndpointPool>,
}

impl InFlightGuard {
    /// Takes a place.
    pub(crate) fn new(worker: &Rc<Worker>, upstream: &Rc<UpstreamPool>, endpoint: &Rc<EndpointPool>) -> Self {
        endpoint.in_flight.set(endpoint.in_flight.get() + 1);
        upstream.meter(worker.index).in_flight.add(1);
        Self { worker: Rc::clone(worker), upstream: Rc::clone(upstream), endpoint: Rc::clone(endpoint) }
    }

    /// The request's time was over before its endpoint could be connected to.
    pub(crate) fn record_connect_timeout(&self, fault: Fault) {
        self.upstream.meter(self.worker.index).connect_failures.inc();
        self.upstream.record_connect_failure(&self.endpoint, fault, &self.worker);
    }

    /// Where it goes.
    pub(crate) fn upstream(&self) -> &UpstreamPool {
        &self.upstream
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.endpoint.in_flight.set(self.endpoint.in_flight.get().saturating_sub(1));
        self.upstream.meter(self.worker.index).in_flight.add(-1);
    }
}
