//! A response as one of the two read it.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};

/// What was read of a response, at one point of its arrival.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading {
    /// The informational responses in front of it.
    pub(super) informational: Vec<Informational>,
    pub(super) head: HeadReading,
    pub(super) body: BodyReading,
    pub(super) content: Vec<u8>,
    pub(super) trailers: HeaderMap,
    /// How many bytes belong to it, once it is complete.
    pub(super) length: Option<usize>,
    /// Whether the connection may carry another request.
    pub(super) reusable: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Informational {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum HeadReading {
    /// More bytes are needed; if the connection ended, the response is cut.
    #[default]
    Partial,
    Accepted {
        status: StatusCode,
        version: Version,
        headers: HeaderMap,
    },
    Refused(Refused),
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum BodyReading {
    /// More bytes are needed; if the connection ended, the response is cut.
    #[default]
    Partial,
    Complete,
    Refused(Refused),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Refused {
    Invalid,
    TooLarge,
}

/// The readings of a response: all bytes have arrived, and then the connection ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Readings {
    pub(super) open: Reading,
    pub(super) ended: Reading,
}

impl Reading {
    pub(super) fn add_content(&mut self, data: &Bytes) {
        assert!(!data.is_empty(), "a piece of a body is never empty");
        assert_eq!(self.body, BodyReading::Partial, "nothing follows the end");
        assert!(self.trailers.is_empty(), "no content follows the trailers");
        self.content.extend_from_slice(data);
    }

    pub(super) fn is_refused(&self) -> bool {
        matches!(self.head, HeadReading::Refused(_)) || matches!(self.body, BodyReading::Refused(_))
    }
}

/// How two readings of a response differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Difference {
    /// What hyper does.
    pub(super) hyper: &'static str,
    pub(super) pointsman: &'static str,
}

/// All differences of two readings of a response.
pub(super) fn differences(hyper: &Reading, own: &Reading) -> Vec<Difference> {
    let of = |hyper, pointsman| Difference { hyper, pointsman };
    if head(&hyper.head) != head(&own.head) {
        return vec![of(head(&hyper.head), head(&own.head))];
    }
    if body(hyper.body) != body(own.body) {
        return vec![of(body(hyper.body), body(own.body))];
    }
    let connection =
        |reading: &Reading| if reading.reusable { "keeps the connection" } else { "closes the connection" };
    let parts = [
        (hyper.reusable == own.reusable, of(connection(hyper), connection(own))),
        (hyper.informational == own.informational, of("reads some informational responses", "reads others")),
        (hyper.head == own.head, of("reads one head", "reads another")),
        (hyper.content == own.content, of("reads one body", "reads another")),
        (hyper.trailers == own.trailers, of("reads some trailers", "reads others")),
        (hyper.length == own.length, of("reads one length", "reads another")),
    ];
    parts.into_iter().filter(|(alike, _)| !alike).map(|(_, difference)| difference).collect()
}

fn head(head: &HeadReading) -> &'static str {
    match head {
        HeadReading::Partial => "waits for more of the head",
        HeadReading::Accepted { .. } => "accepts the head",
        HeadReading::Refused(Refused::Invalid) => "refuses the head",
        HeadReading::Refused(Refused::TooLarge) => "refuses the head as too large",
    }
}

fn body(body: BodyReading) -> &'static str {
    match body {
        BodyReading::Partial => "waits for more of the body",
        BodyReading::Complete => "accepts the body",
        BodyReading::Refused(Refused::Invalid) => "refuses the body",
        BodyReading::Refused(Refused::TooLarge) => "refuses the body as too large",
    }
}
