//! One request to another program and its answer: HTTP/1.1 over a connection of its own, within one time limit.

use std::error::Error;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
    TRANSFER_ENCODING, USER_AGENT,
};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

use super::question::Asked;
use super::wording::shown;
use crate::net::{ConnectError, Destination, Socket, connector};
use crate::route::{ClientTls, HttpTarget, Masks};
use crate::tls::{Handshake, OwnCertificate, client};

/// The longest body of an answer, in bytes.
const BODY_MAX: usize = 64 * 1024;
/// How much is read of the answer to a message, in bytes.
const BEGINNING_MAX: usize = 4 * 1024;
/// The longest head of an answer, in bytes.
const HEAD_MAX: usize = 64 * 1024;
/// A part of a path that is as long as this may be a credential, in bytes.
const LONG_PART: usize = 16;

const USER: HeaderValue = HeaderValue::from_static(concat!("pointsman/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// A program that is asked, or gets a message.
pub(in crate::control) struct AskedProgram {
    target: HttpTarget,
    /// Host and port as in a URL.
    authority: String,
    tls: Option<ProgramTls>,
    /// What is not shown of its answers and its errors: they may repeat what was sent.
    secrets: Masks,
}

struct ProgramTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    own_certificate: OwnCertificate,
    /// The table with its settings.
    owner: &'static str,
}

/// What is sent.
pub(in crate::control) struct ProgramCall {
    pub method: Method,
    /// The path with its query, from `/`.
    pub path: String,
    pub content_type: Option<HeaderValue>,
    /// Fields of this call, beside those of the target.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

/// What came back, of any status but a redirect.
pub(in crate::control) struct Answer {
    pub status: StatusCode,
    /// `Retry-After`, as it was sent.
    pub retry_after: Option<HeaderValue>,
    pub body: Vec<u8>,
}

/// The head of an answer, with its connection.
struct Head {
    response: Response<Incoming>,
    driver: Driver,
}

/// The task of a connection, which ends with this value.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl AskedProgram {
    /// The program of a question.
    ///
    /// # Errors
    /// Its TLS settings cannot be used.
    pub(super) fn of(asked: &Asked) -> Result<Self, String> {
        let (target, owner) = match asked {
            Asked::Webhook { target, .. } => (target, "the webhook"),
            Asked::Prometheus { target, .. } => (target, "`[prometheus]`"),
        };
        Self::new(target, owner)
    }

    /// The program at this target; `owner` is the table with its settings, for messages.
    ///
    /// # Errors
    /// Its TLS settings cannot be used.
    pub(in crate::control) fn new(target: &HttpTarget, owner: &'static str) -> Result<Self, String> {
        let host = target.host.trim_matches(['[', ']']);
        let shown = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let usual = if target.tls.is_some() { 443 } else { 80 };
        let authority = if target.port == usual { shown } else { format!("{shown}:{}", target.port) };
        let tls = target.tls.as_ref().map(|tls| ProgramTls::new(tls, host, owner)).transpose();
        let tls = tls.map_err(|why| format!("{authority} cannot be asked over TLS: {owner}: {why}"))?;
        Ok(Self { target: target.clone(), authority, tls, secrets: secrets(target) })
    }

    /// Sends a request, and reads the answer to its end. Redirects are not followed.
    ///
    /// # Errors
    /// Why there is no answer, in one line.
    pub(super) async fn send(&self, call: ProgramCall) -> Result<Answer, String> {
        let within = self.target.timeout;
        let answer = tokio::time::timeout(within, self.exchange(call)).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("does not answer within {within:?}")));
        answer.map_err(|why| self.line(&why))
    }

    /// Sends a message. What counts is the status: of the body the beginning is read, and one that does not end changes
    /// nothing. Redirects are not followed.
    ///
    /// # Errors
    /// Why there is no status, in one line.
    pub(in crate::control) async fn deliver(&self, call: ProgramCall) -> Result<Answer, String> {
        let within = self.target.timeout;
        let deadline = tokio::time::Instant::now() + within;
        let head = tokio::time::timeout_at(deadline, self.head(call)).await;
        let head = head.unwrap_or_else(|_| Err(format!("does not answer within {within:?}")));
        let Head { response, driver } = head.map_err(|why| self.line(&why))?;
        let (status, retry_after) = (response.status(), response.headers().get(RETRY_AFTER).cloned());
        let mut body = Vec::new();
        // The time may be over: what was read until then is the beginning.
        let _ = tokio::time::timeout_at(deadline, read_beginning(response.into_body(), &mut body)).await;
        drop(driver);
        Ok(Answer { status, retry_after, body })
    }

    /// A line about it, with its name, and without credentials.
    pub(in crate::control) fn line(&self, what: &str) -> String {
        let line = format!("{} {what}", self.authority);
        self.secrets.covered(line)
    }

    /// A text of it, without credentials.
    pub(in crate::control) fn covered(&self, text: String) -> String {
        self.secrets.covered(text)
    }

    /// The path with its query, from `/`.
    pub(in crate::control) fn path(&self) -> &str {
        &self.target.path
    }

    async fn exchange(&self, call: ProgramCall) -> Result<Answer, String> {
        let Head { response, driver } = self.head(call).await?;
        let (status, retry_after) = (response.status(), response.headers().get(RETRY_AFTER).cloned());
        let body = self.body(response.into_body()).await?;
        drop(driver);
        Ok(Answer { status, retry_after, body })
    }

    async fn head(&self, call: ProgramCall) -> Result<Head, String> {
        let request = self.request(call)?;
        let socket = self.connect().await?;
        let mut builder = http1::Builder::new();
        let opened = builder.max_buf_size(HEAD_MAX).handshake::<_, Full<Bytes>>(TokioIo::new(socket)).await;
        let (mut sender, connection) = opened.map_err(|error| self.describe(&error))?;
        let driver = Driver(tokio::spawn(async move { drop(connection.await) }));
        let response = sender.send_request(request).await.map_err(|error| self.describe(&error))?;
        if response.status().is_redirection() {
            return Err(redirect(&response));
        }
        Ok(Head { response, driver })
    }

    fn request(&self, call: ProgramCall) -> Result<Request<Full<Bytes>>, String> {
        let odd = |error: &dyn Error| format!("cannot be asked: its path is not valid: {error}");
        let uri: Uri = call.path.parse().map_err(|error: http::uri::InvalidUri| odd(&error))?;
        let mut request = Request::builder().method(call.method).uri(uri).body(Full::new(call.body));
        let request = request.as_mut().map_err(|error| odd(error))?;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, USER);
        headers.insert(ACCEPT, JSON);
        for (name, value) in &self.target.headers {
            headers.insert(name, value.clone());
        }
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
        headers.insert(CONNECTION, CLOSE);
        if !headers.contains_key(HOST) {
            let host = HeaderValue::from_str(&self.authority).map_err(|error| odd(&error))?;
            headers.insert(HOST, host);
        }
        if let Some(content_type) = call.content_type {
            headers.insert(CONTENT_TYPE, content_type);
        }
        headers.extend(call.headers.into_iter().map(|(name, value)| (Some(name), value)));
        Ok(std::mem::take(request))
    }

    async fn connect(&self) -> Result<Socket, String> {
        let mut destination = Destination::host(self.target.host.trim_matches(['[', ']']), self.target.port);
        if let Some(tls) = &self.tls {
            destination = destination.with_tls(Arc::clone(&tls.config), tls.name.clone());
        }
        let within = self.target.timeout;
        connector(within).oneshot(destination).await.map_err(|error| match error {
            ConnectError::Unreachable(error) | ConnectError::ProxyHeader(error) => {
                format!("cannot be reached: {error}")
            }
            ConnectError::Tls(error) => self.describe_tls(&error),
            ConnectError::TimedOut(_) => format!("does not accept the connection within {within:?}"),
        })
    }

    async fn body(&self, mut body: Incoming) -> Result<Vec<u8>, String> {
        let too_long = || format!("answers with more than {BODY_MAX} bytes");
        let least = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if least > BODY_MAX {
            return Err(too_long());
        }
        let mut read = Vec::with_capacity(least);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| self.describe(&error))?.into_data() else { continue };
            if read.len() + data.len() > BODY_MAX {
                return Err(too_long());
            }
            read.extend_from_slice(&data);
        }
        debug_assert!(read.len() <= BODY_MAX, "a body has a bound");
        Ok(read)
    }

    /// An error of the exchange, with its causes.
    fn describe(&self, error: &hyper::Error) -> String {
        const CUT: &str = "closed the connection before the answer was complete";
        if error.is_incomplete_message() {
            return CUT.to_owned();
        }
        let mut words = error.to_string();
        let mut below = error.source();
        while let Some(cause) = below {
            let io = cause.downcast_ref::<io::Error>();
            if io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof) {
                return CUT.to_owned();
            }
            if let Some(io) = io
                && io.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<rustls::Error>)
            {
                return self.describe_tls(io);
            }
            let more = cause.to_string();
            if !words.contains(&more) {
                words = format!("{words}: {more}");
            }
            below = cause.source();
        }
        if error.is_parse() {
            format!("does not answer in HTTP/1.1: {}", shown(&words))
        } else {
            format!("does not answer: {}", shown(&words))
        }
    }

    fn describe_tls(&self, error: &io::Error) -> String {
        let Some(ProgramTls { own_certificate, owner, .. }) = &self.tls else { return error.to_string() };
        let handshake =
            Handshake { server: &self.authority, own_certificate: *own_certificate, owner, protocols: "HTTP/1.1" };
        format!("cannot be asked over TLS: {}", handshake.describe(error).1)
    }
}

