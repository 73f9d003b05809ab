//! Properties of any bytes at the start of a connection with a PROXY header: the result does not depend on how they are
//! split, and a header that was read can be written again.

use pointsman::proxy::proxy_header::{ProxyHeader, V2_BYTES_MAX, parse};
use pointsman::route::ProxyProtocol;

/// Any bytes: a header, and the bytes after it.
pub fn any(bytes: &[u8]) {
    let whole = parse(bytes);
    match whole {
        ProxyHeader::Complete(length, addresses) => {
            assert!(length <= bytes.len().min(V2_BYTES_MAX), "a header ends within the input");
            assert_eq!(parse(&bytes[..length]), whole, "the bytes after a header do not change it");
            for end in 0..length {
                assert_eq!(parse(&bytes[..end]), ProxyHeader::Partial, "a part of a header is partial");
            }
            if let Some(addresses) = addresses {
                let again = addresses.header(ProxyProtocol::V2);
                assert_eq!(parse(&again), ProxyHeader::Complete(again.len(), Some(addresses)));
            }
        }
        ProxyHeader::Partial => assert!(bytes.len() < V2_BYTES_MAX, "a header has a maximum length"),
        ProxyHeader::Missing | ProxyHeader::Malformed => {
            assert_eq!(parse(&[bytes, b"\r\n"].concat()), whole, "more bytes do not change a rejection");
        }
    }
}
