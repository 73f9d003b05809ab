//! The old process of a hand-over: starts the new process, passes it the sockets, and drains when it serves.

use std::io;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use super::super::controller::Controller;
use super::super::event::{Event, ProcessEvent};
use super::super::outcome::ReloadCause;
use super::channel::{HandOverChannel, HandOverMessage, SocketLabel, SocketOrigin};
use super::forwarder::follow_successor;
use super::handshake::{HandOver, HandOverAttempt, HandOverDecision, OfferedSocket, PassedStates, reap, run_handshake};
use super::new_process::{ENDPOINTS_VARIABLE, LIMITS_VARIABLE, STATE_VARIABLE, VARIABLE, VERSION};
use super::program::Program;
use super::saved_endpoint::saved;
use super::saved_limits::saved_limits;
use crate::control::system::ServiceState;
use crate::drain::Phase;
use crate::telemetry;

/// Environment variables for this process only.
const OWN_VARIABLES: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];
impl Controller {
    /// `SIGUSR2`: starts a hand-over, unless that is impossible.
    pub(in crate::control) fn begin_hand_over(&mut self) {
        self.hand_over(HandOverAttempt::First);
    }

    /// Starts the first or the second attempt of a hand-over.
    pub(in crate::control) fn hand_over(&mut self, attempt: HandOverAttempt) {
        if self.shutdown.phase() > Phase::Running {
            tracing::warn!("hand-over request ignored: this process is stopping");
        } else if let Some(handing_over) = &mut self.succession.handing_over {
            if handing_over.is_dismissed() {
                // The edited files are to be handed over: this counts as a new first attempt.
                handing_over.attempt = HandOverAttempt::First;
            }
            tracing::warn!(pid = handing_over.pid, "hand-over request ignored: a hand-over is in progress");
        } else if self.reloading.is_some() || self.succession.predecessor.is_some() {
            // Hand over after the reload, with its result, or when this process has taken over itself.
            self.succession.hand_over_next = Some(attempt);
        } else if std::process::id() == 1 {
            // When process 1 ends, its container ends.
            self.report_failed_hand_over(
                "the first process of a container cannot be replaced from within: start a new container",
            );
        } else if let Some(program) = self.succession.program.clone() {
            match self.start_successor(&program, attempt) {
                Ok(handing_over) => self.succession.handing_over = Some(handing_over),
                Err(error) => {
                    self.report_failed_hand_over(&format!("{} cannot be started: {error}", program.path.display()));
                }
            }
        } else {
            self.report_failed_hand_over("this process does not know how it was started");
        }
    }

    fn report_failed_hand_over(&mut self, why: &str) {
        tracing::error!("hand-over failed, this process continues to serve: {}", why.trim_end());
        telemetry::control::count_failed_hand_over(&self.state.counts.recorder);
        self.state.lock().hand_over_failure = Some(why.trim_end().to_owned());
        self.notify.send(ServiceState::Ready, Some("serving; the last hand-over failed"));
    }

