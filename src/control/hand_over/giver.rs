//! The old side of a hand-over: starts the new process, gives it the sockets, and drains when that one serves.

use std::io;
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::super::controller::{Controller, Event};
use super::super::notify::State;
use super::super::outcome::Cause;
use super::channel::{Channel, Label, Origin, Word};
use super::program::Program;
use super::taker::{VARIABLE, VERSION};
use crate::clock::Clock;
use crate::drain::Phase;
use crate::snapshot::ListeningSocket;

/// Variables that mean this process and not the next one.
const OURS: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];
/// What a process that was told to end gets to do so.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// A hand-over under way.
#[derive(Debug)]
pub struct HandingOver {
    pid: u32,
    channel: Channel,
    /// The sockets that it may take, in the order in which it counts them.
    offered: Vec<Arc<ListeningSocket>>,
    began: Instant,
    /// What it was told first, by the talk's thread or by the controller.
    verdict: Arc<OnceLock<Verdict>>,
    /// It was told to end: a second signal would cut what it finishes.
    told_to_end: bool,
    attempt: Attempt,
}

/// What becomes of a new process that is able to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It serves: nothing here may change any more that it would not know.
    Go,
    /// It is not wanted.
    Dismissed,
}

/// An edit ends a hand-over, which begins again, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Attempt {
    /// The one that was asked for.
    First,
    /// The one after an edit.
    Second,
}

/// A socket on its way.
struct Offer {
    label: Label,
    socket: Arc<ListeningSocket>,
}

impl Controller {
    /// `SIGUSR2`: hands over, unless that cannot be.
    pub(in crate::control) fn hand_over(&mut self, attempt: Attempt) {
        if self.stopping.phase() > Phase::Running {
            tracing::warn!("hand-over request ignored: this process is stopping");
        } else if let Some(handing_over) = &mut self.succession.handing_over {
            if handing_over.is_dismissed() {
                // What was edited meanwhile was meant to be handed over.
                handing_over.attempt = Attempt::First;
            }
            tracing::warn!(pid = handing_over.pid, "hand-over request ignored: a hand-over is in progress");
        } else if self.reloading.is_some() {
            // What is handed over is what holds after the reload.
            self.succession.hand_over_next = Some(attempt);
        } else if std::process::id() == 1 {
            // When it ended, everything in its container would.
            self.not_handed_over(
                "the first process of a container cannot be replaced from within: start a new container",
            );
        } else if let Some(program) = self.succession.program.clone() {
            match self.start_successor(&program, attempt) {
                Ok(handing_over) => self.succession.handing_over = Some(handing_over),
                Err(error) => self.not_handed_over(&format!("{} cannot be started: {error}", program.path.display())),
            }
        } else {
            self.not_handed_over("this process does not know how it was started");
        }
    }

    fn not_handed_over(&mut self, why: &str) {
        tracing::error!("hand-over failed, this process continues to serve: {}", why.trim_end());
        {
            let mut pages = self.ledger.pages();
            pages.hand_overs_failed += 1;
            pages.hand_over_failure = Some(why.trim_end().to_owned());
        }
        self.notify.tell(State::Ready, Some("serving; the last hand-over failed"));
    }

    fn start_successor(&self, program: &Program, attempt: Attempt) -> io::Result<HandingOver> {
        let (channel, theirs) = Channel::pair()?;
        let mut command = Command::new(&program.path);
        command.args(&program.arguments).stdin(Stdio::from(theirs)).env(VARIABLE, VERSION);
        for name in OURS {
            command.env_remove(name);
        }
        let mut child = command.spawn()?;
        // The other end must be held by the new process alone, or its end would not be noticed.
        drop(command);
        let pid = child.id();
        tracing::info!(pid, program = %program.path.display(), "handing over to a new process");
        let offers = self.offers();
        let own = offers.iter().filter(|offer| offer.label.origin != Origin::Systemd);
        let offered = own.map(|offer| Arc::clone(&offer.socket)).collect();
        let talk = channel.duplicate()?;
        let (patience, events) = (self.succession.patience, self.sender.clone());
        let verdict = Arc::new(OnceLock::new());
        let first = Arc::clone(&verdict);
        tokio::task::spawn_blocking(move || {
            let result =
                converse(&talk, &offers, (patience, &first)).map_err(|why| format!("{why}; {}", ended(&mut child)));
            // Nobody listens any more when the proxy has ended.
            let _ = events.blocking_send(Event::HandedOver(result));
        });
        let began = self.ledger.clock.now();
        Ok(HandingOver { pid, channel, offered, began, verdict, told_to_end: false, attempt })
    }

