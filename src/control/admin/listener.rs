//! The admin listener: a small HTTP/1.1 server on the control thread, never on the path of a request.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use http::{Request, header};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tower::Service;

use super::origin::AdminClient;
use super::router::router;
use crate::control::event::Event;
use crate::control::hand_over::{InheritedSockets, SocketOwner};
use crate::control::state::ControlState;
use crate::control::system::{BindError, bind};
use crate::snapshot::ListeningSocket;

/// Concurrent connections to one address; more wait in the kernel. Each address has its own limit, so that a busy one
/// does not block an operator at another.
const CONNECTIONS_MAX: usize = 64;
/// Time limit for a request head, which also limits idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Lifetime of a connection: no client occupies one of the few for longer.
const LIFE_MAX: Duration = Duration::from_mins(5);
/// Pause after a failed accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The admin listener: one socket for each address.
pub struct AdminListener {
    state: Arc<ControlState>,
    events: mpsc::Sender<Event>,
    serving: Vec<ServedAddress>,
}

struct ServedAddress {
    wanted: SocketAddr,
    bound: SocketAddr,
    socket: Arc<ListeningSocket>,
    accepting: JoinHandle<()>,
}

/// Prepared addresses, in the order of the file.
#[derive(Debug)]
pub struct PreparedAdmin(Vec<PreparedAddress>);

/// A prepared address.
#[derive(Debug)]
enum PreparedAddress {
    /// The address is served already.
    Kept(SocketAddr),
    /// A new socket.
    New(Bound),
}

/// A bound socket that is not served yet.
#[derive(Debug)]
struct Bound {
    wanted: SocketAddr,
    socket: Arc<ListeningSocket>,
    listener: TcpListener,
    address: SocketAddr,
}

impl AdminListener {
    /// A listener without addresses.
    #[must_use]
    pub const fn new(state: Arc<ControlState>, events: mpsc::Sender<Event>) -> Self {
        Self { state, events, serving: Vec::new() }
    }

    /// Binds each address that is neither served already nor inherited.
    ///
    /// # Errors
    /// The addresses that cannot be bound.
    pub fn prepare(
        &self,
        wanted: &[SocketAddr],
        inherited: &mut InheritedSockets,
    ) -> Result<PreparedAdmin, Vec<BindError>> {
        // Each served socket is used once: the file may have port 0 several times.
        let mut served: Vec<SocketAddr> = self.serving.iter().map(|one| one.wanted).collect();
        let (mut places, mut errors) = (Vec::new(), Vec::new());
        for address in wanted {
            if let Some(at) = served.iter().position(|one| one == address) {
                served.swap_remove(at);
                places.push(PreparedAddress::Kept(*address));
                continue;
            }
            match open(*address, wanted, inherited) {
                Ok(bound) => places.push(PreparedAddress::New(bound)),
                Err(source) => {
                    errors.push(BindError { who: "the admin listener".to_owned(), address: *address, source });
                }
            }
        }
        if errors.is_empty() { Ok(PreparedAdmin(places)) } else { Err(errors) }
    }

    /// Serves exactly these addresses from now on, and returns the bound ones. Connections to removed addresses run to
    /// their end.
    pub fn adopt(&mut self, prepared: PreparedAdmin) -> Vec<SocketAddr> {
        let mut before = std::mem::take(&mut self.serving);
        for place in prepared.0 {
            match place {
                PreparedAddress::Kept(wanted) => {
                    let at = before.iter().position(|one| one.wanted == wanted);
                    self.serving.extend(at.map(|at| before.remove(at)));
                }
                PreparedAddress::New(Bound { wanted, socket, listener, address: bound }) => {
                    let router = router(Arc::clone(&self.state), self.events.clone(), bound);
                    let accepting = tokio::spawn(accept(listener, router));
                    self.serving.push(ServedAddress { wanted, bound, socket, accepting });
                }
            }
        }
        before.into_iter().for_each(ServedAddress::close);
        self.serving.iter().map(|one| one.bound).collect()
    }

    /// The addresses in the file, and their sockets.
    pub fn sockets(&self) -> impl Iterator<Item = (SocketAddr, &Arc<ListeningSocket>)> {
        self.serving.iter().map(|one| (one.wanted, &one.socket))
    }

    /// Stops accepting.
    pub fn close(&mut self) {
        self.serving.drain(..).for_each(ServedAddress::close);
    }
}

impl ServedAddress {
    fn close(self) {
        self.accepting.abort();
    }
}

fn open(wanted: SocketAddr, all: &[SocketAddr], inherited: &mut InheritedSockets) -> io::Result<Bound> {
    let socket = match inherited.take(SocketOwner::Admin(all), wanted) {
        Some(socket) => socket,
        None => Arc::new(ListeningSocket::own(bind(wanted)?)),
    };
    let listener = TcpListener::from_std(socket.try_clone()?)?;
    Ok(Bound { wanted, address: socket.local_addr()?, socket, listener })
}

async fn accept(listener: TcpListener, router: Router) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    serve(stream, peer.ip(), router).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, peer: IpAddr, router: Router) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(AdminClient(peer));
        let answering = router.clone().call(request);
        async move { answering.await.map(without_content_length) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), service);
    // Errors of a client need no log; no connection lives longer than `LIFE_MAX`.
    let _ = tokio::time::timeout(LIFE_MAX, connection).await;
}

/// Removes the length of a body: hyper writes it after the fields that it adds. A response to HEAD keeps the field,
/// because hyper has no body to measure.
fn without_content_length(mut response: Response) -> Response {
    if !response.body().is_end_stream() {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}
