//! The admin listener: a small HTTP/1.1 server on the control plane's thread, far from any request's way.

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

/// Connections of one address at once; more wait in the kernel. Each address has its own, so that a crowd at one does
/// not keep an operator from another.
const CONNECTIONS_MAX: usize = 64;
/// To send a request's head, which also bounds an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection's whole life: nobody holds one of the few for ever.
const LIFE_MAX: Duration = Duration::from_mins(5);
/// Pause after a failure to accept, such as too many open files.
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

/// Addresses that can be adopted, in the order of the file.
#[derive(Debug)]
pub struct PreparedAdmin(Vec<PreparedAddress>);

/// One of them.
#[derive(Debug)]
enum PreparedAddress {
    /// The socket that is served for this address goes on.
    Kept(SocketAddr),
    /// A new socket.
    New(Bound),
}

/// A socket, ready to be served.
#[derive(Debug)]
struct Bound {
    wanted: SocketAddr,
    socket: Arc<ListeningSocket>,
    listener: TcpListener,
    address: SocketAddr,
}

impl AdminListener {
    /// Not bound yet.
    #[must_use]
    pub const fn new(state: Arc<ControlState>, events: mpsc::Sender<Event>) -> Self {
        Self { state, events, serving: Vec::new() }
    }

    /// Binds each of these addresses, unless it is served already or somebody else has bound it for us.
    ///
    /// # Errors
    /// The addresses that cannot be bound.
    pub fn prepare(
        &self,
        wanted: &[SocketAddr],
        inherited: &mut InheritedSockets,
    ) -> Result<PreparedAdmin, Vec<BindError>> {
        // By address, and each socket once: the file may have port 0 more than once.
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

    /// Serves these addresses from now on and no others, and says where that is. Connections to an address that is gone
    /// end as they will.
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

    /// The addresses as the file says them, and their sockets.
    pub fn sockets(&self) -> impl Iterator<Item = (SocketAddr, &Arc<ListeningSocket>)> {
        self.serving.iter().map(|one| (one.wanted, &one.socket))
    }

    /// Accepts no more.
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
        async move { answering.await.map(unframed) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), service);
    // What a client does wrong is its own affair, and nobody waits for more than a connection's life.
    let _ = tokio::time::timeout(LIFE_MAX, connection).await;
}

/// Leaves the length of a body to hyper, which writes it after the fields that it adds. An answer to HEAD
/// keeps the field: hyper has no body to measure.
fn unframed(mut response: Response) -> Response {
    if !response.body().is_end_stream() {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}
