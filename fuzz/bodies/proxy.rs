//! What holds for any bytes that a sender of PROXY headers begins with: their reading does not depend on how they
//! arrive, and what is read can be written again.

use pointsman::proxy::proxy_header::{Header, V2_BYTES_MAX, read};
use pointsman::route::ProxyProtocol;

/// Any bytes: a header, and what follows it.
pub fn any(bytes: &[u8]) {
    let whole = read(bytes);
    match whole {
        Header::Complete(length, ends) => {
            assert!(length <= bytes.len().min(V2_BYTES_MAX), "a header ends within what arrived");
            assert_eq!(read(&bytes[..length]), whole, "what follows a header does not change it");
            for end in 0..length {
                assert_eq!(read(&bytes[..end]), Header::Partial, "a header may arrive in any pieces");
            }
            if let Some(ends) = ends {
                let again = ends.header(ProxyProtocol::V2);
                assert_eq!(read(&again), Header::Complete(again.len(), Some(ends)));
            }
        }
        Header::Partial => assert!(bytes.len() < V2_BYTES_MAX, "a header has a bound"),
        Header::Missing | Header::Malformed => {
            assert_eq!(read(&[bytes, b"\r\n"].concat()), whole, "what is refused stays refused");
        }
    }
}
