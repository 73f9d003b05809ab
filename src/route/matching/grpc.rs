//! What makes a request gRPC (gRPC over HTTP/2, "Requests"): its `Content-Type`.

use http::{HeaderMap, HeaderValue, header};

const MEDIA_TYPE: &[u8] = b"application/grpc";

/// Whether a head is that of a gRPC request: `application/grpc`, with or without `+proto` and the like. `grpc-web` is
/// plain HTTP to a proxy.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(is_grpc_type)
}

/// Whether a `Content-Type` is gRPC's.
#[must_use]
pub fn is_grpc_type(value: &HeaderValue) -> bool {
    let Some((kind, rest)) = value.as_bytes().split_at_checked(MEDIA_TYPE.len()) else { return false };
    kind.eq_ignore_ascii_case(MEDIA_TYPE) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_tells() {
        for text in ["application/grpc", "application/grpc+proto", "Application/gRPC+json", "application/grpc;x=y"] {
            assert!(is_grpc_type(&HeaderValue::from_static(text)), "{text}");
        }
        for text in ["application/grpc-web", "application/grpc-web+proto", "application/grp", "", "text/plain"] {
            assert!(!is_grpc_type(&HeaderValue::from_static(text)), "{text}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
