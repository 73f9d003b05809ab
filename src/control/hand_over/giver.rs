//! The old side of a hand-over: starts the new process, gives it the sockets, and drains when that one serves.

use std::io;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use super::super::controller::Controller;
use super::super::event::{Event, ProcessEvent};
use super::super::outcome::Cause;
use super::channel::{Channel, Label, Origin, Word};
use super::program::Program;
use super::taker::{VARIABLE, VERSION};
use super::talk::{Attempt, HandingOver, Offer, Verdict, converse, ended};
use crate::control::system::State;
use crate::drain::Phase;
use crate::telemetry;

/// Variables that mean this process and not the next one.
const OURS: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];
impl Controller {
    /// `SIGUSR2`: hands over, unless that cannot be.
    pub(in crate::control) fn begin_hand_over(&mut self) {
        self.hand_over(Attempt::First);
    }

    /// Hands over for the first time, or again after an edit.
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
        telemetry::control::hand_over_failed(&self.ledger.counts.recorder);
        self.ledger.pages().hand_over_failure = Some(why.trim_end().to_owned());
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
            // Sending fails when the proxy has ended.
            let _ = events.blocking_send(Event::Process(ProcessEvent::HandedOver(result)));
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
            Err(why) => {
                // The next attempt waits for it.
                self.begin_held();
                if !handing_over.is_dismissed() {
                    self.not_handed_over(&why);
                } else if handing_over.attempt == Attempt::First {
                    self.hand_over(Attempt::Second);
                } else {
                    self.not_handed_over("the files were edited twice meanwhile: hand over when they are settled");
                }
            }
        }
    }

    /// Whether there is a new process, which may have sockets of its own.
    pub(in crate::control) const fn is_handing_over(&self) -> bool {
        self.succession.handing_over.is_some()
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
