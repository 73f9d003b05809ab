//! The addresses of listeners. Host names are refused, since they can resolve to other addresses later; `localhost` is
//! always 127.0.0.1.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ahash::HashMap;

use super::context::Context;
use super::diagnostic::Finding;
use super::source::Span;
use super::spanned_string::SpannedString;
use crate::route::EndpointHost;

/// What listens on an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum AddressUse {
    Listener,
    /// The admin listener: on public addresses only with tokens and TLS.
    Admin,
}

/// Help for an invalid port.
pub(in crate::config) const PORTS: &str = "a port is a number from 1 to 65535";

/// The message for an invalid port.
pub(in crate::config) fn not_a_port(port: &str) -> String {
    if is_digits(port) { format!("`{port}` is not a port: {PORTS}") } else { format!("`{port}` is not a port") }
}

/// Whether a text consists of digits.
pub(in crate::config) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether an address can be reached from outside a private network.
pub(in crate::config) fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !(ip.is_loopback() || ip.is_private() || ip.is_link_local()),
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    }
}

/// Whether a text is an address with a port.
pub(in crate::config) fn is_address(text: &str) -> bool {
    parse(text).is_some()
}

/// The addresses of all listeners, by port, with their places in the files.
#[derive(Debug, Default)]
pub(in crate::config) struct ListenAddresses(HashMap<u16, Vec<(SocketAddr, Span)>>);

impl ListenAddresses {
    /// Adds an address; returns whether it is new. Reports an error if it overlaps with that of another listener.
    pub(in crate::config) fn add(&mut self, context: &mut Context<'_>, address: SocketAddr, at: Span) -> bool {
        let first = self.find_overlap(address);
        if let Some((other, span)) = first {
            let same = canonical(other) == canonical(address);
            let message = if same {
                format!("two listeners have the address `{address}`")
            } else {
                format!("two listeners have overlapping addresses: `{other}` and `{address}`")
            };
            let finding = Finding::error("duplicate-address", at, message).label("and again here");
            context.report(finding.also(span, "first here"));
        } else {
            self.0.entry(address.port()).or_default().push((address, at));
        }
        first.is_none()
    }

    /// The listener address that overlaps with this one. Port 0 never does: the system replaces it by a free port.
    pub(in crate::config) fn find_overlap(&self, address: SocketAddr) -> Option<(SocketAddr, Span)> {
        let of_port = self.0.get(&address.port()).filter(|_| address.port() != 0)?;
        of_port.iter().find(|(other, _)| overlap(*other, address)).copied()
    }

    /// The place of the listener that an endpoint with this host and port is, as far as the file shows.
    pub(in crate::config) fn find_own(&self, host: &EndpointHost, port: u16) -> Option<Span> {
        let of_port = self.0.get(&port).filter(|_| port != 0)?;
        let is_own = |bound: IpAddr| match host {
            EndpointHost::Ip(ip) => {
                let ip = ip.to_canonical();
                ip == bound || (bound.is_unspecified() && ip.is_loopback())
            }
            EndpointHost::Name(name) => {
                name.trim_end_matches('.') == "localhost" && (bound.is_unspecified() || bound.is_loopback())
            }
        };
        of_port.iter().find(|(bound, _)| is_own(bound.ip().to_canonical())).map(|(_, at)| *at)
    }
}

/// Whether the system refuses to bind both addresses. `[::]` includes IPv4.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |all: IpAddr, ip: IpAddr| all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
    let (one, other) = (canonical(one), canonical(other));
    one.port() == other.port() && (one == other || covers(one.ip(), other.ip()) || covers(other.ip(), one.ip()))
}

/// Converts an IPv4-mapped IPv6 address, such as `[::ffff:127.0.0.1]:9900`, to IPv4.
pub(in crate::config) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Parses an address with a port; reports an error if that fails.
pub(in crate::config) fn address(
    context: &mut Context<'_>,
    text: &SpannedString<'_>,
    purpose: AddressUse,
) -> Option<SocketAddr> {
    let parsed = parse(text);
    if parsed.is_none() {
        let (message, help) = refusal(text, purpose);
        context.report(Finding::error("bad-address", text.span, message).help(help));
    }
    parsed
}

