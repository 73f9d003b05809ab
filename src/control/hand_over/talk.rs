//! A hand-over under way, as the old side sees it: the talk with the new process up to the point where that one serves,
//! and how the new process is ended when it shall not.

use std::io;
use std::os::fd::AsFd as _;
use std::process::Child;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::channel::{Channel, Label, Word};
use crate::clock::Clock;
use crate::snapshot::ListeningSocket;

/// How long a dismissed process may take to end.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// A hand-over under way.
#[derive(Debug)]
pub struct HandingOver {
    pub(super) pid: u32,
    pub(super) channel: Channel,
    /// The sockets that it may take, in the order in which it counts them.
    pub(super) offered: Vec<Arc<ListeningSocket>>,
    pub(super) began: Instant,
    /// The first verdict sent to it, by the talk's thread or by the controller.
    pub(super) verdict: Arc<OnceLock<Verdict>>,
    /// A signal to end was sent: a second one would cut the requests that it finishes.
    pub(super) told_to_end: bool,
    pub(super) attempt: Attempt,
}

/// What becomes of a new process that is able to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
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
pub(super) struct Offer {
    pub(super) label: Label,
    pub(super) socket: Arc<ListeningSocket>,
}

impl HandingOver {
    /// Whether it was dismissed before it got the word to serve.
    pub(super) fn is_dismissed(&self) -> bool {
        self.verdict.get() == Some(&Verdict::Dismissed)
    }

    /// Dismisses the new process unless it already got the word to serve. Returns whether it did.
    pub(super) fn forestall(&self) -> bool {
        self.verdict.set(Verdict::Dismissed).is_ok()
    }

    /// Tells the new process to end, by both ways: it may wait for a word, or serve already. Once: by a second signal it
    /// would not finish what it has begun.
    pub(super) fn dismiss(&mut self) {
        if std::mem::replace(&mut self.told_to_end, true) {
            return;
        }
        // It may have gone by itself.
        let _ = self.channel.say(&Word::Dismissed, None);
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if self.is_dismissed() {
            // Its later messages are not read.
            self.channel.deafen();
        }
    }
}

/// The talk up to the point where the new process serves; gives which sockets it took.
pub(super) fn converse(
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
pub(super) fn ended(child: &mut Child) -> String {
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
