//! Reads the forwarding fields of a trusted peer and writes those of the upstream: `X-Forwarded-*` and `Forwarded`
//! (RFC 7239) name the same client, scheme and host.
//!
//! `X-Forwarded-For` names the client; `Forwarded` is used if there is no `X-Forwarded-For`. `X-Forwarded-Proto` and
//! `-Host` take precedence over `proto=` and `host=`. Only the elements of `Forwarded` that trusted hops added are
//! read. Empty list members are skipped (RFC 9110 §5.6.1.2); the first of several schemes or hosts is used.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::fields::Fields;
use crate::route::{Identity, normal_host};

const FORWARDED: &str = "forwarded";
const X_FORWARDED_FOR: &str = "x-forwarded-for";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
const X_FORWARDED_HOST: &str = "x-forwarded-host";
const X_FORWARDED_PORT: &str = "x-forwarded-port";
/// The known schemes.
const SCHEMES: [&str; 4] = ["http", "https", "ws", "wss"];

/// The hops of all `X-Forwarded-For` lines, right to left; `None` if they name none. An invalid hop is `None`.
pub(super) fn x_forwarded_for(fields: &Fields) -> Option<impl Iterator<Item = Option<IpAddr>>> {
    let lines = fields.get_all(X_FORWARDED_FOR).rev();
    let members = lines.flat_map(|line| line.rsplit(|&b| b == b',')).map(<[u8]>::trim_ascii);
    let mut hops = members.filter(|hop| !hop.is_empty()).peekable();
    hops.peek()?;
    Some(hops.map(|hop| Some(Node::of(std::str::from_utf8(hop).ok()?)?.address)))
}

/// The `for=` of all elements of all `Forwarded` lines, right to left; `None` for an element without exactly one.
pub(super) fn forwarded_for(fields: &Fields) -> impl Iterator<Item = Option<IpAddr>> {
    elements(fields).into_iter().rev().map(|element| element.node.map(|node| node.address))
}

/// The last hop of a request: its connection to the proxy.
#[derive(Clone, Copy, Debug)]
pub struct LastHop<'a> {
    /// The peer.
    pub peer: IpAddr,
    /// The request's host, with its port.
    pub host: Option<&'a str>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The port that the peer connected to.
    pub port: u16,
}

impl LastHop<'_> {
    /// The element of this hop in `Forwarded`.
    #[must_use]
    pub fn element(&self) -> String {
        format!("for={}{}", node_text(self.peer, None), parameters(self.host, Some(self.scheme)))
    }
}

/// The forwarding fields that are sent to the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardingFields {
    /// `X-Forwarded-For`.
    pub x_for: String,
    /// `Forwarded`.
    pub forwarded: String,
    /// `X-Forwarded-Proto`.
    pub proto: &'static str,
    /// `X-Forwarded-Host`.
    pub host: Option<String>,
    /// `X-Forwarded-Port`.
    pub port: u16,
}

impl Identity {
    /// The scheme that a client used to a trusted peer, `http` or `https`, if these fields name it.
    #[must_use]
    pub fn forwarded_scheme(&self, fields: &Fields) -> Option<&'static str> {
        let x_proto = first(fields, X_FORWARDED_PROTO).and_then(known_scheme);
        let proto = match x_proto {
            None if fields.contains(FORWARDED) => ReceivedFields::of(self, fields).proto(),
            x_proto => x_proto,
        };
        proto.map(|proto| if is_secure(proto) { "https" } else { "http" })
    }

    /// The fields for the upstream of a request that came from a trusted peer with `fields`.
    #[must_use]
    pub fn forwarding_fields(&self, fields: &Fields, last: LastHop<'_>) -> ForwardingFields {
        let said = ReceivedFields::of(self, fields);
        let proto = said.proto().unwrap_or(last.scheme);
        let host = said.host().or(last.host);
        let own = LastHop { host, scheme: proto, ..last };
        let port = said.x_port.or_else(|| said.proto().map(|_| port_of(host).unwrap_or(default_port(proto))));
        ForwardingFields {
            x_for: format!("{}{}", said.x_for(), last.peer),
            forwarded: said.forwarded(self, &own) + &own.element(),
            proto,
            host: host.map(str::to_owned),
            port: port.unwrap_or(last.port),
        }
    }
}

