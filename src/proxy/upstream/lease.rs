//! The part of an upstream that an exchange occupies: a connection or a stream.

use std::rc::Rc;

use super::h1::connection::Http1Connection;
use super::h2_connection::H2Stream;
use super::h2_peer::H2PeerState;
use super::pool::EndpointPool;
use crate::proxy::body::upload::Upload;
use crate::proxy::worker::send_task::SendTask;

/// A connection, or a stream of one.
pub(crate) enum Lease {
    /// An HTTP/1.1 connection.
    Whole {
        /// The connection.
        connection: Box<Http1Connection>,
        /// The pool to which it returns.
        endpoint: Rc<EndpointPool>,
    },
    /// A stream of an HTTP/2 connection.
    Stream(H2Stream),
}

impl Lease {
    /// The state that the upstream of an HTTP/2 connection announced.
    pub(crate) fn h2_peer(&self) -> Option<Rc<H2PeerState>> {
        match self {
            Self::Whole { .. } => None,
            Self::Stream(stream) => Some(Rc::clone(&stream.peer)),
        }
    }

    /// Whether the upstream refused the proxy with a TLS alert.
    pub(crate) fn is_tls_refusal(&self) -> bool {
        match self {
            Self::Whole { connection, .. } => connection.is_tls_refusal(),
            Self::Stream(stream) => stream.peer.is_tls_refusal(),
        }
    }

    /// Whether the connection has ended; a stream's connection may be open although the stream was reset.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Whole { .. } => true,
            Self::Stream(stream) => stream.sender.is_closed(),
        }
    }

    /// Ends the exchange early: closes the connection, or resets the stream.
    pub(crate) fn abandon(self, upload: Option<&Rc<Upload>>) {
        match (self, upload) {
            // hyper releases a stream only after the upstream has read the rest of a started body, which may be never.
            (Self::Stream(_), Some(upload)) => upload.cut(),
            (Self::Stream(_), None) | (Self::Whole { .. }, _) => {}
        }
    }

    /// Ends the exchange after a complete response. The connection returns to its pool, or is closed if it cannot be
    /// used again: if a part of the request is not sent, the upstream would read the next request as the rest of it.
    /// On a stream, the rest of the body is cancelled.
    pub(crate) fn finish(self, upload: Option<&Rc<Upload>>, now_ms: u64) {
        match self {
            Self::Whole { mut connection, endpoint } => {
                if connection.is_reusable() {
                    connection.rest();
                    endpoint.push(connection, now_ms);
                } else {
                    connection.close();
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

/// The lease of a copy. Unless it is released, dropping it closes the connection or resets the stream, and ends the
/// copy's body.
pub(crate) struct CopyLease {
    lease: Option<Lease>,
    send_task: Rc<SendTask>,
}

impl CopyLease {
    pub(crate) fn new(lease: Lease, send_task: Rc<SendTask>) -> Self {
        Self { lease: Some(lease), send_task }
    }

    pub(crate) fn lease(&mut self) -> &mut Option<Lease> {
        &mut self.lease
    }

    /// Ends the lease after a complete response: a reusable connection returns to its pool.
    pub(crate) fn release(mut self, now_ms: u64) {
        // If a part of the copy's body is not sent on a stream, the lease stays here, and `drop` cancels the body.
        let is_sent = matches!(self.lease, Some(Lease::Whole { .. })) || self.send_task.has_ended();
        if let Some(lease) = self.lease.take_if(|_| is_sent) {
            lease.finish(None, now_ms);
        }
    }
}

impl Drop for CopyLease {
    fn drop(&mut self) {
        self.send_task.cancel();
    }
}
