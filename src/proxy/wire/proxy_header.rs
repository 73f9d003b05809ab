//! The PROXY protocol (`proxy-protocol.txt` by Willy Tarreau, versions 1 and 2): a header with the client's address, in
//! front of the client's first byte. The proxy reads it from listed senders, and writes it to upstreams that are
//! configured so.
//!
//! The parser is strict and refuses a malformed header, since the end of such a header is unknown. A header without
//! addresses (`UNKNOWN`, `LOCAL`, an unspecified family) is skipped to its end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::route::ProxyProtocol;

/// The first bytes of version 2 (§2.2).
pub const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const V2_FIXED_BYTES: usize = 16;
/// The first bytes of version 1 (§2.1).
const V1_BEGINNING: &[u8; 6] = b"PROXY ";
/// The longest header of version 1, CR LF included (§2.1).
pub const V1_BYTES_MAX: usize = 107;
/// The longest header of version 2 that is accepted, TLVs included. The protocol allows 65 551 bytes; known senders
/// stay far below this.
pub const V2_BYTES_MAX: usize = 4096;

/// The addresses in a PROXY header. An IPv4-mapped IPv6 address is converted to its IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyAddresses {
    /// The client's address.
    pub source: SocketAddr,
    /// The address to which the client connected.
    pub destination: SocketAddr,
}

/// The result of parsing the first bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// All bytes so far belong to a header, and more must follow.
    Partial,
    /// The header's length and its addresses. `LOCAL`, `UNKNOWN` and an unspecified family have none.
    Complete(usize, Option<ProxyAddresses>),
    /// The connection does not begin with a header.
    Missing,
    /// The header is malformed.
    Malformed,
}

/// Whether a connection begins with a header of either version, complete or not.
#[must_use]
pub fn has_header(bytes: &[u8]) -> bool {
    bytes.starts_with(V1_BEGINNING) || bytes.starts_with(SIGNATURE)
}

/// Parses the header at the beginning of a connection.
#[must_use]
pub fn parse(bytes: &[u8]) -> ProxyHeader {
    // Compares only the bytes that have arrived: a part of the signature is `Partial`, not `Missing`.
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    if begins(SIGNATURE) {
        read_v2(bytes)
    } else if begins(V1_BEGINNING) {
        read_v1(bytes)
    } else {
        ProxyHeader::Missing
    }
}

fn read_v1(bytes: &[u8]) -> ProxyHeader {
    let Some(feed) = memchr::memchr(b'\n', bytes) else {
        // Only an LF may follow a CR. Without it, the CR must be the last byte so far.
        let stray_cr = memchr::memchr(b'\r', bytes).is_some_and(|at| at + 1 < bytes.len());
        return if stray_cr || bytes.len() >= V1_BYTES_MAX { ProxyHeader::Malformed } else { ProxyHeader::Partial };
    };
    let length = feed + 1;
    let Some(line) = bytes[..feed].strip_suffix(b"\r") else { return ProxyHeader::Malformed };
    if length > V1_BYTES_MAX || memchr::memchr(b'\r', line).is_some() {
        return ProxyHeader::Malformed;
    }
    let rest = line.strip_prefix(V1_BEGINNING).unwrap_or_default();
    if rest == b"UNKNOWN" || rest.starts_with(b"UNKNOWN ") {
        return ProxyHeader::Complete(length, None);
    }
    match std::str::from_utf8(rest).ok().and_then(addresses_v1) {
        Some(addresses) => ProxyHeader::Complete(length, Some(addresses)),
        None => ProxyHeader::Malformed,
    }
}

/// `TCP4 192.0.2.1 192.0.2.2 4711 443`, with one space between words.
fn addresses_v1(text: &str) -> Option<ProxyAddresses> {
    let mut words = text.split(' ');
    let family = words.next()?;
    let mut address = || {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, destination) = (address()?, address()?);
    let source = SocketAddr::new(source, port(words.next()?)?);
    let destination = SocketAddr::new(destination, port(words.next()?)?);
    words.next().is_none().then(|| ProxyAddresses::new(source, destination))
}

/// Decimal digits without leading zeros.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|b| b.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if plain { word.parse().ok() } else { None }
}