/// The values of the received fields.
struct ReceivedFields<'a> {
    x_hops: Vec<&'a str>,
    x_proto: Option<&'static str>,
    x_host: Option<&'a str>,
    x_port: Option<u16>,
    elements: Vec<Element<'a>>,
    /// The first element that a trusted hop has added.
    trusted: usize,
}

impl<'a> ReceivedFields<'a> {
    fn of(identity: &Identity, fields: &'a Fields) -> Self {
        let elements = elements(fields);
        let addresses = elements.iter().map(Element::address);
        let trusted = elements.len() - trusted(identity, addresses.rev());
        Self {
            x_hops: members(fields, X_FORWARDED_FOR).map(|hop| hop.unwrap_or("unknown")).collect(),
            x_proto: first(fields, X_FORWARDED_PROTO).and_then(known_scheme),
            x_host: first(fields, X_FORWARDED_HOST).filter(|host| normal_host(host).is_some()),
            x_port: first(fields, X_FORWARDED_PORT).and_then(|port| port.parse().ok()),
            elements,
            trusted,
        }
    }

    /// Whether the client of `Forwarded` is used.
    fn uses_forwarded(&self) -> bool {
        self.x_hops.is_empty()
    }

    fn proto(&self) -> Option<&'static str> {
        self.x_proto.or_else(|| self.element_proto().filter(|_| self.uses_forwarded()))
    }

    fn host(&self) -> Option<&'a str> {
        self.x_host.or_else(|| self.element_host().filter(|_| self.uses_forwarded()))
    }

    fn element_proto(&self) -> Option<&'static str> {
        self.elements[self.trusted..].iter().find_map(|element| element.proto)
    }

    fn element_host(&self) -> Option<&'a str> {
        self.elements[self.trusted..].iter().find_map(|element| element.host)
    }

    /// The hops before the peer, each followed by a comma.
    fn x_for(&self) -> String {
        let mut text = String::with_capacity(64);
        for hop in &self.x_hops {
            let _ = write!(text, "{hop}, "); // writing to memory cannot fail
        }
        for element in self.elements.iter().filter(|_| self.x_hops.is_empty()) {
            let _ = match &element.node {
                Some(Node { address: IpAddr::V6(ip), port: Some(port) }) => write!(text, "[{ip}]:{port}, "),
                Some(Node { address, port: Some(port) }) => write!(text, "{address}:{port}, "),
                Some(Node { address, port: None }) => write!(text, "{address}, "),
                None => write!(text, "unknown, "),
            };
        }
        text
    }

    /// The elements before the proxy's own, each followed by a comma: the received ones if they agree with the sent
    /// fields, else new ones.
    fn forwarded(&self, identity: &Identity, own: &LastHop<'_>) -> String {
        let nodes: Vec<Option<Node<'_>>> = if self.uses_forwarded() {
            self.elements.iter().map(|element| element.node).collect()
        } else {
            self.x_hops.iter().map(|hop| Node::of(hop)).collect()
        };
        let addresses =
            |nodes: &[Option<Node<'_>>]| nodes.iter().map(|node| node.map(|n| n.address)).collect::<Vec<_>>();
        let named = addresses(&nodes);
        let at = named.len() - trusted(identity, named.iter().copied().rev());
        let elements: Vec<_> = self.elements.iter().map(Element::address).collect();
        let same_host = |said: &str| own.host.is_some_and(|host| host.eq_ignore_ascii_case(said));
        let agrees = client(&named[at..]) == client(&elements[self.trusted..])
            && self.element_proto().is_none_or(|said| said == own.scheme)
            && self.element_host().is_none_or(same_host);
        let mut text = String::with_capacity(128);
        if agrees && !self.elements.is_empty() {
            for element in &self.elements {
                let _ = write!(text, "{}, ", element.text); // writing to memory cannot fail
            }
            return text;
        }
        for (number, node) in nodes.iter().enumerate() {
            let node = node.map_or_else(|| "unknown".to_owned(), |node| node_text(node.address, node.port));
            let more = if number == at { parameters(self.host(), self.proto()) } else { String::new() };
            let _ = write!(text, "for={node}{more}, ");
        }
        text
    }
}

/// The number of hops, nearest first, that trusted hops named: up to the first that is not trusted or not an address.
fn trusted(identity: &Identity, hops: impl Iterator<Item = Option<IpAddr>>) -> usize {
    let mut count = 0;
    for hop in hops {
        count += 1;
        if !hop.is_some_and(|hop| identity.trusts(hop)) {
            break;
        }
    }
    count
}

