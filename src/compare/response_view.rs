//! What is compared, and what comes of it.

use http::{HeaderMap, StatusCode};

use super::ResponseField;

/// How many bytes a body may have to be kept for a comparison.
pub const BODY_MAX: usize = 256 << 10;

/// How an exchange came out.
#[derive(Clone, Copy, Debug)]
pub enum ExchangeOutcome<'a> {
    /// With an answer, at least its head.
    Answered(ResponseView<'a>),
    /// Without one.
    Failed(Failure),
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No connection.
    Connect,
    /// None in time.
    Timeout,
    /// The connection or stream was ended first.
    Reset,
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub struct ResponseView<'a> {
    /// The status of the final head.
    pub status: StatusCode,
    /// Its fields, as received.
    pub headers: &'a HeaderMap,
    /// The fields after the body; `None` is the same as none.
    pub trailers: Option<&'a HeaderMap>,
    /// What was kept of the body.
    pub body: BodyView<'a>,
}

/// A body, with its content coding still on.
#[derive(Clone, Copy, Debug)]
pub struct BodyView<'a> {
    /// The first bytes, as many as were kept: all of them if those are no more than [`BODY_MAX`] and
    /// there was room.
    pub captured: &'a [u8],
    /// How many bytes there were.
    pub length: u64,
    /// `XXH3_128` of all of them, seed 0.
    pub digest: u128,
    /// Whether those were all that there should have been.
    pub ending: Ending,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// As its framing said.
    Complete,
    /// Before that.
    Cut,
}

impl<'a> BodyView<'a> {
    /// A complete body that was kept as a whole.
    #[must_use]
    pub fn whole(bytes: &'a [u8]) -> Self {
        let digest = xxhash_rust::xxh3::xxh3_128(bytes);
        Self { captured: bytes, length: bytes.len() as u64, digest, ending: Ending::Complete }
    }

    /// Whether all bytes were kept.
    #[must_use]
    pub(super) fn is_whole(&self) -> bool {
        self.captured.len() as u64 == self.length
    }

    /// Whether less was kept of it than should have been.
    pub(super) fn found_no_room(&self) -> bool {
        !self.is_whole() && self.length <= BODY_MAX as u64
    }
}

/// A difference, with a sample of both sides in which what is to be redacted is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where, and of which kind.
    pub field: ResponseField,
    /// What the primary answered, at most 200 bytes and an ellipsis.
    pub primary: Box<str>,
    /// What the other one answered, likewise.
    pub other: Box<str>,
}

/// Why bodies were not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnreadBody {
    /// They have different content codings, and one of them was not kept as a whole, is in a coding that is not known,
    /// or is larger decoded than is allowed: nothing can be said.
    Coding,
    /// There was no room to keep one of them, and they are not the same bytes: nothing can be said.
    NoRoom,
}

/// What comes of comparing two answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// The differences, one for each field, in the order in which they were found.
    pub differences: Vec<Difference>,
    /// There are more differences than are listed.
    pub truncated: bool,
    /// Why the bodies were not compared; differences elsewhere are listed all the same.
    pub unread: Option<UnreadBody>,
}

impl Comparison {
    /// Whether no difference was found.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }

    /// The fields that differ, for a table of verdicts.
    #[must_use]
    pub fn fields(&self) -> Vec<ResponseField> {
        self.differences.iter().map(|difference| difference.field.clone()).collect()
    }
}
