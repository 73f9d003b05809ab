//! One end of a tunnel, at the client or at the upstream: a connection or an HTTP/2 stream, taken over after a response
//! that switches protocols.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::{StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::lease::Lease;
use super::open_connection::ConnectionGuard;
use super::upgrade_request::UpgradeRequest;
use super::upstream_response::UpstreamResponse;
use crate::net::Socket;
use crate::proxy::downstream::h2::tunnel::ClientStream;
use crate::proxy::wire::fault::Fault;

/// Most bytes of one write to a stream. It buffers a few such pieces.
const STREAM_BYTES: usize = 16 * 1024;

/// One end of a tunnel.
pub(crate) struct TunnelEnd {
    pipe: Pipe,
    /// Bytes that were read together with the head.
    first: Bytes,
    /// Counts the connection, at the upstream's end.
    _guard: Option<ConnectionGuard>,
}

/// Whether a tunnel ends after the ends of its sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InOrder {
    Yes,
    No,
}

enum Pipe {
    Socket(Socket),
    /// A stream to an upstream.
    Stream(TokioIo<Upgraded>),
    ClientStream(ClientStream),
}

impl TunnelEnd {
    /// A connection, of which `first` was read already.
    pub(crate) fn connection(socket: Socket, first: Bytes, guard: Option<ConnectionGuard>) -> Self {
        Self { pipe: Pipe::Socket(socket), first, _guard: guard }
    }

    /// An HTTP/2 stream of a client.
    pub(crate) fn client_stream(stream: ClientStream) -> Self {
        Self { pipe: Pipe::ClientStream(stream), first: Bytes::new(), _guard: None }
    }

    /// An HTTP/2 stream to an upstream.
    fn stream(upgraded: Upgraded) -> Self {
        Self { pipe: Pipe::Stream(TokioIo::new(upgraded)), first: Bytes::new(), _guard: None }
    }

    /// Takes over the connection or the stream after the upstream has switched. The response then has the form of
    /// HTTP/1.1.
    pub(crate) async fn take_over(
        lease: &mut Option<Lease>,
        upgrade: Option<&UpgradeRequest>,
        response: &mut UpstreamResponse,
    ) -> Result<Self, Fault> {
        let lost = Fault::UpstreamReset;
        let side = match lease {
            Some(Lease::Whole { .. }) => {
                let Some(Lease::Whole { connection, .. }) = lease.take() else { return Err(lost) };
                let switched = connection.into_switched().ok_or(lost)?;
                Self::connection(switched.socket, switched.read_ahead, Some(switched.guard))
            }
            // The lease stays: it counts the stream until the tunnel ends.
            Some(Lease::Stream(_)) => {
                let upgrade_of_stream = response.upgrade.take().ok_or(lost)?;
                let upgraded = upgrade_of_stream.await.map_err(|_| lost)?;
                let accept = upgrade.and_then(UpgradeRequest::accept).ok_or(lost)?;
                response.head.fields.insert(&header::SEC_WEBSOCKET_ACCEPT, &accept);
                Self::stream(upgraded)
            }
            None => return Err(lost),
        };
        response.head.status = StatusCode::SWITCHING_PROTOCOLS;
        Ok(side)
    }

    /// Reads into `room`. An empty slice is the end.
    pub(crate) fn poll_read<'a>(&mut self, cx: &mut Context<'_>, room: &'a mut [u8]) -> Poll<io::Result<&'a [u8]>> {
        if !self.first.is_empty() {
            let n = self.first.len().min(room.len());
            self.first.copy_to_slice(&mut room[..n]);
            return Poll::Ready(Ok(&room[..n]));
        }
        let mut buffer = ReadBuf::new(room);
        ready!(match &mut self.pipe {
            Pipe::Socket(socket) => Pin::new(socket).poll_read(cx, &mut buffer),
            Pipe::Stream(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Pipe::ClientStream(stream) => stream.poll_read(cx, &mut buffer),
        })?;
        let n = buffer.filled().len();
        Poll::Ready(Ok(&room[..n]))
    }

    /// Writes some of these bytes.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match &mut self.pipe {
            Pipe::Socket(socket) => Pin::new(socket).poll_write(cx, bytes),
            Pipe::Stream(stream) => Pin::new(stream).poll_write(cx, &bytes[..bytes.len().min(STREAM_BYTES)]),
            Pipe::ClientStream(stream) => stream.poll_write(cx, bytes),
        };
        match ready!(written)? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            n => Poll::Ready(Ok(n)),
        }
    }

    /// Flushes written bytes.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.pipe {
            Pipe::Socket(socket) => Pin::new(socket).poll_flush(cx),
            Pipe::Stream(stream) => Pin::new(stream).poll_flush(cx),
            // The connection's task writes what h2 has.
            Pipe::ClientStream(_) => Poll::Ready(Ok(())),
        }
    }

    /// Ends the writing direction.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.pipe {
            Pipe::Socket(socket) => Pin::new(socket).poll_shutdown(cx),
            Pipe::Stream(stream) => Pin::new(stream).poll_shutdown(cx),
            Pipe::ClientStream(stream) => Poll::Ready(stream.end()),
        }
    }

    /// Whether the client has reset its stream. Otherwise the task is woken when that happens. A connection shows its
    /// end to reads and writes.
    pub(crate) fn is_reset(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.pipe {
            Pipe::ClientStream(stream) => stream.is_gone(cx),
            Pipe::Socket(_) | Pipe::Stream(_) => false,
        }
    }

    /// Closes the client's end of a tunnel that has ended in order, or else resets its stream (RFC 8441 §5).
    pub(crate) fn close(&mut self, in_order: InOrder) {
        let Pipe::ClientStream(stream) = &mut self.pipe else { return };
        match in_order {
            // An error means that the stream has ended.
            InOrder::Yes => drop(stream.end()),
            InOrder::No => stream.reset(),
        }
    }
}
