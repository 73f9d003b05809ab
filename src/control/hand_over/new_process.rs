//! The new process of a hand-over: connects to the previous process, takes its sockets, and accepts when it is allowed
//! to.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::fcntl_dupfd_cloexec;

use super::channel::{HandOverChannel, HandOverMessage};
use super::forwarder::RecordForwarder;
use super::handshake::{HandOver, HandOverAttempt};
use super::inherited_sockets::InheritedSockets;
use super::program::Program;
use super::saved_endpoint::SavedEndpoint;
use super::saved_limits::SavedLimit;
use crate::journal::Record;

/// The variable that starts a hand-over: the version of the protocol. The channel is the standard input.
pub(super) const VARIABLE: &str = "POINTSMAN_HAND_OVER";
/// The variable with the state folder of the previous process.
pub(super) const STATE_VARIABLE: &str = "POINTSMAN_HAND_OVER_STATE";
/// The variable with the id of a previous process that can pass endpoints' states on. A new process that wants them says
/// so when it is ready; one of an older version ignores it.
pub(super) const ENDPOINTS_VARIABLE: &str = "POINTSMAN_HAND_OVER_ENDPOINTS";
/// The same for a previous process that can pass the counts of rate limits on too.
pub(super) const LIMITS_VARIABLE: &str = "POINTSMAN_HAND_OVER_LIMITS";
/// The version of the protocol.
pub(super) const VERSION: &str = "1";
/// Default time limit of a hand-over.
const PATIENCE: Duration = Duration::from_secs(30);
/// Upper bound of the reported reason; the new process logs all of it.
const WHY_LETTERS_MAX: usize = 4_096;
/// Time limit for the sockets, which are sent at once.
const SOCKETS_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit for a message of the previous process.
const MESSAGE_TIMEOUT: Duration = Duration::from_mins(1);

/// The predecessor of this process, and its successor.
#[derive(Debug)]
pub struct Succession {
    /// Listening sockets that this process did not bind.
    pub(in crate::control) inherited: InheritedSockets,
    /// The predecessor, which waits for this process.
    pub predecessor: Option<Predecessor>,
    /// The state folder of the predecessor: kills in force and their journal.
    pub(in crate::control) state_dir: Option<PathBuf>,
    /// Sends what is decided to the predecessor, while that still serves.
    pub(in crate::control) forwarder: Option<RecordForwarder>,
    /// The program that a hand-over starts; `None` when this process cannot hand over.
    pub(super) program: Option<Program>,
    /// Time limit for the new process to serve.
    pub(super) patience: Duration,
    /// The hand-over in progress.
    pub(in crate::control) handing_over: Option<HandOver>,
    /// The attempt that starts when the reload in progress has ended.
    pub(in crate::control) hand_over_next: Option<HandOverAttempt>,
}

impl Default for Succession {
    /// No predecessor and no successor.
    fn default() -> Self {
        Self {
            inherited: InheritedSockets::default(),
            predecessor: None,
            state_dir: None,
            forwarder: None,
            program: None,
            patience: PATIENCE,
            handing_over: None,
            hand_over_next: None,
        }
    }
}

impl Succession {
    /// Reads the environment of this process. Call it once, before any file is opened.
    ///
    /// # Errors
    /// When a predecessor exists and its sockets cannot be received.
    pub fn of_this_process() -> io::Result<Self> {
        let mut inherited = InheritedSockets::from_systemd();
        let predecessor = Predecessor::connect(&mut inherited)?;
        let state_dir = std::env::var_os(STATE_VARIABLE).map(PathBuf::from).filter(|_| predecessor.is_some());
        Ok(Self { inherited, predecessor, state_dir, program: Program::of_this_process(), ..Self::default() })
    }

