//! What one active check asks, and whom. Equal targets are one check, for all upstreams that have them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::route::{HealthCheck, HealthProbe, Protocol, ProxyProtocol, Upstream};
use crate::snapshot::EndpointState;
use crate::tls::{EndpointTls, OwnCertificate};

/// The settings of an upstream's checks, without the thresholds: those are for each upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct CheckSettings {
    pub(super) probe: HealthProbe,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    port: Option<u16>,
    pub(super) proxy_protocol: Option<ProxyProtocol>,
    has_own_certificate: bool,
}

/// An address, and what is asked there.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CheckTarget {
    /// The address, with the port of the checks.
    pub(super) address: SocketAddr,
    pub(super) protocol: Protocol,
    /// Host and port as in a URL: the `Host` of the check where `host` does not name another.
    pub(super) authority: String,
    pub(super) tls: Option<EndpointTls>,
    pub(super) settings: Arc<CheckSettings>,
}

impl CheckSettings {
    /// The settings of an upstream with these checks.
    pub(super) fn new(check: &HealthCheck, upstream: &Upstream) -> Self {
        let HealthCheck { probe, interval, timeout, healthy: _, unhealthy: _, port } = check;
        Self {
            probe: probe.clone(),
            interval: *interval,
            timeout: *timeout,
            port: *port,
            proxy_protocol: upstream.proxy_protocol,
            has_own_certificate: upstream.tls.as_ref().is_some_and(|tls| tls.client_cert.is_some()),
        }
    }

    /// Whether a server that asks for a certificate can get one.
    pub(super) const fn own_certificate(&self) -> OwnCertificate {
        if self.has_own_certificate { OwnCertificate::Configured } else { OwnCertificate::Absent }
    }
}

impl CheckTarget {
    /// The target of an endpoint; `tls` is its own, or an equal one of another upstream.
    pub(super) fn new(endpoint: &EndpointState, tls: Option<EndpointTls>, settings: &Arc<CheckSettings>) -> Self {
        let port = settings.port.unwrap_or_else(|| endpoint.address.port());
        let host = endpoint.name.rsplit_once(':').map_or(&*endpoint.name, |(host, _)| host);
        let usual = if endpoint.protocol == Protocol::Https { 443 } else { 80 };
        let authority = if port == usual { host.to_owned() } else { format!("{host}:{port}") };
        Self {
            address: SocketAddr::new(endpoint.address.ip(), port),
            protocol: endpoint.protocol,
            authority,
            tls,
            settings: Arc::clone(settings),
        }
    }
}
