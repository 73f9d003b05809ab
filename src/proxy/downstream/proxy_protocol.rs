//! Listed senders vouch for their clients: each of their connections begins with a PROXY header, which is read before
//! anything else, TLS included, and not one byte beyond it.

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

/// Bad headers are told this often.
const WARN_EVERY_MS: u64 = 10_000;

/// Why no client is known.
enum HeaderError {
    Refused(Refusal),
    /// The connection ended before, or was to end.
    Closed(io::Error),
}

/// The client as the sender of this connection names it, if it is a listed one; nobody, when it does not as it must.
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
    let told = poll_fn(|cx| poll(&client, stream, &mut header, cx)).await;
    let heard = told.and_then(|addresses| {
        client.deadlines.clear_read();
        match (addresses, Rc::get_mut(&mut client)) {
            (Some(addresses), Some(client)) => client.set_source(addresses).map_err(HeaderError::Refused),
            (None, _) => Ok(()),
            // Nobody else holds it before its first request.
            (Some(_), None) => Err(HeaderError::Refused(Refusal::Internal)),
        }
    });
    match heard {
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

/// Reads until the header is whole. What is only looked at stays for whoever reads next.
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
            // One byte more than the longest header: what is longer is refused.
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
            // What was looked at and belongs to the header is taken; the rest stays for whoever reads next.
            take(stream, &mut scratch[..length - before]).map_err(HeaderError::Closed)?;
            found
        };
        if let Some(addresses) = taken {
            return Poll::Ready(Ok(addresses));
        }
    }
}

/// Reads bytes that are known to be there.
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

/// Tells of a header from somebody who is not listed, who is perhaps meant to be.
pub(super) fn unexpected(client: &Client) -> Refusal {
    if is_warning_due(client) {
        let (listener, sender) = (&client.listener.spec.name, client.sender.unwrap_or(client.peer));
        let address = sender.ip();
        tracing::warn!(
            listener,
            %sender,
            "PROXY header from {address} refused: if that is a load balancer of yours, name {address} in \
             listener.proxy_protocol.from; every such one is counted"
        );
    }
    Refusal::ProxyHeaderUnexpected
}

/// Whether headers that are not as they must be may be told of now: not more often than every ten seconds.
fn is_warning_due(client: &Client) -> bool {
    let worker = &client.worker;
    let now = worker.now_ms();
    let due = worker.header_warned_ms.get().is_none_or(|warned| now >= warned + WARN_EVERY_MS);
    if due {
        worker.header_warned_ms.set(Some(now));
    }
    due
}

/// Counts and tells that a connection is closed unheard.
fn refuse(client: &Client, sender: SocketAddr, refusal: Refusal) {
    let worker = &client.worker;
    worker.meter().refuse(refusal);
    tracing::debug!(%sender, reason = refusal.name(), "a connection is closed: no PROXY header tells whose it is");
    if is_warning_due(client) {
        let (listener, reason) = (&client.listener.spec.name, refusal.name());
        tracing::warn!(listener, %sender, reason, "connection of a listed sender closed: no valid PROXY header; every such one is counted");
    }
}
