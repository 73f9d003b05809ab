//! `[identity]`: from whom an identity is believed, and where it is read.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::route::CertField;

/// `[identity]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// Peers whose forwarding and identity headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where a tenant is read, first present wins.
    pub tenant: Vec<Extractor>,
    /// Where a user is read, first present wins.
    pub user: Vec<Extractor>,
}

/// One place where an identity is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Extractor {
    /// `header:NAME`. Believed from trusted proxies only; lines that disagree are no identity.
    Header(http::HeaderName),
    /// `cookie:NAME`.
    Cookie(String),
    /// `query:NAME`.
    Query(String),
    /// `host:{tenant}.shop.example.com`.
    Host(HostTemplate),
    /// `path:/t/{tenant}/*`.
    Path(PathTemplate),
    /// `jwt:NAME`: a claim of the verified token.
    Claim(String),
    /// `client_cert:cn`: the first value of this part of a certificate that was verified.
    ClientCert(CertField),
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
    /// What stands after it; `None` for `/*` or nothing more demanded. With `/*` at its end it is a prefix by element.
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

impl StickyKey {
    /// The word in `routes.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::User => "user",
            Self::ClientIp => "client_ip",
        }
    }
}

impl Identity {
    /// Whether `peer` is one of the trusted proxies.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net_contains(net, peer))
    }
}

/// Whether `net` holds `address`. A net of IPv4-mapped addresses holds IPv4 addresses, any other IPv6 net does not.
pub(in crate::route) fn net_contains(net: &IpNet, address: IpAddr) -> bool {
    match (net, address.to_canonical()) {
        (IpNet::V4(net), IpAddr::V4(address)) => net.contains(&address),
        (IpNet::V6(net), IpAddr::V6(address)) => net.contains(&address),
        (IpNet::V6(net), IpAddr::V4(address)) => {
            net.prefix_len() >= 96 && net.addr().to_ipv4_mapped().is_some() && net.contains(&address.to_ipv6_mapped())
        }
        (IpNet::V4(_), IpAddr::V6(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_nets_hold_ipv4_and_others_do_not() {
        for (net, address, contains) in [
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::/0", "10.1.2.3", false),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("2001:db8::/32", "2001:db8::1", true),
        ] {
            assert_eq!(net_contains(&net.parse().unwrap(), address.parse().unwrap()), contains, "{net} {address}");
        }
    }
}
