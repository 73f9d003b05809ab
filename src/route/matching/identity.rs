//! `[identity]`: trusted proxies, and the places where identities are read.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::route::CertField;

/// `[identity]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// Peers whose forwarding and identity headers are used.
    pub trusted_proxies: Vec<IpNet>,
    /// Where the tenant is read; the first one present is used.
    pub tenant: Vec<Extractor>,
    /// Where the user is read; the first one present is used.
    pub user: Vec<Extractor>,
}

/// One place where an identity is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Extractor {
    /// `header:NAME`. Used from trusted proxies only; lines that differ are not an identity.
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
    /// `client_cert:cn`: the first value of this field of a verified certificate.
    ClientCert(CertField),
}

/// A host with one placeholder for a whole label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTemplate {
    /// The text before the placeholder, with its dot; may be empty.
    pub before: String,
    /// The text after it, with its dot.
    pub after: String,
}

/// A path with one placeholder for a whole element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    /// The text before the placeholder, with its slash.
    pub before: String,
    /// The text after it; `None` matches any rest. With `/*` at its end it is a prefix by element.
    pub after: Option<String>,
}

/// The source of a sticky key.
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
    /// The name in `routes.toml`.
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

/// Whether `net` contains `address`. A net of IPv4-mapped addresses contains IPv4 addresses, other IPv6 nets do not.
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
    fn mapped_nets_contain_ipv4_and_others_do_not() {
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
