//! Hosts: patterns and the normal form.
//!
//! The grammar is stricter than RFC 3986 §3.2.2 where servers interpret a host differently: no percent-encoding,
//! no comma, no quote, no empty label, no zone id.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// The longest host, without its port, in bytes (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 255;

/// The classes of bytes in a host, each a bit; 0 is a byte of a label in lower case.
const DOT: u8 = 1;
const UPPER: u8 = 2;
const ILLEGAL: u8 = 4;

/// The class of each byte value.
const BYTES: [u8; 256] = {
    let mut table = [ILLEGAL; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = match i.to_le_bytes()[0] {
            b'.' => DOT,
            b'A'..=b'Z' => UPPER,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b'!' | b'$' | b'&' | b'('..=b'+' | b';' | b'=' => 0,
            _ => ILLEGAL,
        };
        i += 1;
    }
    table
};

/// A host pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Exactly this, lower case.
    Exact(String),
    /// `*.suffix`: any depth below, never the suffix itself. Stores `.suffix`, with the dot.
    Wildcard(String),
}

impl HostPattern {
    /// Whether a host in normal form matches.
    #[must_use]
    pub fn fits(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == host,
            Self::Wildcard(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(exact) => f.write_str(exact),
            Self::Wildcard(suffix) => write!(f, "*{suffix}"),
        }
    }
}

/// The normal form of a `Host` or `:authority` (lower case, port and one trailing dot removed, IPv6 addresses in
/// their canonical form and in brackets), or `None` if it is not valid by RFC 3986 §3.2.2 (no userinfo,
/// balanced brackets, digits as port). Borrows if the host is already normal.
#[must_use]
pub fn normal_host(authority: &str) -> Option<Cow<'_, str>> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (literal, port) = rest.split_once(']')?;
        return is_port(port).then(|| normal_ipv6(&authority[..literal.len() + 2], literal))?;
    }
    let (host, port) = match memchr::memchr(b':', authority.as_bytes()) {
        Some(colon) => authority.split_at(colon),
        None => (authority, ""),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() || host.len() > HOST_BYTES_MAX || !is_port(port) {
        return None;
    }
    // One pass without a branch: what the bytes are together. `before` starts as a dot, so that an empty first label is
    // rejected as well.
    let (mut seen, mut empty_label, mut before) = (0, 0, DOT);
    for &byte in host.as_bytes() {
        let class = BYTES[usize::from(byte)];
        seen |= class;
        empty_label |= class & before & DOT;
        before = class;
    }
    if seen & ILLEGAL != 0 || empty_label != 0 || before == DOT {
        return None;
    }
    debug_assert!(!host.contains([':', '[', '/', '@']), "a normal host has no delimiters");
    Some(if seen & UPPER != 0 { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) })
}

/// Whether `text` is empty, or a colon and the digits of a port (possibly none, RFC 3986 §3.2.3).
fn is_port(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(':') else { return text.is_empty() };
    digits.len() <= 5
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits.is_empty() || digits.parse::<u32>().is_ok_and(|port| port <= 65_535))
}

/// The canonical form of an IPv6 literal; `bracketed` is the literal with its brackets.
fn normal_ipv6<'a>(bracketed: &'a str, literal: &str) -> Option<Cow<'a, str>> {
    let address: Ipv6Addr = literal.parse().ok()?;
    let canonical = format!("[{address}]");
    Some(if canonical == bracketed { Cow::Borrowed(bracketed) } else { Cow::Owned(canonical) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether a host without port and trailing dot is valid, byte by byte.
    fn is_valid(host: &str) -> bool {
        let is_label = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_~!$&()*+;=".contains(&b))
        };
        host.len() <= HOST_BYTES_MAX && host.split('.').all(is_label)
    }

    proptest! {
        #[test]
        fn a_host_is_valid_as_byte_by_byte(host in "[aZ09.!$&()*+;=~_/ %,'\"ä-]{1,9}|[a-c]{1,4}(\\.[a-c]{0,3}){0,4}") {
            let whole = host.strip_suffix('.').unwrap_or(&host);
            let normal = is_valid(whole).then(|| whole.to_ascii_lowercase());
            prop_assert_eq!(normal_host(&host).map(Cow::into_owned), normal);
        }
    }

    #[test]
    fn hosts_have_one_normal_form() {
        for (authority, normal) in [
            ("example.com", "example.com"),
            ("EXAMPLE.Com", "example.com"),
            ("example.com.", "example.com"),
            ("example.com.:8080", "example.com"),
            ("example.com:80", "example.com"),
            ("example.com:", "example.com"),
            ("a_b.example", "a_b.example"),
            ("localhost", "localhost"),
            ("127.0.0.1:9", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[::1]:443", "[::1]"),
            ("[2001:DB8:0:0::1]", "[2001:db8::1]"),
            ("[::ffff:10.0.0.1]", "[::ffff:10.0.0.1]"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(normal_host(authority).as_deref(), Some(normal), "{authority}");
            assert!(matches!(normal_host(normal), Some(Cow::Borrowed(_))), "{normal} is not borrowed");
        }
    }

    #[test]
    fn invalid_hosts_are_rejected() {
        let long = "a".repeat(256);
        for authority in [
            "",
            ".",
            ":80",
            "a b",
            " a",
            "a/b",
            "u@a",
            "u:p@a",
            "a, b",
            "a,b",
            "a:port",
            "a:80:80",
            "a:99999",
            "a:000080",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:x",
            "[]",
            "[fe80::1%25lo]",
            "[fe80::1%lo]",
            "[v1.a]",
            "[1.2.3.4]",
            "\"a\"",
            "'a'",
            "a\"",
            "a..b",
            ".a",
            "a..",
            "a%2eb",
            "a\\b",
            "a?b",
            "a#b",
            "a<b",
            "a\u{7f}",
            "ä",
            "a\tb",
            "a|b",
            "{a}",
            &long,
        ] {
            assert_eq!(normal_host(authority), None, "{authority:?}");
        }
    }

    #[test]
    fn a_wildcard_never_matches_its_own_suffix() {
        let wildcard = HostPattern::Wildcard(".example.com".into());
        for (host, fits) in
            [("a.example.com", true), ("a.b.example.com", true), ("example.com", false), ("aexample.com", false)]
        {
            assert_eq!(wildcard.fits(host), fits, "{host}");
        }
    }
}
