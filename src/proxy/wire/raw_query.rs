//! Queries with bytes that `http::Uri` rejects: `"`, `<`, `>`, and 8-bit bytes that are not UTF-8. Inside the proxy
//! such a query is percent-encoded; an HTTP/1.1 upstream gets the original bytes.

#[cfg(test)]
use std::ops::Range;

use bytes::BytesMut;

/// The range of the query in a complete request head, if `http::Uri` rejects it.
#[cfg(test)]
pub(crate) fn find(head: &[u8]) -> Option<Range<usize>> {
    let start = if head.starts_with(b"\r\n") { 2 } else { 0 };
    let line = &head[start..start + memchr::memchr(b'\n', &head[start..])?];
    // The scanner has refused blanks in a query, so the last blank ends it.
    let range = memchr::memchr(b'?', line)? + 1..memchr::memrchr(b' ', line)?;
    let query = line.get(range.clone())?;
    (!fits(query)).then(|| start + range.start..start + range.end)
}

/// Whether `http::Uri` accepts these bytes as a query.
pub(crate) fn fits(query: &[u8]) -> bool {
    // Plain ASCII is the common case and needs no check of UTF-8.
    query.iter().all(|b| b.is_ascii() && !is_rejected(*b))
        || (!query.iter().any(|b| is_rejected(*b)) && std::str::from_utf8(query).is_ok())
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
