//! The app: wires data plane and control plane together, as a value that can be started, queried and stopped.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::config;
use crate::control::{
    self, ControlSettings, ControlState, Event, FilesEvent, ProcessEvent, Rejection, ReleaseEvent, ReloadCause,
    SystemResolver, WorkerParts,
};
use crate::proxy::{self, PerClientLimits, WorkerSetup};
use crate::release::{ReleaseStanding, RolloutStanding};
use crate::telemetry::Screen;

pub use crate::control::{
    Act, ActError, ActOutcome, PersonAct, ReloadOutcome, Resolve, Signals, StartError, Stopped, Succession,
    SystemdNotify,
};
pub use crate::telemetry::exposition::SharedRecorder;

/// How long the worker threads may take to end after the control plane has stopped.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the start waits for another process to give the state folder up.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// How long the answer to a kill or revive waits for the workers and for the disk.
const ACT_PATIENCE: Duration = Duration::from_secs(1);

/// How a proxy is started from a file.
#[derive(Clone)]
pub struct Options {
    /// The file.
    pub path: PathBuf,
    /// The text of the routes, where there is no file: `path` is then only its name, and a reload changes nothing.
    pub text: Option<Arc<str>>,
    /// How many workers; default: one per core.
    pub workers: Option<NonZeroUsize>,
    /// Whether the proxy handles signals: `SIGTERM` and `SIGINT` drain, a second one stops at once, `SIGHUP` reloads,
    /// `SIGUSR2` hands over.
    pub signals: Signals,
    /// Time between failing readiness and the start of the drain, so that load balancers notice.
    pub drain_delay: Duration,
    /// How long a drain may take before the remaining connections are closed.
    pub drain_deadline: Duration,
    /// The variables for `${NAME}` in the file.
    pub env: Environment,
    /// How often watched files are also polled; without it, files are reloaded only on request.
    pub poll_interval: Option<Duration>,
    /// Resolves names.
    pub resolver: Arc<dyn Resolve>,
    /// Notifies systemd.
    pub notify: SystemdNotify,
    /// What standard output is connected to, for the access log.
    pub screen: Screen,
    /// A metrics recorder of the embedding program, in addition to the proxy's own `/metrics`. It gets every metric
    /// except those of the process: at the start, every 5 s and at the end. Counters are incremented by their increase,
    /// gauges are set, durations are recorded at the upper bounds of their buckets.
    pub recorder: Option<SharedRecorder>,
    /// How often the charts of the dashboard get a point: 10 s. A chart has as many points, so that it covers another time.
    pub history_every: Duration,
}

/// Reads an environment variable.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

impl Options {
    /// The defaults: a worker per core, signals handled, no drain delay, 30 s to drain, the process's environment, the
    /// system's resolver.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            text: None,
            workers: None,
            signals: Signals::Handle,
            drain_delay: Duration::ZERO,
            drain_deadline: Duration::from_secs(30),
            env: Arc::new(|name| std::env::var(name).ok()),
            poll_interval: Some(Duration::from_secs(2)),
            resolver: Arc::new(SystemResolver::default()),
            notify: SystemdNotify::default(),
            screen: Screen::default(),
            recorder: None,
            history_every: control::HISTORY_EVERY,
        }
    }

    /// The settings for the control plane.
    #[must_use]
    pub fn settings(self) -> ControlSettings {
        let (path, text, env) = (self.path, self.text, self.env);
        let (name, variables) = (path.to_string_lossy().into_owned(), Arc::clone(&env));
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let cache = config::LoadCache::default();
        ControlSettings {
            file: text.is_none().then(|| path.clone()),
            load: Arc::new(move |last_good| match &text {
                Some(text) => config::load_text(&path.to_string_lossy(), text, &*env),
                None => cache.load(&path, &*env, last_good),
            }),
            check: Arc::new(move |text, running| config::load_edit(&name, text, &*variables, running)),
            resolver: self.resolver,
            workers: self.workers.unwrap_or_else(cores).get(),
            clock: Clock,
            signals: self.signals,
            drain_delay: self.drain_delay,
            drain_deadline: self.drain_deadline,
            poll_interval: self.poll_interval,
            succession: Succession::default(),
            notify: self.notify,
            screen: self.screen,
            recorder: self.recorder,
            lock_wait: LOCK_WAIT,
            act_patience: ACT_PATIENCE,
            journal_files: None,
            history_every: self.history_every,
        }
    }
}

