//! The controller: one task, the only publisher of snapshots. Everything that happens to the proxy reaches it as an
//! [`Event`] through one channel, so that nothing can race: a reload, an answer of DNS and a signal are handled one
//! after the other, and what takes long (reading files, waiting for workers) is done elsewhere and comes back as an
//! event.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::carry;
use super::hand_over::{Attempt, Succession};
use super::ledger::{LastReload, Ledger};
use super::notify::{Notify, State};
use super::outcome::{Cause, Outcome};
use super::reading::{Reading, read};
use super::resolve::{Answered, Names, Resolve};
use super::retired::Retired;
use super::source::{Load, Rejection, Unread, warn, writable};
use super::stopping::{Stopped, Stopping};
use super::watch::Watcher;
use crate::config::Loaded;
use crate::drain::{Drain, Phase};
use crate::route::{Generation, summary};
use crate::snapshot::{ListeningSocket, Snapshot, SnapshotStore};
use crate::telemetry::{LogWriter, TraceExporter, WorkerMeter};
use crate::tls::Server;

/// How long a reload waits for the workers to follow.
const ADOPT_PATIENCE: Duration = Duration::from_secs(1);
/// How long a reload waits for the first answers of names that are new.
const NEW_NAMES_PATIENCE: Duration = Duration::from_secs(2);

/// What workers get to record what is cut, before the log is closed.
const LAST_LINES: Duration = Duration::from_millis(100);
/// What workers get to accept whoever stands in the queue of a socket that is to be closed.
const LAST_ACCEPTS: Duration = Duration::from_millis(50);

/// Told when files say something else that means the same.
const NO_RULE_CHANGED: &str = "no rule: comments, order, tests, or what a file of keys, tokens or countries holds";

/// What a reload says where there is nothing to read.
pub(super) const NO_FILE: &str = "there is no file to read again: the routes come from the command line";

/// Told what became of a reload.
pub type Reply = Box<dyn FnOnce(&Outcome) + Send>;

/// Something that happened.
pub enum Event {
    /// The files should be read again.
    Reload(Cause, Option<Reply>),
    /// They were read.
    Read(Box<Reading>),
    /// The workers were waited for; so many decide with the new generation.
    Adopted(usize),
    /// A name was looked up.
    Resolved(String, Answered),
    /// A worker could not connect to an address of this name.
    Unreachable(Arc<str>),
    /// The system's files of names have changed.
    NamesChanged,
    /// `SIGHUP`: read again, and open the log anew.
    Hangup,
    /// `SIGTERM` or `SIGINT`: drain; the second one ends at once.
    Terminate,
    /// Drain, however often it is said.
    Stop,
    /// End at once.
    Abandon,
    /// The next phase of a stop is due.
    Due(Phase),
    /// `SIGUSR2`: start the new binary and let it take over.
    HandOver,
    /// The new process serves with these of the sockets that it was offered, or does not serve.
    HandedOver(Result<Vec<usize>, String>),
    /// Close listening sockets that are no longer accepted from.
    Close,
    /// Look after the workers.
    Watchdog {
        /// How many have ended.
        ended: usize,
    },
}

/// What the controller works with.
pub struct Controller {
    pub(super) ledger: Arc<Ledger>,
    pub(super) store: SnapshotStore,
    pub(super) log: LogWriter,
    pub(super) traces: TraceExporter,
    pub(super) drain: Drain,
    pub(super) sender: mpsc::Sender<Event>,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) load: Load,
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) names: Names,
    pub(super) watcher: Watcher,
    pub(super) admin: super::admin::Admin,
    pub(super) stopping: Stopping,
    pub(super) reloading: Option<Reloading>,
    pub(super) next: Option<Reloading>,
    pub(super) stuck: bool,
    /// The moment for which certificates that were put aside were read again.
    pub(super) revisited: Option<Duration>,
    pub(super) retired: Retired,
    pub(super) closing: Vec<Arc<ListeningSocket>>,
    pub(super) succession: Succession,
    pub(super) notify: Notify,
}

/// A reload under way, or one that begins when that has ended.
pub(super) struct Reloading {
    cause: Cause,
    replies: Vec<Reply>,
    began: Instant,
    outcome: Option<Outcome>,
}

impl Reloading {
    /// Whoever waits for it.
    pub(super) fn into_replies(self) -> Vec<Reply> {
        self.replies
    }
}

