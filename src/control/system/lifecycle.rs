//! Handles the events of the process: signals, the phases of a shutdown, the end of a hand-over, the tick for
//! housekeeping.

use std::sync::Arc;
use std::time::Duration;

use super::shutdown::Stopped;
use super::systemd::ServiceState;
use crate::control::controller::Controller;
use crate::control::event::{Event, ProcessEvent};
use crate::control::outcome::ReloadCause;
use crate::drain::Phase;
use crate::snapshot::ListeningSocket;
use crate::telemetry;

/// How long workers keep accepting from a socket's backlog before it is closed.
const BACKLOG_TIMEOUT: Duration = Duration::from_millis(50);

impl Controller {
    /// Handles an event; `Some` when the proxy has stopped.
    pub(in crate::control) fn handle_process(&mut self, event: ProcessEvent) -> Option<Stopped> {
        match event {
            ProcessEvent::Hangup => {
                self.log.reopen();
                self.reload(ReloadCause::Signal, None);
            }
            ProcessEvent::Terminate if self.shutdown.is_second_signal() => {
                tracing::warn!("second signal: stopping at once");
                return Some(Stopped::AtOnce);
            }
            ProcessEvent::Terminate | ProcessEvent::Stop => self.begin_stop(),
            ProcessEvent::Abandon => return Some(Stopped::AtOnce),
            ProcessEvent::Due(phase) => return self.enter_phase(phase),
            ProcessEvent::HandOver => self.begin_hand_over(),
            ProcessEvent::HandedOver(result) => self.handle_handed_over(result),
            ProcessEvent::JournalPassed(taken) => self.handle_journal_passed(&taken),
            ProcessEvent::Close => self.close_sockets(),
            ProcessEvent::SocketChecked(check) => self.admin.adopt_socket(check),
            ProcessEvent::Housekeeping { ended } => self.run_housekeeping(ended),
        }
        None
    }

    fn begin_stop(&mut self) {
        if self.shutdown.phase() == Phase::Running {
            self.cancel_hand_over();
            if let Some(next) = self.next_reload.take() {
                next.refuse();
            }
            self.notify.send(ServiceState::Stopping, Some("finishing open requests"));
            self.shutdown.begin(self.state.clock.now(), &self.sender);
            self.advance_phase(Phase::Lame);
        }
    }

    fn enter_phase(&mut self, phase: Phase) -> Option<Stopped> {
        if phase == Phase::Forced && self.shutdown.phase() == Phase::Forced {
            return Some(self.shutdown.finished());
        }
        self.shutdown.reach(phase, &self.sender);
        self.advance_phase(phase);
        if phase == Phase::Draining {
            let sockets = self.store.load().listeners.iter().map(|one| Arc::clone(&one.socket)).collect();
            self.close_soon(sockets);
        }
        None
    }

    pub(in crate::control) fn advance_phase(&self, phase: Phase) {
        self.state.lock().phase = Some(phase);
        telemetry::control::set_phase(&self.state.counts.recorder, phase);
        self.drain.advance(phase);
    }

    /// Closes these sockets after `BACKLOG_TIMEOUT`.
    pub(in crate::control) fn close_soon(&mut self, sockets: Vec<Arc<ListeningSocket>>) {
        if sockets.is_empty() {
            return;
        }
        self.closing.extend(sockets);
        let events = self.sender.clone();
        tokio::spawn(async move {
            tokio::time::sleep(BACKLOG_TIMEOUT).await;
            // Sending fails when the controller has ended.
            let _ = events.send(Event::Process(ProcessEvent::Close)).await;
        });
    }

    /// Shuts the sockets down. Dropping is not enough: accepted connections keep a socket open, and clients would wait
    /// in a backlog that is never accepted.
    pub(in crate::control) fn close_sockets(&mut self) {
        for socket in self.closing.drain(..) {
            if let Err(error) = socket.close() {
                tracing::debug!(%error, "a listening socket could not be shut down");
            }
        }
    }
}
