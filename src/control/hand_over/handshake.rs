//! A hand-over in progress, in the old process: the handshake until the new process serves, and how a cancelled process
//! is ended.

use std::io;
use std::os::fd::AsFd as _;
use std::process::Child;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::channel::{HandOverChannel, HandOverMessage, SocketLabel};
use super::forwarder::KillSender;
use super::saved_endpoint::SavedEndpoint;
use super::saved_limits::SavedLimit;
use crate::clock::Clock;
use crate::snapshot::ListeningSocket;

/// How long a cancelled process may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// A hand-over in progress.
#[derive(Debug)]
pub struct HandOver {
    pub(super) pid: u32,
    pub(super) channel: HandOverChannel,
    /// The offered sockets, by the index in [`HandOverMessage::Ready`].
    pub(super) offered: Vec<Arc<ListeningSocket>>,
    pub(super) began: Instant,
    /// The decision, set once by the handshake thread or by the controller.
    pub(super) decision: Arc<OnceLock<HandOverDecision>>,
    /// A termination signal was sent; a second one would cut the requests that the process finishes.
    pub(super) is_termination_sent: bool,
    pub(super) attempt: HandOverAttempt,
}

/// The decision about a new process that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandOverDecision {
    /// It may serve: from here on, no change may happen that it does not know.
    Go,
    /// The hand-over is cancelled.
    Dismissed,
}

/// An edit cancels a hand-over, which is repeated once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum HandOverAttempt {
    /// The requested one.
    First,
    /// The repetition after an edit.
    Second,
}

/// A socket that is offered to the new process.
pub(super) struct OfferedSocket {
    pub(super) label: SocketLabel,
    pub(super) socket: Arc<ListeningSocket>,
}

impl HandOver {
    /// Whether it was cancelled before it was allowed to serve.
    pub(super) fn is_dismissed(&self) -> bool {
        self.decision.get() == Some(&HandOverDecision::Dismissed)
    }

    /// Sends kills that are not on the disk; `None` when no descriptor is left.
    pub(in crate::control) fn kill_sender(&self) -> Option<KillSender> {
        self.channel.duplicate().map(KillSender).ok()
    }

    /// Cancels the hand-over unless the new process was allowed to serve. Returns whether it did.
    pub(super) fn cancel(&self) -> bool {
        self.decision.set(HandOverDecision::Dismissed).is_ok()
    }

    /// Terminates the new process by a message and a signal: it may wait for a message, or serve already. Only once,
    /// because a second signal would cut its open requests.
    pub(super) fn terminate(&mut self) {
        if std::mem::replace(&mut self.is_termination_sent, true) {
            return;
        }
        // The process may have ended already.
        let _ = self.channel.send(&HandOverMessage::Dismissed, None);
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if self.is_dismissed() {
            // Its later messages are ignored.
            self.channel.close_receive();
        }
    }
}

/// What the new process goes on with, in parts that fit in a message.
pub(super) struct PassedStates {
    pub(super) endpoints: Vec<Vec<SavedEndpoint>>,
    pub(super) limits: Vec<SavedLimit>,
}

/// Runs the handshake until the new process serves; returns the indexes of the sockets that it took. `states` are those
/// at the moment of *go*.
pub(super) fn run_handshake(
    channel: &HandOverChannel,
    offers: &[OfferedSocket],
    patience: Duration,
    decision: &OnceLock<HandOverDecision>,
    states: impl FnOnce() -> PassedStates,
) -> Result<Vec<usize>, String> {
    let send = |message: &HandOverMessage, offer: Option<&OfferedSocket>| {
        let socket = offer.map(|offer| offer.socket.as_fd());
        channel.send(message, socket).map_err(|error| format!("the new process does not receive: {error}"))
    };
    for offer in offers {
        send(&HandOverMessage::Socket(offer.label.clone()), Some(offer))?;
    }
    send(&HandOverMessage::AllSockets, None)?;
    let message = receive(channel, patience)?;
    let takes_limits = matches!(message, HandOverMessage::ReadyForStates(_));
    let takes_endpoints = takes_limits || matches!(message, HandOverMessage::ReadyForEndpoints(_));
    let (HandOverMessage::Ready(taken)
    | HandOverMessage::ReadyForEndpoints(taken)
    | HandOverMessage::ReadyForStates(taken)) = message
    else {
        return Err(unexpected(&message));
    };
    if decision.set(HandOverDecision::Go).is_err() {
        return Err("the hand-over was cancelled".to_owned());
    }
    if takes_endpoints {
        // The latest moment before the new process accepts.
        let states = states();
        for part in states.endpoints {
            send(&HandOverMessage::Endpoints(part), None)?;
        }
        for part in states.limits.into_iter().filter(|_| takes_limits) {
            send(&HandOverMessage::Limit(part), None)?;
        }
    }
    send(&HandOverMessage::Go, None)?;
    let message = receive(channel, patience)?;
    if message == HandOverMessage::Serving { Ok(taken) } else { Err(unexpected(&message)) }
}

fn receive(channel: &HandOverChannel, patience: Duration) -> Result<HandOverMessage, String> {
    match channel.receive(patience) {
        Ok(Some((message, _))) => Ok(message),
        Ok(None) => Err("the new process has ended".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(format!("the new process does not serve after {} s", patience.as_secs_f32()))
        }
        Err(error) => Err(format!("a message of the new process cannot be understood: {error}")),
    }
}

fn unexpected(message: &HandOverMessage) -> String {
    if let HandOverMessage::Failed(why) = message {
        format!("the new process cannot serve:\n{why}")
    } else {
        format!("the new process sent {message:?} out of turn")
    }
}

/// Waits for a process that does not serve, kills it after `END_TIMEOUT`, and describes how it ended.
pub(super) fn reap(child: &mut Child) -> String {
    let pid = child.id();
    // A process that ends by itself in time has the better exit status.
    let deadline = Clock.now() + END_TIMEOUT;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return format!("process {pid} ended with {status}"),
            Ok(None) if Clock.now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => break,
            Err(error) => return format!("the state of process {pid} is unknown: {error}"),
        }
    }
    let killed = child.kill().and_then(|()| child.wait());
    killed.map_or_else(|error| format!("process {pid}: {error}"), |_| format!("process {pid} was killed"))
}
