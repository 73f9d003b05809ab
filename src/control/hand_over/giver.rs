//! The old side of a hand-over: starts the new process, gives it the sockets, and drains when that one serves.

use std::io;
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
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
}

/// A socket on its way.
struct Offer {
    label: Label,
    socket: Arc<ListeningSocket>,
}

impl Controller {
    /// `SIGUSR2`: hands over, unless that cannot be.
    pub(in crate::control) fn hand_over(&mut self) {
        if self.stopping.phase() > Phase::Running {
            tracing::warn!("asked to hand over while stopping: the process that serves now is another one");
        } else if let Some(handing_over) = &self.succession.handing_over {
            tracing::warn!(pid = handing_over.pid, "asked to hand over while handing over");
        } else if self.reloading.is_some() {
            // What is handed over is what holds after the reload.
            self.succession.hand_over_next = true;
        } else if std::process::id() == 1 {
            // When it ended, everything in its container would.
            self.not_handed_over(
                "the first process of a container cannot be replaced from within: start a new container",
            );
        } else if let Some(program) = self.succession.program.clone() {
            match self.start_successor(&program) {
                Ok(handing_over) => self.succession.handing_over = Some(handing_over),
                Err(error) => self.not_handed_over(&format!("{} cannot be started: {error}", program.path.display())),
            }
        } else {
            self.not_handed_over("this process does not know how it was started");
        }
    }

    fn not_handed_over(&mut self, why: &str) {
        tracing::error!("the hand-over failed, this process goes on serving: {}", why.trim_end());
        {
            let mut pages = self.ledger.pages();
            pages.hand_overs_failed += 1;
            pages.hand_over_failure = Some(why.trim_end().to_owned());
        }
        self.notify.tell(State::Ready, Some("serving; the last hand-over failed"));
    }

    fn start_successor(&self, program: &Program) -> io::Result<HandingOver> {
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
        tokio::task::spawn_blocking(move || {
            let result = converse(&talk, &offers, patience).map_err(|why| format!("{why}; {}", ended(&mut child)));
            // Nobody listens any more when the proxy has ended.
            let _ = events.blocking_send(Event::HandedOver(result));
        });
        Ok(HandingOver { pid, channel, offered, began: self.ledger.clock.now() })
    }

    /// Which of the sockets that others bound are in use.
    pub(in crate::control) fn note_sockets(&mut self) {
        let listeners = self.store.load();
        let mut used: Vec<_> = listeners.listeners.iter().map(|one| Arc::clone(&one.socket)).collect();
        used.extend(self.admin.socket().map(|(_, socket)| socket));
        self.succession.inherited.are_used(&used);
    }

    fn offers(&self) -> Vec<Offer> {
        let lent = self.succession.inherited.of_systemd();
        let mut offers: Vec<Offer> =
            lent.map(|(label, socket)| Offer { label: label.clone(), socket: Arc::clone(socket) }).collect();
        for listener in &self.store.load().listeners {
            let (name, wanted) = (listener.spec.name.clone(), Some(listener.spec.address));
            let label = Label { origin: Origin::Listener, name, wanted };
            offers.push(Offer { label, socket: Arc::clone(&listener.socket) });
        }
        if let Some((wanted, socket)) = self.admin.socket() {
            let label = Label { origin: Origin::Admin, name: String::new(), wanted: Some(wanted) };
            offers.push(Offer { label, socket });
        }
        // What systemd has lent is in the list already.
        offers.retain(|offer| offer.label.origin == Origin::Systemd || !offer.socket.is_shared());
        offers
    }

    /// The new process serves, or does not.
    pub(in crate::control) fn handed_over(&mut self, result: Result<Vec<usize>, String>) {
        let Some(mut handing_over) = self.succession.handing_over.take() else { return };
        match result {
            Ok(_) if self.stopping.phase() > Phase::Running => handing_over.dismiss(),
            Ok(taken) => self.succeeded(&handing_over, &taken),
            Err(why) => {
                self.not_handed_over(&why);
                if let Some(next) = self.next.take() {
                    self.begin(next);
                }
            }
        }
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
            tracing::warn!(pid, %error, "the new process did not hear the farewell");
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
            tracing::warn!(pid = handing_over.pid, "stopped while handing over: the new process is not wanted");
            handing_over.dismiss();
        }
    }
}

impl HandingOver {
    /// Tells the new process to end, by both ways: it may wait for a word, or serve already.
    fn dismiss(&mut self) {
        // It may have gone by itself.
        let _ = self.channel.say(&Word::Dismissed, None);
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

/// The talk up to the point where the new process serves; gives which sockets it took.
fn converse(channel: &Channel, offers: &[Offer], patience: Duration) -> Result<Vec<usize>, String> {
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
