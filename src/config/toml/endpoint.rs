//! Parses the URLs of endpoints.

use std::net::{IpAddr, Ipv4Addr};

use super::address::{is_digits, not_a_port};
use super::grammar::is_host;
use crate::route::{EndpointHost, Protocol};

/// Whether a text is the URL of an endpoint.
pub(in crate::config) fn is_endpoint(text: &str) -> bool {
    parse(text).is_ok()
}

/// Parses an endpoint URL; the error is a message for the user.
pub(in crate::config) fn parse(url: &str) -> Result<(Protocol, EndpointHost, u16), String> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("`{url}` is not a URL"))?;
    let protocol = match scheme {
        "http" => Protocol::Http1,
        "h2c" => Protocol::H2c,
        "https" => Protocol::Https,
        _ => return Err(format!("`{scheme}://` is not supported for endpoints")),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return Err("an endpoint cannot have a path or a query: use `[route.rewrite]`".to_owned());
    }
    if rest.contains('@') {
        return Err("an endpoint cannot have a user and a password".to_owned());
    }
    let (host, port) = match rest.rsplit_once(':').filter(|(host, _)| !host.starts_with('[') || host.ends_with(']')) {
        Some((host, port)) => {
            let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
            let parsed = port.parse::<u16>().ok().filter(|port| digits && *port > 0);
            (host, parsed.ok_or_else(|| not_a_port(port))?)
        }
        None => (rest, if protocol == Protocol::Https { 443 } else { 80 }),
    };
    // A dot at the end makes a name absolute: it is resolved without the search domains of the system.
    let relative = host.strip_suffix('.').unwrap_or(host);
    if is_digits(relative) {
        return Err(format!("`{host}` is not a host: it consists of digits only"));
    }
    if !is_host(relative) {
        return Err(format!("`{host}` is not a host"));
    }
    let bare = relative.trim_matches(['[', ']']);
    if relative != host && bare.parse::<IpAddr>().is_ok() {
        return Err(format!("`{host}` is an address with a dot at its end: write `{relative}`"));
    }
    let bare = if relative == host { bare } else { host };
    let host = bare.parse::<IpAddr>().map_or_else(|_| EndpointHost::Name(bare.to_ascii_lowercase()), EndpointHost::Ip);
    if let EndpointHost::Ip(ip) = host {
        refuse_group(ip)?;
    }
    Ok((protocol, host, port))
}

/// Refuses addresses that are not those of one machine.
fn refuse_group(ip: IpAddr) -> Result<(), String> {
    let what = match ip.to_canonical() {
        ip if ip.is_unspecified() => "every address of a machine: write the one of the endpoint",
        ip if ip.is_multicast() => "a multicast address: no endpoint answers there",
        IpAddr::V4(Ipv4Addr::BROADCAST) => "the broadcast address: no endpoint answers there",
        IpAddr::V4(_) | IpAddr::V6(_) => return Ok(()),
    };
    Err(format!("`{ip}` is {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let name = |name: &str| EndpointHost::Name(name.to_owned());
        let check = |url: &str, expected: (Protocol, EndpointHost, u16)| assert_eq!(parse(url), Ok(expected), "{url}");
        check("http://10.0.1.10:8080", (Protocol::Http1, EndpointHost::Ip([10, 0, 1, 10].into()), 8080));
        check("http://Checkout.internal", (Protocol::Http1, name("checkout.internal"), 80));
        check("h2c://[::1]:50051/", (Protocol::H2c, EndpointHost::Ip("::1".parse().unwrap()), 50051));
        check("https://a.example", (Protocol::Https, name("a.example"), 443));
        check("https://10.0.0.1:8443", (Protocol::Https, EndpointHost::Ip([10, 0, 0, 1].into()), 8443));
        check("http://Web.test.:9120", (Protocol::Http1, name("web.test."), 9120));
        check("http://[::1]", (Protocol::Http1, EndpointHost::Ip("::1".parse().unwrap()), 80));
        for bad in [
            "10.0.0.1:80",
            "ftp://a:1",
            "http://a:0",
            "http://a:70000",
            "http://a:",
            "http://",
            "http://a/b",
            "http://a?b",
            "http://u@a",
            "http://a b",
            "http://[::1",
            "http://a:+1",
            "http://::1:80",
            "http://8101",
            "http://8101:80",
            "http://0.0.0.0:80",
            "http://[::]:80",
            "http://[::ffff:0.0.0.0]:80",
            "http://224.0.0.1:80",
            "http://[ff02::1]:80",
            "http://255.255.255.255:80",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
