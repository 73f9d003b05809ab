//! A request as a connection passes it to its service. The fields are read through [`HeaderFields`], independent of the
//! crate that parsed the head. The body is hyper's [`Incoming`].

use http::request::Parts;
use http::{Method, Request, Uri, Version};
use hyper::body::{Body as _, Incoming};

use crate::proxy::wire::header_fields::HeaderFields;

/// A request with a complete head. Its body is pulled as it is sent to the upstream.
pub(crate) struct IncomingRequest(Request<Incoming>);

impl IncomingRequest {
    /// Wraps a request of hyper.
    #[inline]
    pub(crate) fn new(request: Request<Incoming>) -> Self {
        Self(request)
    }

    #[inline]
    pub(crate) fn method(&self) -> &Method {
        self.0.method()
    }

    #[inline]
    pub(crate) fn uri(&self) -> &Uri {
        self.0.uri()
    }

    #[inline]
    pub(crate) fn version(&self) -> Version {
        self.0.version()
    }

    #[inline]
    pub(crate) fn fields(&self) -> &impl HeaderFields {
        self.0.headers()
    }

    /// Whether a body follows the head.
    #[inline]
    pub(crate) fn has_body(&self) -> bool {
        !self.0.body().is_end_stream()
    }

    /// The head and the body.
    #[inline]
    pub(crate) fn into_parts(self) -> (Parts, Incoming) {
        self.0.into_parts()
    }
}
