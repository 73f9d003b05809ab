//! The caller of a request: `tenant`, `user` and `client_ip`.
//!
//! IPv4-mapped IPv6 addresses are treated as IPv4 addresses. An empty value counts as absent.

use std::borrow::Cow;
use std::net::IpAddr;

use super::cookie::cookie;
use super::forwarded::{forwarded_for, x_forwarded_for};
use super::query::{decoded, parameters};
use crate::fields::Fields;
use crate::route::{Extractor, Facts, HostTemplate, Identity, PathTemplate, RequestHead};

/// The lookup of the client's address.
pub struct ClientIp;

impl ClientIp {
    /// The client's address: `peer` unless it is trusted, else the first untrusted hop of `X-Forwarded-For`
    /// (or `Forwarded`, if `X-Forwarded-For` names no hop), from right to left. An invalid address ends the walk at the
    /// hop before it; if all hops are trusted, the leftmost one is the client.
    #[must_use]
    pub fn find(identity: &Identity, peer: IpAddr, fields: &Fields) -> IpAddr {
        let peer = peer.to_canonical();
        if !identity.trusts(peer) {
            return peer;
        }
        match x_forwarded_for(fields) {
            Some(hops) => first_untrusted(identity, peer, hops),
            None => first_untrusted(identity, peer, forwarded_for(fields)),
        }
    }
}

/// Walks `hops`, nearest first, while they are trusted.
fn first_untrusted(identity: &Identity, peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
    let mut client = peer;
    for hop in hops {
        let Some(hop) = hop else { return client };
        client = hop;
        if !identity.trusts(hop) {
            return client;
        }
    }
    client
}

/// The caller of one request. Values borrow from the request where they can.
#[derive(Clone, Debug)]
pub struct Caller<'a> {
    /// The client's address.
    pub client_ip: IpAddr,
    /// Whether the peer is a trusted proxy, so that its identity headers are used.
    pub trusted: bool,
    /// The tenant.
    pub tenant: Option<Cow<'a, str>>,
    /// The user.
    pub user: Option<Cow<'a, str>>,
    /// Facts that were looked up.
    pub facts: Facts<'a>,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerOrigin {
    /// The client's address.
    pub client_ip: IpAddr,
    /// Whether the peer is a trusted proxy.
    pub trusted: bool,
}

impl Identity {
    /// The caller of a request from `peer`, with facts that were looked up.
    #[must_use]
    pub fn caller<'a>(&self, peer: IpAddr, head: &RequestHead<'a>, facts: Facts<'a>) -> Caller<'a> {
        let origin = CallerOrigin { client_ip: ClientIp::find(self, peer, head.fields), trusted: self.trusts(peer) };
        self.caller_from(origin, head, facts)
    }

    /// The caller of a request whose origin is known. Header extractors are used only if the peer is trusted.
    #[must_use]
    pub fn caller_from<'a>(&self, origin: CallerOrigin, head: &RequestHead<'a>, facts: Facts<'a>) -> Caller<'a> {
        let CallerOrigin { client_ip, trusted } = origin;
        let trust = if trusted { Trust::Trusted } else { Trust::Untrusted };
        let first = |places: &[Extractor]| places.iter().find_map(|place| place.read(head, trust, facts));
        Caller { client_ip, trusted, tenant: first(&self.tenant), user: first(&self.user), facts }
    }
}