impl Controller {
    /// Handles events until the proxy has stopped.
    pub async fn run(mut self) -> Stopped {
        let stopped = loop {
            let draining = self.stopping.phase() >= Phase::Draining;
            tokio::select! {
                biased;
                event = self.events.recv() => {
                    // The controller holds a sender itself, so there is always a next event.
                    if let Some(stopped) = event.and_then(|event| self.handle(event)) {
                        break stopped;
                    }
                }
                () = self.drain.finished(), if draining => break self.stopping.finished(),
            }
        };
        self.drain.advance(Phase::Forced);
        self.ledger.pages().phase = Some(Phase::Forced);
        if stopped == Stopped::AtOnce {
            // What is cut is still to be recorded.
            let _ = tokio::time::timeout(LAST_LINES, self.drain.finished()).await;
        }
        self.log.stop(self.ledger.clock, Duration::from_secs(2));
        self.traces.stop(Duration::from_secs(2));
        let sum = |of: fn(&WorkerMeter) -> u64| self.ledger.registry.worker.used().map(of).sum();
        let cut = sum(|meter| meter.forced.value());
        let upgrades = sum(|meter| meter.forced_upgrades.value());
        self.stopping.ended(self.ledger.clock.now(), (cut, upgrades));
        stopped
    }

    fn handle(&mut self, event: Event) -> Option<Stopped> {
        match event {
            Event::Reload(cause, reply) => {
                // Somebody asks for it, as with SIGHUP.
                if cause == Cause::Asked {
                    self.log.reopen();
                }
                self.reload(cause, reply);
            }
            Event::Read(reading) => self.was_read(*reading),
            Event::Adopted(workers) => self.adopted(workers),
            Event::Resolved(name, answered) => self.resolved(&name, &answered),
            Event::Unreachable(name) => self.names.look_up(&name),
            Event::NamesChanged => self.names.look_up_all(),
            Event::Hangup => {
                self.log.reopen();
                self.reload(Cause::Signal, None);
            }
            Event::Terminate if self.stopping.is_second_signal() => {
                tracing::warn!("second signal: stopping at once");
                return Some(Stopped::AtOnce);
            }
            Event::Terminate | Event::Stop => self.stop(),
            Event::Abandon => return Some(Stopped::AtOnce),
            Event::Due(phase) => return self.due(phase),
            Event::HandOver => self.hand_over(Attempt::First),
            Event::HandedOver(result) => self.handed_over(result),
            Event::Close => self.close(),
            Event::Watchdog { ended } => self.watchdog(ended),
        }
        None
    }

    fn stop(&mut self) {
        if self.stopping.phase() == Phase::Running {
            self.dismiss_successor();
            if let Some(next) = self.next.take() {
                refuse(next);
            }
            self.notify.tell(State::Stopping, Some("finishing what is under way"));
            self.stopping.begin(self.ledger.clock.now(), &self.sender);
            self.advance(Phase::Lame);
        }
    }

    fn due(&mut self, phase: Phase) -> Option<Stopped> {
        if phase == Phase::Forced && self.stopping.phase() == Phase::Forced {
            return Some(self.stopping.finished());
        }
        self.stopping.reach(phase, &self.sender);
        self.advance(phase);
        if phase == Phase::Draining {
            let sockets = self.store.load().listeners.iter().map(|one| Arc::clone(&one.socket)).collect();
            self.close_soon(sockets);
        }
        None
    }

    pub(super) fn advance(&self, phase: Phase) {
        self.ledger.pages().phase = Some(phase);
        self.drain.advance(phase);
    }

