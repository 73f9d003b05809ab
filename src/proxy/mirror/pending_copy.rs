//! A copy whose request is still on its way: it keeps the pieces of the body as they pass, and is sent when the body
//! has come whole.

use bytes::Bytes;
use http::HeaderMap;

use super::copy::{self, ShadowCopy};
use crate::proxy::body::copy_body::{CopyBody, Pieces};
use crate::proxy::body::tee::Tee;
use crate::telemetry::{ShadowDrop, ShadowEnd};

/// A copy whose body is on its way.
pub(crate) struct PendingCopy {
    copy: Box<ShadowCopy>,
    pieces: Pieces,
    bytes: u64,
    length: Option<u64>,
    max: u64,
}

impl PendingCopy {
    /// The copy of a request whose body has this length, if it is known, and is copied up to `max` bytes.
    pub(crate) fn new(copy: Box<ShadowCopy>, length: Option<u64>, max: u64) -> Self {
        Self { copy, pieces: Pieces::default(), bytes: 0, length, max }
    }
}

impl Tee for PendingCopy {
    /// Returns `None` when the copy was dropped.
    fn push(mut self: Box<Self>, piece: &Bytes) -> Option<Box<dyn Tee>> {
        let bytes = piece.len() as u64;
        self.bytes += bytes;
        let dropped = if self.bytes > self.max {
            ShadowDrop::BodyTooLarge
        } else if self.copy.permit.try_reserve(Pieces::cost(piece)) {
            self.pieces.push(piece);
            return Some(self);
        } else {
            ShadowDrop::ByteLimit
        };
        self.copy.permit.set_end(ShadowEnd::Dropped(dropped));
        None
    }

    /// Sends the copy.
    fn finish(self: Box<Self>, trailers: Option<HeaderMap>) {
        let Self { copy, pieces, length, .. } = *self;
        copy.uploaded();
        copy::launch(copy, CopyBody::new(pieces.all(), trailers, length));
    }
}
