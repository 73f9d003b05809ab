//! The sticky key: the identity that is hashed to a bucket.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

/// The length of the longest address: IPv6 with an embedded IPv4 address.
const ADDRESS_BYTES: usize = 46;

/// A sticky key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// The tenant.
    Tenant(&'a str),
    /// The user.
    User(&'a str),
    /// The client's address, never an IPv4-mapped one.
    ClientIp(IpAddr),
    /// The identity in the route's `sticky_cookie`.
    Cookie(&'a str),
}

impl Key<'_> {
    /// The source, as `routes.toml` names it.
    #[must_use]
    pub const fn source(&self) -> &'static str {
        match self {
            Self::Tenant(_) => "tenant",
            Self::User(_) => "user",
            Self::ClientIp(_) => "client_ip",
            Self::Cookie(_) => "sticky_cookie",
        }
    }

    /// Calls `read` with the text that is hashed. No allocation.
    pub fn with_text<R>(&self, read: impl FnOnce(&str) -> R) -> R {
        match self {
            Self::Tenant(text) | Self::User(text) | Self::Cookie(text) => read(text),
            Self::ClientIp(address) => {
                let mut line = AddressText { bytes: [0; ADDRESS_BYTES], len: 0 };
                let written = match address {
                    IpAddr::V4(address) => {
                        line.dotted(address.octets());
                        Ok(())
                    }
                    IpAddr::V6(address) => write!(line, "{address}"),
                };
                match written {
                    Ok(()) => read(line.text()),
                    Err(fmt::Error) => read(&address.to_string()), // unreachable: no address is longer than the buffer
                }
            }
        }
    }
}

/// The text of an address, on the stack.
struct AddressText {
    bytes: [u8; ADDRESS_BYTES],
    len: usize,
}

impl AddressText {
    /// Writes an IPv4 address. Most requests that are decided by address have one, and `format!` costs more than the
    /// hash.
    fn dotted(&mut self, octets: [u8; 4]) {
        for (octet, place) in octets.into_iter().zip(0..) {
            if place > 0 {
                self.push(b'.');
            }
            if octet >= 100 {
                self.push(b'0' + octet / 100);
            }
            if octet >= 10 {
                self.push(b'0' + octet / 10 % 10);
            }
            self.push(b'0' + octet % 10);
        }
    }

    fn push(&mut self, byte: u8) {
        debug_assert!(self.len < ADDRESS_BYTES, "an IPv4 address has at most 15 bytes");
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or("")
    }
}

impl fmt::Write for AddressText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_in_their_usual_form() {
        for text in ["127.0.0.1", "255.255.255.255", "::1", "2001:db8::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] {
            Key::ClientIp(text.parse().unwrap()).with_text(|read| assert_eq!(read, text));
        }
        for octet in 0..=255 {
            let address = std::net::Ipv4Addr::new(octet, 10, 255 - octet, 0);
            Key::ClientIp(address.into()).with_text(|read| assert_eq!(read, address.to_string()));
        }
        Key::Tenant("acme").with_text(|read| assert_eq!(read, "acme"));
    }
}
