//! The TLS handshake of a connection, on its worker: limited in time, counted by its result. A client that sends
//! cleartext HTTP gets an HTTP error response.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use rustls::{AlertDescription, CipherSuite, HandshakeKind, ProtocolVersion};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::client::Client;
use super::proxy_protocol;
use super::tls_session::{DownstreamProtocol, TlsSession};
use crate::net::Socket;
use crate::proxy::wire::proxy_header::{self, SIGNATURE};
use crate::proxy::worker::connection_deadlines::Wakeup;
use crate::telemetry::{HandshakeFailure, Refusal};
use crate::tls::{ClientIdentity, Server};

/// Bytes that are enough to recognize a PROXY header.
const FIRST_BYTES: usize = SIGNATURE.len();

/// Least interval between two log lines about failed handshakes; a line has the number of those that were not logged.
const LOG_EVERY_MS: u64 = 1000;

/// The result of a handshake.
pub(crate) enum HandshakeOutcome {
    /// The connection is ready for requests.
    Ready(Socket),
    /// The client sent cleartext HTTP or an unexpected PROXY header: it gets an error response in cleartext.
    Refused(Socket, Refusal),
}

/// Performs the handshake on a TLS listener. The client then has its [`TlsSession`]; a failure is counted.
pub(crate) async fn accept(client: &Rc<Client>, server: &Arc<Server>, stream: TcpStream) -> Option<HandshakeOutcome> {
    let worker = &client.worker;
    let patience = client.listener.spec.limits.handshake_timeout;
    client.deadlines.read_within(worker.now_ms(), patience);
    let mut first = [0; FIRST_BYTES];
    let result = match watched(client, first_bytes(&stream, &mut first)).await {
        Ok([]) => Err(HandshakeFailure::Closed),
        Ok(first) if proxy_header::has_header(first) => {
            record_failure::<HandshakeOutcome>(client, HandshakeFailure::Cleartext);
            client.deadlines.clear_read();
            return Some(HandshakeOutcome::Refused(stream.into(), proxy_protocol::unexpected(client)));
        }
        Ok([b'A'..=b'Z', ..]) => Err(HandshakeFailure::Cleartext),
        Ok(_) => {
            let accept = TlsAcceptor::from(Arc::clone(server.config())).accept(stream);
            match watched(client, accept).await {
                Ok(stream) => {
                    return match record_session(client, server, stream) {
                        Ok(socket) => Some(HandshakeOutcome::Ready(socket)),
                        Err(failure) => record_failure(client, failure),
                    };
                }
                Err(failure) => return record_failure(client, failure),
            }
        }
        Err(failure) => Err(failure),
    };
    let failure = result.unwrap_or_else(|failure| failure);
    record_failure::<HandshakeOutcome>(client, failure);
    client.deadlines.clear_read();
    (failure == HandshakeFailure::Cleartext).then(|| HandshakeOutcome::Refused(stream.into(), Refusal::Cleartext))
}

fn record_failure<T>(client: &Client, failure: HandshakeFailure) -> Option<T> {
    client.worker.meter().tls.failures[failure as usize].inc();
    let (peer, reason, listener) = (client.peer, failure.name(), &client.listener.spec.name);
    tracing::debug!(%peer, reason, "a TLS handshake failed");
    // A port check of a load balancer, or a drain by the proxy itself: not worth a log line.
    if matches!(failure, HandshakeFailure::Closed | HandshakeFailure::Draining) {
        return None;
    }
    let worker = &client.worker;
    let (now, (logged_at, skipped)) = (worker.now_ms(), worker.handshake_warned.get());
    if logged_at.is_some_and(|logged_at| now < logged_at + LOG_EVERY_MS) {
        worker.handshake_warned.set((logged_at, skipped + 1));
    } else {
        worker.handshake_warned.set((Some(now), 0));
        tracing::info!(listener, %peer, reason, others = skipped, "TLS handshake with a client failed");
    }
    None
}

