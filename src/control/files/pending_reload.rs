//! A reload on its way from what caused it to its outcome.

use std::time::Instant;

use super::load::Rejection;
use crate::control::event::ReloadReply;
use crate::control::outcome::{ReloadCause, ReloadOutcome};

/// A reload under way, or one that begins when that has ended.
pub(in crate::control) struct PendingReload {
    pub(super) cause: ReloadCause,
    pub(super) replies: Vec<ReloadReply>,
    pub(super) began: Instant,
    /// Known, but not all workers have followed yet.
    pub(super) outcome: Option<ReloadOutcome>,
}

impl PendingReload {
    /// One that begins now.
    pub(super) fn new(cause: ReloadCause, began: Instant) -> Self {
        Self { cause, replies: Vec::new(), began, outcome: None }
    }

    /// The replies that wait for it.
    pub(in crate::control) fn into_replies(self) -> Vec<ReloadReply> {
        self.replies
    }

    /// Answers that there will be no reload, because the proxy is stopping.
    pub(in crate::control) fn refuse(self) {
        self.replies.into_iter().for_each(|reply| reply(&stopping()));
    }
}

/// What a reload comes to while the proxy is stopping.
pub(super) fn stopping() -> ReloadOutcome {
    ReloadOutcome::Rejected(Rejection::new("stopping", "the proxy is stopping", "reload the proxy that replaces it"))
}
