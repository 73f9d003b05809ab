//! The connector: TCP, then the PROXY header, then TLS, within one time limit.
//!
//! Two stacked tower services: [`tcp`] connects and sends the PROXY header, [`tls`] performs the TLS handshake if the
//! destination has TLS settings. Both have the same limit. The inner timer is polled first, so a limit that passes
//! before TCP is ready is reported as the TCP phase, later as the TLS phase.
//!
//! Attempts are not limited here: pools limit open connections (`limits.connections`), which last longer than an
//! attempt. Tower's `concurrency_limit` around the connector would limit attempts.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};
use tower::layer::layer_fn;
use tower::{BoxError, Layer, Service, ServiceBuilder};

use super::connect_error::{ConnectError, ConnectPhase};
use super::destination::{Address, Destination, TlsTarget};
use super::socket::Socket;

/// A TCP connection. Only the PROXY header was sent on it, if the destination has one.
#[derive(Debug)]
pub struct Connected {
    stream: TcpStream,
    destination: Destination,
}

/// Opens connections, each within this time. Dropping an attempt closes its socket.
#[must_use]
pub fn connector(
    within: Duration,
) -> impl Service<Destination, Response = Socket, Error = ConnectError, Future: Send> + Clone + Send {
    // The layer of `tls` over `tcp`, whose attempts may run on any thread.
    ServiceBuilder::new()
        .map_err(|error| named(error, ConnectPhase::Tls))
        .timeout(within)
        .and_then(handshake)
        .service(tcp(within))
}

/// Connects and sends the PROXY header, within this time. A service of its own, so that a pool can count a connection
/// before its TLS handshake.
#[must_use]
pub fn tcp(
    within: Duration,
) -> impl Service<Destination, Response = Connected, Error = ConnectError, Future: Send> + Clone + Send {
    ServiceBuilder::new()
        .map_err(|error| named(error, ConnectPhase::Tcp))
        .timeout(within)
        .and_then(send_proxy_header)
        .service_fn(connect)
}

/// Performs the TLS handshake if the destination has TLS settings. The time limit includes everything that the services
/// below need.
#[must_use]
pub fn tls<S>(
    within: Duration,
) -> impl Layer<S, Service = impl Service<Destination, Response = Socket, Error = ConnectError> + Clone>
where
    S: Service<Destination, Response = Connected, Error = ConnectError> + Clone,
{
    layer_fn(move |below: S| {
        ServiceBuilder::new()
            .map_err(|error| named(error, ConnectPhase::Tls))
            .timeout(within)
            .and_then(handshake)
            .service(below)
    })
}

async fn connect(destination: Destination) -> Result<Connected, ConnectError> {
    let stream = match &destination.address {
        Address::Known(address) => TcpStream::connect(address).await,
        Address::Host(host, port) => TcpStream::connect((host.as_str(), *port)).await,
    };
    let stream = stream.map_err(ConnectError::Unreachable)?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    Ok(Connected { stream, destination })
}

async fn send_proxy_header(mut connected: Connected) -> Result<Connected, ConnectError> {
    if let Some(header) = &connected.destination.proxy_header {
        connected.stream.write_all(header).await.map_err(ConnectError::ProxyHeader)?;
    }
    Ok(connected)
}

async fn handshake(connected: Connected) -> Result<Socket, ConnectError> {
    let Connected { stream, destination } = connected;
    let Some(TlsTarget { config, server_name }) = destination.tls else { return Ok(stream.into()) };
    // Boxed, so that cleartext connections do not carry its size.
    let connecting = Box::pin(TlsConnector::from(config).connect(server_name, stream));
    let stream = connecting.await.map_err(ConnectError::Tls)?;
    Ok(Socket::Tls(Box::new(TlsStream::Client(stream))))
}

/// The error of a service with a time limit: its own error, or a timeout in this phase.
fn named(error: BoxError, phase: ConnectPhase) -> ConnectError {
    error.downcast::<ConnectError>().map_or(ConnectError::TimedOut(phase), |error| *error)
}

#[cfg(test)]
mod tests;
