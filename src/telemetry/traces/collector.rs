//! The collector: its address, and connections to it, in cleartext or TLS.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

use crate::net::{self, ConnectError, Destination, Socket};
use crate::route::{ClientTls, OtlpProtocol, TraceExport};

/// The message when a collector takes too long.
pub(super) const LATE: &str = "no answer in time";

/// The TLS configuration for a collector.
#[derive(Clone)]
pub struct CollectorTls {
    /// The trusted roots, and the client certificate.
    pub config: Arc<ClientConfig>,
    /// The name that its certificate must have.
    pub name: ServerName<'static>,
    /// Explains an error of rustls or of the connection under it.
    pub explain: Arc<dyn Fn(&io::Error) -> String + Send + Sync>,
}

/// The collector of an export.
pub(super) struct Collector {
    pub(super) export: TraceExport,
    tls: Option<CollectorTls>,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("export", &self.export).finish_non_exhaustive()
    }
}

impl Collector {
    /// Creates the collector of this export; `secure` gives its TLS configuration, if it has one.
    pub(super) fn new(
        export: &TraceExport,
        secure: impl FnOnce(&TraceExport, &ClientTls) -> io::Result<CollectorTls>,
    ) -> io::Result<Self> {
        let mut tls = export.tls.as_ref().map(|tls| secure(export, tls)).transpose()?;
        if let Some(tls) = &mut tls {
            Arc::make_mut(&mut tls.config).alpn_protocols = vec![alpn(export.protocol).to_vec()];
        }
        Ok(Self { export: export.clone(), tls })
    }

    fn destination(&self) -> Destination {
        let destination = Destination::host(&self.export.host, self.export.port);
        match &self.tls {
            Some(tls) => destination.with_tls(Arc::clone(&tls.config), tls.name.clone()),
            None => destination,
        }
    }

    fn explained(&self, error: &io::Error) -> String {
        self.tls.as_ref().map_or_else(|| error.to_string(), |tls| (tls.explain)(error))
    }

    /// Describes an error with all its causes.
    pub(super) fn describe_error(&self, error: &(dyn Error + 'static)) -> String {
        let mut words = error.to_string();
        let mut below = error.source();
        while let Some(cause) = below {
            let of_h2 = || cause.downcast_ref::<h2::Error>().and_then(h2::Error::get_io);
            let io = cause.downcast_ref::<io::Error>().or_else(of_h2);
            if let (Some(io), Some(tls)) = (io, &self.tls)
                && io.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>)
            {
                return (tls.explain)(io);
            }
            let more = cause.to_string();
            if !words.contains(&more) {
                words = format!("{words}: {more}");
            }
            below = cause.source();
        }
        words
    }
}

const fn alpn(protocol: OtlpProtocol) -> &'static [u8] {
    match protocol {
        OtlpProtocol::Http => b"http/1.1",
        OtlpProtocol::Grpc => b"h2",
    }
}

/// A connection to the collector. Dropping it closes it.
pub(super) struct Connection {
    sender: Sender,
    driver: JoinHandle<()>,
}

enum Sender {
    Http(http1::SendRequest<Full<Bytes>>),
    Grpc(http2::SendRequest<Full<Bytes>>),
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Whether it can be used again.
    pub(super) fn is_open(&self) -> bool {
        match &self.sender {
            Sender::Http(sender) => sender.is_ready(),
            Sender::Grpc(sender) => sender.is_ready(),
        }
    }

    /// Sends a request and returns the response.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::Http(sender) => sender.send_request(request).await,
            Sender::Grpc(sender) => sender.send_request(request).await,
        }
    }
}

/// Connects to a collector, within this time.
pub(super) async fn connect(target: &Collector, within: Duration) -> Result<Connection, String> {
    let socket = net::connector(within).oneshot(target.destination()).await.map_err(|error| match error {
        ConnectError::Unreachable(error) | ConnectError::ProxyHeader(error) => error.to_string(),
        ConnectError::Tls(error) => target.explained(&error),
        ConnectError::TimedOut(_) => LATE.to_owned(),
    })?;
    let is_grpc = target.export.protocol == OtlpProtocol::Grpc;
    if target.tls.is_some() && is_grpc && !socket.agreed_on(alpn(target.export.protocol)) {
        return Err(
            "the collector does not agree on HTTP/2 (ALPN), which gRPC needs; is it `protocol = \"http\"`?".into()
        );
    }
    open_http(socket, target).await
}

async fn open_http(socket: Socket, target: &Collector) -> Result<Connection, String> {
    let stream = TokioIo::new(socket);
    let describe_error = |error: hyper::Error| target.describe_error(&error);
    match target.export.protocol {
        OtlpProtocol::Http => {
            let (sender, connection) = http1::handshake(stream).await.map_err(describe_error)?;
            // The sender notices the end of the connection.
            let driver = tokio::spawn(async move { drop(connection.await) });
            Ok(Connection { sender: Sender::Http(sender), driver })
        }
        OtlpProtocol::Grpc => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            let (sender, connection) =
                builder.timer(TokioTimer::new()).handshake(stream).await.map_err(describe_error)?;
            let driver = tokio::spawn(async move { drop(connection.await) });
            Ok(Connection { sender: Sender::Grpc(sender), driver })
        }
    }
}
