//! What the guards of a route know of a request. `judge.rs` writes it.

use super::judged_requests::JudgedPlace;

/// What the guards of a route know of a request.
#[derive(Default)]
pub(crate) struct Judged {
    /// Its place among the judged requests of the worker; `None`: it is not judged.
    pub(super) place: Option<JudgedPlace>,
    pub(super) step: JudgedStep,
}

/// How far its first try was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum JudgedStep {
    /// There is nothing more to judge.
    #[default]
    Over,
    /// No head of a response, and no failure.
    Sent,
    /// A gRPC call whose status comes with the trailers.
    Called,
    /// A response without an error so far. Its body may still break.
    Answered,
}