impl Extractor {
    /// The identity at this place; `None` for a value that other readers of the field could interpret differently.
    pub(in crate::route) fn read<'a>(
        &self,
        head: &RequestHead<'a>,
        trust: Trust,
        facts: Facts<'a>,
    ) -> Option<Cow<'a, str>> {
        self.value(head, trust, facts).filter(|value| !value.is_empty() && is_unambiguous(value))
    }

    /// The value at this place, if it is not accepted as an identity.
    pub(in crate::route) fn rejected<'a>(
        &self,
        head: &RequestHead<'a>,
        trust: Trust,
        facts: Facts<'a>,
    ) -> Option<Cow<'a, str>> {
        self.value(head, trust, facts).filter(|value| !is_unambiguous(value))
    }

    fn value<'a>(&self, head: &RequestHead<'a>, trust: Trust, facts: Facts<'a>) -> Option<Cow<'a, str>> {
        Some(match self {
            Self::Header(name) if trust == Trust::Trusted => Cow::Borrowed(agreed_line(head.fields, name)?),
            Self::Header(_) => return None,
            Self::Cookie(name) => Cow::Borrowed(cookie(head.fields, name)?),
            Self::Query(name) => parameters(head.query, name).next()?,
            Self::Host(template) => Cow::Borrowed(template.read(head.host)?),
            Self::Path(template) => decoded(template.read(head.path)?),
            Self::Claim(name) => Cow::Borrowed(facts.claims?.one(name)?),
            Self::ClientCert(field) => Cow::Borrowed(head.client_cert?.values(*field).next()?),
        })
    }

    /// The extractor as `routes.toml` writes it.
    #[must_use]
    pub fn describe(&self, what: &str) -> String {
        match self {
            Self::Header(name) => format!("header:{name}"),
            Self::Cookie(name) => format!("cookie:{name}"),
            Self::Query(name) => format!("query:{name}"),
            Self::Claim(name) => format!("jwt:{name}"),
            Self::ClientCert(field) => format!("client_cert:{}", field.name()),
            Self::Host(HostTemplate { before, after }) => format!("host:{before}{{{what}}}{after}"),
            Self::Path(PathTemplate { before, after }) => {
                format!("path:{before}{{{what}}}{}", after.as_deref().unwrap_or("/*"))
            }
        }
    }
}

/// Whether the identity headers of a peer are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::route) enum Trust {
    /// The peer is a trusted proxy.
    Trusted,
    /// Any other peer.
    Untrusted,
}

impl Caller<'_> {
    /// Whether the identity headers of the peer are used.
    pub(in crate::route) const fn trust(&self) -> Trust {
        if self.trusted { Trust::Trusted } else { Trust::Untrusted }
    }
}

/// Whether every reader of a header field reads the same value: control characters are not allowed, and spaces at
/// either end may be removed. Otherwise the upstream could see another identity than the one that was used for the
/// decision.
fn is_unambiguous(value: &str) -> bool {
    // Visible ASCII needs no look at its characters.
    value.bytes().all(|byte| byte.is_ascii_graphic()) || is_unambiguous_text(value)
}

fn is_unambiguous_text(value: &str) -> bool {
    !value.contains(char::is_control) && value.trim().len() == value.len()
}

/// The value of a header whose lines are all equal. Lines that differ are not an identity: a client may have forged one
/// of them, in front of a proxy that only appends.
fn agreed_line<'a>(fields: &'a Fields, name: &http::HeaderName) -> Option<&'a str> {
    let mut lines = fields.get_all(name);
    let first = lines.next()?;
    if lines.any(|line| line != first) {
        return None;
    }
    std::str::from_utf8(first).ok().map(|line| line.trim_matches([' ', '\t']))
}

impl HostTemplate {
    /// The label at the placeholder.
    fn read<'a>(&self, host: &'a str) -> Option<&'a str> {
        let label = host.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())?;
        (!label.contains('.')).then_some(label)
    }
}

