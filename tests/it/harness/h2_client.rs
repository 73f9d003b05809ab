//! A client of HTTP/2 with prior knowledge, on the h2 crate.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::PATIENCE;

/// An HTTP/2 connection with its own runtime.
pub struct H2 {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// A response; if it is incomplete, `reset` is the reason.
#[derive(Debug)]
pub struct H2Answer {
    /// The status; 0 when no head came.
    pub status: u16,
    /// The head's fields.
    pub headers: HeaderMap,
    /// The bytes of the body that arrived.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Option<HeaderMap>,
    /// The reason why the stream was reset or the connection failed.
    pub reset: Option<Reason>,
    /// The error's text.
    pub error: String,
}

impl H2Answer {
    /// A field's value.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {text}", self.status))
    }

    fn broken(error: &h2::Error) -> Self {
        let (headers, body, trailers) = (HeaderMap::new(), Vec::new(), None);
        Self { status: 0, headers, body, trailers, reset: error.reason(), error: error.to_string() }
    }
}

impl H2 {
    /// Connects with these settings.
    #[track_caller]
    pub fn connect_with(address: SocketAddr, builder: &h2::client::Builder) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sender, connection) = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            builder.handshake::<_, Bytes>(stream).await.unwrap()
        });
        let connection = runtime.spawn(connection);
        Self { runtime, sender, connection }
    }

    /// Connects under TLS, where the server must choose HTTP/2.
    #[track_caller]
    pub fn secured(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let (sender, connection) = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            h2::client::Builder::new().handshake::<_, Bytes>(stream).await.unwrap()
        });
        let connection = runtime.spawn(connection);
        Self { runtime, sender, connection }
    }

    /// Connects.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &h2::client::Builder::new())
    }

    /// A request for this path on host `test`.
    pub fn request(method: &str, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("http://test{path}"))
    }

    /// GETs a path.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> H2Answer {
        self.send(Self::request("GET", path).body(()).unwrap(), &[], None)
    }

    /// Sends a request with a body in these pieces and these trailers, and reads the response.
    #[track_caller]
    pub fn send(&mut self, request: Request<()>, body: &[&[u8]], trailers: Option<HeaderMap>) -> H2Answer {
        let mut sender = self.sender.clone();
        let whole = body.is_empty() && trailers.is_none();
        let exchange = async {
            sender = match sender.ready().await {
                Ok(sender) => sender,
                Err(error) => return H2Answer::broken(&error),
            };
            let (response, mut stream) = match sender.send_request(request, whole) {
                Ok(sent) => sent,
                Err(error) => return H2Answer::broken(&error),
            };
            if !whole {
                // A stream that was reset in between reports it when its response is read.
                let _ = upload(&mut stream, body, trailers).await;
            }
            read(response).await
        };
        let bounded = async { tokio::time::timeout(PATIENCE, exchange).await };
        self.runtime.block_on(bounded).expect("a response in time")
    }

    /// Sends a request and returns its future response and its body, unread.
    #[track_caller]
    pub fn open(&mut self, request: Request<()>, end_of_stream: End) -> (ResponseFuture, SendStream<Bytes>) {
        let sender = self.sender.clone();
        let ready = async { tokio::time::timeout(PATIENCE, sender.ready()).await };
        let mut sender = self.runtime.block_on(ready).expect("a free stream in time").unwrap();
        sender.send_request(request, end_of_stream == End::Now).unwrap()
    }

    /// Runs a future on the connection's runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await }).expect("an end in time")
    }

    /// Reads a response to its end.
    pub fn finish(&self, response: ResponseFuture) -> H2Answer {
        self.block_on(read(response))
    }

    /// Waits for the connection's end.
    pub fn closed(&mut self) -> Result<(), h2::Error> {
        let ended = async { tokio::time::timeout(PATIENCE, &mut self.connection).await };
        self.runtime.block_on(ended).expect("the connection ends in time").unwrap()
    }
}

/// Whether a request ends with its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There is no body.
    Now,
    /// A body follows.
    Later,
}

async fn upload(stream: &mut SendStream<Bytes>, body: &[&[u8]], trailers: Option<HeaderMap>) -> Result<(), h2::Error> {
    for (i, piece) in body.iter().enumerate() {
        let last = i + 1 == body.len() && trailers.is_none();
        send_all(stream, Bytes::copy_from_slice(piece), if last { End::Now } else { End::Later }).await?;
    }
    if let Some(trailers) = trailers {
        stream.send_trailers(trailers)?;
    }
    Ok(())
}

/// Sends data as the windows allow.
pub async fn send_all(stream: &mut SendStream<Bytes>, mut data: Bytes, end: End) -> Result<(), h2::Error> {
    loop {
        stream.reserve_capacity(data.len());
        while stream.capacity() == 0 && !data.is_empty() {
            match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(granted) => granted?,
                None => return Err(Reason::CANCEL.into()),
            };
        }
        let now = data.split_to(stream.capacity().min(data.len()));
        let done = data.is_empty();
        stream.send_data(now, done && end == End::Now)?;
        if done {
            return Ok(());
        }
    }
}

/// Reads a response to its end.
pub async fn read(response: ResponseFuture) -> H2Answer {
    match response.await {
        Ok(response) => read_body(response).await,
        Err(error) => H2Answer::broken(&error),
    }
}

/// Reads a response's body to its end.
pub async fn read_body(response: Response<RecvStream>) -> H2Answer {
    let (parts, mut stream) = response.into_parts();
    let mut answer = H2Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: Vec::new(),
        trailers: None,
        reset: None,
        error: String::new(),
    };
    while let Some(data) = stream.data().await {
        match data {
            Ok(data) => {
                // A broken connection reports it at the next read.
                let _ = stream.flow_control().release_capacity(data.len());
                answer.body.extend_from_slice(&data);
            }
            Err(error) => {
                (answer.reset, answer.error) = (error.reason(), error.to_string());
                return answer;
            }
        }
    }
    match stream.trailers().await {
        Ok(trailers) => answer.trailers = trailers,
        Err(error) => (answer.reset, answer.error) = (error.reason(), error.to_string()),
    }
    answer
}
