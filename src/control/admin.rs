//! The admin listener: a small HTTP/1.1 server on the control plane's thread, far from any request's way.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::controller::Event;
use super::desk::Desk;
use super::hand_over::{Inherited, Wanted};
use super::ledger::Ledger;
use super::socket::{BindError, bind};
use crate::snapshot::ListeningSocket;

/// Connections at once; more wait in the kernel.
const CONNECTIONS_MAX: usize = 64;
/// To send a request's head, which also bounds an idle connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection's whole life: nobody holds one of the few for ever.
const LIFE_MAX: Duration = Duration::from_mins(5);
/// Pause after a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The admin listener.
pub struct Admin {
    ledger: Arc<Ledger>,
    events: mpsc::Sender<Event>,
    connections: Arc<Semaphore>,
    current: Option<Serving>,
}

struct Serving {
    wanted: SocketAddr,
    bound: SocketAddr,
    socket: Arc<ListeningSocket>,
    accepting: JoinHandle<()>,
}

/// An address that can be adopted.
#[derive(Debug)]
pub struct Prepared {
    wanted: SocketAddr,
    /// None when the current one goes on.
    socket: Option<Bound>,
}

/// A socket, ready to be served.
#[derive(Debug)]
struct Bound {
    socket: Arc<ListeningSocket>,
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Not bound yet.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>, events: mpsc::Sender<Event>) -> Self {
        Self { ledger, events, connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)), current: None }
    }

    /// Binds this address unless it is the current one, or somebody else has bound it for us.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn prepare(&self, wanted: SocketAddr, inherited: &mut Inherited) -> Result<Prepared, BindError> {
        if self.current.as_ref().is_some_and(|current| current.wanted == wanted) {
            return Ok(Prepared { wanted, socket: None });
        }
        let mut open = || {
            let socket = match inherited.take(Wanted::Admin, wanted) {
                Some(socket) => socket,
                None => Arc::new(ListeningSocket::own(bind(wanted)?)),
            };
            let listener = TcpListener::from_std(socket.try_clone()?)?;
            Ok(Bound { address: socket.local_addr()?, socket, listener })
        };
        match open() {
            Ok(bound) => Ok(Prepared { wanted, socket: Some(bound) }),
            Err(source) => Err(BindError { who: "the admin listener".to_owned(), address: wanted, source }),
        }
    }

    /// Serves there from now on, and says where that is. Connections to the old address end as they will.
    pub fn adopt(&mut self, prepared: Prepared) -> SocketAddr {
        let Prepared { wanted, socket } = prepared;
        if let Some(Bound { socket, listener, address: bound }) = socket {
            self.close();
            let desk = Arc::new(Desk::new(Arc::clone(&self.ledger), self.events.clone(), bound));
            let accepting = tokio::spawn(accept(listener, desk, Arc::clone(&self.connections)));
            self.current = Some(Serving { wanted, bound, socket, accepting });
        }
        self.current.as_ref().map_or(wanted, |current| current.bound)
    }

    /// The address as the file says it, and the socket.
    pub fn socket(&self) -> Option<(SocketAddr, Arc<ListeningSocket>)> {
        self.current.as_ref().map(|current| (current.wanted, Arc::clone(&current.socket)))
    }

    /// Accepts no more.
    pub fn close(&mut self) {
        if let Some(old) = self.current.take() {
            old.accepting.abort();
        }
    }
}

async fn accept(listener: TcpListener, desk: Arc<Desk>, connections: Arc<Semaphore>) {
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let desk = Arc::clone(&desk);
                tokio::spawn(async move {
                    serve(stream, peer.ip(), desk).await;
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

async fn serve(stream: TcpStream, peer: IpAddr, desk: Arc<Desk>) {
    let service = service_fn(move |request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.answer(request, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), service);
    // What a client does wrong is its own affair, and nobody waits for more than a connection's life.
    let _ = tokio::time::timeout(LIFE_MAX, connection).await;
}
