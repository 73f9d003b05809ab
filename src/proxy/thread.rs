//! The thread of a worker: its runtime, the wiring of its parts, and its drain. A request stays on the worker that
//! accepted its connection.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::watch;
use tower::ServiceBuilder;

use super::downstream::acceptor::{Acceptors, IDLE_GRACE};
use super::downstream::catch_panic::CatchPanicLayer;
use super::downstream::client::Client;
use super::downstream::connection;
use super::request::handle::handle;
use super::request::http_proxy::HttpProxy;
use super::worker::connection_deadlines::Wakeup;
use super::worker::sweeps::SweepTicks;
use super::worker::{Worker, WorkerSetup};
use crate::drain::{DrainWatch, Phase};
use crate::snapshot::Snapshot;
use crate::telemetry::Refusal;

/// How long copies for shadows may run on after all requests have ended.
const COPY_GRACE: Duration = Duration::from_secs(1);

/// Starts a worker on a thread of its own. The thread ends when the worker has drained.
///
/// # Errors
/// The system creates no thread or no epoll instance.
pub fn spawn(setup: WorkerSetup) -> std::io::Result<std::thread::JoinHandle<()>> {
    let name = format!("worker-{}", setup.index);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(name).spawn(move || match runtime() {
        Ok(runtime) => {
            let _ = ready.send(Ok(()));
            run(&runtime, setup);
        }
        Err(error) => {
            let _ = ready.send(Err(error));
        }
    })?;
    started.recv().unwrap_or_else(|_| Err(std::io::Error::other("the worker's thread ended at once")))?;
    Ok(thread)
}

fn run(runtime: &LocalRuntime, setup: WorkerSetup) {
    let (mut snapshots, drained, seed) = (setup.snapshots.clone(), setup.drained.clone(), setup.seed);
    let first = Arc::clone(&snapshots.borrow_and_update());
    // The drain also waits for the last lines of the access log.
    let guard = drained.guard();
    let (generation, edition) = (first.generation, first.edition);
    let worker = Worker::new(setup, first);
    let proxy = HttpProxy::new(&worker, seed);
    runtime.block_on(async {
        let mut acceptors = Acceptors::new(&worker, connections(&proxy));
        acceptors.follow();
        worker.registry.adopt(worker.index, generation, edition);
        let sweeper = tokio::task::spawn_local(sweep(Rc::clone(&proxy)));
        let releaser = tokio::task::spawn_local({
            let proxy = Rc::clone(&proxy);
            async move { proxy.release_idle().await }
        });
        serve(&proxy, &mut acceptors, snapshots, drained).await;
        sweeper.abort();
        releaser.abort();
        proxy.sweep();
        worker.registry.end(worker.index);
        drop(guard);
    });
}

/// The function that serves an accepted connection in a task of its own.
fn connections(proxy: &Rc<HttpProxy>) -> impl Fn(Rc<Client>, TcpStream) + use<> {
    let proxy = Rc::clone(proxy);
    move |client, stream| drop(tokio::task::spawn_local(connect(Rc::clone(&proxy), client, stream)))
}

/// Serves one connection: passes it the service for its requests.
///
/// No tower layer for timeouts, load shedding or concurrency: they allocate per request and release at the response
/// head. `worker::budget`, `worker::share` and `worker::deadline` release at the last byte of the body.
fn connect(proxy: Rc<HttpProxy>, client: Rc<Client>, stream: TcpStream) -> impl Future<Output = ()> {
    connection::serve(client, stream, move |client| {
        let (worker, client) = (Rc::clone(&client.worker), Rc::clone(client));
        ServiceBuilder::new()
            .layer(CatchPanicLayer::new(move || worker.meter().refuse(Refusal::Internal)))
            .service_fn(move |request| handle(Rc::clone(&proxy), Rc::clone(&client), request))
    })
}

async fn sweep(proxy: Rc<HttpProxy>) {
    let mut ticks = SweepTicks::new();
    loop {
        proxy.sweep();
        ticks.next(&proxy.worker.sweeps).await;
    }
}

/// Follows snapshots until the drain, then waits for the connections to finish.
async fn serve(
    proxy: &HttpProxy,
    acceptors: &mut Acceptors,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    mut drained: DrainWatch,
) {
    let mut draining = drained.clone();
    loop {
        tokio::select! {
            biased;
            () = draining.reached(Phase::Draining) => break,
            changed = snapshots.changed() => {
                if changed.is_err() {
                    break;
                }
                let snapshot = Arc::clone(&snapshots.borrow_and_update());
                proxy.worker.rouse();
                proxy.adopt(snapshot);
                acceptors.follow();
            }
        }
    }
    let worker = &proxy.worker;
    worker.draining.set(true);
    worker.rouse();
    acceptors.close().await;
    worker.connections.wake_all(Wakeup::Drain);
    let idle = async {
        if tokio::time::timeout(IDLE_GRACE, worker.connections.emptied()).await.is_err() {
            // One wakeup is enough: each connection closes when it is idle, and no new ones are accepted.
            worker.connections.wake_all(Wakeup::Close);
            worker.connections.emptied().await;
        }
    };
    // Kills count in a drain too: after a hand-over the new process sends its kills to this one.
    let follow = async {
        while snapshots.changed().await.is_ok() {
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            proxy.adopt(snapshot);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = follow => {}
        () = idle => finish_copies(worker).await,
        () = drained.reached(Phase::Forced) => {
            worker.meter().forced.add(worker.connections.len() as u64);
            worker.meter().forced_upgrades.add(worker.tunnels.get());
            worker.connections.wake_all(Wakeup::Cut);
            // Another turn of the runtime lets the connections see the wakeup, end and be recorded.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Waits for copies in flight, at most [`COPY_GRACE`]. The others are dropped with the runtime.
async fn finish_copies(worker: &Worker) {
    let until = worker.clock.now() + COPY_GRACE;
    while worker.copies.get() > 0 && worker.clock.now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(test)]
mod tests {
    /// The size of the value that a function returns.
    fn bytes_of<A, B, C, T>(_: impl Fn(A, B, C) -> T) -> usize {
        size_of::<T>()
    }

    #[test]
    fn an_open_connection_is_small() {
        // Rarely used state (a handshake, HTTP/2) is boxed, because every idle connection has this size.
        let bytes = bytes_of(super::connect);
        assert!(bytes <= 1344, "{bytes} bytes");
    }
}
