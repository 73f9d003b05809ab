//! TLS with upstreams: the handshake, and that it failed, counted and told.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::fault::Fault;
use super::pool::{EndpointPool, UpstreamPool};
use super::socket::Socket;
use super::worker::Worker;
use crate::telemetry::{News, TlsFailure};
use crate::tls::{ClientHandshakeFailure, Dial, Handshake, Shown};

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
        Ok(Err(error)) => {
            let (failure, cause) = handshake(upstream, &who).told(&error);
            let failure = match failure {
                ClientHandshakeFailure::Certificate => TlsFailure::Certificate,
                ClientHandshakeFailure::Protocol => TlsFailure::Protocol,
                ClientHandshakeFailure::Alert => TlsFailure::Alert,
            };
            (failure, cause)
        }
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

/// Counts and tells that the other side has refused us with an alert after the handshake.
pub(super) fn note_refusal(worker: &Worker, (upstream, endpoint): (&Rc<UpstreamPool>, &EndpointPool)) {
    let Some(dial) = &endpoint.endpoint.tls else { return };
    let cause = handshake(upstream, &who(endpoint, dial.name())).refused_after();
    note(worker, (upstream, endpoint), (TlsFailure::Alert, cause));
}

fn handshake<'a>(upstream: &UpstreamPool, who: &'a str) -> Handshake<'a> {
    let presents = upstream.upstream.tls.as_ref().is_some_and(|tls| tls.client_cert.is_some());
    let shown = if presents { Shown::Certificate } else { Shown::Nothing };
    Handshake { who, shown, owner: "the upstream", protocols: "HTTP/2 or HTTP/1.1" }
}

fn note(worker: &Worker, (upstream, endpoint): (&Rc<UpstreamPool>, &EndpointPool), told: (TlsFailure, String)) {
    let (failure, cause) = told;
    upstream.meter(worker.index).tls_failures[failure as usize].inc();
    if upstream.series().tls_trouble.keep(worker.wall_at(worker.clock.now()), cause.clone()) == News::Fresh {
        let (upstream, endpoint) = (&upstream.upstream.name, &endpoint.endpoint.name);
        tracing::warn!(upstream, %endpoint, "TLS handshake with the upstream failed: {cause}");
    }
}

/// An endpoint for people: its address, and its name where that says more.
fn who(endpoint: &EndpointPool, name: &ServerName<'_>) -> String {
    let address = endpoint.endpoint.address;
    let says_more = matches!(name, ServerName::DnsName(_)) && *endpoint.endpoint.name != *address.to_string();
    if says_more { format!("{address} ({})", endpoint.endpoint.name) } else { address.to_string() }
}
