//! TLS with upstreams: the handshake, and what went wrong in words that the person who has to put it right understands.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, Error, PeerIncompatible};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::fault::Fault;
use super::pool::{EndpointPool, UpstreamPool};
use super::socket::Socket;
use super::worker::Worker;
use crate::telemetry::{News, TlsFailure};
use crate::tls::{Dial, distrust};

/// Shakes hands on a connection that was just opened, within the time that is left for it.
pub(super) async fn secure(
    worker: &Rc<Worker>,
    (upstream, endpoint): (&Rc<UpstreamPool>, &EndpointPool),
    (stream, dial, left): (TcpStream, &Dial, Duration),
) -> Result<Socket, Fault> {
    let connector = TlsConnector::from(Arc::clone(dial.config()));
    let who = who(endpoint, dial.name());
    let (failure, cause) = match tokio::time::timeout(left, connector.connect(dial.name().clone(), stream)).await {
        Ok(Ok(stream)) => {
            upstream.meter(worker.index).tls_handshakes.inc();
            return Ok(Socket::Tls(Box::new(TlsStream::Client(stream))));
        }
        Ok(Err(error)) => told(&error, &who, shown(upstream)),
        Err(_) => {
            let within = upstream.upstream.connect_timeout;
            (
                TlsFailure::Timeout,
                format!("{who} did not finish the TLS handshake within {within:?} (`connect_timeout`)"),
            )
        }
    };
    upstream.meter(worker.index).connect_failures.inc();
    note(worker, (upstream, endpoint), (failure, cause));
    Err(match failure {
        TlsFailure::Certificate => Fault::TlsCertificate,
        TlsFailure::Protocol => Fault::TlsProtocol,
        TlsFailure::Alert => Fault::TlsAlert,
        TlsFailure::Timeout => Fault::TlsTimeout,
    })
}

/// Whether reading has failed because the other side has refused us with an alert, as it can after the handshake too: in
/// TLS 1.3 it looks at our certificate when we have finished already.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(tls_error(error), Some(Error::AlertReceived(_)))
}

/// Whether writing has failed because of that: the alert lies unread, or is not known yet to lie there, which is when to
/// ask again.
pub(super) fn poll_refused(socket: &mut Socket, cx: &mut Context<'_>) -> Poll<bool> {
    let Socket::Tls(stream) = socket else { return Poll::Ready(false) };
    let mut unread = [0; 512];
    let mut buffer = ReadBuf::new(&mut unread);
    Pin::new(stream).poll_read(cx, &mut buffer).map(|read| read.is_err_and(|error| is_refusal(&error)))
}

/// Counts and tells such a refusal.
pub(super) fn note_refusal(worker: &Worker, (upstream, endpoint): (&Rc<UpstreamPool>, &EndpointPool)) {
    let Some(dial) = &endpoint.endpoint.tls else { return };
    let cause = format!("{} {}", who(endpoint, dial.name()), refusal(upstream));
    note(worker, (upstream, endpoint), (TlsFailure::Alert, cause));
}

/// What we have to show when an upstream asks who we are.
#[derive(Clone, Copy)]
enum Shown {
    Certificate,
    Nothing,
}

fn shown(upstream: &UpstreamPool) -> Shown {
    let presents = upstream.upstream.tls.as_ref().is_some_and(|tls| tls.client_cert.is_some());
    if presents { Shown::Certificate } else { Shown::Nothing }
}

fn refusal(upstream: &UpstreamPool) -> &'static str {
    match shown(upstream) {
        Shown::Certificate => "refused us after the TLS handshake: it does not take our client certificate",
        Shown::Nothing => {
            "refused us after the TLS handshake: it wants a client certificate (`tls.client_cert` of the upstream)"
        }
    }
}

