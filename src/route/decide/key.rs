//! The sticky key: the identity that is hashed into a bucket.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

/// The longest text of an address: IPv6 with an embedded IPv4 address.
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
    /// Where it comes from, as `routes.toml` calls it.
    #[must_use]
    pub const fn place(&self) -> &'static str {
        match self {
            Self::Tenant(_) => "tenant",
            Self::User(_) => "user",
            Self::ClientIp(_) => "client_ip",
            Self::Cookie(_) => "sticky_cookie",
        }
    }

    /// Hands its text to `read`: what is hashed. Allocates nothing.
    pub fn with_text<R>(&self, read: impl FnOnce(&str) -> R) -> R {
        match self {
            Self::Tenant(text) | Self::User(text) | Self::Cookie(text) => read(text),
            Self::ClientIp(address) => {
                let mut line = Line { bytes: [0; ADDRESS_BYTES], len: 0 };
                let written = match address {
                    IpAddr::V4(address) => {
                        line.dotted(address.octets());
                        Ok(())
                    }
                    IpAddr::V6(address) => write!(line, "{address}"),
                };
                match written {
                    Ok(()) => read(line.text()),
                    Err(fmt::Error) => read(&address.to_string()), // no address is that long
                }
            }
        }
    }
}

/// A line on the stack.
struct Line {
    bytes: [u8; ADDRESS_BYTES],
    len: usize,
}

impl Line {
    /// Writes an IPv4 address; most requests that are decided by address come from one, and formatting costs more than
    /// the hash.
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

    /// At most 15 times, so there is room.
    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or("")
    }
}

impl fmt::Write for Line {
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
    fn addresses_read_as_people_write_them() {
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