/// Starts the thread of a worker.
pub type Spawn = Box<dyn Fn(WorkerParts) -> std::io::Result<JoinHandle<()>> + Send>;

/// Starts the workers of one data plane.
fn workers() -> Spawn {
    let all = Arc::new(PerClientLimits::default());
    let seed = fastrand::u64(..);
    Box::new(move |parts| {
        let WorkerParts { index, workers, snapshots, registry, drained, log, spans, comparison_jobs, look_ups, clock } =
            parts;
        let client_limits = Arc::clone(&all);
        proxy::spawn(WorkerSetup {
            index,
            workers,
            seed,
            snapshots,
            registry,
            client_limits,
            drained,
            log,
            spans,
            comparison_jobs,
            look_ups,
            clock,
        })
    })
}

/// A running proxy. Dropping it stops it at once; requests in flight are cut.
pub struct App {
    events: mpsc::Sender<Event>,
    state: Arc<ControlState>,
    control: Option<JoinHandle<Stopped>>,
}

impl App {
    /// Starts from a file. Returns when every worker uses the first snapshot.
    ///
    /// # Errors
    /// When the file is invalid, an address cannot be bound, or a system call fails.
    pub fn start(options: Options) -> Result<Self, StartError> {
        Self::launch(options.settings(), workers())
    }

    /// Starts from a file; takes over from the previous process, if there is one.
    ///
    /// # Errors
    /// When the file is invalid, an address cannot be bound, or a system call fails.
    pub fn succeed(options: Options, succession: Succession) -> Result<Self, StartError> {
        let predecessor = succession.predecessor.clone();
        let started = Self::launch(ControlSettings { succession, ..options.settings() }, workers());
        if let (Some(predecessor), Err(error)) = (&predecessor, &started) {
            predecessor.send_failure(&error.to_string());
        }
        started
    }

    /// Starts with these settings and workers. Returns when every worker uses the first snapshot.
    ///
    /// # Errors
    /// When the file is invalid, an address cannot be bound, or a system call fails.
    pub fn launch(settings: ControlSettings, spawn: Spawn) -> Result<Self, StartError> {
        let (ready, started) = sync_channel(1);
        let control = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || run(settings, &spawn, &ready))
            .map_err(|error| StartError::Io("the control thread", error))?;
        let control = Some(control);
        match started.recv() {
            Ok(Ok(ControlHandle { events, state })) => Ok(Self { events, state, control }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StartError::Io("the control thread", std::io::Error::other("it ended"))),
        }
    }

    /// The names of the listeners and their bound addresses.
    #[must_use]
    pub fn listeners(&self) -> Vec<(String, SocketAddr)> {
        control::bound(&self.state.snapshot())
    }

    /// The names of the listeners and the URL of each bound address.
    #[must_use]
    pub fn urls(&self) -> Vec<(String, String)> {
        let snapshot = self.state.snapshot();
        let url = |one: &crate::snapshot::Listener| format!("{}://{}", one.spec.scheme(), one.bound);
        snapshot.listeners.iter().map(|one| (one.spec.name.clone(), url(one))).collect()
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.state.counts.registry.workers
    }

    /// The first bound address of the admin listener.
    ///
    /// # Panics
    /// Never: a file has at least one address for it.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.state.lock().admin[0]
    }

    /// All bound addresses of the admin listener, in the order of the file.
    #[must_use]
    pub fn admin_all(&self) -> Vec<SocketAddr> {
        self.state.lock().admin.clone()
    }

    /// Reloads the files and waits for the outcome.
    #[must_use]
    pub fn reload(&self) -> ReloadOutcome {
        let (reply, replied) = sync_channel(1);
        let reply = Box::new(move |outcome: &ReloadOutcome, _: Option<u64>| drop(reply.send(outcome.clone())));
        self.send(Event::Files(FilesEvent::Reload(ReloadCause::Call, Some(reply))));
        replied.recv().unwrap_or_else(|_| {
            let help = "start it again";
            ReloadOutcome::Rejected(Rejection::new("stopped", "the proxy has stopped", help))
        })
    }

    /// Kills, revives or resumes, and waits until it is in force and on the disk, at most for a second.
    ///
    /// # Errors
    /// Why nothing was done.
    pub fn act(&self, act: Act) -> Result<ActOutcome, ActError> {
        let (reply, replied) = oneshot::channel();
        self.send(Event::Release(ReleaseEvent::Act(Box::new(act), reply)));
        replied.blocking_recv().unwrap_or(Err(ActError::Stopping))
    }

    /// Starts a drain; [`Self::wait`] waits until it has ended.
    pub fn stop(&self) {
        self.send(Event::Process(ProcessEvent::Stop));
    }

    /// Waits until the proxy has stopped, after [`Self::stop`] or a signal.
    #[must_use]
    pub fn wait(mut self) -> Stopped {
        let control = self.control.take();
        // A panic of the control plane was printed by its thread.
        control.and_then(|thread| thread.join().ok()).unwrap_or(Stopped::AtOnce)
    }

    /// How the releases stand that guards watch or that are rolled back, sorted by name.
    #[must_use]
    pub fn releases(&self) -> Vec<ReleaseStanding> {
        self.state.release.releases()
    }

    /// How the rollouts stand, sorted by name.
    #[must_use]
    pub fn rollouts(&self) -> Vec<RolloutStanding> {
        self.state.release.rollouts()
    }

    /// The content of `/status`.
    #[must_use]
    pub fn status(&self) -> serde_json::Value {
        control::status(&self.state)
    }

    /// Sends an event; works inside and outside of a runtime. A full channel has room again within a moment.
    fn send(&self, mut event: Event) {
        while let Err(TrySendError::Full(again)) = self.events.try_send(event) {
            event = again;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if let Some(control) = self.control.take() {
            self.send(Event::Process(ProcessEvent::Abandon));
            // A panic of the control plane was printed by its thread.
            let _ = control.join();
        }
    }
}

