//! The collector: where it is, and connections to it, in the clear or under TLS.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::route::{ClientTls, OtlpProtocol, TraceExport};

/// How TLS is spoken with a collector.
#[derive(Clone, Debug)]
pub struct Secured {
    /// Whom we believe, and what we present.
    pub config: Arc<ClientConfig>,
    /// Who it must prove to be.
    pub name: ServerName<'static>,
    /// Why a certificate is not believed, in words; it is told who presented it.
    pub distrust: fn(&CertificateError, &str) -> String,
}

/// Where spans go.
#[derive(Debug)]
pub(super) struct Collector {
    pub(super) export: TraceExport,
    secured: Option<Secured>,
}

impl Collector {
    /// The one of this export; `secure` says how TLS is spoken, where it is.
    pub(super) fn new(
        export: &TraceExport,
        secure: impl FnOnce(&TraceExport, &ClientTls) -> io::Result<Secured>,
    ) -> io::Result<Self> {
        let mut secured = export.tls.as_ref().map(|tls| secure(export, tls)).transpose()?;
        if let Some(secured) = &mut secured {
            let alpn: &[u8] = match export.protocol {
                OtlpProtocol::Http => b"http/1.1",
                OtlpProtocol::Grpc => b"h2",
            };
            Arc::make_mut(&mut secured.config).alpn_protocols = vec![alpn.to_vec()];
        }
        Ok(Self { export: export.clone(), secured })
    }
}

/// One that stands, by its protocol.
pub(super) enum Connection {
    Http(http1::SendRequest<Full<Bytes>>),
    Grpc(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// Whether it can be used again.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Http(sender) => sender.is_ready(),
            Self::Grpc(sender) => sender.is_ready(),
        }
    }

    /// Sends a request and gives the answer.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http(sender) => sender.send_request(request).await,
            Self::Grpc(sender) => sender.send_request(request).await,
        }
    }
}

/// Connects to a collector.
pub(super) async fn connect(target: &Collector) -> io::Result<Connection> {
    let Collector { export, secured } = target;
    let stream = TcpStream::connect((export.host.as_str(), export.port)).await?;
    stream.set_nodelay(true)?;
    match secured {
        None => speak(stream, export.protocol).await,
        Some(secured) => {
            let connector = TlsConnector::from(Arc::clone(&secured.config));
            let stream = connector.connect(secured.name.clone(), stream).await;
            speak(stream.map_err(|error| secured.told(&error))?, export.protocol).await
        }
    }
}

impl Secured {
    /// The error, for the person who has to put it right.
    fn told(&self, error: &io::Error) -> io::Error {
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref());
        let words = match cause {
            Some(rustls::Error::InvalidCertificate(cause)) => (self.distrust)(cause, "the collector"),
            _ => format!("TLS with the collector failed: {error}"),
        };
        io::Error::new(error.kind(), words)
    }
}

async fn speak<S>(stream: S, protocol: OtlpProtocol) -> io::Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = TokioIo::new(stream);
    match protocol {
        OtlpProtocol::Http => {
            let (sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
            // Its end is seen by the sender.
            tokio::spawn(async move { drop(connection.await) });
            Ok(Connection::Http(sender))
        }
        OtlpProtocol::Grpc => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            let (sender, connection) =
                builder.timer(TokioTimer::new()).handshake(stream).await.map_err(io::Error::other)?;
            tokio::spawn(async move { drop(connection.await) });
            Ok(Connection::Grpc(sender))
        }
    }
}
