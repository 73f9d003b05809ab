//! An observer of a request's body.

use bytes::Bytes;
use http::HeaderMap;

/// Receives each piece of a body.
pub(crate) trait Tee {
    /// Returns itself, or `None` when it needs no more pieces.
    fn push(self: Box<Self>, piece: &Bytes) -> Option<Box<dyn Tee>>;

    /// The body is complete, with these trailers.
    fn finish(self: Box<Self>, trailers: Option<HeaderMap>);
}
