//! One downstream connection, from its first byte to its last: PROXY header, TLS, protocol detection, then requests
//! over HTTP/1.1 or HTTP/2.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tower::Service;

use super::client::Client;
use super::client_request::{ClientRequest, ClientResponse, ResponseContent};
use super::h1::connection::{self as h1_connection, FirstBytes};
use super::h2::connection::{self as h2_connection, LOCAL_RESETS};
use super::h2_io::PREFACE;
use super::handshake::{self, HandshakeOutcome};
use super::proxy_protocol;
use super::tls_session::DownstreamProtocol;
use crate::net::Socket;
use crate::proxy::wire::proxy_header;
use crate::proxy::worker::connection_deadlines::Wakeup;
use crate::telemetry::Refusal;

/// Serves one connection until it ends. Each request goes to the service without `poll_ready`, so the service must
/// always be ready. It is made after the PROXY header, when the client is known.
pub(crate) async fn serve<S, B>(client: Rc<Client>, stream: TcpStream, make_service: impl FnOnce(&Rc<Client>) -> S)
where
    S: Service<ClientRequest, Response = ClientResponse<B>, Error = Infallible>,
    S: 'static,
    S::Future: 'static,
    B: ResponseContent + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Some(client) = proxy_protocol::read_header(client, &stream).await else { return };
    let service = RefCell::new(make_service(&client));
    let peer = client.peer;
    let mut stream = match accept_tls(&client, stream).await {
        Some(HandshakeOutcome::Ready(stream)) => stream,
        Some(HandshakeOutcome::Refused(stream, refusal)) => {
            http1(&client, &service, stream, FirstBytes::Refused(refusal)).await;
            return;
        }
        None => return,
    };
    let mut first = Vec::new();
    let protocol = match (Sniff { client: &client, stream: &mut stream, first: &mut first }).await {
        Ok(protocol) => protocol,
        Err(error) => {
            tracing::debug!(%peer, %error, "connection ended before its first request");
            return;
        }
    };
    match protocol {
        DownstreamProtocol::Http1 if proxy_header::has_header(&first) => {
            let refusal = proxy_protocol::unexpected(&client);
            http1(&client, &service, stream, FirstBytes::Refused(refusal)).await;
        }
        DownstreamProtocol::Http1 => http1(&client, &service, stream, FirstBytes::Read(first)).await,
        DownstreamProtocol::Http2 => {
            // Boxed, so that the many connections of HTTP/1.1 do not carry its size.
            let ended = Box::pin(h2_connection::serve(&client, &service, stream, first)).await;
            if let Err(error) = ended {
                note_h2_error(&client, &error);
            }
        }
    }
}

/// Performs the TLS handshake, if the listener has TLS.
async fn accept_tls(client: &Rc<Client>, stream: TcpStream) -> Option<HandshakeOutcome> {
    match &client.listener.tls {
        // Boxed, so that cleartext connections do not carry its size.
        Some(server) => Box::pin(handshake::accept(client, server, stream)).await,
        None => Some(HandshakeOutcome::Ready(stream.into())),
    }
}

/// Reads until the first bytes determine the protocol.
struct Sniff<'a> {
    client: &'a Rc<Client>,
    stream: &'a mut Socket,
    first: &'a mut Vec<u8>,
}

impl Future for Sniff<'_> {
    type Output = io::Result<DownstreamProtocol>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let client = this.client;
        client.deadlines.register(cx);
        match client.deadlines.take_wakeup() {
            Wakeup::Nothing | Wakeup::Hibernate => {}
            Wakeup::Drain => client.closing.set(true),
            Wakeup::Expired => {
                client.worker.meter().refuse(Refusal::HeaderTimeout);
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            Wakeup::Close | Wakeup::Cut => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
        loop {
            let mut scratch = client.worker.scratch.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch[..]);
            if Pin::new(&mut *this.stream).poll_read(cx, &mut buffer)?.is_pending() {
                let patience = client.listener.spec.limits.header_timeout;
                client.deadlines.read_within_once(client.worker.now_ms(), patience);
                return Poll::Pending;
            }
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            this.first.extend_from_slice(buffer.filled());
            // The result of ALPN decides. Bytes of another protocol are then refused as malformed.
            if let Some(protocol) = client.tls.get().and_then(|tls| tls.protocol) {
                return Poll::Ready(Ok(protocol));
            }
            let compared = this.first.len().min(PREFACE.len());
            if this.first[..compared] != PREFACE[..compared] {
                return Poll::Ready(Ok(DownstreamProtocol::Http1));
            }
            if compared == PREFACE.len() {
                return Poll::Ready(Ok(DownstreamProtocol::Http2));
            }
        }
    }
}

/// Serves an HTTP/1.1 connection.
async fn http1<S, B>(client: &Rc<Client>, service: &RefCell<S>, stream: Socket, opening: FirstBytes)
where
    S: Service<ClientRequest, Response = ClientResponse<B>, Error = Infallible>,
    B: ResponseContent,
{
    if let Err(error) = h1_connection::serve(client, service, stream, opening).await {
        tracing::debug!(peer = %client.peer, %error, "connection ended early");
    }
}

/// Counts and logs the error that ended an HTTP/2 connection.
fn note_h2_error(client: &Client, error: &h2::Error) {
    if let Some(refusal) = refusal(client, error) {
        client.worker.meter().refuse(refusal);
        if refusal == Refusal::H2Resets {
            // Streams that the client caused h2 to reset count as resets by the client.
            let _ = client.count_resets(u32::try_from(LOCAL_RESETS).unwrap_or(u32::MAX));
        }
    }
    tracing::debug!(peer = %client.peer, %error, "connection ended early");
}

/// The refusal behind an error of the HTTP/2 stack. None for a broken connection, and for a flood that `h2_io.rs` has
/// counted already.
fn refusal(client: &Client, error: &h2::Error) -> Option<Refusal> {
    if error.is_io() || error.is_remote() {
        return None;
    }
    // h2 reports all its limits on floods with the same reason; the frame counts show which one it was.
    let flood = error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
    Some(if flood { client.suspect.get().unwrap_or(Refusal::H2Resets) } else { Refusal::H2Protocol })
}