    /// Which of the sockets that others bound are in use.
    pub(in crate::control) fn note_sockets(&mut self) {
        let listeners = self.store.load();
        let mut used: Vec<_> = listeners.listeners.iter().map(|one| Arc::clone(&one.socket)).collect();
        used.extend(self.admin.sockets().map(|(_, socket)| Arc::clone(socket)));
        self.succession.inherited.are_used(&used);
    }

    fn offers(&self) -> Vec<Offer> {
        let lent = self.succession.inherited.of_systemd();
        let mut offers: Vec<Offer> =
            lent.map(|(label, socket)| Offer { label: label.clone(), socket: Arc::clone(socket) }).collect();
        for listener in &*self.store.load().listeners {
            let (name, wanted) = (listener.spec.name.clone(), Some(listener.spec.address));
            let label = Label { origin: Origin::Listener, name, wanted };
            offers.push(Offer { label, socket: Arc::clone(&listener.socket) });
        }
        for (wanted, socket) in self.admin.sockets() {
            let label = Label { origin: Origin::Admin, name: String::new(), wanted: Some(wanted) };
            offers.push(Offer { label, socket: Arc::clone(socket) });
        }
        // What systemd has lent is in the list already.
        offers.retain(|offer| offer.label.origin == Origin::Systemd || !offer.socket.is_shared());
        offers
    }

    /// The new process serves, or does not.
    pub(in crate::control) fn handed_over(&mut self, result: Result<Vec<usize>, String>) {
        let Some(mut handing_over) = self.succession.handing_over.take() else { return };
        let stopping = self.stopping.phase() > Phase::Running;
        match result {
            Ok(_) if stopping => handing_over.dismiss(),
            Ok(taken) => self.succeeded(&handing_over, &taken),
            Err(why) if stopping => tracing::info!(pid = handing_over.pid, "new process ended: {why}"),
            Err(_) if handing_over.is_dismissed() => match handing_over.attempt {
                Attempt::First => self.hand_over(Attempt::Second),
                Attempt::Second => {
                    self.not_handed_over("the files were edited twice meanwhile: hand over when they are settled");
                }
            },
            Err(why) => {
                self.not_handed_over(&why);
                if let Some(next) = self.next.take() {
                    self.begin(next);
                }
            }
        }
    }

    /// Whether the new process serves, or is about to: what is read now would be lost on it.
    pub(in crate::control) fn is_handed_over_soon(&self) -> bool {
        self.succession.handing_over.as_ref().is_some_and(|one| one.verdict.get() == Some(&Verdict::Go))
    }

    /// Whether new rules may hold now. An edit does not wait for a hand-over: a new process that was not told to serve
    /// yet, and has perhaps read the files as they were, is dismissed.
    pub(in crate::control) fn may_apply(&mut self) -> bool {
        let Some(handing_over) = &mut self.succession.handing_over else { return true };
        if handing_over.forestall() {
            tracing::info!(pid = handing_over.pid, "files changed during the hand-over: stopping the new process");
            handing_over.dismiss();
        }
        handing_over.is_dismissed()
    }

