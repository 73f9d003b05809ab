//! A comparison job: the responses to a request and its copies.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::compare::{BodyView, Ending, ExchangeOutcome, Failure, ResponseView};
use crate::route::{Generation, RouteId, Rules};
use crate::telemetry::ShadowHeld;

/// The responses to a request, to its copy, and to a control if there is one.
#[derive(Debug)]
pub struct ComparisonJob {
    /// The rules of the request.
    pub rules: Arc<Rules>,
    /// The generation of the rules.
    pub generation: Generation,
    /// The route.
    pub route: RouteId,
    /// The time of the request, since the Unix epoch.
    pub at: Duration,
    /// The id of the request.
    pub request_id: Box<str>,
    /// The response to the request.
    pub primary: ObservedResponse,
    /// The response of the shadow's upstream.
    pub candidate: ObservedResponse,
    /// The response to a second request to the primary upstream.
    pub control: Option<ObservedResponse>,
    /// The reserved memory of the responses; released on drop.
    pub held: ShadowHeld,
}

/// A response, or the failure.
#[derive(Debug)]
pub struct ObservedResponse {
    /// The response or the failure.
    pub outcome: Result<Box<CapturedResponse>, Failure>,
    /// The time until the response head.
    pub took: Duration,
}

/// The captured part of a response.
#[derive(Debug)]
pub struct CapturedResponse {
    /// The status.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The trailer fields.
    pub trailers: Option<HeaderMap>,
    /// The first bytes of the body, in chunks.
    pub captured: Vec<Bytes>,
    /// The length of the body.
    pub length: u64,
    /// `XXH3_128` of the whole body.
    pub digest: u128,
    /// Whether the body is complete.
    pub ending: Ending,
}

impl ObservedResponse {
    /// The captured bytes in one piece.
    pub(super) fn body(&self) -> Vec<u8> {
        self.outcome.as_ref().map(|kept| kept.captured.concat()).unwrap_or_default()
    }

    /// The view that is compared, with the captured body in one piece.
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
