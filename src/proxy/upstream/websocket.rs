//! The proxy's part in the opening handshake of WebSocket (RFC 6455 §4). HTTP/2 has no keys (RFC 8441 §5): between
//! HTTP/1.1 and HTTP/2 the proxy sends its own key, or computes the accept value itself.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use http::HeaderValue;
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};

use crate::fields::Fields;

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Length of a key: sixteen bytes in base64.
const KEY_BYTES: usize = 24;

/// A new random key.
pub(super) fn new_key() -> HeaderValue {
    base64(uuid::Uuid::new_v4().as_bytes())
}

/// The key of a request, if it has exactly one of the right length.
pub(crate) fn key(fields: &Fields) -> Option<HeaderValue> {
    let mut keys = fields.get_all(&SEC_WEBSOCKET_KEY);
    let key = keys.next().filter(|key| key.len() == KEY_BYTES && keys.next().is_none())?;
    HeaderValue::from_bytes(key).ok()
}

/// The accept value of a key.
pub(crate) fn accept(key: &HeaderValue) -> HeaderValue {
    base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat()).as_ref())
}

/// Whether a response has exactly the accept value of this key.
pub(super) fn is_accepted(key: &HeaderValue, fields: &Fields) -> bool {
    let mut values = fields.get_all(&SEC_WEBSOCKET_ACCEPT);
    values.next().is_some_and(|value| value == accept(key).as_bytes()) && values.next().is_none()
}

fn base64(bytes: &[u8]) -> HeaderValue {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        let digit = |shift: u32| DIGITS[(bits >> shift & 63) as usize];
        let four = [digit(18), digit(12), digit(6), digit(0)];
        text.extend_from_slice(&four[..=three.len()]);
        text.extend_from_slice(&b"=="[..3 - three.len()]);
    }
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let mut headers = Fields::new();
        assert!(!is_accepted(&key, &headers));
        headers.append(&SEC_WEBSOCKET_ACCEPT, &accept(&key));
        assert!(is_accepted(&key, &headers) && !is_accepted(&new_key(), &headers));
        headers.append(&SEC_WEBSOCKET_ACCEPT, &accept(&key));
        assert!(!is_accepted(&key, &headers), "one value, not two");
    }

    #[test]
    fn base_64_of_every_length() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn keys_are_new_and_of_the_right_length() {
        let mut headers = Fields::new();
        assert!(key(&headers).is_none());
        let (one, other) = (new_key(), new_key());
        assert_ne!(one, other);
        headers.append(&SEC_WEBSOCKET_KEY, &one);
        assert_eq!(key(&headers), Some(one));
        headers.append(&SEC_WEBSOCKET_KEY, &other);
        assert!(key(&headers).is_none());
    }
}
