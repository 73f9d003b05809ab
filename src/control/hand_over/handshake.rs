//! A hand-over under way, as the old side sees it: the talk with the new process up to the point where that one serves,
//! and how the new process is ended when it shall not.

use std::io;
use std::os::fd::AsFd as _;
use std::process::Child;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::channel::{HandOverChannel, HandOverMessage, SocketLabel};
use crate::clock::Clock;
use crate::snapshot::ListeningSocket;

/// How long a dismissed process may take to end.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// A hand-over under way.
#[derive(Debug)]
pub struct HandOver {
    pub(super) pid: u32,
    pub(super) channel: HandOverChannel,
    /// The sockets that it may take, in the order in which it counts them.
    pub(super) offered: Vec<Arc<ListeningSocket>>,
    pub(super) began: Instant,
    /// The first decision sent to it, by the talk's thread or by the controller.
    pub(super) decision: Arc<OnceLock<HandOverDecision>>,
    /// A signal to end was sent: a second one would cut the requests that it finishes.
    pub(super) is_termination_sent: bool,
    pub(super) attempt: HandOverAttempt,
}

/// What becomes of a new process that is able to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandOverDecision {
    /// It serves: nothing here may change any more that it would not know.
    Go,
    /// It is not wanted.
    Dismissed,
}

/// An edit ends a hand-over, which begins again, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum HandOverAttempt {
    /// The one that was asked for.
    First,
    /// The one after an edit.
    Second,
}

/// A socket on its way.
pub(super) struct OfferedSocket {
    pub(super) label: SocketLabel,
    pub(super) socket: Arc<ListeningSocket>,
}

impl HandOver {
    /// Whether it was dismissed before it got the word to serve.
    pub(super) fn is_dismissed(&self) -> bool {
        self.decision.get() == Some(&HandOverDecision::Dismissed)
    }

    /// Dismisses the new process unless it already got the word to serve. Returns whether it did.
    pub(super) fn cancel(&self) -> bool {
        self.decision.set(HandOverDecision::Dismissed).is_ok()
    }

    /// Tells the new process to end, by both ways: it may wait for a word, or serve already. Once: by a second signal it
    /// would not finish what it has begun.
    pub(super) fn terminate(&mut self) {
        if std::mem::replace(&mut self.is_termination_sent, true) {
            return;
        }
        // It may have gone by itself.
        let _ = self.channel.send(&HandOverMessage::Dismissed, None);
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if self.is_dismissed() {
            // Its later messages are not read.
            self.channel.close_receive();
        }
    }
}

/// The talk up to the point where the new process serves; gives which sockets it took.
pub(super) fn run_handshake(
    channel: &HandOverChannel,
    offers: &[OfferedSocket],
    patience: Duration,
    decision: &OnceLock<HandOverDecision>,
) -> Result<Vec<usize>, String> {
    let send = |word: &HandOverMessage, offer: Option<&OfferedSocket>| {
        let socket = offer.map(|offer| offer.socket.as_fd());
        channel.send(word, socket).map_err(|error| format!("the new process does not listen: {error}"))
    };
    for offer in offers {
        send(&HandOverMessage::Socket(offer.label.clone()), Some(offer))?;
    }
    send(&HandOverMessage::AllSockets, None)?;
    let word = receive(channel, patience)?;
    let HandOverMessage::Ready(taken) = word else { return Err(unexpected(&word)) };
    if decision.set(HandOverDecision::Go).is_err() {
        return Err("the new process was dismissed".to_owned());
    }
    send(&HandOverMessage::Go, None)?;
    let word = receive(channel, patience)?;
    if word == HandOverMessage::Serving { Ok(taken) } else { Err(unexpected(&word)) }
}

fn receive(channel: &HandOverChannel, patience: Duration) -> Result<HandOverMessage, String> {
    match channel.receive(patience) {
        Ok(Some((word, _))) => Ok(word),
        Ok(None) => Err("the new process has ended".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(format!("the new process does not serve after {} s", patience.as_secs_f32()))
        }
        Err(error) => Err(format!("the new process cannot be understood: {error}")),
    }
}

fn unexpected(word: &HandOverMessage) -> String {
    if let HandOverMessage::Failed(why) = word {
        format!("the new process cannot serve:\n{why}")
    } else {
        format!("the new process send {word:?} out of turn")
    }
}

/// Ends a process that does not serve, and says how it ended.
pub(super) fn reap(child: &mut Child) -> String {
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
