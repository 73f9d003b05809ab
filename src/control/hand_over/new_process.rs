//! The new side of a hand-over: meets the process before, takes its sockets, and accepts when it is told to.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::fcntl_dupfd_cloexec;

use super::channel::{HandOverChannel, HandOverMessage};
use super::handshake::{HandOver, HandOverAttempt};
use super::inherited_sockets::InheritedSockets;
use super::program::Program;

/// By which a process knows that it takes over from another: the version of their talk. The other end is its standard
/// input.
pub(super) const VARIABLE: &str = "POINTSMAN_HAND_OVER";
/// The version of the talk.
pub(super) const VERSION: &str = "1";
/// How long a new process may take until it serves, unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much is told of a failure; the new process says it all to the log.
const WHY_LETTERS_MAX: usize = 4_096;
/// To pass the sockets, which are sent at once.
const SOCKETS_LIMIT: Duration = Duration::from_secs(10);
/// To say a word that the process before has no reason to hold back.
const WORD_LIMIT: Duration = Duration::from_mins(1);

/// Who was before, and who comes after.
#[derive(Debug)]
pub struct Succession {
    /// Sockets that this process did not bind.
    pub(in crate::control) inherited: InheritedSockets,
    /// The process before, which waits.
    pub predecessor: Option<Predecessor>,
    /// What a hand-over starts; nothing where there can be none.
    pub(super) program: Option<Program>,
    /// How long a new process may take until it serves.
    pub(super) patience: Duration,
    /// The hand-over under way.
    pub(in crate::control) handing_over: Option<HandOver>,
    /// Which one begins when the reload under way has ended.
    pub(in crate::control) hand_over_next: Option<HandOverAttempt>,
}

impl Default for Succession {
    /// Nobody before, nobody after.
    fn default() -> Self {
        Self {
            inherited: InheritedSockets::default(),
            predecessor: None,
            program: None,
            patience: PATIENCE,
            handing_over: None,
            hand_over_next: None,
        }
    }
}

impl Succession {
    /// As it stands with this process. To be asked once, before any file is opened.
    ///
    /// # Errors
    /// When a process before this one wants to hand over and cannot.
    pub fn of_this_process() -> io::Result<Self> {
        let mut inherited = InheritedSockets::from_systemd();
        let predecessor = Predecessor::connect(&mut inherited)?;
        Ok(Self { inherited, predecessor, program: Program::of_this_process(), ..Self::default() })
    }

    /// With so much time for a new process until it serves.
    #[must_use]
    pub const fn within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// The process before, which serves until this one does.
#[derive(Clone, Debug)]
pub struct Predecessor(Arc<HandOverChannel>);

impl Predecessor {
    /// Meets the process that started this one for a hand-over, if one did, and takes its sockets.
    fn connect(inherited: &mut InheritedSockets) -> io::Result<Option<Self>> {
        match std::env::var(VARIABLE) {
            Ok(version) if version == VERSION => {}
            Ok(version) => return Err(io::Error::other(format!("it speaks version {version}, not {VERSION}"))),
            Err(_) => return Ok(None),
        }
        let channel = HandOverChannel::new(fcntl_dupfd_cloexec(io::stdin(), 3)?);
        // Nothing that reads the standard input shall meet the talk.
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        loop {
            match channel.receive(SOCKETS_LIMIT)? {
                Some((HandOverMessage::Socket(label), Some(socket))) => inherited.add(label, socket)?,
                Some((HandOverMessage::AllSockets, _)) => return Ok(Some(Self(Arc::new(channel)))),
                Some((word, _)) => return Err(io::Error::other(format!("it said {word:?} among its sockets"))),
                None => return Err(io::Error::other("it has gone")),
            }
        }
    }

    /// Says why this process cannot serve.
    pub fn send_failure(&self, why: &str) {
        let text = why.chars().take(WHY_LETTERS_MAX).collect();
        // Whoever does not listen sees that this process ends.
        let _ = self.0.send(&HandOverMessage::Failed(text), None);
    }

    /// Says that this process is able to serve, with these sockets, and waits until it may.
    ///
    /// # Errors
    /// When it is not wanted any more.
    pub(in crate::control) async fn wait_for_permission(&self, inherited: &InheritedSockets) -> io::Result<()> {
        // When nobody listens, nobody answers either.
        let _ = self.0.send(&HandOverMessage::Ready(inherited.taken()), None);
        match self.receive().await {
            Ok(Some(HandOverMessage::Go)) => Ok(()),
            Ok(Some(HandOverMessage::Dismissed)) => {
                Err(io::Error::other("the process before was stopped while it handed over"))
            }
            Ok(Some(word)) => Err(io::Error::other(format!("the process before said {word:?}"))),
            // Somebody must serve.
            Ok(None) => {
                tracing::error!("previous process ended during the hand-over: this one serves");
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "previous process does not answer: this one serves");
                Ok(())
            }
        }
    }

    /// Says that this process serves, and waits until systemd knows that it is the main one.
    pub(in crate::control) async fn confirm_serving(&self) {
        let _ = self.0.send(&HandOverMessage::Serving, None);
        match self.receive().await {
            Ok(Some(HandOverMessage::Farewell)) => tracing::info!("took over from the previous process"),
            Ok(word) => tracing::warn!(?word, "took over from the previous process, which did not confirm"),
            Err(error) => tracing::warn!(%error, "took over from the previous process, which did not confirm"),
        }
    }

    async fn receive(&self) -> io::Result<Option<HandOverMessage>> {
        let channel = Arc::clone(&self.0);
        let heard = tokio::task::spawn_blocking(move || channel.receive(WORD_LIMIT)).await;
        heard.map_err(io::Error::other)?.map(|heard| heard.map(|(word, _)| word))
    }
}
