//! The hops that forwarding headers name, nearest first: `X-Forwarded-For`, and `Forwarded` (RFC 7239).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::HeaderMap;
use http::header::FORWARDED;

/// The hops of all `X-Forwarded-For` lines, right to left; `None` when there is no such line. A hop that is no address
/// is `None`.
pub(super) fn x_forwarded_for(headers: &HeaderMap) -> Option<impl Iterator<Item = Option<IpAddr>>> {
    let lines = headers.get_all("x-forwarded-for");
    lines.iter().next()?;
    Some(lines.iter().rev().flat_map(|line| {
        line.as_bytes().rsplit(|&b| b == b',').map(|hop| hop_address(std::str::from_utf8(hop).ok()?.trim()))
    }))
}

/// The `for=` of all elements of all `Forwarded` lines, right to left. An element without exactly one is `None`.
pub(super) fn forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    headers.get_all(FORWARDED).iter().rev().flat_map(|line| {
        let mut hops: Vec<_> = match std::str::from_utf8(line.as_bytes()) {
            Ok(line) => Quoted { rest: Some(line), separator: b',' }.map(element_address).collect(),
            Err(_) => vec![None],
        };
        hops.reverse();
        hops
    })
}

/// The address that an element's `for` names.
fn element_address(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in (Quoted { rest: Some(element), separator: b';' }) {
        let Some((name, value)) = pair.split_once('=') else { continue };
        if name.trim().eq_ignore_ascii_case("for") && found.replace(value.trim()).is_some() {
            return None;
        }
    }
    let node = found?;
    hop_address(node.strip_prefix('"').map_or(Some(node), |quoted| quoted.strip_suffix('"'))?)
}

/// `1.2.3.4`, `1.2.3.4:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`. Zone ids are no part of an address.
fn hop_address(hop: &str) -> Option<IpAddr> {
    if let Some(rest) = hop.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        return if is_port(port) { Some(IpAddr::V6(address.parse::<Ipv6Addr>().ok()?).to_canonical()) } else { None };
    }
    if let Ok(address) = hop.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (address, port) = hop.split_at(hop.find(':')?);
    if is_port(port) { Some(IpAddr::V4(address.parse::<Ipv4Addr>().ok()?)) } else { None }
}

/// Whether `text` is nothing, or a colon and a port or an obfuscated one (RFC 7239 §6).
fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    match port.strip_prefix('_') {
        Some(hidden) => !hidden.is_empty() && hidden.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)),
        None => (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// Splits at a separator outside quotes. A quote that is never closed takes all that follows.
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
