//! A worker's thread: its runtime, what is wired on it, and its end. A request that a worker begins, it ends.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Release;
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
use super::worker::connection_deadlines::{SWEEP, Wakeup};
use super::worker::{Worker, WorkerSetup};
use crate::drain::{DrainWatch, Phase};
use crate::snapshot::Snapshot;
use crate::telemetry::Refusal;

/// How long copies for shadows may go on when all requests have ended.
const COPY_GRACE: Duration = Duration::from_secs(1);

/// Starts a worker on a thread of its own. The thread ends when the worker has drained.
///
/// # Errors
/// When the system gives no thread or no epoll.
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
    // The drain waits for the last lines of the log too.
    let guard = drained.guard();
    let generation = first.generation.0;
    let worker = Worker::new(setup, first);
    let proxy = HttpProxy::new(&worker, seed);
    runtime.block_on(async {
        let mut acceptors = Acceptors::new(&worker, connections(&proxy));
        acceptors.follow();
        worker.meter().generation.store(generation, Release);
        let sweeper = tokio::task::spawn_local(sweep(Rc::clone(&proxy)));
        serve(&proxy, &mut acceptors, snapshots, drained).await;
        sweeper.abort();
        proxy.sweep();
        worker.registry.end(worker.index);
        drop(guard);
    });
}

/// What is done with each connection that is accepted.
fn connections(proxy: &Rc<HttpProxy>) -> impl Fn(Rc<Client>, TcpStream) + use<> {
    let proxy = Rc::clone(proxy);
    move |client, stream| drop(tokio::task::spawn_local(connect(Rc::clone(&proxy), client, stream)))
}

/// Serves one connection: hands it the service of its requests.
///
/// No tower layer for timeouts, load shedding or concurrency: they allocate per request and release at the response
/// head. `worker::budget`, `worker::share` and `worker::deadline` hold until the last byte.
fn connect(proxy: Rc<HttpProxy>, client: Rc<Client>, stream: TcpStream) -> impl Future<Output = ()> {
    connection::serve(client, stream, move |client| {
        let (worker, client) = (Rc::clone(&client.worker), Rc::clone(client));
        ServiceBuilder::new()
            .layer(CatchPanicLayer::new(move || worker.meter().refuse(Refusal::Internal)))
            .service_fn(move |request| handle(Rc::clone(&proxy), Rc::clone(&client), request))
    })
}

async fn sweep(proxy: Rc<HttpProxy>) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        proxy.sweep();
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
                proxy.adopt(snapshot);
                acceptors.follow();
            }
        }
    }
    let worker = &proxy.worker;
    worker.draining.set(true);
    acceptors.close().await;
    worker.connections.wake_all(Wakeup::Drain);
    let idle = async {
        if tokio::time::timeout(IDLE_GRACE, worker.connections.emptied()).await.is_err() {
            // Once: whoever is told goes as soon as it is idle, and nobody comes any more.
            worker.connections.wake_all(Wakeup::Close);
            worker.connections.emptied().await;
        }
    };
    tokio::select! {
        () = idle => finish_copies(worker).await,
        () = drained.reached(Phase::Forced) => {
            worker.meter().forced.add(worker.connections.len() as u64);
            worker.meter().forced_upgrades.add(worker.tunnels.get());
            worker.connections.wake_all(Wakeup::Cut);
            // One more turn lets the connections see it, be dropped and recorded.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Copies that are under way get a moment; what has not ended then is dropped with the runtime.
async fn finish_copies(worker: &Worker) {
    let until = worker.clock.now() + COPY_GRACE;
    while worker.copies.get() > 0 && worker.clock.now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(test)]
mod tests {
    /// The bytes of what a function gives.
    fn bytes_of<A, B, C, T>(_: impl Fn(A, B, C) -> T) -> usize {
        size_of::<T>()
    }

    #[test]
    fn an_open_connection_is_small() {
        // What few connections need (a handshake, HTTP/2) is boxed: every idle connection has this much.
        let bytes = bytes_of(super::connect);
        assert!(bytes <= 1344, "{bytes} bytes");
    }
}