/// The client that the trusted hops name.
fn client(trusted: &[Option<IpAddr>]) -> Option<IpAddr> {
    trusted.iter().find_map(|hop| *hop)
}

/// The members of all lines of a list, without empty ones.
fn members<'a>(fields: &'a Fields, name: &'static str) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
    let members = fields.get_all(name).flat_map(|line| line.split(|&b| b == b','));
    members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()).map(|member| std::str::from_utf8(member).ok())
}

fn first<'a>(fields: &'a Fields, name: &'static str) -> Option<&'a str> {
    members(fields, name).next().flatten()
}

fn known_scheme(text: &str) -> Option<&'static str> {
    SCHEMES.into_iter().find(|scheme| scheme.eq_ignore_ascii_case(text))
}

fn is_secure(scheme: &str) -> bool {
    matches!(scheme, "https" | "wss")
}

fn default_port(scheme: &str) -> u16 {
    if is_secure(scheme) { 443 } else { 80 }
}

/// The port of a valid host.
fn port_of(host: Option<&str>) -> Option<u16> {
    let (_, port) = host?.rsplit_once(':')?;
    port.parse().ok()
}

/// The `host` and `proto` parameters of an element.
fn parameters(host: Option<&str>, proto: Option<&str>) -> String {
    let token = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    let host = match host.filter(|host| !host.is_empty()) {
        Some(host) if token(host) => format!(";host={host}"),
        Some(host) => format!(";host=\"{host}\""),
        None => String::new(),
    };
    proto.map_or_else(|| host.clone(), |proto| format!("{host};proto={proto}"))
}

/// A node (RFC 7239 §6): text with a colon is quoted, an IPv6 address is in brackets.
fn node_text(address: IpAddr, port: Option<&str>) -> String {
    match (address, port) {
        (IpAddr::V4(ip), None) => ip.to_string(),
        (IpAddr::V4(ip), Some(port)) => format!("\"{ip}:{port}\""),
        (IpAddr::V6(ip), None) => format!("\"[{ip}]\""),
        (IpAddr::V6(ip), Some(port)) => format!("\"[{ip}]:{port}\""),
    }
}

/// One element of `Forwarded`.
struct Element<'a> {
    /// The received text; `for=unknown` if that is invalid.
    text: &'a str,
    node: Option<Node<'a>>,
    proto: Option<&'static str>,
    host: Option<&'a str>,
}

impl<'a> Element<'a> {
    const UNREADABLE: Self = Self { text: "for=unknown", node: None, proto: None, host: None };

    fn of(text: &'a str) -> Self {
        if !is_closed(text) {
            return Self::UNREADABLE;
        }
        Self {
            text,
            node: parameter(text, "for").and_then(Node::of),
            proto: parameter(text, "proto").and_then(known_scheme),
            host: parameter(text, "host").filter(|host| normal_host(host).is_some()),
        }
    }

    fn address(&self) -> Option<IpAddr> {
        self.node.map(|node| node.address)
    }
}

/// The elements of all `Forwarded` lines.
fn elements(fields: &Fields) -> Vec<Element<'_>> {
    let mut all = Vec::new();
    for line in fields.get_all(FORWARDED) {
        match std::str::from_utf8(line) {
            Ok(line) => {
                let members = Quoted { rest: Some(line), separator: b',' }.map(str::trim);
                all.extend(members.filter(|element| !element.is_empty()).map(Element::of));
            }
            Err(_) => all.push(Element::UNREADABLE),
        }
    }
    all
}

/// The value of the one parameter of this name, without quotes.
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let pairs = Quoted { rest: Some(element), separator: b';' }.filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(known, _)| known.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
    let value = values.next()?;
    let unquoted = value.strip_prefix('"').map_or(Some(value), |quoted| quoted.strip_suffix('"'));
    unquoted.filter(|_| values.next().is_none())
}

/// An address, and the port if it is a number.
#[derive(Clone, Copy)]
struct Node<'a> {
    address: IpAddr,
    port: Option<&'a str>,
}

