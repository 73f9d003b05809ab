//! One try of an endpoint that accepts no connections: TCP, the PROXY header, and the TLS handshake.

use std::sync::Arc;
use std::time::Duration;

use tower::ServiceExt as _;

use super::destination::destination;
use crate::failover::FailureCause;
use crate::net::{ConnectError, ConnectPhase, connector};
use crate::route::ProxyProtocol;
use crate::snapshot::EndpointState;

/// An endpoint to try.
#[derive(Debug)]
pub(super) struct ProbeTarget {
    /// The name of its upstream.
    pub upstream: String,
    /// The endpoint.
    pub endpoint: Arc<EndpointState>,
    /// Its epoch when the try began.
    pub epoch: u32,
    /// The time limit.
    pub within: Duration,
    /// The version of the PROXY header, if the upstream gets one.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// What a try has shown.
#[derive(Debug)]
pub struct ProbeResult {
    pub(super) upstream: String,
    pub(super) endpoint: Arc<EndpointState>,
    pub(super) epoch: u32,
    /// Why it failed; `None`: the endpoint accepts connections.
    pub(super) failure: Option<FailureCause>,
}

/// Tries an endpoint, and closes the connection.
pub(super) async fn probe(target: ProbeTarget) -> ProbeResult {
    let ProbeTarget { upstream, endpoint, epoch, within, proxy_protocol } = target;
    let destination = destination(endpoint.address, proxy_protocol, endpoint.tls.as_deref());
    let failure = connector(within).oneshot(destination).await.err().map(|error| cause(&error));
    ProbeResult { upstream, endpoint, epoch, failure }
}

const fn cause(error: &ConnectError) -> FailureCause {
    match error {
        ConnectError::Unreachable(_) | ConnectError::ProxyHeader(_) => FailureCause::ConnectRefused,
        ConnectError::TimedOut(ConnectPhase::Tcp) => FailureCause::ConnectTimeout,
        ConnectError::Tls(_) | ConnectError::TimedOut(ConnectPhase::Tls) => FailureCause::Tls,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{SocketAddr, TcpListener};

    use super::super::destination::{LOCAL, UNKNOWN};
    use super::*;
    use crate::route::{EndpointRole, Protocol};

    const LIMIT: Duration = Duration::from_secs(20);

    fn target(address: SocketAddr, proxy_protocol: Option<ProxyProtocol>) -> ProbeTarget {
        let endpoint = EndpointState {
            address,
            protocol: Protocol::Http1,
            weight: 1,
            role: EndpointRole::Primary,
            tls: None,
            name: address.to_string().into(),
            looked_up: None,
            health: Arc::default(),
        };
        ProbeTarget { upstream: "u".to_owned(), endpoint: Arc::new(endpoint), epoch: 0, within: LIMIT, proxy_protocol }
    }

    #[tokio::test]
    async fn an_endpoint_that_accepts_gets_no_more_than_its_header() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        for (version, expected) in
            [(None, &b""[..]), (Some(ProxyProtocol::V1), UNKNOWN), (Some(ProxyProtocol::V2), LOCAL)]
        {
            assert_eq!(probe(target(address, version)).await.failure, None);
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut sent = Vec::new();
            stream.read_to_end(&mut sent).expect("all of it");
            assert_eq!(sent, expected);
        }
        assert_eq!(LOCAL.len(), 16);
    }

    #[tokio::test]
    async fn an_endpoint_that_refuses_is_named_so() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        assert_eq!(probe(target(address, None)).await.failure, Some(FailureCause::ConnectRefused));
    }
}