impl ProgramTls {
    fn new(tls: &ClientTls, host: &str, owner: &'static str) -> Result<Self, String> {
        let mut config = client(&tls.roots, tls.client_cert.as_ref()).map_err(|error| error.to_string())?;
        Arc::make_mut(&mut config).alpn_protocols = vec![b"http/1.1".to_vec()];
        // The trailing dot of an absolute name is for the resolver; certificates do not have it.
        let name = tls.server_name.as_deref().unwrap_or_else(|| host.strip_suffix('.').unwrap_or(host));
        let name = ServerName::try_from(name.to_owned()).map_err(|error| format!("{name}: {error}"))?;
        let own_certificate =
            if tls.client_cert.is_some() { OwnCertificate::Configured } else { OwnCertificate::Absent };
        Ok(Self { config, name, own_certificate, owner })
    }
}

/// Reads the beginning of a body, as far as it comes.
async fn read_beginning(mut body: Incoming, read: &mut Vec<u8>) {
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let left = BEGINNING_MAX.saturating_sub(read.len()).min(data.len());
        read.extend_from_slice(&data[..left]);
        if read.len() >= BEGINNING_MAX {
            return;
        }
    }
}

/// Names the location of a redirect, without its query and credentials.
fn redirect(response: &Response<Incoming>) -> String {
    let location = response.headers().get(LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let to = location.as_deref().map(|location| {
        let location = location.split(['?', '#']).next().unwrap_or_default();
        match location.split_once("://") {
            Some((scheme, rest)) => {
                let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
                let host = authority.rsplit('@').next().unwrap_or_default();
                shown(&format!("{scheme}://{host}{path}"))
            }
            None => shown(location),
        }
    });
    let to = to.map_or_else(|| "without a location".to_owned(), |to| format!("to {to}"));
    let status = response.status().as_u16();
    format!("redirects ({status}) {to}: redirects are not followed; write the URL that answers itself")
}

/// What may be a credential of what is sent: the values of headers, those of a query, and long parts of a path.
fn secrets(target: &HttpTarget) -> Masks {
    let headers = target.headers.iter().filter_map(|(_, value)| value.to_str().ok());
    let headers = headers.flat_map(|value| [value, value.rsplit(' ').next().unwrap_or_default()]);
    let (path, query) = target.path.split_once('?').unwrap_or((&target.path, ""));
    let parts = path.split('/').filter(|part| part.len() >= LONG_PART);
    let values = query.split('&').filter_map(|pair| Some(pair.split_once('=')?.1));
    let all = headers.chain(parts).chain(values);
    Masks::new(all.map(|value| (value.to_owned(), "***".to_owned())), [])
}
