//! Accepts connections. Every worker listens on a duplicate of the same socket, so that no connection is lost when the
//! number of workers or listeners changes. A worker with clearly more connections than another one waits a moment.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::client::Client;
use super::client_slot::{ClientSlot, admit};
use crate::proxy::worker::Worker;
use crate::proxy::worker::connection_deadlines::Wakeup;
use crate::snapshot::{Listener, ListeningSocket};
use crate::telemetry::Refusal;

/// A worker that has more connections than this beyond the least loaded one waits a moment before it accepts.
const AHEAD_MAX: u64 = 2;
/// How long it waits.
const YIELD_PAUSE: Duration = Duration::from_micros(200);
/// How long accepting pauses after an error such as "too many open files", so that the loop neither spins nor ends.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// How long a drain leaves idle connections open, so that a client that is sending its next request gets a response
/// (with `Connection: close`) instead of a reset.
pub(crate) const IDLE_GRACE: Duration = Duration::from_secs(1);

/// Least interval between two warnings about a lasting error.
const WARN_EVERY_MS: u64 = 10_000;

/// A worker's accept loops.
pub(crate) struct Acceptors {
    worker: Rc<Worker>,
    serve: Serve,
    by_socket: HashMap<*const ListeningSocket, Acceptor>,
}

/// Serves an accepted connection.
type Serve = Rc<dyn Fn(Rc<Client>, TcpStream)>;

struct Acceptor {
    /// `None` ends the loop.
    listener: watch::Sender<Option<Arc<Listener>>>,
    task: JoinHandle<()>,
}

impl Acceptors {
    /// Without any loop yet. The loops call `serve` for each accepted connection.
    pub(crate) fn new(worker: &Rc<Worker>, serve: impl Fn(Rc<Client>, TcpStream) + 'static) -> Self {
        Self { worker: Rc::clone(worker), serve: Rc::new(serve), by_socket: HashMap::new() }
    }

    /// Starts and ends accept loops so that they match the worker's snapshot.
    pub(crate) fn follow(&mut self) {
        let worker = &self.worker;
        let wanted = Arc::clone(&worker.snapshot().listeners);
        self.by_socket.retain(|socket, acceptor| {
            let stays = wanted.iter().any(|listener| Arc::as_ptr(&listener.socket) == *socket);
            if !stays {
                acceptor.listener.send_replace(None);
            }
            stays
        });
        for listener in &*wanted {
            let socket = Arc::as_ptr(&listener.socket);
            if let Some(acceptor) = self.by_socket.get(&socket) {
                acceptor.listener.send_replace(Some(Arc::clone(listener)));
                continue;
            }
            match listener.socket.try_clone().and_then(TcpListener::from_std) {
                Ok(duplicate) => {
                    let (sender, receiver) = watch::channel(Some(Arc::clone(listener)));
                    let accepting = accept(Rc::clone(worker), Rc::clone(&self.serve), duplicate, receiver);
                    let task = tokio::task::spawn_local(accepting);
                    self.by_socket.insert(socket, Acceptor { listener: sender, task });
                }
                Err(error) => {
                    worker.meter().accept_errors.inc();
                    tracing::error!(listener = listener.spec.name, %error, "worker cannot listen");
                }
            }
        }
    }

    /// Ends all accept loops. They accept the connections in their backlogs first.
    pub(crate) async fn close(&mut self) {
        for (_, acceptor) in self.by_socket.drain() {
            acceptor.listener.send_replace(None);
            if acceptor.task.await.is_err() {
                tracing::error!("accept loop failed");
            }
        }
    }
}

