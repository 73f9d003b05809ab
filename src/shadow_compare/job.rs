//! A trial: how a request and its copies were answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::compare::{BodyView, Ending, ExchangeOutcome, Failure, ResponseView};
use crate::route::{Generation, RouteId, Rules};
use crate::telemetry::ShadowHeld;

/// How a request, its copy and perhaps a control were answered.
#[derive(Debug)]
pub struct ComparisonJob {
    /// The rules that it ran under.
    pub rules: Arc<Rules>,
    /// Their generation.
    pub generation: Generation,
    /// Its route.
    pub route: RouteId,
    /// When it was, since the Unix epoch.
    pub at: Duration,
    /// The id of the request.
    pub request_id: Box<str>,
    /// The answer to the request itself.
    pub primary: ObservedResponse,
    /// The answer of the shadow's upstream.
    pub candidate: ObservedResponse,
    /// The answer of the request's own upstream, asked again.
    pub control: Option<ObservedResponse>,
    /// The bytes that all of this takes up.
    pub held: ShadowHeld,
}

/// An answer, or none.
#[derive(Debug)]
pub struct ObservedResponse {
    /// What came.
    pub outcome: Result<Box<CapturedResponse>, Failure>,
    /// How long its head took to come.
    pub took: Duration,
}

/// What was kept of an answer.
#[derive(Debug)]
pub struct CapturedResponse {
    /// The status.
    pub status: StatusCode,
    /// The fields of the head.
    pub headers: HeaderMap,
    /// The fields behind the body.
    pub trailers: Option<HeaderMap>,
    /// The first bytes of the body, in pieces.
    pub captured: Vec<Bytes>,
    /// How many there were.
    pub length: u64,
    /// `XXH3_128` of all of them.
    pub digest: u128,
    /// Whether those were all.
    pub ending: Ending,
}

impl ObservedResponse {
    /// The pieces in one.
    pub(super) fn body(&self) -> Vec<u8> {
        self.outcome.as_ref().map(|kept| kept.captured.concat()).unwrap_or_default()
    }

    /// What is compared, with its body in one piece.
    pub(super) fn compared<'a>(&'a self, captured: &'a [u8]) -> ExchangeOutcome<'a> {
        match &self.outcome {
            Err(failure) => ExchangeOutcome::Failed(*failure),
            Ok(kept) => ExchangeOutcome::Answered(ResponseView {
                status: kept.status,
                headers: &kept.headers,
                trailers: kept.trailers.as_ref(),
                body: BodyView { captured, length: kept.length, digest: kept.digest, ending: kept.ending },
            }),
        }
    }
}
