//! A reload on its way from what caused it to its outcome.

use std::time::Instant;

use super::source::Rejection;
use crate::control::event::Reply;
use crate::control::outcome::{Cause, Outcome};

/// A reload under way, or one that begins when that has ended.
pub(in crate::control) struct Reloading {
    pub(super) cause: Cause,
    pub(super) replies: Vec<Reply>,
    pub(super) began: Instant,
    /// Known, but not all workers have followed yet.
    pub(super) outcome: Option<Outcome>,
}

impl Reloading {
    /// One that begins now.
    pub(super) fn new(cause: Cause, began: Instant) -> Self {
        Self { cause, replies: Vec::new(), began, outcome: None }
    }

    /// The replies that wait for it.
    pub(in crate::control) fn into_replies(self) -> Vec<Reply> {
        self.replies
    }

    /// Answers that there will be no reload, because the proxy is stopping.
    pub(in crate::control) fn refuse(self) {
        self.replies.into_iter().for_each(|reply| reply(&stopping()));
    }
}

/// What a reload comes to while the proxy is stopping.
pub(super) fn stopping() -> Outcome {
    Outcome::Rejected(Rejection::new("stopping", "the proxy is stopping", "reload the proxy that replaces it"))
}
