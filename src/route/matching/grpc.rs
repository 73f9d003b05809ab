//! Detects gRPC requests by `Content-Type` (gRPC over HTTP/2, "Requests").

use crate::fields::Fields;

const MEDIA_TYPE: &[u8] = b"application/grpc";

/// Whether the head belongs to a gRPC request: `application/grpc`, with or without a suffix such as `+proto`. For a
/// proxy, `grpc-web` is plain HTTP.
#[must_use]
pub fn is_grpc(fields: &Fields) -> bool {
    fields.get("content-type").is_some_and(is_grpc_type)
}

/// Whether a `Content-Type` is gRPC's.
#[must_use]
pub fn is_grpc_type(value: &[u8]) -> bool {
    let Some((kind, rest)) = value.split_at_checked(MEDIA_TYPE.len()) else { return false };
    kind.eq_ignore_ascii_case(MEDIA_TYPE) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_decides() {
        for text in ["application/grpc", "application/grpc+proto", "Application/gRPC+json", "application/grpc;x=y"] {
            assert!(is_grpc_type(text.as_bytes()), "{text}");
        }
        for text in ["application/grpc-web", "application/grpc-web+proto", "application/grp", "", "text/plain"] {
            assert!(!is_grpc_type(text.as_bytes()), "{text}");
        }
        assert!(!is_grpc(&Fields::new()));
    }
}