fn note(worker: &Worker, (upstream, endpoint): (&Rc<UpstreamPool>, &EndpointPool), told: (TlsFailure, String)) {
    let (failure, cause) = told;
    upstream.meter(worker.index).tls_failures[failure as usize].inc();
    if upstream.series().tls_trouble.keep(worker.wall_at(worker.clock.now()), cause.clone()) == News::Fresh {
        let (upstream, endpoint) = (&upstream.upstream.name, &endpoint.endpoint.name);
        tracing::warn!(upstream, %endpoint, "no TLS with the upstream: {cause}");
    }
}

/// An endpoint for people: its address, and its name where that says more.
fn who(endpoint: &EndpointPool, name: &ServerName<'_>) -> String {
    let address = endpoint.endpoint.address;
    let says_more = matches!(name, ServerName::DnsName(_)) && *endpoint.endpoint.name != *address.to_string();
    if says_more { format!("{address} ({})", endpoint.endpoint.name) } else { address.to_string() }
}

fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// What went wrong in a handshake.
fn told(error: &io::Error, who: &str, shown: Shown) -> (TlsFailure, String) {
    let protocol = |text: String| (TlsFailure::Protocol, text);
    match tls_error(error) {
        Some(Error::InvalidCertificate(error)) => (TlsFailure::Certificate, distrust(error, who)),
        Some(Error::NoCertificatesPresented) => (TlsFailure::Certificate, format!("{who} presented no certificate")),
        Some(Error::AlertReceived(alert)) => (TlsFailure::Alert, alerted(*alert, who, shown)),
        Some(Error::InvalidMessage(_)) => protocol(format!("{who} does not speak TLS, or not as it must")),
        Some(Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)) => {
            protocol(format!("{who} speaks neither TLS 1.2 nor TLS 1.3"))
        }
        Some(other) => protocol(format!("{who} broke the TLS handshake: {other}")),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            protocol(format!("{who} closed the connection in the TLS handshake"))
        }
        None => protocol(format!("the connection to {who} broke in the TLS handshake: {error}")),
    }
}

fn alerted(alert: AlertDescription, who: &str, shown: Shown) -> String {
    let wants = "it wants a client certificate (`tls.client_cert` of the upstream)";
    match (alert, unfit(alert), shown) {
        (AlertDescription::CertificateRequired, ..) => format!("{who} refused us: {wants}"),
        (AlertDescription::HandshakeFailure, ..) => {
            format!("{who} refused the TLS handshake: no version or cipher in common, or {wants}")
        }
        (AlertDescription::UnrecognisedName, ..) => {
            format!("{who} has no certificate for the name that it was asked for (`tls.server_name` of the upstream)")
        }
        (AlertDescription::ProtocolVersion, ..) => format!("{who} speaks neither TLS 1.2 nor TLS 1.3"),
        (AlertDescription::NoApplicationProtocol, ..) => format!("{who} speaks neither HTTP/2 nor HTTP/1.1 (ALPN)"),
        (_, Some(why), Shown::Certificate) => {
            format!("{who} refused us: it does not take our client certificate, {why}")
        }
        // It is not about us: we have signed nothing.
        (other @ AlertDescription::DecryptError, Some(_), Shown::Nothing) | (other, None, _) => {
            format!("{who} refused the TLS handshake with the alert {other:?}")
        }
        (_, Some(_), Shown::Nothing) => format!("{who} refused us: {wants}"),
    }
}

/// What an alert says of our own certificate (RFC 8446 §6.2), where it can be about that.
#[expect(clippy::wildcard_enum_match_arm, reason = "an enum of another crate, which grows")]
const fn unfit(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::UnknownCA => "and believes another authority than the one that issued it",
        AlertDescription::DecryptError => "its signature does not hold there",
        AlertDescription::CertificateExpired => "which has expired or is not valid yet, as it says",
        AlertDescription::CertificateRevoked => "which is revoked, as it says",
        AlertDescription::UnsupportedCertificate => "which is not of a kind that it supports",
        AlertDescription::AccessDenied => "which names nobody who is let in",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => "and does not say why",
        _ => return None,
    })
}
