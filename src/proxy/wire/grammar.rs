//! Shared by the scanners of HTTP/1.1: classes of bytes, bounds, and the progress of a body.

/// Limits on a head and a chunked body.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of the field section (names, values and their line overhead).
    pub header_bytes: usize,
    /// Fields.
    pub headers: usize,
    /// Bytes of the request target.
    pub uri_bytes: usize,
    /// Bytes of chunk extensions in one body.
    pub chunk_extension_bytes: usize,
    /// Trailer fields in one body.
    pub trailers: usize,
}

/// Whether a body has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyProgress {
    /// More bytes belong to it.
    More,
    /// The last byte was the body's end.
    Ended,
}

/// The bytes of tokens, one entry a value.
const TOKEN: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0_u8);
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        byte += 1;
    }
    table
};

/// Whether a byte may be part of a token (RFC 9110 §5.6.2).
#[inline]
pub(crate) const fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// The length of the token that `bytes` begin with; 0 if there is none.
#[inline]
pub(super) fn token_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !is_token(*byte)).unwrap_or(bytes.len())
}

/// Whether a byte may be part of a field's value (RFC 9110 §5.5). Bytes from 0x80 on are obs-text.
#[inline]
pub(super) const fn is_text(byte: u8) -> bool {
    // CR, LF, NUL and DEL are excluded; of the controls only HTAB is allowed.
    byte >= 0x20 && byte != 0x7f || byte == b'\t'
}

/// Whether all bytes may be part of a field's value. It visits all of them, so that many are compared at once.
#[inline]
pub(super) fn is_all_text(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |valid, byte| valid & is_text(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_letters_digits_and_some_marks() {
        let tokens: Vec<u8> = (0..=u8::MAX).filter(|byte| is_token(*byte)).collect();
        let mut expected: Vec<u8> = b"!#$%&'*+-.^_`|~".to_vec();
        expected.extend((b'0'..=b'9').chain(b'A'..=b'Z').chain(b'a'..=b'z'));
        expected.sort_unstable();
        assert_eq!(tokens, expected);
        for (bytes, length) in [(&b""[..], 0), (b" a", 0), (b"Host: a", 4), (b"host", 4), (b"a\xff", 1)] {
            assert_eq!(token_length(bytes), length, "{bytes:?}");
        }
    }

    #[test]
    fn one_control_anywhere_is_no_text() {
        for length in 0..70 {
            let mut value = vec![b'a'; length];
            assert!(is_all_text(&value));
            for at in 0..length {
                for byte in [0, b'\r', b'\n', 0x1f, 0x7f] {
                    value[at] = byte;
                    assert!(!is_all_text(&value), "{byte} at {at} of {length}");
                }
                for byte in [b'\t', b' ', b'~', 0x80, 0xff] {
                    value[at] = byte;
                    assert!(is_all_text(&value), "{byte} at {at} of {length}");
                }
            }
        }
    }
}
