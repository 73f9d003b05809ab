//! The normalised request head that matching and decisions use.

use crate::fields::Fields;
use crate::route::VerifiedCert;

/// The host and the path of a request, as far as most routes are found by them alone.
#[derive(Clone, Copy, Debug)]
pub struct RequestPlace<'a> {
    /// As that of the head.
    pub host: &'a str,
    /// The bytes of the head's path.
    pub path: &'a [u8],
}

/// A request's head in the normal form that matching uses and forwarding sends.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a http::Method,
    /// The host, lower case, without port and trailing dot; empty if missing.
    pub host: &'a str,
    /// The normal path.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: Option<&'a str>,
    /// The fields as received.
    pub fields: &'a Fields,
    /// The client's certificate, if it was verified.
    pub client_cert: Option<&'a VerifiedCert>,
    /// The name of the listener.
    pub listener: &'a str,
}
