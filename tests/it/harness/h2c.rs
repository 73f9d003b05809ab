//! An upstream that speaks HTTP/2 with prior knowledge: an echo, or a script for each stream.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};

use super::h2_client::{End, send_all};
use super::upstream::{Got, Shared, Upstream};
use super::wire::{Fields, text_of};

/// The script of a stream.
pub type Handling = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Upstream {
    /// Answers each request with JSON about what it got, and repeats its trailers.
    pub fn h2c() -> Self {
        Self::h2c_script(&h2::server::Builder::new(), |shared, number, request, respond| {
            // A proxy that has closed needs no response.
            Box::pin(async move { drop(echo(shared, number, request, respond).await) })
        })
    }

    /// Runs `script` for each stream, with the connection's number.
    pub fn h2c_script(
        builder: &h2::server::Builder,
        script: impl Fn(Arc<Shared>, u64, Request<RecvStream>, SendResponse<Bytes>) -> Handling + Send + Sync + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::new(Shared::default());
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let (builder, serving, script) = (builder.clone(), Arc::clone(&shared), Arc::new(script));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                let accepting = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        let number = serving.accepted.fetch_add(1, SeqCst);
                        tokio::spawn(serve(stream, builder.clone(), Arc::clone(&serving), number, Arc::clone(&script)));
                    }
                };
                tokio::select! {
                    () = accepting => {}
                    _ = ended => {}
                }
            });
        });
        let end = Box::new(move || {
            // It has already ended then.
            let _ = end.send(());
        });
        Self { shared, address, thread: Some(thread), end: Some(end) }
    }
}

async fn serve<S>(stream: TcpStream, builder: h2::server::Builder, shared: Arc<Shared>, number: u64, script: Arc<S>)
where
    S: Fn(Arc<Shared>, u64, Request<RecvStream>, SendResponse<Bytes>) -> Handling + Send + Sync + 'static,
{
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(script(Arc::clone(&shared), number, request, respond));
    }
}

/// Reads a request to its end.
pub async fn whole(number: u64, request: Request<RecvStream>) -> Result<Got, h2::Error> {
    let (parts, mut stream) = request.into_parts();
    let mut got = Got {
        connection: number,
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        version: "HTTP/2.0".to_owned(),
        headers: listed(&parts.headers),
        ..Got::default()
    };
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        got.body.extend_from_slice(&data);
    }
    got.trailers = stream.trailers().await?.map(|trailers| listed(&trailers)).unwrap_or_default();
    Ok(got)
}

fn listed(headers: &HeaderMap) -> Fields {
    headers.iter().map(|(name, value)| (name.to_string(), text_of(value.as_bytes()))).collect()
}

async fn echo(
    shared: Arc<Shared>,
    number: u64,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let got = whole(number, request).await?;
    let manner = shared.manner.lock().unwrap().clone();
    shared.remember(got.clone());
    tokio::time::sleep(manner.delay).await;
    let mut response = Response::builder().status(manner.status).header("content-type", "application/json");
    for line in manner.lines.lines().filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or(Reason::INTERNAL_ERROR)?;
        response = response.header(name, value.trim());
    }
    let mut stream = respond.send_response(response.body(()).unwrap(), false)?;
    let body = Bytes::from(got.json(&manner.name).to_string());
    if got.trailers.is_empty() {
        return send_all(&mut stream, body, End::Now).await;
    }
    send_all(&mut stream, body, End::Later).await?;
    let mut trailers = HeaderMap::new();
    for (name, value) in got.trailers {
        trailers.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    stream.send_trailers(trailers)
}
