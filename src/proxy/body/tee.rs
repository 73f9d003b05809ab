//! What listens to a request's body on its way.

use bytes::Bytes;
use http::HeaderMap;

/// Listens to the pieces of one body as they pass.
pub(crate) trait Tee {
    /// A piece passes. Gives itself back for as long as it listens.
    fn push(self: Box<Self>, piece: &Bytes) -> Option<Box<dyn Tee>>;

    /// The body has come whole, with these trailers.
    fn finish(self: Box<Self>, trailers: Option<HeaderMap>);
}
