//! The body of a response as it is sent: its source, and the clocks of sending.

use bytes::Bytes;

use super::kill_streams::KillableStream;
use crate::proxy::upstream::upstream_response::PolledFrame;
use crate::proxy::worker::deadline::{CoarseTimer, Deadline};

/// The state of a response body: written by `answer` and by the body itself (`response_body.rs`).
#[derive(Default)]
pub(crate) struct SendingBody {
    pub(super) source: BodySource,
    pub(super) timer: Option<CoarseTimer>,
    /// When the reader was last given bytes; `None` once it polls again.
    pub(super) sent_ms: Option<u64>,
    /// Time that the reader took for what it was given.
    pub(super) waited_ms: u64,
    /// Bytes of the request body when the idle timer was set.
    pub(super) uploaded: u64,
    /// The deadline of a gRPC call.
    pub(super) deadline: Option<Box<Deadline>>,
    /// Registration for kills.
    pub(super) kill: Option<KillableStream>,
}

/// The source of a response body.
pub(crate) enum BodySource {
    /// Made by the proxy, or read from the upstream completely.
    Own(Option<Bytes>),
    /// The body of the upstream's response; and the frame that `answer` has polled already.
    Upstream(Option<Box<PolledFrame>>),
}

impl Default for BodySource {
    fn default() -> Self {
        Self::Own(None)
    }
}