impl<'a> Node<'a> {
    /// `1.2.3.4`, `1.2.3.4:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`. Zone ids are not accepted.
    fn of(hop: &'a str) -> Option<Self> {
        let (address, port) = if let Some(rest) = hop.strip_prefix('[') {
            let (address, port) = rest.split_once(']')?;
            (IpAddr::V6(address.parse::<Ipv6Addr>().ok()?), port)
        } else if let Ok(address) = hop.parse::<IpAddr>() {
            (address, "")
        } else {
            let (address, port) = hop.split_at(hop.find(':')?);
            (IpAddr::V4(address.parse::<Ipv4Addr>().ok()?), port)
        };
        let number = port.strip_prefix(':').filter(|port| port.bytes().all(|b| b.is_ascii_digit()));
        is_port(port).then(|| Self { address: address.to_canonical(), port: number })
    }
}

/// Whether `text` is empty, or a colon and a port or an obfuscated port (RFC 7239 §6).
fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    match port.strip_prefix('_') {
        Some(hidden) => !hidden.is_empty() && hidden.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)),
        None => (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// Whether every quote is closed; the text after an open quote would belong to it.
fn is_closed(text: &str) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
    }
    !quoted
}

/// Splits at a separator outside quotes. An open quote extends to the end.
struct Quoted<'a> {
    rest: Option<&'a str>,
    separator: u8,
}

