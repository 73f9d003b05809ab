//! A reload in progress, from its cause to its outcome.

use std::time::Instant;

use super::load::Rejection;
use crate::control::event::{ReloadReply, ReloadRequest};
use crate::control::outcome::{ReloadCause, ReloadOutcome};

/// A reload in progress, or one that starts when that has ended.
pub(in crate::control) struct PendingReload {
    pub(super) cause: ReloadCause,
    /// The person who asked for it first.
    pub(super) request: Option<ReloadRequest>,
    pub(super) replies: Vec<ReloadReply>,
    pub(super) began: Instant,
    /// Whether nothing but files of endpoints may have changed.
    pub(super) is_endpoints_only: bool,
    /// Set while the reload waits for the workers.
    pub(super) outcome: Option<ReloadOutcome>,
}

impl PendingReload {
    /// A reload that starts now.
    pub(super) fn new(cause: ReloadCause, began: Instant) -> Self {
        Self { cause, request: None, replies: Vec::new(), began, is_endpoints_only: false, outcome: None }
    }

    /// The replies to send when it ends.
    pub(in crate::control) fn into_replies(self) -> Vec<ReloadReply> {
        self.replies
    }

    /// Replies that the proxy is stopping.
    pub(in crate::control) fn refuse(self) {
        self.replies.into_iter().for_each(|reply| reply(&stopping(), None));
    }
}

/// The outcome of a reload while the proxy is stopping.
pub(super) fn stopping() -> ReloadOutcome {
    ReloadOutcome::Rejected(Rejection::new("stopping", "the proxy is stopping", "reload the proxy that replaces it"))
}