/// Records the session of a complete handshake.
fn record_session(
    client: &Client,
    server: &Arc<Server>,
    stream: TlsStream<TcpStream>,
) -> Result<Socket, HandshakeFailure> {
    client.deadlines.clear_read();
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    let identity = leaf.and_then(|leaf| ClientIdentity::of(leaf));
    // A resumed session has the certificate that was verified at its beginning; it may have expired since.
    let now = client.worker.wall_at(client.worker.clock.now());
    if leaf.is_some() && identity.as_ref().is_none_or(|identity| identity.expires_at < now) {
        return Err(HandshakeFailure::CertificateRefused);
    }
    let version = session.protocol_version();
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    let meter = &client.worker.meter().tls;
    let old = version == Some(ProtocolVersion::TLSv1_2);
    meter.handshakes[usize::from(!old)][usize::from(resumed)].inc();
    let tls = TlsSession {
        server: Arc::clone(server),
        version: if old { "TLSv1.2" } else { "TLSv1.3" },
        cipher: session.negotiated_cipher_suite().map_or("", |suite| cipher(suite.suite())),
        sni: session.server_name().map(|name| name.to_ascii_lowercase().into()),
        protocol: match session.alpn_protocol() {
            Some(b"h2") => Some(DownstreamProtocol::Http2),
            Some(_) => Some(DownstreamProtocol::Http1),
            None => None,
        },
        identity,
    };
    // The cell is empty: a connection has one handshake.
    let _ = client.tls.set(Box::new(tls));
    Ok(Socket::Tls(Box::new(stream.into())))
}

/// The name of a cipher suite at IANA. rustls names the suites of TLS 1.3 differently.
#[expect(clippy::wildcard_enum_match_arm, reason = "some three hundred suites keep their names")]
fn cipher(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

/// Peeks at the first bytes, which stay in the socket. Empty at the end of the stream.
async fn first_bytes<'b>(stream: &TcpStream, bytes: &'b mut [u8; FIRST_BYTES]) -> io::Result<&'b [u8]> {
    let length = std::future::poll_fn(|cx| stream.poll_peek(cx, &mut ReadBuf::new(&mut bytes[..]))).await?;
    Ok(bytes.get(..length).unwrap_or_default())
}

/// Runs a part of the handshake; the connection's deadline or a wakeup may end it.
async fn watched<T>(client: &Client, part: impl Future<Output = io::Result<T>>) -> Result<T, HandshakeFailure> {
    let mut part = pin!(part);
    std::future::poll_fn(|cx| {
        client.deadlines.register(cx);
        match client.deadlines.take_wakeup() {
            Wakeup::Nothing | Wakeup::Hibernate => {}
            Wakeup::Drain => client.closing.set(true),
            Wakeup::Expired => return Poll::Ready(Err(HandshakeFailure::Timeout)),
            Wakeup::Close | Wakeup::Cut => return Poll::Ready(Err(HandshakeFailure::Draining)),
        }
        part.as_mut().poll(cx).map_err(|error| failure(&error))
    })
    .await
}

/// Why a handshake failed.
#[expect(clippy::wildcard_enum_match_arm, reason = "the remaining errors are internal")]
fn failure(error: &io::Error) -> HandshakeFailure {
    use rustls::Error;
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<Error>()) else {
        return HandshakeFailure::Closed;
    };
    match error {
        Error::NoCertificatesPresented => HandshakeFailure::CertificateMissing,
        Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_) => HandshakeFailure::CertificateRefused,
        Error::PeerIncompatible(_) => HandshakeFailure::Incompatible,
        Error::NoApplicationProtocol => HandshakeFailure::Alpn,
        Error::AlertReceived(AlertDescription::CloseNotify | AlertDescription::UserCanceled) => {
            HandshakeFailure::Closed
        }
        Error::AlertReceived(_) => HandshakeFailure::Alert,
        Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::InvalidMessage(_)
        | Error::PeerMisbehaved(_)
        | Error::DecryptError
        | Error::PeerSentOversizedRecord => HandshakeFailure::Malformed,
        _ => HandshakeFailure::Internal,
    }
}