    /// The new process serves: what it took is its own, and this one drains.
    fn succeeded(&mut self, handing_over: &HandingOver, taken: &[usize]) {
        let pid = handing_over.pid;
        let took_ms = self.ledger.clock.now().saturating_duration_since(handing_over.began).as_millis();
        let took_ms = u64::try_from(took_ms).unwrap_or(u64::MAX);
        for socket in taken.iter().filter_map(|at| handing_over.offered.get(*at)) {
            socket.share();
        }
        self.admin.close();
        self.notify.tell(State::MainPid(pid), None);
        if let Err(error) = handing_over.channel.say(&Word::Farewell, None) {
            tracing::warn!(pid, %error, "new process could not be notified of the end of the hand-over");
        }
        tracing::info!(pid, took_ms, "handed over: the new process serves, this one drains");
        self.stopping.begin_after_hand_over(self.ledger.clock.now(), &self.sender);
        self.advance(Phase::Lame);
        if let Some(next) = self.next.take() {
            // Whoever waits for a reload is told to ask the new process.
            next.into_replies().into_iter().for_each(|reply| self.reload(Cause::Asked, Some(reply)));
        }
    }

    /// A stop while handing over: nobody shall serve in the end.
    pub(in crate::control) fn dismiss_successor(&mut self) {
        if let Some(handing_over) = &mut self.succession.handing_over {
            tracing::warn!(pid = handing_over.pid, "hand-over cancelled: this process is stopping");
            handing_over.forestall();
            handing_over.dismiss();
        }
    }
}

impl HandingOver {
    /// Whether it was dismissed before it was told to serve.
    fn is_dismissed(&self) -> bool {
        self.verdict.get() == Some(&Verdict::Dismissed)
    }

    /// Sees to it that the new process is not told to serve, unless it was; says whether that was in time.
    fn forestall(&self) -> bool {
        self.verdict.set(Verdict::Dismissed).is_ok()
    }

    /// Tells the new process to end, by both ways: it may wait for a word, or serve already. Once: by a second signal it
    /// would not finish what it has begun.
    fn dismiss(&mut self) {
        if std::mem::replace(&mut self.told_to_end, true) {
            return;
        }
        // It may have gone by itself.
        let _ = self.channel.say(&Word::Dismissed, None);
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if self.is_dismissed() {
            // Whatever it says now, nobody waits for it.
            self.channel.deafen();
        }
    }
}

/// The talk up to the point where the new process serves; gives which sockets it took.
fn converse(
    channel: &Channel,
    offers: &[Offer],
    (patience, verdict): (Duration, &OnceLock<Verdict>),
) -> Result<Vec<usize>, String> {
    let said = |word: &Word, offer: Option<&Offer>| {
        let socket = offer.map(|offer| offer.socket.as_fd());
        channel.say(word, socket).map_err(|error| format!("the new process does not listen: {error}"))
    };
    for offer in offers {
        said(&Word::Socket(offer.label.clone()), Some(offer))?;
    }
    said(&Word::AllSockets, None)?;
    let word = heard(channel, patience)?;
    let Word::Ready(taken) = word else { return Err(unexpected(&word)) };
    if verdict.set(Verdict::Go).is_err() {
        return Err("the new process was dismissed".to_owned());
    }
    said(&Word::Go, None)?;
    let word = heard(channel, patience)?;
    if word == Word::Serving { Ok(taken) } else { Err(unexpected(&word)) }
}

fn heard(channel: &Channel, patience: Duration) -> Result<Word, String> {
    match channel.hear(patience) {
        Ok(Some((word, _))) => Ok(word),
        Ok(None) => Err("the new process has ended".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(format!("the new process does not serve after {} s", patience.as_secs_f32()))
        }
        Err(error) => Err(format!("the new process cannot be understood: {error}")),
    }
}

fn unexpected(word: &Word) -> String {
    if let Word::Failed(why) = word {
        format!("the new process cannot serve:\n{why}")
    } else {
        format!("the new process said {word:?} out of turn")
    }
}

/// Ends a process that does not serve, and says how it ended.
fn ended(child: &mut Child) -> String {
    let pid = child.id();
    // One that has ended by itself within its patience has the better story.
    let deadline = Clock.now() + END_PATIENCE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return format!("process {pid} ended with {status}"),
            Ok(None) if Clock.now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => break,
            Err(error) => return format!("process {pid} cannot be asked: {error}"),
        }
    }
    let killed = child.kill().and_then(|()| child.wait());
    killed.map_or_else(|error| format!("process {pid}: {error}"), |_| format!("process {pid} was killed"))
}
