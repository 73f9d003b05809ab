//! A copy whose request body is still arriving: it keeps the pieces of the body and sends the copy when the body is
//! complete. A copy is never sent with a part of a body.

use bytes::Bytes;
use http::HeaderMap;

use super::copy::{self, ShadowCopy};
use crate::proxy::body::copy_body::{CopyBody, Pieces};
use crate::proxy::body::tee::Tee;
use crate::telemetry::{ShadowDrop, ShadowEnd};

/// A copy whose request body is still arriving.
pub(crate) struct PendingCopy {
    copy: Box<ShadowCopy>,
    pieces: Pieces,
    bytes: u64,
    length: Option<u64>,
    max: u64,
}

impl PendingCopy {
    /// A copy of a request with a body of this length, if known. Bodies above `max` bytes are not copied.
    pub(crate) fn new(copy: Box<ShadowCopy>, length: Option<u64>, max: u64) -> Self {
        Self { copy, pieces: Pieces::default(), bytes: 0, length, max }
    }
}

impl Tee for PendingCopy {
    /// Returns `None` when the copy is dropped: its body is too large, or the memory for copies is used up.
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

    fn finish(self: Box<Self>, trailers: Option<HeaderMap>) {
        let Self { copy, pieces, length, .. } = *self;
        copy.uploaded();
        copy::launch(copy, CopyBody::new(pieces.all(), trailers, length));
    }
}
