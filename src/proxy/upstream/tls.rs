//! TLS with upstreams: counts and logs failed handshakes.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::pool::{ConnectTarget, EndpointPool, UpstreamPool};
use crate::proxy::wire::fault::Fault;
use crate::proxy::worker::Worker;
use crate::telemetry::{FailureNovelty, TlsFailure};
use crate::tls::{ClientHandshakeFailure, EndpointTls, Handshake, OwnCertificate};

/// Counts and logs a failed handshake.
pub(super) fn handshake_failed(worker: &Worker, target: ConnectTarget<'_>, error: &io::Error) -> Fault {
    let (failure, cause) = handshake(target.upstream, &who(target.endpoint)).describe(error);
    let (failure, fault) = match failure {
        ClientHandshakeFailure::Certificate => (TlsFailure::Certificate, Fault::TlsCertificate),
        ClientHandshakeFailure::Protocol => (TlsFailure::Protocol, Fault::TlsProtocol),
        ClientHandshakeFailure::Alert => (TlsFailure::Alert, Fault::TlsAlert),
    };
    record(worker, target, failure, &cause);
    fault
}

/// Counts and logs a handshake timeout.
pub(super) fn handshake_timed_out(worker: &Worker, target: ConnectTarget<'_>) -> Fault {
    let (who, within) = (who(target.endpoint), target.upstream.upstream.connect_timeout);
    let cause = format!("{who} did not finish the TLS handshake within {within:?} (`connect_timeout`)");
    record(worker, target, TlsFailure::Timeout, &cause);
    Fault::TlsTimeout
}

/// Counts and logs an alert that the upstream sent after the handshake (see [`crate::net::is_refusal`]).
pub(crate) fn record_refusal(worker: &Worker, target: ConnectTarget<'_>) {
    let cause = handshake(target.upstream, &who(target.endpoint)).describe_late_refusal();
    record(worker, target, TlsFailure::Alert, &cause);
}

fn handshake<'a>(upstream: &UpstreamPool, server: &'a str) -> Handshake<'a> {
    let presents = upstream.upstream.tls.as_ref().is_some_and(|tls| tls.client_cert.is_some());
    let own_certificate = if presents { OwnCertificate::Configured } else { OwnCertificate::Absent };
    Handshake { server, own_certificate, owner: "the upstream", protocols: "HTTP/2 or HTTP/1.1" }
}

fn record(worker: &Worker, target: ConnectTarget<'_>, failure: TlsFailure, cause: &str) {
    let ConnectTarget { upstream, endpoint } = target;
    upstream.meter(worker.index).tls_failures[failure as usize].inc();
    if upstream.series().tls_failure_log.record(worker.wall_at(worker.clock.now()), cause.to_owned())
        == FailureNovelty::New
    {
        let (upstream, endpoint) = (&upstream.upstream.name, &endpoint.endpoint.name);
        tracing::warn!(upstream, %endpoint, "TLS handshake with the upstream failed: {cause}");
    }
}

/// An endpoint in messages: its address, and its name if it is a host name.
fn who(endpoint: &EndpointPool) -> String {
    let address = endpoint.endpoint.address;
    let is_for_name = |dial: &Arc<EndpointTls>| matches!(dial.name(), ServerName::DnsName(_));
    let says_more =
        endpoint.endpoint.tls.as_ref().is_some_and(is_for_name) && *endpoint.endpoint.name != *address.to_string();
    if says_more { format!("{address} ({})", endpoint.endpoint.name) } else { address.to_string() }
}