impl PathTemplate {
    /// The path element at the placeholder.
    fn read<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(self.before.as_str())?;
        let (element, after) = rest.split_at(memchr::memchr(b'/', rest.as_bytes()).unwrap_or(rest.len()));
        let fits = match self.after.as_deref() {
            None => true,
            Some(demanded) => match demanded.strip_suffix("/*") {
                None => after == demanded,
                Some(prefix) => after.strip_prefix(prefix).is_some_and(|more| more.is_empty() || more.starts_with('/')),
            },
        };
        fits.then_some(element)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Method};

    use super::*;
    use crate::route::{CertField, VerifiedCert};

    fn identity(trusted: &[&str]) -> Identity {
        Identity { trusted_proxies: trusted.iter().map(|net| net.parse().unwrap()).collect(), ..Identity::default() }
    }

    fn fields(lines: &[(&'static str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.append(&HeaderName::from_static(name), &HeaderValue::from_str(value).unwrap());
        }
        fields
    }

    #[test]
    fn the_client_is_the_first_untrusted_hop() {
        let identity = identity(&["10.0.0.0/8", "::1/128", "2001:db8::/32"]);
        for (peer, lines, client) in [
            ("192.0.2.1", &[("x-forwarded-for", "1.1.1.1")][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[("x-forwarded-for", "1.1.1.1")], "1.1.1.1"),
            ("::ffff:10.0.0.1", &[("x-forwarded-for", "::ffff:1.1.1.1")], "1.1.1.1"),
            ("10.0.0.1", &[("x-forwarded-for", "6.6.6.6, 1.1.1.1, 10.2.2.2")], "1.1.1.1"),
            (
                "10.0.0.1",
                &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.1.1.1,10.2.2.2 ,10.3.3.3")],
                "1.1.1.1",
            ),
            ("10.0.0.1", &[("x-forwarded-for", "1.1.1.1, garbage, 10.2.2.2")], "10.2.2.2"),
            ("10.0.0.1", &[("x-forwarded-for", "1.1.1.1, , 10.2.2.2")], "1.1.1.1"),
            ("10.0.0.1", &[("x-forwarded-for", "1.1.1.1,")], "1.1.1.1"),
            ("10.0.0.1", &[("x-forwarded-for", ",1.1.1.1,,10.2.2.2,"), ("x-forwarded-for", " , ")], "1.1.1.1"),
            ("10.0.0.1", &[("x-forwarded-for", " ,"), ("forwarded", "for=2.2.2.2")], "2.2.2.2"),
            ("10.0.0.1", &[("forwarded", ", for=2.2.2.2, ,for=10.2.2.2,")], "2.2.2.2"),
            ("10.0.0.1", &[("forwarded", "for=\"2.2.2.2:50321\"")], "2.2.2.2"),
            ("10.0.0.1", &[("x-forwarded-for", "garbage")], "10.0.0.1"),
            ("10.0.0.1", &[("x-forwarded-for", "")], "10.0.0.1"),
            ("10.0.0.1", &[("x-forwarded-for", "1.1.1.1:4711")], "1.1.1.1"),
            ("10.0.0.1", &[("x-forwarded-for", "[2001:db9::7]:4711")], "2001:db9::7"),
            ("10.0.0.1", &[("x-forwarded-for", "2001:db9::7")], "2001:db9::7"),
            ("10.0.0.1", &[("x-forwarded-for", "fe80::1%lo")], "10.0.0.1"),
            ("10.0.0.1", &[("x-forwarded-for", "1.1.1.1:x")], "10.0.0.1"),
            ("::1", &[("x-forwarded-for", "10.9.9.9, 2001:db8::5")], "10.9.9.9"),
            ("10.0.0.1", &[("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=2.2.2.2")], "1.1.1.1"),
            ("10.0.0.1", &[("forwarded", "for=2.2.2.2")], "2.2.2.2"),
            (
                "10.0.0.1",
                &[("forwarded", "for=6.6.6.6, For=\"[2001:db9::7]:80\";proto=http;by=10.0.0.1")],
                "2001:db9::7",
            ),
            ("10.0.0.1", &[("forwarded", "for=6.6.6.6"), ("forwarded", "proto=https;for=10.2.2.2")], "6.6.6.6"),
            ("10.0.0.1", &[("forwarded", "for=6.6.6.6, for=_hidden, for=10.2.2.2")], "10.2.2.2"),
            ("10.0.0.1", &[("forwarded", "for=6.6.6.6, for=unknown")], "10.0.0.1"),
            ("10.0.0.1", &[("forwarded", "for=6.6.6.6, proto=http")], "10.0.0.1"),
            ("10.0.0.1", &[("forwarded", "for=6.6.6.6;for=7.7.7.7")], "10.0.0.1"),
            ("10.0.0.1", &[("forwarded", "for=\"6.6.6.6, for=7.7.7.7")], "10.0.0.1"),
            ("10.0.0.1", &[("forwarded", "for=1.1.1.1, by=\"a, for=6.6.6.6, b\";for=2.2.2.2")], "2.2.2.2"),
        ] {
            let found = ClientIp::find(&identity, peer.parse().unwrap(), &fields(lines));
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        }
    }

    fn tenant(extractor: &Extractor, trusted: Trust, head: &RequestHead<'_>) -> Option<String> {
        extractor.read(head, trusted, Facts::default()).map(Cow::into_owned)
    }

    #[test]
    fn each_place_is_read() {
        let fields = fields(&[
            ("x-tenant", " acme "),
            ("x-twice", "a"),
            ("x-twice", "b"),
            ("x-same", "a"),
            ("x-same", "a"),
            ("x-empty", ""),
            ("x-tab", "ac\tme"),
            ("x-wide", "acme\u{3000}"),
            ("cookie", "uid=\"u1\"; none=; blank=\" u1\""),
        ]);
        let dns = vec![" till".to_owned(), "till".to_owned()];
        let certificate = VerifiedCert { cn: Some("till".into()), dns, ..VerifiedCert::default() };
        let head = RequestHead {
            method: &Method::GET,
            host: "acme.shop.example.com",
            path: "/t/ac%20me/x",
            query: Some("uid=a%2Bb&uid=c&none=&nul=a%00b&plus=a+"),
            fields: &fields,
            client_cert: Some(&certificate),
            listener: "",
        };
        let header = |name| Extractor::Header(HeaderName::from_static(name));
        let host =
            |before: &str, after: &str| Extractor::Host(HostTemplate { before: before.into(), after: after.into() });
        let path = |before: &str, after: Option<&str>| {
            Extractor::Path(PathTemplate { before: before.into(), after: after.map(Into::into) })
        };
        for (place, trust, found) in [
            (header("x-tenant"), Trust::Trusted, Some("acme")),
            (header("x-tenant"), Trust::Untrusted, None),
            (header("x-twice"), Trust::Trusted, None),
            (header("x-same"), Trust::Trusted, Some("a")),
            (header("x-empty"), Trust::Trusted, None),
            (header("x-missing"), Trust::Trusted, None),
            (header("x-tab"), Trust::Trusted, None),
            (header("x-wide"), Trust::Trusted, None),
            (Extractor::Cookie("blank".into()), Trust::Untrusted, None),
            (Extractor::Query("nul".into()), Trust::Untrusted, None),
            (Extractor::Query("plus".into()), Trust::Untrusted, None),
            (Extractor::Cookie("uid".into()), Trust::Untrusted, Some("u1")),
            (Extractor::Cookie("none".into()), Trust::Untrusted, None),
            (Extractor::Query("uid".into()), Trust::Untrusted, Some("a+b")),
            (Extractor::Query("none".into()), Trust::Untrusted, None),
            (host("", ".shop.example.com"), Trust::Untrusted, Some("acme")),
            (host("", ".example.com"), Trust::Untrusted, None),
            (host("acme.", ".example.com"), Trust::Untrusted, Some("shop")),
            (path("/t/", None), Trust::Untrusted, Some("ac me")),
            (path("/t/", Some("/x")), Trust::Untrusted, Some("ac me")),
            (path("/t/", Some("/x/*")), Trust::Untrusted, Some("ac me")),
            (path("/t/", Some("/y/*")), Trust::Untrusted, None),
            (path("/t/", Some("")), Trust::Untrusted, None),
            (path("/u/", None), Trust::Untrusted, None),
            (Extractor::ClientCert(CertField::Cn), Trust::Untrusted, Some("till")),
            (Extractor::ClientCert(CertField::Dns), Trust::Untrusted, None),
            (Extractor::ClientCert(CertField::Uri), Trust::Untrusted, None),
        ] {
            assert_eq!(tenant(&place, trust, &head).as_deref(), found, "{place:?}");
        }
    }

    #[test]
    fn the_first_present_place_wins() {
        let identity = Identity {
            tenant: vec![Extractor::Cookie("t".into()), Extractor::Query("t".into())],
            ..identity(&["10.0.0.0/8"])
        };
        let fields = fields(&[("cookie", "t=")]);
        let head = RequestHead {
            method: &Method::GET,
            host: "",
            path: "/",
            query: Some("t=q"),
            fields: &fields,
            client_cert: None,
            listener: "",
        };
        let caller = identity.caller("10.0.0.1".parse().unwrap(), &head, Facts::default());
        assert_eq!(caller.tenant.as_deref(), Some("q"));
        assert!(caller.trusted);
        assert_eq!(caller.user, None);
    }
}