    fn start_successor(&self, program: &Program, attempt: HandOverAttempt) -> io::Result<HandOver> {
        let (channel, theirs) = HandOverChannel::pair()?;
        let mut command = Command::new(&program.path);
        command.args(&program.arguments).stdin(Stdio::from(theirs)).env(VARIABLE, VERSION);
        for passed in [ENDPOINTS_VARIABLE, LIMITS_VARIABLE] {
            command.env(passed, std::process::id().to_string());
        }
        let state_dir = &self.store.load().rules.state.dir;
        command.env(STATE_VARIABLE, std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.clone()));
        for name in OWN_VARIABLES {
            command.env_remove(name);
        }
        let mut child = command.spawn()?;
        // Only the new process may hold the other end, or its end would not be noticed.
        drop(command);
        let pid = child.id();
        tracing::info!(pid, program = %program.path.display(), "handing over to a new process");
        let offers = self.offers();
        let own = offers.iter().filter(|offer| offer.label.origin != SocketOrigin::Systemd);
        let offered = own.map(|offer| Arc::clone(&offer.socket)).collect();
        let handshake = channel.duplicate()?;
        let (patience, events) = (self.succession.patience, self.sender.clone());
        let decision = Arc::new(OnceLock::new());
        let (first, state) = (Arc::clone(&decision), Arc::clone(&self.state));
        tokio::task::spawn_blocking(move || {
            let states = || {
                let snapshot = state.snapshot();
                let limits = saved_limits(&snapshot, state.uptime_ns());
                PassedStates { endpoints: saved(&snapshot, state.uptime_ms()), limits }
            };
            let result = run_handshake(&handshake, &offers, patience, &first, states)
                .map_err(|why| format!("{why}; {}", reap(&mut child)));
            // Sending fails when the controller has ended.
            let _ = events.blocking_send(Event::Process(ProcessEvent::HandedOver(result)));
        });
        let began = self.state.clock.now();
        Ok(HandOver { pid, channel, offered, began, decision, is_termination_sent: false, attempt })
    }

    /// Marks the inherited sockets that are in use.
    pub(in crate::control) fn mark_used_sockets(&mut self) {
        let listeners = self.store.load();
        let mut used: Vec<_> = listeners.listeners.iter().map(|one| Arc::clone(&one.socket)).collect();
        used.extend(self.admin.sockets().map(|(_, socket)| Arc::clone(socket)));
        self.succession.inherited.mark_used(&used);
    }

    fn offers(&self) -> Vec<OfferedSocket> {
        let lent = self.succession.inherited.of_systemd();
        let mut offers: Vec<OfferedSocket> =
            lent.map(|(label, socket)| OfferedSocket { label: label.clone(), socket: Arc::clone(socket) }).collect();
        for listener in &*self.store.load().listeners {
            let (name, wanted) = (listener.spec.name.clone(), Some(listener.spec.address));
            let label = SocketLabel { origin: SocketOrigin::Listener, name, wanted };
            offers.push(OfferedSocket { label, socket: Arc::clone(&listener.socket) });
        }
        for (wanted, socket) in self.admin.sockets() {
            let label = SocketLabel { origin: SocketOrigin::Admin, name: String::new(), wanted: Some(wanted) };
            offers.push(OfferedSocket { label, socket: Arc::clone(socket) });
        }
        // Sockets from systemd are in the list already.
        offers.retain(|offer| offer.label.origin == SocketOrigin::Systemd || !offer.socket.is_shared());
        offers
    }

    /// Handles the end of a hand-over.
    pub(in crate::control) fn handle_handed_over(&mut self, result: Result<Vec<usize>, String>) {
        let Some(mut handing_over) = self.succession.handing_over.take() else { return };
        let stopping = self.shutdown.phase() > Phase::Running;
        match result {
            Ok(_) if stopping => handing_over.terminate(),
            Ok(taken) => {
                self.succession.handing_over = Some(handing_over);
                self.pass_journal(taken);
            }
            Err(why) if stopping => tracing::info!(pid = handing_over.pid, "new process ended: {why}"),
            Err(why) => {
                // The next attempt waits for the held reload.
                self.start_held_reload();
                if !handing_over.is_dismissed() {
                    self.report_failed_hand_over(&why);
                } else if handing_over.attempt == HandOverAttempt::First {
                    self.hand_over(HandOverAttempt::Second);
                } else {
                    self.report_failed_hand_over(
                        "the files were edited twice meanwhile: hand over after the last edit",
                    );
                }
            }
        }
    }

    /// The journal is given up: says farewell.
    pub(in crate::control) fn handle_journal_passed(&mut self, taken: &[usize]) {
        self.note_passed_journal();
        let Some(mut handing_over) = self.succession.handing_over.take() else { return };
        if self.shutdown.phase() > Phase::Running {
            handing_over.terminate();
        } else {
            self.complete_hand_over(handing_over, taken);
        }
    }

    /// Whether a new process exists, which may have bound addresses.
    pub(in crate::control) const fn is_handing_over(&self) -> bool {
        self.succession.handing_over.is_some()
    }

    /// Whether the new process serves or is about to: a reload here would have no effect.
    pub(in crate::control) fn is_successor_serving(&self) -> bool {
        self.succession.handing_over.as_ref().is_some_and(|one| one.decision.get() == Some(&HandOverDecision::Go))
    }

    /// Whether a reload may be applied. An edit does not wait for a hand-over: a new process that has not been allowed
    /// to serve, and may have loaded the old files, is cancelled.
    pub(in crate::control) fn can_apply(&mut self) -> bool {
        let Some(handing_over) = &mut self.succession.handing_over else { return true };
        if handing_over.cancel() {
            tracing::info!(pid = handing_over.pid, "files changed during the hand-over: stopping the new process");
            handing_over.terminate();
        }
        handing_over.is_dismissed()
    }

    /// Completes the hand-over: the new process owns the sockets that it took, and this one drains.
    fn complete_hand_over(&mut self, handing_over: HandOver, taken: &[usize]) {
        let pid = handing_over.pid;
        let took_ms = self.state.clock.now().saturating_duration_since(handing_over.began).as_millis();
        let took_ms = u64::try_from(took_ms).unwrap_or(u64::MAX);
        // The indexes come from another process: ignore those that were not offered.
        for socket in taken.iter().filter_map(|at| handing_over.offered.get(*at)) {
            socket.share();
        }
        self.admin.close();
        self.notify.send(ServiceState::MainPid(pid), None);
        if let Err(error) = handing_over.channel.send(&HandOverMessage::Farewell, None) {
            tracing::warn!(pid, %error, "new process could not be notified of the end of the hand-over");
        }
        follow_successor(handing_over.channel, self.sender.clone());
        tracing::info!(pid, took_ms, "handed over: the new process serves, this one drains");
        self.shutdown.begin_after_hand_over(self.state.clock.now(), &self.sender);
        self.advance_phase(Phase::Lame);
        if let Some(next) = self.next_reload.take() {
            // Pending reload requests are answered: reload the new process.
            next.into_replies().into_iter().for_each(|reply| self.reload(ReloadCause::Call, Some(reply)));
        }
    }

    /// Cancels the hand-over at a shutdown: neither process shall serve afterwards.
    pub(in crate::control) fn cancel_hand_over(&mut self) {
        if let Some(handing_over) = &mut self.succession.handing_over {
            tracing::warn!(pid = handing_over.pid, "hand-over cancelled: this process is stopping");
            handing_over.cancel();
            handing_over.terminate();
        }
    }
}
