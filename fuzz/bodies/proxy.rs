//! Properties of any bytes at the start of a connection with a PROXY header: the result does not depend on how they are
//! split, and a header that was read can be written again.

use pointsman::proxy::proxy_header::{Header, V2_BYTES_MAX, read};
use pointsman::route::ProxyProtocol;

/// Any bytes: a header, and the bytes after it.
pub fn any(bytes: &[u8]) {
    let whole = read(bytes);
    match whole {
        Header::Complete(length, ends) => {
            assert!(length <= bytes.len().min(V2_BYTES_MAX), "a header ends within the input");
            assert_eq!(read(&bytes[..length]), whole, "the bytes after a header do not change it");
            for end in 0..length {
                assert_eq!(read(&bytes[..end]), Header::Partial, "a part of a header is partial");
            }
            if let Some(ends) = ends {
                let again = ends.header(ProxyProtocol::V2);
                assert_eq!(read(&again), Header::Complete(again.len(), Some(ends)));
            }
        }
        Header::Partial => assert!(bytes.len() < V2_BYTES_MAX, "a header has a maximum length"),
        Header::Missing | Header::Malformed => {
            assert_eq!(read(&[bytes, b"\r\n"].concat()), whole, "more bytes do not change a rejection");
        }
    }
}
