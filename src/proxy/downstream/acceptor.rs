//! Accepts connections. Every worker listens on a duplicate of the same socket, so that none is lost when the number of
//! workers or listeners changes; a worker that has clearly more connections than its siblings lets them go first.

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

/// How many more connections than the least loaded sibling a worker may have before it waits a moment.
const AHEAD_MAX: u64 = 2;
/// How long it waits then.
const YIELD_PAUSE: Duration = Duration::from_micros(200);
/// How long accepting pauses after an error such as «too many open files»: neither a spin nor an end.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// How long a drain leaves idle connections open, so that a client which is just sending its next request gets an
/// answer (with `Connection: close`) instead of a reset.
pub(crate) const IDLE_GRACE: Duration = Duration::from_secs(1);

/// A lasting error is told this often.
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
    /// No loops yet; `serve` is called for each accepted connection.
    pub(crate) fn new(worker: &Rc<Worker>, serve: impl Fn(Rc<Client>, TcpStream) + 'static) -> Self {
        Self { worker: Rc::clone(worker), serve: Rc::new(serve), by_socket: HashMap::new() }
    }

    /// Opens, keeps and closes accept loops as the worker's snapshot says.
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

    /// Stops accepting, after what stands in the queues.
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
                // A sibling has closed it; this worker is about to be told so.
                Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
                    tokio::time::sleep(YIELD_PAUSE).await;
                }
                Err(error) => record_accept_error(&worker, &error).await,
            }
        }
        // One connection a turn, so that siblings get their share of a burst.
        tokio::task::yield_now().await;
    }
    drain_backlog(&worker, &current, &serve, socket);
    if !worker.draining.get() {
        tokio::task::spawn_local(drain_connections(worker, current));
    }
}

/// Whoever stands in the queue was promised a connection, unless somebody else sees to the queue from now on.
fn drain_backlog(worker: &Rc<Worker>, listener: &Arc<Listener>, serve: &Serve, socket: TcpListener) {
    if listener.socket.is_shared() {
        return;
    }
    // The system is asked directly: readiness may lag.
    if let Ok(socket) = socket.into_std() {
        while let Ok((stream, peer)) = socket.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                serve_accepted(worker, listener, serve, Accepted { stream, peer });
            }
        }
    }
    // Others hold the socket too, such as its connections: closing this duplicate alone would leave clients waiting in
    // a queue that nobody looks at.
    if let Err(error) = listener.socket.close() {
        tracing::debug!(listener = listener.spec.name, %error, "the listening socket was closed already");
    }
}

/// The listener is gone while the worker goes on: its connections finish what they have, and go.
async fn drain_connections(worker: Rc<Worker>, listener: Arc<Listener>) {
    let socket = Arc::as_ptr(&listener.socket).addr();
    worker.connections.wake_socket(socket, Wakeup::Drain);
    tokio::time::sleep(IDLE_GRACE).await;
    worker.connections.wake_socket(socket, Wakeup::Close);
}

async fn record_accept_error(worker: &Worker, error: &std::io::Error) {
    worker.meter().accept_errors.inc();
    // A connection that was reset before it was accepted is no reason to pause.
    if error.kind() != std::io::ErrorKind::ConnectionAborted {
        let now = worker.now_ms();
        if worker.accept_warned_ms.get().is_none_or(|warned| now >= warned + WARN_EVERY_MS) {
            worker.accept_warned_ms.set(Some(now));
            tracing::warn!(%error, "cannot accept connections; every such error is counted");
        }
        tokio::time::sleep(ERROR_PAUSE).await;
    }
}

fn is_ahead(worker: &Worker) -> bool {
    let open = |meter: &crate::telemetry::WorkerMeter| meter.accepted.value().saturating_sub(meter.closed.value());
    let least = worker.registry.worker.used().map(open).min().unwrap_or(0);
    worker.workers > 1 && open(worker.meter()) > least + AHEAD_MAX
}

/// A connection as the system gives it.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
}

fn serve_accepted(worker: &Rc<Worker>, listener: &Arc<Listener>, serve: &Serve, Accepted { stream, peer }: Accepted) {
    let limits = &listener.spec.limits;
    let meter = worker.meter();
    let everywhere: i64 = listener.meters.used().map(|meter| meter.connections.value()).sum();
    let visit = if everywhere >= i64::from(limits.connections) {
        Err(Refusal::Connections)
    } else if listener.spec.is_proxy_sender(peer.ip()) {
        // The limits are those of whom it vouches for.
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
            // A listener on one address needs no look at where its connections came in.
            let bound = listener.bound;
            let local = if bound.ip().is_unspecified() { stream.local_addr().unwrap_or(bound) } else { bound };
            let slot = ClientSlot::new(Rc::clone(worker), Arc::clone(listener), share);
            // Made here and not in the task, so that a drain which begins at once knows of it.
            serve(Client::new(slot, peer, local), stream);
        }
        Err(refusal) => {
            meter.refuse(refusal);
            meter.closed.inc();
        }
    }
}
