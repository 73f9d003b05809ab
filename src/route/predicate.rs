//! Predicates: what can be asked of a request and its caller.

use ipnet::IpNet;

use super::{Caller, SegmentId, Segment, TenantList};

/// A request's head in the normal form that matching uses and forwarding sends.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a http::Method,
    /// The host, lower case, without port and trailing dot; empty when there is none.
    pub host: &'a str,
    /// The normal path.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: Option<&'a str>,
    /// The headers as received.
    pub headers: &'a http::HeaderMap,
}

/// How a string is compared.
#[derive(Clone, Debug)]
pub enum StringMatch {
    /// Equal.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// The regex matches somewhere.
    Regex(regex::Regex),
    /// Is there (`true`) or not (`false`).
    Present(bool),
}

/// One predicate.
#[derive(Clone, Debug)]
pub enum Predicate {
    /// A header; any of its lines may match.
    Header(http::HeaderName, StringMatch),
    /// A cookie.
    Cookie(String, StringMatch),
    /// A query parameter, percent-decoded.
    Query(String, StringMatch),
    /// The tenant is one of these.
    Tenant(TenantList),
    /// The user is one of these.
    User(TenantList),
    /// The client's address is in one of these.
    Cidr(Vec<IpNet>),
    /// The caller is in the segment.
    Segment(SegmentId),
    /// The predicate does not hold.
    Not(Box<Predicate>),
    /// One of these holds.
    Any(Vec<Predicate>),
    /// All of these hold.
    All(Vec<Predicate>),
}

impl Predicate {
    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, head: &Head<'_>, caller: &Caller<'_>, segments: &[Segment]) -> bool {
        let _ = (head, caller, segments);
        false
    }
}
