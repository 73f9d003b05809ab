//! The destination of a connection that the control plane opens to an endpoint: the same PROXY header and TLS as those of
//! requests.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::net::Destination;
use crate::route::ProxyProtocol;
use crate::tls::EndpointTls;

/// A header of a connection that the proxy makes for itself, version 1.
pub(super) const UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
/// The same in version 2: the signature, version and command `LOCAL`, an unspecified family, no addresses.
pub(super) const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// The destination at this address. `proxy_protocol` is the version of the PROXY header, if the upstream gets one.
pub(super) fn destination(
    address: SocketAddr,
    proxy_protocol: Option<ProxyProtocol>,
    tls: Option<&EndpointTls>,
) -> Destination {
    let mut destination = Destination::address(address);
    if let Some(version) = proxy_protocol {
        let header = match version {
            ProxyProtocol::V1 => UNKNOWN,
            ProxyProtocol::V2 => LOCAL,
        };
        destination = destination.with_proxy_header(header.to_vec());
    }
    if let Some(tls) = tls {
        destination = destination.with_tls(Arc::clone(tls.config()), tls.name().clone());
    }
    destination
}
