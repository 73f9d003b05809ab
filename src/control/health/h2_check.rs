//! One request over an HTTP/2 connection of its own, for active checks.

use std::pin::pin;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};

use super::check_target::CheckTarget;
use super::failure::{CheckFailure, io_words};
use super::http_check::{fields, judge};
use crate::net::Socket;
use crate::route::{HttpProbe, Protocol};

/// How much of a body is read, in bytes; also the window that the endpoint gets.
pub(super) const BODY_MAX: usize = 8 * 1024;
/// The longest head of an answer, in bytes.
const HEAD_MAX: u32 = 64 * 1024;

/// What is asked.
pub(super) struct H2Question {
    pub(super) method: Method,
    pub(super) path: String,
    /// `:authority`, where it is not that of the target.
    pub(super) host: Option<HeaderValue>,
    pub(super) fields: HeaderMap,
    /// The body; nothing where it is empty.
    pub(super) body: Bytes,
}

/// How much of an answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadUpTo {
    /// The head.
    Head,
    /// The trailers.
    Trailers,
}

/// An answer.
#[derive(Debug)]
pub(super) struct H2Answer {
    pub(super) status: StatusCode,
    pub(super) head: HeaderMap,
    pub(super) body: Vec<u8>,
    /// `None`: there are none.
    pub(super) trailers: Option<HeaderMap>,
}

/// Asks with GET, and compares the status with `expect`.
pub(super) async fn check_h2(socket: Socket, probe: &HttpProbe, target: &CheckTarget) -> Result<(), CheckFailure> {
    let (path, host) = (probe.path.clone(), probe.host.clone());
    let fields = fields(&probe.headers);
    let question = H2Question { method: Method::GET, path, host, fields, body: Bytes::new() };
    let answer = ask_h2(socket, question, target, ReadUpTo::Head).await?;
    judge(probe, answer.status.as_u16())
}

/// Asks, and reads the answer up to a point.
pub(super) async fn ask_h2(
    socket: Socket,
    question: H2Question,
    target: &CheckTarget,
    up_to: ReadUpTo,
) -> Result<H2Answer, CheckFailure> {
    let (body, request) = (question.body.clone(), request(question, target)?);
    let window = u32::try_from(BODY_MAX).unwrap_or(u32::MAX);
    let mut builder = Builder::new();
    builder.enable_push(false).initial_window_size(window).max_header_list_size(HEAD_MAX);
    let opened = builder.handshake::<_, Bytes>(socket).await;
    let (sender, connection) = opened.map_err(|error| words(&error))?;
    let mut exchange = pin!(exchange(sender, request, body, up_to));
    // In one task: the answer and its connection make progress together.
    tokio::select! {
        biased;
        answer = &mut exchange => return answer,
        _ = connection => {}
    }
    // The connection has ended: the exchange has all that will come.
    exchange.await
}

fn request(question: H2Question, target: &CheckTarget) -> Result<Request<()>, CheckFailure> {
    let odd = |error: http::Error| format!("cannot be asked: {error}");
    let host = question.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or(&target.authority);
    let scheme = if target.protocol == Protocol::Https { "https" } else { "http" };
    let uri = Uri::builder().scheme(scheme).authority(host).path_and_query(question.path).build().map_err(odd)?;
    let mut request = Request::builder().method(question.method).uri(uri).version(Version::HTTP_2).body(());
    if let Ok(request) = &mut request {
        *request.headers_mut() = question.fields;
    }
    request.map_err(odd)
}

async fn exchange(
    sender: SendRequest<Bytes>,
    request: Request<()>,
    body: Bytes,
    up_to: ReadUpTo,
) -> Result<H2Answer, CheckFailure> {
    let response = send(sender, request, body).await?;
    let response: Response<RecvStream> = response.await.map_err(|error| words(&error))?;
    let (head, mut stream) = response.into_parts();
    let mut answer = H2Answer { status: head.status, head: head.headers, body: Vec::new(), trailers: None };
    if up_to == ReadUpTo::Head {
        return Ok(answer);
    }
    while let Some(piece) = stream.data().await {
        let piece = piece.map_err(|error| words(&error))?;
        if answer.body.len() + piece.len() > BODY_MAX {
            return Err(format!("answers with more than {BODY_MAX} bytes"));
        }
        answer.body.extend_from_slice(&piece);
        let _ = stream.flow_control().release_capacity(piece.len());
    }
    answer.trailers = stream.trailers().await.map_err(|error| words(&error))?;
    Ok(answer)
}

async fn send(sender: SendRequest<Bytes>, request: Request<()>, body: Bytes) -> Result<ResponseFuture, CheckFailure> {
    let mut sender = sender.ready().await.map_err(|error| words(&error))?;
    let ends = body.is_empty();
    let (response, mut stream) = sender.send_request(request, ends).map_err(|error| words(&error))?;
    if !ends {
        stream.send_data(body, true).map_err(|error| words(&error))?;
    }
    Ok(response)
}

/// Why an exchange failed.
fn words(error: &h2::Error) -> CheckFailure {
    if let Some(error) = error.get_io() {
        return io_words(error);
    }
    match error.reason() {
        Some(reason) if error.is_go_away() && error.is_remote() => {
            format!("closes the connection (GOAWAY, {})", name(reason))
        }
        Some(reason) if error.is_reset() && error.is_remote() => format!("resets the stream ({})", name(reason)),
        Some(Reason::PROTOCOL_ERROR | Reason::FRAME_SIZE_ERROR) => "its answer is no HTTP/2".to_owned(),
        Some(_) | None => format!("breaks HTTP/2: {error}"),
    }
}

/// The name of an error code as RFC 9113 writes it.
fn name(reason: Reason) -> String {
    // h2 writes it so for programmers.
    format!("{reason:?}")
}
