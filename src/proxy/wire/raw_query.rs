//! Queries with bytes that `http::Uri` rejects: `"`, `<`, `>`, and 8-bit bytes that are not UTF-8. Inside the proxy
//! such a query is percent-encoded; an HTTP/1.1 upstream gets the original bytes.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// The longest target that `http::Uri` accepts.
const TARGET_BYTES_MAX: usize = u16::MAX as usize - 1;

/// A query with its original bytes: an extension of its request.
#[derive(Clone, Debug)]
pub(crate) struct RawQuery(pub(crate) Bytes);

/// The range of the query in a complete request head, if `http::Uri` rejects it.
pub(crate) fn find(head: &[u8]) -> Option<Range<usize>> {
    let start = if head.starts_with(b"\r\n") { 2 } else { 0 };
    let line = &head[start..start + memchr::memchr(b'\n', &head[start..])?];
    // The scanner has refused blanks in a query, so the last blank ends it.
    let range = memchr::memchr(b'?', line)? + 1..memchr::memrchr(b' ', line)?;
    let query = line.get(range.clone())?;
    // Plain ASCII is the common case and needs no check of UTF-8.
    let fits = query.iter().all(|b| b.is_ascii() && !is_rejected(*b))
        || (!query.iter().any(|b| is_rejected(*b)) && std::str::from_utf8(query).is_ok());
    (!fits).then(|| start + range.start..start + range.end)
}

/// Whether `http::Uri` rejects this ASCII byte in a query. The scanner accepts it.
fn is_rejected(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>')
}

/// Appends a query, with the bytes that `http::Uri` rejects percent-encoded.
pub(crate) fn escape(query: &[u8], out: &mut BytesMut) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in query {
        if byte.is_ascii() && !is_rejected(*byte) {
            out.extend_from_slice(&[*byte]);
        } else {
            out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

/// The bytes that hyper reads instead of the received ones, where queries are escaped.
#[derive(Default)]
pub(crate) struct Rewritten {
    pub(crate) bytes: BytesMut,
    /// The received bytes before this index are in `bytes`.
    pub(crate) upto: usize,
    pub(crate) query: Option<RawQuery>,
}

impl Rewritten {
    /// Escapes the query in this range; its head begins at `head`. Returns whether hyper accepts the escaped target.
    pub(crate) fn escape(&mut self, bytes: &[u8], head: usize, query: Range<usize>) -> bool {
        debug_assert!(head <= query.start && query.end <= bytes.len(), "the query lies in its head");
        debug_assert!(self.upto <= query.start, "heads are rewritten in their order");
        let mut escaped = BytesMut::new();
        self::escape(&bytes[query.clone()], &mut escaped);
        // An escaped byte is three bytes: the target may have grown beyond the limit.
        if query.start - head + escaped.len() > TARGET_BYTES_MAX {
            return false;
        }
        self.bytes.extend_from_slice(&bytes[self.upto..query.start]);
        self.bytes.unsplit(escaped);
        self.query = Some(RawQuery(Bytes::copy_from_slice(&bytes[query.clone()])));
        self.upto = query.end;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &[u8], escaped: Option<&str>) {
        let found = find(head).map(|range| {
            let mut out = BytesMut::new();
            escape(&head[range], &mut out);
            String::from_utf8(out.to_vec()).unwrap()
        });
        assert_eq!(found.as_deref(), escaped, "{:?}", String::from_utf8_lossy(head));
    }

    #[test]
    fn only_bytes_that_a_uri_rejects_are_escaped() {
        check(b"GET /a HTTP/1.1\r\nx: ?\"\r\n\r\n", None);
        check(b"GET /a?b=c|^{}`\\%zz HTTP/1.1\r\nHost: a\r\n\r\n", None);
        check("GET /a?\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n".as_bytes(), None);
        check(b"GET /a?b=\"<c>\" HTTP/1.1\r\nHost: a\r\n\r\n", Some("b=%22%3Cc%3E%22"));
        check(b"\r\nGET /a?\xe4?x HTTP/1.0\r\n\r\n", Some("%E4?x"));
        check("GET http://a/?\u{e4}\" HTTP/1.1\r\nHost: a\r\n\r\n".as_bytes(), Some("%C3%A4%22"));
    }
}
