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

/// Whether a byte may be part of a token (RFC 9110 §5.6.2).
#[inline]
pub(crate) const fn is_token(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
    ) || byte.is_ascii_alphanumeric()
}

/// Whether a byte may be part of a field's value (RFC 9110 §5.5). Bytes from 0x80 on are obs-text.
#[inline]
pub(super) const fn is_text(byte: u8) -> bool {
    // CR, LF, NUL and DEL are excluded; of the controls only HTAB is allowed.
    byte >= 0x20 && byte != 0x7f || byte == b'\t'
}
