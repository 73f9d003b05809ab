//! Events of notifications: a message was sent or not, one is due, a person asks for a test.

use tokio::sync::oneshot;

use super::queue::SendOutcome;

/// An event of notifications.
pub enum NotifyEvent {
    /// A person asks for a test message to this receiver, by its name; `None`: to all of the file.
    Test(Option<String>, TestReply),
    /// A test message has arrived at the receivers of these names.
    Tested(Vec<String>),
    /// A try to send a message has ended.
    Sent(Box<SendReport>),
}

/// The result of a try to send a message.
#[derive(Debug)]
pub struct SendReport {
    /// The id of the receiver.
    pub(super) receiver: String,
    /// What has come of it.
    pub(super) outcome: SendOutcome,
}

/// Receives what the receivers answered to a test message, in the order of the file.
pub type TestReply = oneshot::Sender<Result<Vec<NotifyTest>, TestError>>;

/// What a receiver answered to a test message.
#[derive(Clone, Debug, PartialEq)]
pub struct NotifyTest {
    /// The name of the receiver.
    pub receiver: String,
    /// Its status; `None` when it did not answer.
    pub status: Option<u16>,
    /// How long that took, in milliseconds.
    pub took_ms: f64,
    /// Why the message did not arrive, in one line without credentials; `None` when it did.
    pub error: Option<String>,
}

/// Why no test message is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestError {
    /// The file names no receiver.
    NoReceivers,
    /// There is no receiver of this name: those that there are.
    Unknown {
        /// The name.
        name: String,
        /// The names of all receivers.
        known: Vec<String>,
    },
    /// A test is under way.
    Busy,
}