    /// Sets the time limit for a new process to serve.
    #[must_use]
    pub const fn within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

/// What the previous process passed on.
#[derive(Debug, Default)]
pub(in crate::control) struct TakenStates {
    /// The endpoints that are ejected, drained or fail.
    pub(in crate::control) endpoints: Vec<SavedEndpoint>,
    /// The counts of rate limits.
    pub(in crate::control) limits: Vec<SavedLimit>,
}

/// The previous process, which serves until this one does.
#[derive(Clone, Debug)]
pub struct Predecessor(Arc<HandOverChannel>);

impl Predecessor {
    /// Connects to the process that started this one for a hand-over, if there is one, and receives its sockets.
    fn connect(inherited: &mut InheritedSockets) -> io::Result<Option<Self>> {
        match std::env::var(VARIABLE) {
            Ok(version) if version == VERSION => {}
            Ok(version) => return Err(io::Error::other(format!("its protocol has version {version}, not {VERSION}"))),
            Err(_) => return Ok(None),
        }
        let channel = HandOverChannel::new(fcntl_dupfd_cloexec(io::stdin(), 3)?);
        // Code that reads the standard input must not read the channel.
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        loop {
            match channel.receive(SOCKETS_TIMEOUT)? {
                Some((HandOverMessage::Socket(label), Some(socket))) => inherited.add(label, socket)?,
                Some((HandOverMessage::AllSockets, _)) => return Ok(Some(Self(Arc::new(channel)))),
                Some((message, _)) => {
                    return Err(io::Error::other(format!("unexpected message {message:?} among its sockets")));
                }
                None => return Err(io::Error::other("it has ended")),
            }
        }
    }

    /// Reports why this process cannot serve.
    pub fn send_failure(&self, why: &str) {
        let text = why.chars().take(WHY_LETTERS_MAX).collect();
        // If this fails, the previous process sees that this one ends.
        let _ = self.0.send(&HandOverMessage::Failed(text), None);
    }

    /// Reports that this process is ready with these sockets, and waits for the permission to serve.
    ///
    /// Returns the states that the previous process passed on.
    ///
    /// # Errors
    /// When the hand-over is cancelled.
    pub(in crate::control) async fn wait_for_permission(
        &self,
        inherited: &InheritedSockets,
    ) -> io::Result<TakenStates> {
        // Its children inherit the variable: another process than the parent may have set it.
        let parent = std::os::unix::process::parent_id().to_string();
        let passes = |variable| std::env::var(variable).is_ok_and(|pid| pid == parent);
        let ready = if passes(LIMITS_VARIABLE) {
            HandOverMessage::ReadyForStates
        } else if passes(ENDPOINTS_VARIABLE) {
            HandOverMessage::ReadyForEndpoints
        } else {
            HandOverMessage::Ready
        };
        // If sending fails, receiving fails too.
        let _ = self.0.send(&ready(inherited.taken()), None);
        let mut states = TakenStates::default();
        loop {
            match self.receive().await {
                Ok(Some(HandOverMessage::Endpoints(part))) => states.endpoints.extend(part),
                Ok(Some(HandOverMessage::Limit(part))) => states.limits.push(part),
                Ok(Some(HandOverMessage::Go)) => return Ok(states),
                Ok(Some(HandOverMessage::Dismissed)) => {
                    return Err(io::Error::other("the previous process was stopped during the hand-over"));
                }
                Ok(Some(message)) => return Err(io::Error::other(format!("unexpected message {message:?}"))),
                // One of the processes must serve.
                Ok(None) => {
                    tracing::error!("previous process ended during the hand-over: this one serves");
                    return Ok(states);
                }
                Err(error) => {
                    tracing::error!(%error, "previous process does not answer: this one serves");
                    return Ok(states);
                }
            }
        }
    }

    /// Confirms that this process serves.
    pub(in crate::control) fn confirm_serving(&self) {
        // If this fails, receiving fails too.
        let _ = self.0.send(&HandOverMessage::Serving, None);
    }

    /// Waits until systemd knows this process as the main process. Returns the kills that no disk has.
    pub(in crate::control) async fn wait_for_farewell(&self) -> Vec<Record> {
        let mut undurable = Vec::new();
        loop {
            match self.receive().await {
                Ok(Some(HandOverMessage::Decided(record))) => undurable.push(*record),
                Ok(Some(HandOverMessage::Farewell)) => {
                    tracing::info!("took over from the previous process");
                    return undurable;
                }
                Ok(received) => {
                    tracing::warn!(?received, "took over from the previous process, which did not confirm");
                    return undurable;
                }
                Err(error) => {
                    tracing::warn!(%error, "took over from the previous process, which did not confirm");
                    return undurable;
                }
            }
        }
    }

    /// Sends what this process decides from now on.
    pub(in crate::control) fn forwarder(self) -> RecordForwarder {
        RecordForwarder::start(self.0)
    }

    async fn receive(&self) -> io::Result<Option<HandOverMessage>> {
        let channel = Arc::clone(&self.0);
        let received = tokio::task::spawn_blocking(move || channel.receive(MESSAGE_TIMEOUT)).await;
        received.map_err(io::Error::other)?.map(|received| received.map(|(message, _)| message))
    }
}
