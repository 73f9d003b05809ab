//! The requests of a connection as one of the two read them.

use http::{HeaderMap, Method, Version};

use crate::proxy::wire::tests::reading::{BodyReading, Difference, Refused};

/// What was read of a connection that is still open.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ConnectionReading {
    pub(super) requests: Vec<RequestReading>,
    pub(super) next: NextReading,
}

/// A request whose head was accepted.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RequestReading {
    pub(super) method: Method,
    /// In absolute-form if it was so, with a scheme in lower case.
    pub(super) target: String,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) body: BodyReading,
    pub(super) content: Vec<u8>,
    pub(super) trailers: HeaderMap,
}

/// What is behind the last request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum NextReading {
    /// More bytes are needed.
    #[default]
    Awaited,
    Refused(Refused),
    /// The connection carries no other request.
    Closed,
}

impl NextReading {
    fn act(self) -> &'static str {
        match self {
            Self::Awaited => "waits for more of the head",
            Self::Refused(Refused::Invalid) => "refuses the head",
            Self::Refused(Refused::TooLarge) => "refuses the head as too large",
            Self::Closed => "closes the connection",
        }
    }
}

fn body(reading: BodyReading) -> &'static str {
    match reading {
        BodyReading::Partial => "waits for more of the body",
        BodyReading::Complete => "accepts the body",
        BodyReading::Refused(Refused::Invalid) => "refuses the body",
        BodyReading::Refused(Refused::TooLarge) => "refuses the body as too large",
    }
}

/// The first difference of two readings of a connection.
pub(super) fn difference(hyper: &ConnectionReading, own: &ConnectionReading) -> Option<Difference> {
    let of = |hyper, pointsman| Some(Difference { hyper, pointsman });
    for at in 0..hyper.requests.len().max(own.requests.len()) {
        let (hypers, owns) = match (hyper.requests.get(at), own.requests.get(at)) {
            (Some(hypers), Some(owns)) => (hypers, owns),
            (Some(_), None) => return of("accepts the head", own.next.act()),
            (None, _) => return of(hyper.next.act(), "accepts the head"),
        };
        let head = |one: &RequestReading| (one.method.clone(), one.target.clone(), one.version, one.headers.clone());
        if head(hypers) != head(owns) {
            return of("reads one head", "reads another");
        }
        if body(hypers.body) != body(owns.body) {
            return of(body(hypers.body), body(owns.body));
        }
        if matches!(owns.body, BodyReading::Refused(_)) {
            return None;
        }
        if (&hypers.content, &hypers.trailers) != (&owns.content, &owns.trailers) {
            return of("reads one body", "reads another");
        }
    }
    if hyper.next == own.next {
        return None;
    }
    let keeps = |next: NextReading| if next == NextReading::Awaited { "keeps the connection" } else { next.act() };
    if hyper.next == NextReading::Closed || own.next == NextReading::Closed {
        return of(keeps(hyper.next), keeps(own.next));
    }
    of(hyper.next.act(), own.next.act())
}