    /// Closes sockets once the workers have accepted whoever stands in their queues.
    fn close_soon(&mut self, sockets: Vec<Arc<ListeningSocket>>) {
        if sockets.is_empty() {
            return;
        }
        self.closing.extend(sockets);
        let events = self.sender.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LAST_ACCEPTS).await;
            // Nobody listens any more when the proxy has ended.
            let _ = events.send(Event::Close).await;
        });
    }

    /// Dropping a socket is not enough: the connections that came through it keep it open, and clients would queue up
    /// at it in vain.
    fn close(&mut self) {
        for socket in self.closing.drain(..) {
            if let Err(error) = socket.close() {
                tracing::debug!(%error, "a listening socket could not be shut down");
            }
        }
    }

    pub(super) fn reload(&mut self, cause: Cause, reply: Option<Reply>) {
        if self.stopping.phase() > Phase::Running {
            if let Some(reply) = reply {
                reply(&stopping());
            }
            return;
        }
        let began = self.ledger.clock.now();
        if self.reloading.is_some() || self.is_handed_over_soon() {
            let next = self.next.get_or_insert_with(|| Reloading { cause, replies: Vec::new(), began, outcome: None });
            next.replies.extend(reply);
            return;
        }
        self.begin(Reloading { cause, replies: reply.into_iter().collect(), began, outcome: None });
    }

    pub(super) fn begin(&mut self, reloading: Reloading) {
        // What is only looked at may be as it was.
        if reloading.cause != Cause::Watch {
            self.notify.tell(State::Reloading, None);
        }
        if self.ledger.pages().file.is_none() {
            tracing::info!("{NO_FILE}");
        }
        self.reloading = Some(reloading);
        let known: BTreeSet<String> = self.ledger.pages().names.keys().cloned().collect();
        let reading =
            read(Arc::clone(&self.load), Arc::clone(&self.resolver), known, NEW_NAMES_PATIENCE, self.ledger.clock);
        let events = self.sender.clone();
        tokio::spawn(async move { events.send(Event::Read(Box::new(reading.await))).await });
    }

    fn was_read(&mut self, reading: Reading) {
        if self.stopping.phase() > Phase::Running {
            // Nobody would accept at what it binds, and nobody has to hear of it.
            self.reloading.take().into_iter().for_each(refuse);
            return;
        }
        match &reading.result {
            Ok(loaded) => self.watcher.follow(&loaded.watched, reading.began_at),
            Err(Unread::Refused(diagnostics)) => self.watcher.also(diagnostics.watched(), reading.began_at),
            Err(Unread::Broken(_)) => {}
        }
        let outcome = match reading.result {
            Err(unread) => Outcome::Rejected(unread.into()),
            Ok(loaded) if loaded.hash == self.ledger.pages().hash => {
                let snapshot = self.store.load();
                let servers = snapshot.listeners.iter().filter_map(|one| one.tls.as_deref());
                Outcome::Unchanged { generation: snapshot.generation, kept: servers.flat_map(Server::kept).collect() }
            }
            Ok(_) if !self.may_apply() => return self.hold(),
            Ok(loaded) => match self.apply(loaded, &reading.answers) {
                Ok(outcome) => outcome,
                Err(rejection) => Outcome::Rejected(rejection),
            },
        };
        if let (Outcome::Applied { generation, .. }, Some(reloading)) = (&outcome, &mut self.reloading) {
            let adopting = adopting(Arc::clone(&self.ledger), *generation);
            reloading.outcome = Some(outcome);
            let events = self.sender.clone();
            tokio::spawn(async move { events.send(Event::Adopted(adopting.await)).await });
        } else {
            self.finish(outcome);
        }
    }

    /// Waits with a reload for the end of the hand-over: if it comes to nothing, the files are read again.
    fn hold(&mut self) {
        let Some(reloading) = self.reloading.take() else { return };
        match &mut self.next {
            Some(next) => next.replies.extend(reloading.replies),
            None => self.next = Some(reloading),
        }
    }

    /// Binds what is new, carries over what is not, and publishes.
    fn apply(
        &mut self,
        loaded: Loaded,
        answers: &std::collections::BTreeMap<String, Answered>,
    ) -> Result<Outcome, Rejection> {
        // One of the addresses may be wanted again.
        self.close();
        let old = self.store.load();
        if loaded.rules.access_log.sink != old.rules.access_log.sink {
            writable(&loaded.rules.access_log.sink)?;
        }
        let workers = self.ledger.registry.workers;
        let listeners = carry::listeners(
            &old.listeners,
            (&loaded.rules.listeners, &loaded.tls),
            workers,
            &mut self.succession.inherited,
        );
        let admin = self.admin.prepare(&loaded.rules.admin, &mut self.succession.inherited);
        let (listeners, admin) = match (listeners, admin) {
            (Ok(listeners), Ok(admin)) => (listeners, admin),
            (listeners, admin) => {
                let mut errors = listeners.err().unwrap_or_default();
                errors.extend(admin.err().unwrap_or_default());
                self.note_sockets();
                return Err(Rejection::unbound(&errors));
            }
        };
        warn(&loaded.warnings);
        self.log.set_sink(loaded.rules.access_log.sink.clone());
        if let Err(error) = self.traces.follow(loaded.rules.traces.as_ref(), carry::collector) {
            tracing::error!(%error, "spans cannot be exported");
        }
        let wanted = carry::names(&loaded.rules);
        self.names.keep(&wanted, answers, loaded.rules.dns.max_ttl);
        self.ledger.first_answers(&wanted, answers);
        let generation = Generation(old.generation.0 + 1);
        let mut summary = summary(old.effective(), loaded.effective());
        summary.extend(carry::certificate_changes(&old.listeners, &listeners));
        if summary.is_empty() {
            summary.push(NO_RULE_CHANGED.to_owned());
        }
        let addresses = self.ledger.addresses();
        let next = carry::snapshot(
            Some(&old),
            carry::Parts {
                generation,
                rules: Arc::new(loaded.rules),
                overlay: loaded.overlay,
                listeners,
                witnesses: loaded.witnesses,
                addresses: &addresses,
                registry: &self.ledger.registry,
                now: self.ledger.clock.wall(),
            },
        );
        {
            let mut pages = self.ledger.pages();
            pages.hash = loaded.hash;
            pages.names.retain(|name, _| wanted.contains(name));
            pages.baselines.follow(old.effective(), next.effective(), &next.routes);
            pages.admin = self.admin.adopt(admin);
        }
        let kept = |socket: &Arc<ListeningSocket>| next.listeners.iter().any(|one| Arc::ptr_eq(&one.socket, socket));
        let gone = old.listeners.iter().map(|one| Arc::clone(&one.socket)).filter(|socket| !kept(socket)).collect();
        self.store.publish(next);
        self.note_sockets();
        self.succession.inherited.tell_unused();
        self.close_soon(gone);
        self.retired.add(old);
        Ok(Outcome::Applied { generation, summary })
    }

    fn adopted(&mut self, workers: usize) {
        let Some(outcome) = self.reloading.as_mut().and_then(|reloading| reloading.outcome.take()) else { return };
        self.retired.bury();
        let all = self.ledger.registry.workers;
        if workers < all {
            tracing::warn!(workers, all, "some workers still use the old generation");
        }
        self.finish(outcome);
    }

    /// Remembers, tells, and begins the reload that was asked for meanwhile.
    fn finish(&mut self, outcome: Outcome) {
        let Some(reloading) = self.reloading.take() else { return };
        if reloading.cause != Cause::Watch || matches!(outcome, Outcome::Applied { .. }) {
            self.names.look_up_all();
        }
        let took = self.ledger.clock.now().duration_since(reloading.began);
        let running = self.stopping.phase() == Phase::Running;
        if running && (reloading.cause != Cause::Watch || !matches!(outcome, Outcome::Unchanged { .. })) {
            let generation = self.store.load().generation;
            let trouble = if matches!(outcome, Outcome::Rejected(_)) { "; the last reload was rejected" } else { "" };
            self.notify.tell(State::Ready, Some(&format!("serving generation {generation}{trouble}")));
        }
        self.ledger.note(&LastReload { cause: reloading.cause, outcome, at: self.ledger.clock.wall(), took });
        let last = self.ledger.pages().last.clone();
        if let Some(last) = last {
            reloading.replies.into_iter().for_each(|reply| reply(&last.outcome));
        }
        if let Some(next) = self.next.take() {
            self.begin(next);
        } else if let Some(attempt) = self.succession.hand_over_next.take() {
            self.hand_over(attempt);
        }
    }

    fn resolved(&mut self, name: &str, answered: &Answered) {
        if !self.ledger.pages().names.contains_key(name) || !self.ledger.resolved(name, answered) {
            return;
        }
        let old = self.store.load();
        let addresses = self.ledger.addresses();
        tracing::info!(name, addresses = self.ledger.listed(name), "name resolved to new addresses");
        let upstreams = carry::resolved(&old, name, &addresses);
        self.store.publish(Snapshot { upstreams, ..(*old).clone() });
    }
}

/// What a reload comes to while the proxy is stopping.
fn stopping() -> Outcome {
    Outcome::Rejected(Rejection::new("stopping", "the proxy is stopping", "reload the proxy that replaces it"))
}

/// Tells whoever waits for a reload that there will be none.
fn refuse(reloading: Reloading) {
    reloading.replies.into_iter().for_each(|reply| reply(&stopping()));
}

/// Waits until all workers decide with `generation`, or for as long as is bearable.
pub(super) async fn adopting(ledger: Arc<Ledger>, generation: Generation) -> usize {
    let deadline = ledger.clock.now() + ADOPT_PATIENCE;
    loop {
        let adopted = ledger.registry.adopted(generation);
        if adopted >= ledger.registry.workers || ledger.clock.now() >= deadline {
            return adopted;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