type Ready = SyncSender<Result<ControlHandle, StartError>>;

/// The body of the control thread.
fn run(settings: ControlSettings, spawn: &Spawn, ready: &Ready) -> Stopped {
    let clock = settings.clock;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            fail(ready, StartError::Io("the control plane's runtime", error));
            return Stopped::AtOnce;
        }
    };
    let stopped = runtime.block_on(async {
        match Box::pin(start(settings, spawn)).await {
            Ok((controller, handle, threads)) => {
                // Sending fails when the calling thread has ended.
                let _ = ready.send(Ok(handle));
                let stopped = controller.run().await;
                end(&threads, clock).await;
                stopped
            }
            Err(error) => {
                fail(ready, error);
                Stopped::AtOnce
            }
        }
    });
    // A blocking task on a file system that hangs must not keep the process from ending.
    runtime.shutdown_background();
    stopped
}

/// How the app reaches the control thread.
struct ControlHandle {
    events: mpsc::Sender<Event>,
    state: Arc<ControlState>,
}

type Threads = Arc<Vec<JoinHandle<()>>>;

async fn start(
    settings: ControlSettings,
    spawn: &Spawn,
) -> Result<(control::Controller, ControlHandle, Threads), StartError> {
    let workers = settings.workers;
    let started = control::start(settings).await?;
    let threads: std::io::Result<Vec<_>> = (0..workers).map(|index| spawn(started.worker(index))).collect();
    let threads = Arc::new(threads.map_err(|error| StartError::Io("a worker's thread", error))?);
    let handle = ControlHandle { events: started.events(), state: started.state() };
    let controller = started.supervise(Arc::clone(&threads)).await?;
    Ok((controller, handle, threads))
}

fn fail(ready: &Ready, error: StartError) {
    let _ = ready.send(Err(error));
}

/// Waits for the worker threads to end, at most `END_TIMEOUT`.
async fn end(threads: &Threads, clock: Clock) {
    let deadline = clock.now() + END_TIMEOUT;
    while !threads.iter().all(JoinHandle::is_finished) && clock.now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[cfg(test)]
mod tests;
