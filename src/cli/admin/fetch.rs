//! A request to an admin listener over an open connection: one answer, bounded in time and size.

use std::time::Duration;

use anyhow::{bail, ensure};
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::dial::Dialled;
use super::token::BearerToken;
use crate::compare::escape_controls;

/// The default timeout of the whole exchange.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bound on an answer.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A response.
#[derive(Debug)]
pub struct AdminResponse {
    /// The place that answered.
    pub place: String,
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
    /// What is sent.
    pub sent: Sent,
}

/// What a request carries.
#[derive(Clone, Debug)]
pub enum Sent {
    /// Nothing.
    Nothing,
    /// JSON, and the `Idempotency-Key` of an act: sent twice, it is done once.
    Json(Bytes, Option<String>),
    /// A routes file.
    Toml(Bytes),
}

impl Sent {
    /// Whether sending it twice does the same as once.
    pub(super) const fn is_repeatable(&self) -> bool {
        match self {
            Self::Json(_, key) => key.is_some(),
            Self::Nothing | Self::Toml(_) => false,
        }
    }
}

impl FetchOptions {
    /// To get a page.
    #[must_use]
    pub const fn get() -> Self {
        Self::within(PATIENCE)
    }

    /// To get a page within this time.
    #[must_use]
    pub const fn within(patience: Duration) -> Self {
        Self { method: Method::GET, patience, sent: Sent::Nothing }
    }

    /// To post `sent` within this time.
    #[must_use]
    pub const fn post(sent: Sent, patience: Duration) -> Self {
        Self { method: Method::POST, patience, sent }
    }
}

impl AdminResponse {
    /// The first line of the body, without control characters.
    #[must_use]
    pub fn line(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        escape_controls(text.trim().lines().next().unwrap_or_default()).into_owned()
    }

    /// The body as JSON; nothing when it is none.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// The request for `uri`, with the token where it may be sent.
pub(super) fn request(
    uri: &Uri,
    options: &FetchOptions,
    token: Option<&BearerToken>,
    dialled: &Dialled,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let Some(authority) = uri.authority() else { bail!("the URL names no host") };
    let target = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(options.method.clone())
        .uri(target)
        .header(header::HOST, authority.as_str())
        .header(header::ACCEPT, "application/json");
    if let Some(token) = token {
        if let Some(why) = &dialled.exposed {
            bail!("the token is not sent: {why}");
        }
        request = request.header(header::AUTHORIZATION, token.header());
    }
    let body = match &options.sent {
        Sent::Nothing => Bytes::new(),
        Sent::Json(body, key) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            if let Some(key) = key {
                request = request.header("idempotency-key", key);
            }
            body.clone()
        }
        Sent::Toml(body) => {
            request = request.header(header::CONTENT_TYPE, "text/plain");
            body.clone()
        }
    };
    Ok(request.body(Full::new(body))?)
}

/// Sends the request and reads the whole answer: its status and body.
pub(super) async fn exchange(dialled: Dialled, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(dialled.stream)).await?;
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
        Ok((status, read.freeze()))
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // The connection may end first, having read everything that the exchange still has to take.
        ended = connection => { ended?; exchange.await }
    }
}

/// Sends the request and returns the answer, whose body is read as it comes. The connection is served by a task of the
/// runtime until the answer is dropped.
pub(super) async fn stream(dialled: Dialled, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(dialled.stream)).await?;
    // Its error is also that of the answer.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}