fn read_v2(bytes: &[u8]) -> ProxyHeader {
    // The command is checked as soon as it arrives: after a wrong one, no more bytes are awaited.
    let (Some(&command), Some(&family)) = (bytes.get(12), bytes.get(13)) else {
        return if bytes.get(12).is_none_or(|command| matches!(command, 0x20 | 0x21)) {
            ProxyHeader::Partial
        } else {
            ProxyHeader::Malformed
        };
    };
    // Version 2 in the upper half; below it `LOCAL` or `PROXY`.
    let is_proxied = match command {
        0x20 => false,
        0x21 => true,
        _ => return ProxyHeader::Malformed,
    };
    // Bytes of the address block: unspecified, IPv4, IPv6, Unix; over streams or datagrams (§2.2).
    let addresses = match family {
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        // The family of `LOCAL` is ignored (§2.2).
        _ if !is_proxied => 0,
        _ => return ProxyHeader::Malformed,
    };
    let (Some(&high), Some(&low)) = (bytes.get(14), bytes.get(15)) else { return ProxyHeader::Partial };
    let length = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    // Checked before the rest arrives: a sender cannot make the proxy buffer 64 KiB.
    if length > V2_BYTES_MAX || (is_proxied && length < V2_FIXED_BYTES + addresses) {
        return ProxyHeader::Malformed;
    }
    let Some(rest) = bytes.get(V2_FIXED_BYTES..length) else { return ProxyHeader::Partial };
    debug_assert!(length <= bytes.len(), "a complete header ends in these bytes");
    if !is_proxied || addresses == 0 {
        return ProxyHeader::Complete(length, None);
    }
    let (block, tlvs) = rest.split_at(addresses);
    // If the TLVs do not fill the length, it may be wrong too, and with it the start of the first request.
    if !are_tlvs(tlvs) {
        return ProxyHeader::Malformed;
    }
    ProxyHeader::Complete(length, addresses_v2(block))
}

/// Whether the bytes are TLVs (type, length, value) up to the end (§2.2.1).
fn are_tlvs(mut rest: &[u8]) -> bool {
    while let [_, high, low, value @ ..] = rest {
        let Some(next) = value.get(usize::from(u16::from_be_bytes([*high, *low]))..) else { return false };
        rest = next;
    }
    rest.is_empty()
}

/// The addresses in an address block. That of Unix sockets has no IP addresses.
fn addresses_v2(block: &[u8]) -> Option<ProxyAddresses> {
    let port = |at: usize| Some(u16::from_be_bytes([*block.get(at)?, *block.get(at + 1)?]));
    match block.len() {
        12 => {
            let ip = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(block.get(at..at + 4)?).ok()?));
            Some(ProxyAddresses::new(SocketAddr::new(ip(0)?, port(8)?), SocketAddr::new(ip(4)?, port(10)?)))
        }
        36 => {
            let ip = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(block.get(at..at + 16)?).ok()?));
            Some(ProxyAddresses::new(SocketAddr::new(ip(0)?, port(32)?), SocketAddr::new(ip(16)?, port(34)?)))
        }
        _ => None,
    }
}

