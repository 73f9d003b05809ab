//! The request for an HTTP/2 upstream, made of a head in the form of HTTP/1.1. The version of an `https` endpoint is known
//! only after the TLS handshake.

use std::net::SocketAddr;

use http::header;
use http::uri::{Authority, Scheme};
use http::{Request, Uri, Version};

use super::upgrade_request;
use crate::proxy::wire::h2_fields::h2_fields;
use crate::proxy::wire::head::Head;

/// Sets the endpoint as the host of a request without one: HTTP/1.0 may omit it, HTTP/1.1 requires it (RFC 9112 §3.2).
pub(crate) fn name_host(head: &mut Head, endpoint: SocketAddr) {
    if !head.fields.contains("host") {
        head.append_text(&header::HOST, &endpoint.to_string());
    }
}

/// The request for HTTP/2: the host is in `:authority`. `None`: a rewrite made a target that no URI can have.
pub(crate) fn for_h2<B>(head: &Head, body: B, scheme: Scheme) -> Result<Request<B>, B> {
    let host = head.fields.get("host").and_then(|host| Authority::try_from(host).ok());
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = head.sent_target();
    uri.scheme = Some(scheme);
    uri.authority = Some(host.unwrap_or(Authority::from_static("localhost")));
    let Ok(uri) = Uri::from_parts(uri) else { return Err(body) };
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = h2_fields(&head.fields);
    if head.fields.contains("upgrade") {
        upgrade_request::for_h2(&mut request);
    }
    Ok(request)
}
