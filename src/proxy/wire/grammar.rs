//! What the scanners of HTTP/1.1 have in common: classes of bytes, bounds, and how far a body has come.

/// Bounds of a head and a chunked body.
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
    /// That was its last byte.
    Ended,
}

/// RFC 9110 §5.6.2.
#[inline]
pub(crate) const fn is_token(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
    ) || byte.is_ascii_alphanumeric()
}

/// RFC 9110 §5.5: what a field's value may hold.
#[inline]
pub(super) const fn is_text(byte: u8) -> bool {
    byte >= 0x20 && byte != 0x7f || byte == b'\t'
}