impl ProxyAddresses {
    fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        // `::ffff:192.0.2.1` is the client `192.0.2.1`: rules about addresses must see one form.
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { source: canonical(source), destination: canonical(destination) }
    }

    /// The header with these addresses.
    #[must_use]
    pub fn header(&self, version: ProxyProtocol) -> Vec<u8> {
        match version {
            ProxyProtocol::V1 => self.header_v1(),
            ProxyProtocol::V2 => self.header_v2(),
        }
    }

    fn header_v1(&self) -> Vec<u8> {
        let (source, destination) = (self.source, self.destination);
        let family = match (source, destination) {
            (SocketAddr::V4(_), SocketAddr::V4(_)) => "TCP4",
            (SocketAddr::V6(_), SocketAddr::V6(_)) => "TCP6",
            // Version 1 cannot state addresses of two families.
            (SocketAddr::V4(_), SocketAddr::V6(_)) | (SocketAddr::V6(_), SocketAddr::V4(_)) => {
                return b"PROXY UNKNOWN\r\n".to_vec();
            }
        };
        let (source_ip, destination_ip) = (source.ip(), destination.ip());
        let line = format!("PROXY {family} {source_ip} {destination_ip} {} {}\r\n", source.port(), destination.port());
        debug_assert!(line.len() <= V1_BYTES_MAX, "the longest header of version 1 (§2.1)");
        line.into_bytes()
    }

    fn header_v2(&self) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        if let (IpAddr::V4(source), IpAddr::V4(destination)) = (self.source.ip(), self.destination.ip()) {
            // Version 2 with `PROXY`, TCP over IPv4, 12 bytes of addresses and ports.
            header.extend([0x21, 0x11, 0, 12]);
            header.extend(source.octets());
            header.extend(destination.octets());
        } else {
            let mapped = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            // TCP over IPv6, 36 bytes. An IPv4 address beside an IPv6 one takes its mapped form.
            header.extend([0x21, 0x21, 0, 36]);
            header.extend(mapped(self.source.ip()));
            header.extend(mapped(self.destination.ip()));
        }
        header.extend(self.source.port().to_be_bytes());
        header.extend(self.destination.port().to_be_bytes());
        debug_assert!(matches!(header.len(), 28 | 52), "the fixed part and one address block");
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(client: &str, local: &str) -> ProxyAddresses {
        ProxyAddresses { source: client.parse().unwrap(), destination: local.parse().unwrap() }
    }

    /// A header of version 2 with this command, family and content.
    fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, content].concat()
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: ProxyHeader) {
        assert_eq!(parse(bytes), expected, "{}", bytes.escape_ascii());
        let ProxyHeader::Complete(length, _) = expected else { return };
        assert_eq!(
            parse(&[bytes, b"GET / HTTP/1.1\r\n\r\n"].concat()),
            expected,
            "the bytes after a header do not matter"
        );
        for end in 0..length {
            assert_eq!(parse(&bytes[..end]), ProxyHeader::Partial, "{end} bytes of {}", bytes.escape_ascii());
        }
    }

    #[test]
    fn version_1() {
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n", Some(addresses("192.0.2.1:4711", "198.51.100.2:443"))),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                Some(addresses("255.255.255.255:65535", "255.255.255.255:65535")),
            ),
            ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Some(addresses("0.0.0.0:0", "0.0.0.0:0"))),
            ("PROXY TCP6 2001:db8::1 ::1 4711 443\r\n", Some(addresses("[2001:db8::1]:4711", "[::1]:443"))),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n", Some(addresses("192.0.2.1:1", "192.0.2.2:2"))),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff:f...f:ffff whatever \x01 65535 65535\r\n", None),
        ] {
            check(line.as_bytes(), ProxyHeader::Complete(line.len(), expected));
        }
        let longest = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        assert_eq!(longest.len(), V1_BYTES_MAX);
        check(longest.as_bytes(), ProxyHeader::Complete(V1_BYTES_MAX, None));
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\rG",
            "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 4711 443 \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 4711\r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.2 4711 443\r\n",
            "PROXY TCP4 192.0.2.1\t198.51.100.2 4711 443\r\n",
            "PROXY TCP4 192.0.2.01 198.51.100.2 4711 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 04711 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +4711 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 4711 65536\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2  443\r\n",
            "PROXY TCP4 2001:db8::1 ::1 4711 443\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 4711 443\r\n",
            "PROXY TCP6 [::1] [::1] 4711 443\r\n",
            "PROXY TCP6 fe80::1%lo ::1 4711 443\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.2 4711 443\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY \r\n",
            "PROXY unknown\r\n",
        ] {
            check(line.as_bytes(), ProxyHeader::Malformed);
        }
        check(&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 92], b"\r\n"].concat(), ProxyHeader::Malformed);
        check(&[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 93]].concat(), ProxyHeader::Malformed);
    }

    #[test]
    fn version_2() {
        let four = [192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x67, 1, 0xbb];
        let expected = Some(addresses("192.0.2.1:4711", "198.51.100.2:443"));
        let mut six = [0; 36];
        six[15] = 1;
        six[31] = 2;
        six[33] = 80;
        six[35] = 81;
        let with = |tlvs: &[u8]| [&four[..], tlvs].concat();
        for (command, family, content, expected) in [
            (0x21, 0x11, four.to_vec(), expected),
            (0x21, 0x12, four.to_vec(), expected),
            (0x21, 0x11, with(&[4, 0, 0]), expected),
            (0x21, 0x11, with(&[3, 0, 4, 1, 2, 3, 4, 0xee, 0, 1, 9]), expected),
            (0x21, 0x21, six.to_vec(), Some(addresses("[::1]:80", "[::2]:81"))),
            (0x21, 0x31, vec![b'/'; 216], None),
            (0x21, 0x00, b"anything".to_vec(), None),
            (0x20, 0x00, Vec::new(), None),
            (0x20, 0x11, four.to_vec(), None),
            (0x20, 0x11, Vec::new(), None),
            (0x20, 0x77, b"anything".to_vec(), None),
            (0x20, 0x00, vec![0; V2_BYTES_MAX - V2_FIXED_BYTES], None),
        ] {
            let bytes = v2(command, family, &content);
            check(&bytes, ProxyHeader::Complete(bytes.len(), expected));
        }
        for (command, family, content) in [
            (0x11, 0x11, four.to_vec()),
            (0x22, 0x11, four.to_vec()),
            (0x2f, 0x11, four.to_vec()),
            (0x31, 0x11, four.to_vec()),
            (0x21, 0x10, four.to_vec()),
            (0x21, 0x13, four.to_vec()),
            (0x21, 0x41, four.to_vec()),
            (0x21, 0x11, four[..11].to_vec()),
            (0x21, 0x11, Vec::new()),
            (0x21, 0x21, six[..35].to_vec()),
            (0x21, 0x31, vec![0; 215]),
            (0x21, 0x32, vec![1; 217]),
            (0x21, 0x11, with(&[4])),
            (0x21, 0x11, with(&[4, 0])),
            (0x21, 0x11, with(&[4, 0, 1])),
            (0x21, 0x11, with(&[4, 0xff, 0xff, 1])),
            (0x20, 0x00, vec![0; V2_BYTES_MAX - V2_FIXED_BYTES + 1]),
        ] {
            check(&v2(command, family, &content), ProxyHeader::Malformed);
        }
    }

    #[test]
    fn other_bytes_are_no_header() {
        for bytes in [
            "GET / HTTP/1.1\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "PROXYTCP4",
            "proxy TCP4",
            "\r\n\r\n\0\r\nQUIZ",
            "\n",
            "\x16\x03\x01",
        ] {
            check(bytes.as_bytes(), ProxyHeader::Missing);
        }
        for bytes in ["", "P", "PR", "PROXY", "\r", "\r\n\r\n"] {
            check(bytes.as_bytes(), ProxyHeader::Partial);
        }
        // An invalid command is refused before the rest arrives.
        check(&[&SIGNATURE[..], &[0x01]].concat(), ProxyHeader::Malformed);
    }

    #[test]
    fn a_written_header_parses_to_the_same_addresses() {
        for (client, local) in [("192.0.2.1:4711", "198.51.100.2:443"), ("[2001:db8::1]:1", "[::1]:65535")] {
            let addresses = addresses(client, local);
            for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
                let header = addresses.header(version);
                check(&header, ProxyHeader::Complete(header.len(), Some(addresses)));
            }
        }
        let mixed = addresses("192.0.2.1:4711", "[::1]:443");
        assert_eq!(parse(&mixed.header(ProxyProtocol::V1)), ProxyHeader::Complete(15, None));
        assert_eq!(parse(&mixed.header(ProxyProtocol::V2)), ProxyHeader::Complete(52, Some(mixed)));
    }

    proptest::proptest! {
        #[test]
        fn any_addresses_survive_any_pieces(
            source: (IpAddr, u16),
            destination: (IpAddr, u16),
            version: bool,
            tail: Vec<u8>,
        ) {
            let addresses = ProxyAddresses::new(SocketAddr::from(source), SocketAddr::from(destination));
            let header = addresses.header(if version { ProxyProtocol::V1 } else { ProxyProtocol::V2 });
            let one_family = addresses.source.is_ipv4() == addresses.destination.is_ipv4();
            let expected = (one_family || !version).then_some(addresses);
            let whole = [&header[..], &tail].concat();
            proptest::prop_assert_eq!(parse(&whole), ProxyHeader::Complete(header.len(), expected));
            for end in 0..header.len() {
                proptest::prop_assert_eq!(parse(&whole[..end]), ProxyHeader::Partial);
            }
        }

        #[test]
        fn no_bytes_panic(beginning in 0..3_usize, bytes: Vec<u8>) {
            let beginning: &[u8] = [b"", &V1_BEGINNING[..], SIGNATURE][beginning];
            let whole = [beginning, &bytes].concat();
            if let ProxyHeader::Complete(length, _) = parse(&whole) {
                proptest::prop_assert!(length <= whole.len());
            }
        }
    }
}
