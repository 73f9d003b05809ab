//! Converts a request between the forms of HTTP/1.1 and HTTP/2. The version of an `https` endpoint is known only after
//! the TLS handshake.

use std::net::SocketAddr;

use http::header::{self, HeaderValue};
use http::uri::Scheme;
use http::{Request, Uri, Version};
use http_body::Body;

use super::upgrade_request::{self, UpgradeRequest};
use crate::proxy::wire::fault::Fault;

/// Sets the endpoint as the host of a request without one: HTTP/1.0 may omit it, HTTP/1.1 requires it (RFC 9112 §3.2).
pub(crate) fn name_host<B>(request: &mut Request<B>, endpoint: SocketAddr) {
    if !request.headers().contains_key(header::HOST)
        && let Ok(host) = HeaderValue::try_from(endpoint.to_string())
    {
        request.headers_mut().insert(header::HOST, host);
    }
}

/// Turns a request in origin-form into one for HTTP/2: the host moves into `:authority`.
pub(crate) fn for_h2<B>(request: &mut Request<B>, scheme: Scheme) {
    if request.version() == Version::HTTP_2 {
        return;
    }
    upgrade_request::for_h2(request);
    let host = request.headers_mut().remove(header::HOST);
    request.headers_mut().remove(header::TRANSFER_ENCODING);
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = request.uri().path_and_query().cloned();
    uri.scheme = Some(scheme);
    uri.authority = host.and_then(|host| http::uri::Authority::try_from(host.as_bytes()).ok());
    if uri.authority.is_none() {
        uri.authority = Some(http::uri::Authority::from_static("localhost"));
    }
    if let Ok(uri) = Uri::from_parts(uri) {
        *request.uri_mut() = uri;
    }
    *request.version_mut() = Version::HTTP_2;
}

/// Turns a request for HTTP/2 back into one in origin-form: a later connection negotiated HTTP/1.1.
pub(crate) fn for_h1<B: Body>(request: &mut Request<B>, upgrade: Option<&UpgradeRequest>) -> Result<(), Fault> {
    upgrade_request::for_h1(request, upgrade)?;
    let host = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().insert(header::HOST, host);
    }
    if !request.body().is_end_stream() && !request.headers().contains_key(header::CONTENT_LENGTH) {
        request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = request.uri().path_and_query().cloned();
    if let Ok(uri) = Uri::from_parts(uri) {
        *request.uri_mut() = uri;
    }
    *request.version_mut() = Version::HTTP_11;
    Ok(())
}
