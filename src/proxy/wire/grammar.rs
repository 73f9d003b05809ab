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

/// The length of the longest beginning that may be part of a field's value.
pub(super) fn text_length(bytes: &[u8]) -> usize {
    let mut length = 0;
    // Eight bytes at a time.
    while let Some(word) = bytes[length..].first_chunk::<8>() {
        let Some(at) = first_control(*word) else {
            length += word.len();
            continue;
        };
        if word[at] != b'\t' {
            return length + at;
        }
        length += at + 1;
    }
    length + bytes[length..].iter().take_while(|byte| is_text(**byte)).count()
}

/// The first of eight bytes that is below 0x20 or DEL.
fn first_control(bytes: [u8; 8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let word = u64::from_le_bytes(bytes);
    // The high bit of a byte is set where the byte is one of these. A borrow sets others behind the first one only.
    let below = word.wrapping_sub(ONES * 0x20) & !word;
    let unlike_del = word ^ (ONES * 0x7f);
    let found = (below | (unlike_del.wrapping_sub(ONES) & !unlike_del)) & (ONES * 0x80);
    (found != 0).then(|| (found.trailing_zeros() / 8) as usize)
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
    fn text_ends_at_the_first_other_byte() {
        for length in 0..=20 {
            for at in 0..length {
                for byte in 0..=255_u8 {
                    for around in [b'a', b' ', b'~', b'\t', 0x80, 0xff] {
                        let mut bytes = vec![around; length];
                        bytes[at] = byte;
                        let end = if is_text(byte) { length } else { at };
                        assert_eq!(text_length(&bytes), end, "{bytes:?}");
                        bytes.push(0);
                        bytes.extend_from_slice(b"\0\x7f\x80\x01 ");
                        assert_eq!(text_length(&bytes), end, "{bytes:?}");
                    }
                }
            }
            assert_eq!(text_length(&vec![b'a'; length]), length);
        }
    }
}
