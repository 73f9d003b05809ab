//! An observer of a request's body.

use bytes::Bytes;
use http::HeaderMap;

/// Receives each piece.
pub(crate) trait Tee {
    /// Returns itself, or `None` when it needs no more pieces.
    fn push(self: Box<Self>, piece: &Bytes) -> Option<Box<dyn Tee>>;

    /// The body has come whole, with these trailers.
    fn finish(self: Box<Self>, trailers: Option<HeaderMap>);
}
