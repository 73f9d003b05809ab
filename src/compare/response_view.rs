//! The inputs and the result of a comparison.

use http::{HeaderMap, StatusCode};

use super::ResponseField;

/// The largest body that is captured for a comparison, in bytes.
pub const BODY_MAX: usize = 256 << 10;

/// The outcome of a request.
#[derive(Clone, Copy, Debug)]
pub enum ExchangeOutcome<'a> {
    /// A response, at least its head.
    Answered(ResponseView<'a>),
    /// No response.
    Failed(Failure),
}

/// Why there is no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No connection.
    Connect,
    /// No response within the time limit.
    Timeout,
    /// The connection or stream ended before.
    Reset,
}

/// A response.
#[derive(Clone, Copy, Debug)]
pub struct ResponseView<'a> {
    /// The status of the final response.
    pub status: StatusCode,
    /// The header fields, as received.
    pub headers: &'a HeaderMap,
    /// The trailer fields; `None` equals an empty map.
    pub trailers: Option<&'a HeaderMap>,
    /// The captured body.
    pub body: BodyView<'a>,
}

/// A body in its content coding.
#[derive(Clone, Copy, Debug)]
pub struct BodyView<'a> {
    /// The captured bytes: the whole body, unless it is larger than [`BODY_MAX`] or there was no memory.
    pub captured: &'a [u8],
    /// The length of the whole body.
    pub length: u64,
    /// `XXH3_128` of the whole body, seed 0.
    pub digest: u128,
    /// Whether the body is complete.
    pub ending: Ending,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// At the end of its framing.
    Complete,
    /// Before that.
    Cut,
}

impl<'a> BodyView<'a> {
    /// A complete body, captured as a whole.
    #[must_use]
    pub fn whole(bytes: &'a [u8]) -> Self {
        let digest = xxhash_rust::xxh3::xxh3_128(bytes);
        Self { captured: bytes, length: bytes.len() as u64, digest, ending: Ending::Complete }
    }

    /// Whether all bytes were captured.
    #[must_use]
    pub(super) fn is_whole(&self) -> bool {
        debug_assert!(self.captured.len() as u64 <= self.length, "captured bytes are a part of the body");
        self.captured.len() as u64 == self.length
    }

    /// Whether the body was not captured for lack of memory.
    pub(super) fn is_uncaptured(&self) -> bool {
        !self.is_whole() && self.length <= BODY_MAX as u64
    }
}

/// A difference, with a redacted sample of both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field, and the kind of the difference.
    pub field: ResponseField,
    /// The value in the primary response, at most 200 bytes and an ellipsis.
    pub primary: Box<str>,
    /// The value in the other response, likewise.
    pub other: Box<str>,
}

/// Why bodies were not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnreadBody {
    /// The content codings differ, and one body was not captured as a whole, has an unknown coding, or exceeds the size
    /// limit when decoded.
    Coding,
    /// One body was not captured for lack of memory, and the digests differ.
    NoRoom,
}

/// The result of comparing two responses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The differences, one for each field, in the order of detection.
    pub differences: Vec<Difference>,
    /// Whether there are more differences than listed.
    pub truncated: bool,
    /// Why the bodies were not compared; other differences are listed nevertheless.
    pub unread: Option<UnreadBody>,
}

impl Comparison {
    /// Whether no difference was found.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }

    /// The fields that differ.
    #[must_use]
    pub fn fields(&self) -> Vec<ResponseField> {
        self.differences.iter().map(|difference| difference.field.clone()).collect()
    }
}
