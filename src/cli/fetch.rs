//! A request to an admin listener: one connection, one answer, bounded in time and size.

use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use bytes::{Bytes, BytesMut};
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tower::ServiceExt as _;

use crate::compare::escape_controls;
use crate::net::{self, ConnectError, Destination};

/// The default timeout of the whole exchange.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bound on an answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The message when the bound is exceeded.
const LATE: &str = "it does not answer in time";

/// A response.
#[derive(Debug)]
pub struct AdminResponse {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

/// The options of a request.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// The method.
    pub method: Method,
    /// Bound on the whole exchange.
    pub patience: Duration,
}

impl FetchOptions {
    /// To get a page.
    #[must_use]
    pub const fn get() -> Self {
        Self { method: Method::GET, patience: PATIENCE }
    }
}

impl AdminResponse {
    /// The first line of the body, without control characters.
    #[must_use]
    pub fn line(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        escape_controls(text.trim().lines().next().unwrap_or_default()).into_owned()
    }
}

/// Requests JSON from `uri`, on its own runtime.
pub fn ask_blocking(uri: &Uri, options: FetchOptions) -> anyhow::Result<AdminResponse> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask(uri, options))
}

/// Requests JSON from `uri`.
pub async fn ask(uri: &Uri, options: FetchOptions) -> anyhow::Result<AdminResponse> {
    let asked = tokio::time::timeout(options.patience, exchange(uri, &options)).await;
    asked.unwrap_or_else(|_| Err(anyhow!(LATE))).with_context(|| format!("cannot ask {uri}"))
}

async fn exchange(uri: &Uri, options: &FetchOptions) -> anyhow::Result<AdminResponse> {
    ensure!(uri.scheme_str() == Some("http"), "the URL must begin with http://");
    let Some(authority) = uri.authority() else { bail!("the URL names no host") };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let destination = Destination::host(host, authority.port_u16().unwrap_or(80));
    let socket = net::connector(options.patience).oneshot(destination).await.map_err(|error| match error {
        ConnectError::Unreachable(_) | ConnectError::ProxyHeader(_) | ConnectError::Tls(_) => error.into(),
        ConnectError::TimedOut(_) => anyhow!(LATE),
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    let target = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::builder()
        .method(options.method.clone())
        .uri(target)
        .header(header::HOST, authority.as_str())
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                ensure!(read.len() + data.len() <= ANSWER_BYTES_MAX, "the answer is larger than 16 MiB");
                read.extend_from_slice(&data);
            }
        }
        Ok(AdminResponse { status, body: read.freeze() })
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // The connection may end first, having read everything that the exchange still has to take.
        ended = connection => { ended?; exchange.await }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;

    /// The message when the listener at this address does not answer.
    fn unanswered(address: SocketAddr) -> String {
        let uri: Uri = format!("http://{address}/").parse().unwrap();
        let options = FetchOptions { patience: Duration::from_millis(50), ..FetchOptions::get() };
        let message = format!("{:#}", ask_blocking(&uri, options).unwrap_err());
        message.replace(&uri.to_string(), "URL")
    }

    #[test]
    fn a_late_answer_has_one_message_in_every_phase() {
        // The connection is queued, and the request is never answered.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(unanswered(silent.local_addr().unwrap()), "cannot ask URL: it does not answer in time");

        // The queue is full: there is no connection.
        let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        full.listen(0).unwrap();
        let address = full.local_addr().unwrap().as_socket().unwrap();
        let mut queue = Vec::new();
        while let Ok(queued) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            queue.push(queued);
        }
        assert_eq!(unanswered(address), "cannot ask URL: it does not answer in time");
    }
}
