//! Reads the PROXY header from listed senders: before anything else on the connection, TLS included, and not one byte
//! more.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use tokio::net::TcpStream;

use super::client::Client;
use crate::proxy::wire::proxy_header::{ProxyAddresses, ProxyHeader, V2_BYTES_MAX, parse};
use crate::proxy::worker::connection_deadlines::Wakeup;
use crate::telemetry::Refusal;

/// Least interval between two warnings about PROXY headers.
const WARN_EVERY_MS: u64 = 10_000;

/// Why the client of a connection is unknown.
enum HeaderError {
    /// The header is missing, malformed or late, or the client exceeds a limit.
    Refused(Refusal),
    /// The connection ended, or a drain ended it.
    Closed(io::Error),
}

/// Reads the PROXY header if the connection is from a listed sender, and sets the client's address. `None`: the
/// connection is refused or has ended.
pub(crate) async fn read_header(client: Rc<Client>, stream: &TcpStream) -> Option<Rc<Client>> {
    if client.listener.spec.proxy_senders.is_empty() || !client.listener.spec.is_proxy_sender(client.peer.ip()) {
        return Some(client);
    }
    // Boxed, so that other connections do not carry its size.
    Box::pin(read_source(client, stream)).await
}

async fn read_source(mut client: Rc<Client>, stream: &TcpStream) -> Option<Rc<Client>> {
    let sender = client.peer;
    let mut header = Vec::new();
    let header = poll_fn(|cx| poll(&client, stream, &mut header, cx)).await;
    let result = header.and_then(|addresses| {
        client.deadlines.clear_read();
        match (addresses, Rc::get_mut(&mut client)) {
            (Some(addresses), Some(client)) => client.set_source(addresses).map_err(HeaderError::Refused),
            (None, _) => Ok(()),
            // There is no other reference before the first request.
            (Some(_), None) => Err(HeaderError::Refused(Refusal::Internal)),
        }
    });
    match result {
        Ok(()) => Some(client),
        Err(HeaderError::Refused(refusal)) => {
            refuse(&client, sender, refusal);
            None
        }
        Err(HeaderError::Closed(error)) => {
            tracing::debug!(%sender, %error, "connection ended before its PROXY header");
            None
        }
    }
}

/// Reads until the header is complete. It peeks first: bytes after the header must stay in the socket, for TLS or HTTP.
fn poll(
    client: &Client,
    stream: &TcpStream,
    header: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<ProxyAddresses>, HeaderError>> {
    client.deadlines.register(cx);
    match client.deadlines.take_wakeup() {
        Wakeup::Nothing | Wakeup::Hibernate => {}
        Wakeup::Drain => client.closing.set(true),
        Wakeup::Expired => return Poll::Ready(Err(HeaderError::Refused(Refusal::HeaderTimeout))),
        Wakeup::Close | Wakeup::Cut => return Poll::Ready(Err(closed(io::ErrorKind::ConnectionAborted))),
    }
    client.deadlines.read_within_once(client.worker.now_ms(), client.listener.spec.limits.header_timeout);
    loop {
        let before = header.len();
        let taken = {
            let mut scratch = client.worker.scratch.borrow_mut();
            // One byte more than the longest header, so that the parser refuses a longer one.
            let mut buffer = ReadBuf::new(&mut scratch[..V2_BYTES_MAX + 1 - before]);
            if ready!(stream.poll_peek(cx, &mut buffer)).map_err(HeaderError::Closed)? == 0 {
                return Poll::Ready(Err(closed(io::ErrorKind::UnexpectedEof)));
            }
            header.extend_from_slice(buffer.filled());
            let (length, found) = match parse(header) {
                ProxyHeader::Partial => (header.len(), None),
                ProxyHeader::Complete(length, addresses) => (length, Some(addresses)),
                ProxyHeader::Missing => return Poll::Ready(Err(HeaderError::Refused(Refusal::ProxyHeaderMissing))),
                ProxyHeader::Malformed => return Poll::Ready(Err(HeaderError::Refused(Refusal::ProxyHeaderMalformed))),
            };
            // Take the bytes of the header out of the socket, and leave the rest.
            take(stream, &mut scratch[..length - before]).map_err(HeaderError::Closed)?;
            found
        };
        if let Some(addresses) = taken {
            return Poll::Ready(Ok(addresses));
        }
    }
}

/// Reads bytes that a peek has seen.
fn take(stream: &TcpStream, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_read(bytes)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => bytes = &mut bytes[read..],
        }
    }
    Ok(())
}

fn closed(kind: io::ErrorKind) -> HeaderError {
    HeaderError::Closed(kind.into())
}

/// The refusal of a header from an unlisted sender. It is logged, since the sender may be missing in the list by
/// mistake.
pub(super) fn unexpected(client: &Client) -> Refusal {
    if is_warning_due(client) {
        let (listener, sender) = (&client.listener.spec.name, client.sender.unwrap_or(client.peer));
        let address = sender.ip();
        tracing::warn!(
            listener,
            %sender,
            "PROXY header from {address} refused: if this is your load balancer, add {address} to \
             listener.proxy_protocol.from; the metrics count these connections"
        );
    }
    Refusal::ProxyHeaderUnexpected
}

/// Whether a warning about a PROXY header is due: at most one every ten seconds.
fn is_warning_due(client: &Client) -> bool {
    let worker = &client.worker;
    let now = worker.now_ms();
    let due = worker.header_warned_ms.get().is_none_or(|warned| now >= warned + WARN_EVERY_MS);
    if due {
        worker.header_warned_ms.set(Some(now));
    }
    due
}

/// Counts and logs a connection that is closed because of its PROXY header.
fn refuse(client: &Client, sender: SocketAddr, refusal: Refusal) {
    let worker = &client.worker;
    worker.meter().refuse(refusal);
    tracing::debug!(%sender, reason = refusal.name(), "connection closed: no valid PROXY header");
    if is_warning_due(client) {
        let (listener, reason) = (&client.listener.spec.name, refusal.name());
        tracing::warn!(
            listener,
            %sender,
            reason,
            "connection of a listed sender closed: no valid PROXY header; the metrics count these connections"
        );
    }
}