impl<'a> Iterator for Quoted<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        let (mut quoted, mut escaped) = (false, false);
        for (at, byte) in rest.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if byte == self.separator && !quoted => {
                    self.rest = Some(&rest[at + 1..]);
                    return Some(&rest[..at]);
                }
                _ => {}
            }
        }
        self.rest = None;
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;
    use crate::route::ClientIp;

    fn fields(lines: &[(&'static str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.append(&HeaderName::from_static(name), &HeaderValue::from_str(value).unwrap());
        }
        fields
    }

    fn identity() -> Identity {
        let trusted_proxies = ["10.0.0.0/8", "2001:db8::/32"].map(|net| net.parse().unwrap()).to_vec();
        Identity { trusted_proxies, ..Identity::default() }
    }

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

    fn passed(lines: &[(&'static str, &str)]) -> ForwardingFields {
        let last = LastHop { peer: PEER, host: Some("in.test"), scheme: "http", port: 8090 };
        identity().forwarding_fields(&fields(lines), last)
    }

    const FOR: &str = "x-forwarded-for";
    const PROTO: &str = "x-forwarded-proto";
    const HOST: &str = "x-forwarded-host";
    const PORT: &str = "x-forwarded-port";

    /// The element of the proxy itself.
    fn own(proto: &str, host: &str) -> String {
        format!("for=10.0.0.9;host={host};proto={proto}")
    }

    #[test]
    fn each_family_is_made_from_the_other() {
        for (lines, x_for, forwarded) in [
            (&[][..], "", ""),
            (&[(FOR, "1.1.1.1")], "1.1.1.1, ", "for=1.1.1.1, "),
            (&[(FOR, "1.1.1.1:50321")], "1.1.1.1:50321, ", "for=\"1.1.1.1:50321\", "),
            (&[(FOR, "[2001:db9::1]:80")], "[2001:db9::1]:80, ", "for=\"[2001:db9::1]:80\", "),
            (
                &[(FOR, "2001:db9::1, [2001:db9::2]")],
                "2001:db9::1, [2001:db9::2], ",
                "for=\"[2001:db9::1]\", for=\"[2001:db9::2]\", ",
            ),
            (&[(FOR, "1.1.1.1,,10.0.0.1"), (FOR, " , ")], "1.1.1.1, 10.0.0.1, ", "for=1.1.1.1, for=10.0.0.1, "),
            (&[(FOR, "1.1.1.1, odd")], "1.1.1.1, odd, ", "for=1.1.1.1, for=unknown, "),
            (&[("forwarded", "for=1.1.1.1")], "1.1.1.1, ", "for=1.1.1.1, "),
            (&[("forwarded", "for=\"1.1.1.1:50321\"")], "1.1.1.1:50321, ", "for=\"1.1.1.1:50321\", "),
            (&[("forwarded", "For=\"[2001:db9::1]:80\"")], "[2001:db9::1]:80, ", "For=\"[2001:db9::1]:80\", "),
            (&[("forwarded", "for=\"[2001:db9::1]\"")], "2001:db9::1, ", "for=\"[2001:db9::1]\", "),
            (&[("forwarded", "for=\"1.1.1.1:_x\"")], "1.1.1.1, ", "for=\"1.1.1.1:_x\", "),
            (&[("forwarded", "for=_hidden, , for=10.0.0.1,")], "unknown, 10.0.0.1, ", "for=_hidden, for=10.0.0.1, "),
            (
                &[("forwarded", "for=1.1.1.1"), ("forwarded", "for=10.0.0.1")],
                "1.1.1.1, 10.0.0.1, ",
                "for=1.1.1.1, for=10.0.0.1, ",
            ),
            (&[("forwarded", "for=\"1.1.1.1, for=2.2.2.2")], "unknown, ", "for=unknown, "),
            (&[("forwarded", "by=10.0.0.1")], "unknown, ", "by=10.0.0.1, "),
            // An empty list is ignored.
            (&[(FOR, ""), ("forwarded", "for=1.1.1.1")], "1.1.1.1, ", "for=1.1.1.1, "),
        ] {
            let passed = passed(lines);
            assert_eq!(passed.x_for, format!("{x_for}10.0.0.9"), "{lines:?}");
            assert_eq!(passed.forwarded, format!("{forwarded}{}", own("http", "in.test")), "{lines:?}");
        }
    }

    #[test]
    fn scheme_host_and_port_are_equal_in_all_fields() {
        let plain = ("http", "in.test", 8090);
        for (lines, (proto, host, port)) in [
            (&[][..], plain),
            (&[(FOR, "1.1.1.1")], plain),
            (&[(PROTO, "https")], ("https", "in.test", 443)),
            (&[(PROTO, "HTTPS")], ("https", "in.test", 443)),
            (&[(PROTO, "https,http")], ("https", "in.test", 443)),
            (&[(PROTO, ", https"), (PROTO, "http")], ("https", "in.test", 443)),
            (&[(PROTO, "http, https")], ("http", "in.test", 80)),
            (&[(PROTO, "wss")], ("wss", "in.test", 443)),
            (&[(PROTO, "gopher")], plain),
            (&[(PROTO, "https"), (HOST, "shop.test")], ("https", "shop.test", 443)),
            (&[(PROTO, "https"), (HOST, "shop.test:8443, b.test")], ("https", "shop.test:8443", 8443)),
            (&[(PROTO, "https"), (HOST, "[2001:db8::1]")], ("https", "[2001:db8::1]", 443)),
            (&[(PROTO, "https"), (HOST, "shop.test:8443"), (PORT, "444")], ("https", "shop.test:8443", 444)),
            (&[(PROTO, "https"), (PORT, "x")], ("https", "in.test", 443)),
            (&[(HOST, "shop.test:81")], ("http", "shop.test:81", 8090)),
            (&[(HOST, "a b")], plain),
            (&[("forwarded", "for=1.1.1.1;proto=https")], ("https", "in.test", 443)),
            (&[("forwarded", "Proto=HTTPS;for=1.1.1.1;HOST=\"shop.test:8443\"")], ("https", "shop.test:8443", 8443)),
            (&[("forwarded", "proto=https")], ("https", "in.test", 443)),
            (&[("forwarded", "for=1.1.1.1;proto=https, for=10.0.0.1;proto=http")], ("https", "in.test", 443)),
            (&[("forwarded", "for=1.1.1.1, for=10.0.0.1;proto=https")], ("https", "in.test", 443)),
            // Elements before the client's own come from the client.
            (&[("forwarded", "for=6.6.6.6;proto=https;host=evil, for=1.1.1.1;proto=http")], ("http", "in.test", 80)),
            (&[("forwarded", "for=6.6.6.6;proto=https, for=1.1.1.1")], plain),
            (&[("forwarded", "for=1.1.1.1;proto=https;proto=http")], plain),
            (&[("forwarded", "for=1.1.1.1;host=\"a\\\"b\"")], plain),
            // One family names the client.
            (&[(FOR, "1.1.1.1"), ("forwarded", "for=1.1.1.1;proto=https;host=evil")], plain),
            (&[(PROTO, "http"), ("forwarded", "for=1.1.1.1;proto=https")], ("http", "in.test", 80)),
            (&[(PROTO, "https"), ("forwarded", "for=1.1.1.1;host=shop.test")], ("https", "shop.test", 443)),
        ] {
            let passed = passed(lines);
            assert_eq!((passed.proto, passed.host.as_deref(), passed.port), (proto, Some(host), port), "{lines:?}");
            let last = passed.forwarded.rsplit(", ").next().unwrap();
            let quoted = if host.contains([':', '[']) { format!("\"{host}\"") } else { host.to_owned() };
            assert_eq!(last, own(proto, &quoted), "{lines:?}");
        }
    }

    #[test]
    fn elements_that_disagree_are_replaced() {
        for (lines, forwarded) in [
            (&[(FOR, "1.1.1.1"), (PROTO, "https")][..], "for=1.1.1.1;proto=https, "),
            (
                &[(FOR, "6.6.6.6, 1.1.1.1, 10.0.0.1"), (PROTO, "https"), (HOST, "shop.test")],
                "for=6.6.6.6, for=1.1.1.1;host=shop.test;proto=https, for=10.0.0.1, ",
            ),
            (&[(FOR, "1.1.1.1"), ("forwarded", "for=1.1.1.1;by=_a")], "for=1.1.1.1;by=_a, "),
            (&[(FOR, "6.6.6.6, 1.1.1.1, 10.0.0.1"), ("forwarded", "for=1.1.1.1")], "for=1.1.1.1, "),
            (&[(FOR, "1.1.1.1"), ("forwarded", "for=2.2.2.2;by=_a")], "for=1.1.1.1, "),
            (&[(FOR, "1.1.1.1"), ("forwarded", "for=1.1.1.1;proto=https")], "for=1.1.1.1, "),
            (&[(FOR, "1.1.1.1"), ("forwarded", "for=1.1.1.1;host=evil")], "for=1.1.1.1, "),
            (&[(FOR, "1.1.1.1"), ("forwarded", "for=1.1.1.1;host=IN.test")], "for=1.1.1.1;host=IN.test, "),
            (
                &[(FOR, "1.1.1.1"), (PROTO, "https"), ("forwarded", "for=1.1.1.1;proto=https")],
                "for=1.1.1.1;proto=https, ",
            ),
            (&[(PROTO, "http"), ("forwarded", "for=1.1.1.1;proto=https")], "for=1.1.1.1;proto=http, "),
        ] {
            let passed = passed(lines).forwarded;
            assert!(passed.starts_with(&format!("{forwarded}for=10.0.0.9;")), "{lines:?}: {passed}");
        }
    }

    #[test]
    fn schemes_of_sockets_are_those_of_http() {
        let scheme = |proto| Identity::default().forwarded_scheme(&fields(&[(PROTO, proto)]));
        assert_eq!(
            ["http", "ws", "https", "wss", "x"].map(scheme),
            [Some("http"), Some("http"), Some("https"), Some("https"), None]
        );
    }

    /// Words of lists, good and bad.
    const WORDS: &str =
        "(1\\.1\\.1\\.1|10\\.0\\.0\\.1|10\\.0\\.0\\.1:80|2001:db9::1|\\[2001:db8::1\\]:9|odd|unknown| |,|, ){0,8}";
    const ELEMENTS: &str = "(for=1\\.1\\.1\\.1|for=10\\.0\\.0\\.1|for=\"\\[2001:db8::1\\]:9\"|for=_x|by=a|;|;proto=https|;proto=http|;host=a|\"|\\\\|,|, ){0,8}";

    proptest! {
        /// A trusted proxy after this one finds the same client and scheme in both families, and the client found here.
        #[test]
        fn both_families_agree(
            x_for in prop::option::of(WORDS),
            forwarded in prop::option::of(ELEMENTS),
            proto in prop::option::of("(https|http|https,http|,|odd)"),
        ) {
            let lines = [(FOR, x_for), ("forwarded", forwarded), (PROTO, proto)];
            let lines: Vec<_> = lines.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
            let (identity, passed) = (identity(), passed(&lines));
            let client = ClientIp::find(&identity, PEER, &fields(&lines));
            let next = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 8));
            let x = fields(&[(FOR, &passed.x_for), (PROTO, passed.proto)]);
            let element = fields(&[("forwarded", &passed.forwarded)]);
            prop_assert_eq!(ClientIp::find(&identity, next, &x), client, "{:?}: {:?}", lines, passed);
            prop_assert_eq!(ClientIp::find(&identity, next, &element), client, "{:?}: {:?}", lines, passed);
            let scheme = identity.forwarded_scheme(&fields(&lines)).unwrap_or("http");
            prop_assert_eq!(identity.forwarded_scheme(&x), Some(scheme), "{:?}: {:?}", lines, passed);
            prop_assert_eq!(identity.forwarded_scheme(&element), Some(scheme), "{:?}: {:?}", lines, passed);
        }
    }
}
