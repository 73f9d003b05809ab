//! What holds for any bytes that a sender of PROXY headers begins with: their reading does not depend on how they
//! arrive, and what is read can be written again.

use pointsman::proxy::proxy_header::{ProxyHeader, V2_BYTES_MAX, parse};
use pointsman::route::ProxyProtocol;

/// Any bytes: a header, and what follows it.
pub fn any(bytes: &[u8]) {
    let whole = parse(bytes);
    match whole {
        ProxyHeader::Complete(length, addresses) => {
            assert!(length <= bytes.len().min(V2_BYTES_MAX), "a header addresses within what arrived");
            assert_eq!(parse(&bytes[..length]), whole, "what follows a header does not change it");
            for end in 0..length {
                assert_eq!(parse(&bytes[..end]), ProxyHeader::Partial, "a header may arrive in any pieces");
            }
            if let Some(addresses) = addresses {
                let again = addresses.header(ProxyProtocol::V2);
                assert_eq!(parse(&again), ProxyHeader::Complete(again.len(), Some(addresses)));
            }
        }
        ProxyHeader::Partial => assert!(bytes.len() < V2_BYTES_MAX, "a header has a bound"),
        ProxyHeader::Missing | ProxyHeader::Malformed => {
            assert_eq!(parse(&[bytes, b"\r\n"].concat()), whole, "what is refused stays refused");
        }
    }
}