fn parse(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let ip = match host {
        "" => Ipv4Addr::UNSPECIFIED,
        _ if host.eq_ignore_ascii_case("localhost") => Ipv4Addr::LOCALHOST,
        _ => return text.parse().ok(),
    };
    port.parse().ok().filter(|_| is_digits(port)).map(|port| SocketAddr::from((ip, port)))
}

const LISTENER_HELP: &str = "write `0.0.0.0:8080`, `[::]:8080` or `:8080`; `127.0.0.1:8080` for this machine only";
const ADMIN_HELP: &str = "write `127.0.0.1:9900`, or a private address that only operators can reach";

/// The message and the help for a text that is not an address with a port.
fn refusal(text: &str, purpose: AddressUse) -> (String, String) {
    let (default_help, help_for_socket) = match purpose {
        AddressUse::Listener => (LISTENER_HELP, LISTENER_HELP),
        AddressUse::Admin => (ADMIN_HELP, "`address` is for TCP: write the path as `socket`"),
    };
    let message = format!("`{text}` is not an address with a port");
    let written = |host: &str, port: &str| format!("write `{host}:{port}`");
    let (everywhere, port) = match purpose {
        AddressUse::Listener => ("0.0.0.0", "8080"),
        AddressUse::Admin => ("127.0.0.1", "9900"),
    };
    // The admin listener refuses public addresses, so the help must not propose one.
    let proposed = |address: SocketAddr| {
        let is_refused = purpose == AddressUse::Admin && is_public(address.ip());
        if is_refused { SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())) } else { address }
    };
    if purpose == AddressUse::Admin && matches!(text, "off" | "none" | "false" | "") {
        let help = "the admin listener is always on: write `127.0.0.1:9900`, which only this machine can reach";
        return (message, help.to_owned());
    }
    if text.starts_with("unix:") || text.starts_with('/') {
        return (format!("`{text}` is a Unix socket, not an address with a port"), help_for_socket.to_owned());
    }
    if let Some(rest) = text.split_once("://").map(|(_, rest)| rest.trim_end_matches('/')) {
        let help = match parse(rest) {
            Some(address) if proposed(address) == address => format!("write `{rest}`, without a scheme"),
            Some(address) => format!("write `{}`, without a scheme", proposed(address)),
            None => default_help.to_owned(),
        };
        return (message, help);
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        let address = SocketAddr::new(ip, port.parse().unwrap_or(0));
        return (format!("`{text}` has no port"), format!("write `{}`", proposed(address)));
    }
    if is_digits(text) && text.parse::<u16>().is_err() {
        return (not_a_port(text), default_help.to_owned());
    }
    if is_digits(text) {
        return (
            format!("`{text}` has no address"),
            written(if purpose == AddressUse::Admin { everywhere } else { "" }, text),
        );
    }
    let Some((host, given)) = text.rsplit_once(':') else {
        return (message, default_help.to_owned());
    };
    let number = given.parse::<u16>().ok().filter(|_| is_digits(given));
    if is_digits(given) && number.is_none() {
        return (not_a_port(given), default_help.to_owned());
    }
    if let (Ok(ip), Some(number)) = (host.parse::<std::net::Ipv6Addr>(), number) {
        let address = proposed(SocketAddr::from((ip, number)));
        return (message, format!("write `{address}`: an IPv6 address needs brackets"));
    }
    if host == "*" && number.is_some() {
        return (message, written(everywhere, given));
    }
    if number.is_some() && super::grammar::is_host(host) && host.contains(|c: char| c.is_ascii_alphabetic()) {
        let message = format!("`{host}` is a host name; a listener needs an IP address of this machine");
        let help = match purpose {
            AddressUse::Listener => format!(
                "write `0.0.0.0:{given}` or `:{given}` for all addresses, `127.0.0.1:{given}` for this machine only; routes match host names with `host`"
            ),
            AddressUse::Admin => written("127.0.0.1", given),
        };
        return (message, help);
    }
    (message, default_help.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::toml::source::offset;

    #[test]
    fn overlapping_addresses_are_found() {
        for (one, other, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "0.0.0.0:80", true),
            ("[::]:80", "[::1]:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true),
        ] {
            let [one, other] = [one, other].map(|text| parse(text).unwrap());
            assert_eq!((overlap(one, other), overlap(other, one)), (expected, expected), "{one} {other}");
        }
    }

    #[test]
    fn an_endpoint_that_is_a_listener_is_found_in_each_form() {
        let span = Span { file: 0, start: offset(0), end: offset(0) };
        for (bound, host, expected) in [
            ("127.0.0.1:80", "127.0.0.1", true),
            ("127.0.0.1:80", "::ffff:127.0.0.1", true),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1", true),
            ("0.0.0.0:80", "::ffff:127.0.0.1", true),
            ("[::]:80", "::1", true),
            ("127.0.0.1:80", "127.0.0.2", false),
            ("127.0.0.1:81", "127.0.0.1", false),
        ] {
            let bound = parse(bound).unwrap();
            let mut all = ListenAddresses::default();
            all.0.entry(bound.port()).or_default().push((bound, span));
            let found = all.find_own(&EndpointHost::Ip(host.parse().unwrap()), 80);
            assert_eq!(found.is_some(), expected, "{bound} {host}");
        }
    }

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("0.0.0.0:8080", Some("0.0.0.0:8080")),
            ("[::]:8080", Some("[::]:8080")),
            (":8080", Some("0.0.0.0:8080")),
            ("localhost:8080", Some("127.0.0.1:8080")),
            ("LocalHost:0", Some("127.0.0.1:0")),
            ("localhost", None),
            ("localhost:", None),
            ("localhost:+80", None),
            (":80800", None),
            ("example.com:80", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected.map(|text| text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn the_help_fits_the_mistake() {
        for (text, purpose, message, help) in [
            (":80800", AddressUse::Listener, "from 1 to 65535", "`0.0.0.0:8080`"),
            ("0.0.0.0:99999999999", AddressUse::Listener, "from 1 to 65535", "`0.0.0.0:8080`"),
            ("80800", AddressUse::Listener, "from 1 to 65535", "`0.0.0.0:8080`"),
            ("0.0.0.0", AddressUse::Admin, "has no port", "write `127.0.0.1:9900`"),
            ("8.8.8.8", AddressUse::Admin, "has no port", "write `127.0.0.1:9900`"),
            ("10.1.2.3", AddressUse::Admin, "has no port", "write `10.1.2.3:9900`"),
            ("::", AddressUse::Admin, "has no port", "write `127.0.0.1:9900`"),
            ("2001:db8::1:2:3:4:5:9900", AddressUse::Admin, "not an address", "write `127.0.0.1:9900`"),
            ("http://0.0.0.0:9901", AddressUse::Admin, "not an address", "write `127.0.0.1:9901`, without a scheme"),
            ("http://10.1.2.3:9901", AddressUse::Admin, "not an address", "write `10.1.2.3:9901`, without a scheme"),
            ("8080", AddressUse::Listener, "has no address", "write `:8080`"),
            ("9911", AddressUse::Admin, "has no address", "write `127.0.0.1:9911`"),
            ("0.0.0.0", AddressUse::Listener, "has no port", "write `0.0.0.0:8080`"),
            ("::1", AddressUse::Listener, "has no port", "write `[::1]:8080`"),
            ("::1:80", AddressUse::Listener, "", "[::1:80]:8080"),
            ("fe80::1:2:3:4:5:6:8080", AddressUse::Listener, "not an address", "an IPv6 address needs brackets"),
            ("*:80", AddressUse::Listener, "not an address", "write `0.0.0.0:80`"),
            ("*:80", AddressUse::Admin, "not an address", "write `127.0.0.1:80`"),
            ("http://0.0.0.0:80/", AddressUse::Listener, "not an address", "write `0.0.0.0:80`, without a scheme"),
            ("example.com:80", AddressUse::Listener, "is a host name", "`0.0.0.0:80` or `:80`"),
            ("admin.internal:80", AddressUse::Admin, "is a host name", "write `127.0.0.1:80`"),
            ("off", AddressUse::Admin, "not an address", "always on"),
            ("off", AddressUse::Listener, "not an address", "`0.0.0.0:8080`"),
            ("unix:/run/x.sock", AddressUse::Admin, "Unix socket", "as `socket`"),
            ("unix:/run/x.sock", AddressUse::Listener, "Unix socket", "`0.0.0.0:8080`"),
            ("localhost", AddressUse::Listener, "not an address", "`0.0.0.0:8080`"),
            ("", AddressUse::Listener, "not an address", "`0.0.0.0:8080`"),
        ] {
            assert!(parse(text).is_none(), "{text}");
            let (why, how) = refusal(text, purpose);
            assert!(why.contains(message) && how.contains(help), "{text}: {why}: {how}");
        }
    }
}