async fn accept(
    worker: Rc<Worker>,
    serve: Serve,
    socket: TcpListener,
    mut listener: watch::Receiver<Option<Arc<Listener>>>,
) {
    let Some(mut current) = listener.borrow_and_update().clone() else { return };
    loop {
        if is_ahead(&worker) {
            tokio::time::sleep(YIELD_PAUSE).await;
        }
        tokio::select! {
            biased;
            _ = listener.changed() => {
                let next = listener.borrow_and_update().clone();
                let Some(next) = next else { break };
                current = next;
            }
            accepted = socket.accept() => match accepted {
                Ok((stream, peer)) => serve_accepted(&worker, &current, &serve, Accepted { stream, peer }),
                // Another worker has closed the socket; this worker gets the same change in a moment.
                Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
                    tokio::time::sleep(YIELD_PAUSE).await;
                }
                Err(error) => record_accept_error(&worker, &error).await,
            }
        }
        // One connection per turn, so that other workers get their share of a burst.
        tokio::task::yield_now().await;
    }
    drain_backlog(&worker, &current, &serve, socket);
    if !worker.draining.get() {
        tokio::task::spawn_local(drain_connections(worker, current));
    }
}

/// Accepts the connections in the backlog: the kernel has completed their handshakes. A shared socket keeps its backlog
/// for the other process.
fn drain_backlog(worker: &Rc<Worker>, listener: &Arc<Listener>, serve: &Serve, socket: TcpListener) {
    if listener.socket.is_shared() {
        return;
    }
    // Not through tokio: its readiness may lag behind the kernel.
    if let Ok(socket) = socket.into_std() {
        while let Ok((stream, peer)) = socket.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                serve_accepted(worker, listener, serve, Accepted { stream, peer });
            }
        }
    }
    // Other duplicates exist, for example in connections. Closing only this one would leave clients in a backlog that
    // no worker accepts from.
    if let Err(error) = listener.socket.close() {
        tracing::debug!(listener = listener.spec.name, %error, "the listening socket was closed already");
    }
}

/// Drains the connections of a removed listener: they finish their requests and close.
async fn drain_connections(worker: Rc<Worker>, listener: Arc<Listener>) {
    let socket = Arc::as_ptr(&listener.socket).addr();
    worker.connections.wake_socket(socket, Wakeup::Drain);
    tokio::time::sleep(IDLE_GRACE).await;
    worker.connections.wake_socket(socket, Wakeup::Close);
}

async fn record_accept_error(worker: &Worker, error: &std::io::Error) {
    worker.rouse();
    worker.meter().accept_errors.inc();
    // A connection that was reset before it was accepted is no reason to pause.
    if error.kind() != std::io::ErrorKind::ConnectionAborted {
        let now = worker.now_ms();
        if worker.accept_warned_ms.get().is_none_or(|warned| now >= warned + WARN_EVERY_MS) {
            worker.accept_warned_ms.set(Some(now));
            tracing::warn!(%error, "cannot accept connections; the metrics count these errors");
        }
        tokio::time::sleep(ERROR_PAUSE).await;
    }
}

fn is_ahead(worker: &Worker) -> bool {
    let open = |meter: &crate::telemetry::WorkerMeter| meter.accepted.value().saturating_sub(meter.closed.value());
    let least = worker.registry.worker.used().map(open).min().unwrap_or(0);
    worker.workers > 1 && open(worker.meter()) > least + AHEAD_MAX
}

/// An accepted connection.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
}

fn serve_accepted(worker: &Rc<Worker>, listener: &Arc<Listener>, serve: &Serve, Accepted { stream, peer }: Accepted) {
    worker.rouse();
    let limits = &listener.spec.limits;
    let meter = worker.meter();
    let everywhere: i64 = listener.meters.used().map(|meter| meter.connections.value()).sum();
    let visit = if everywhere >= i64::from(limits.connections) {
        Err(Refusal::Connections)
    } else if listener.spec.is_proxy_sender(peer.ip()) {
        // The limits apply to the client that the PROXY header names.
        Ok(None)
    } else {
        admit(worker, listener, peer.ip())
    };
    meter.accepted.inc();
    match visit {
        Ok(share) => {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
            // A listener on one address spares the system call: all its connections have that address.
            let bound = listener.bound;
            let local = if bound.ip().is_unspecified() { stream.local_addr().unwrap_or(bound) } else { bound };
            let slot = ClientSlot::new(Rc::clone(worker), Arc::clone(listener), share);
            // Created here, not in the task, so that a drain that begins now includes it.
            serve(Client::new(slot, peer, local), stream);
        }
        Err(refusal) => {
            meter.refuse(refusal);
            meter.closed.inc();
        }
    }
}
