//! Cookies of a request: all `Cookie` lines, `; `-separated, the first of a name wins, quotes stripped (RFC 6265 §5.4).

use crate::fields::Fields;

/// The field.
const COOKIE: &str = "cookie";

/// The value of the first cookie called `name`, as bytes: a value need not be UTF-8.
pub(in crate::route) fn cookie_bytes<'a>(fields: &'a Fields, name: &str) -> Option<&'a [u8]> {
    fields.get_all(COOKIE).find_map(|line| value_in(line, name.as_bytes()))
}

/// The value of the first cookie called `name`; `None` if it is missing, empty or not UTF-8.
#[must_use]
pub fn cookie<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    let value = std::str::from_utf8(cookie_bytes(fields, name)?).ok()?;
    (!value.is_empty()).then_some(value)
}

/// The value of the first pair of one line with this name. A piece without `=` is ignored. The name is a token.
fn value_in<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    debug_assert!(!name.iter().any(|byte| matches!(byte, b'=' | b';' | b' ')), "a token");
    let mut rest = line;
    loop {
        // Only the start of a piece is compared: most pieces differ in their first byte.
        let piece = rest.trim_ascii_start();
        if let Some(after) = piece.strip_prefix(name)
            && let Some(value) = after.trim_ascii_start().strip_prefix(b"=")
        {
            let end = memchr::memchr(b';', value).unwrap_or(value.len());
            return Some(unquote(value[..end].trim_ascii()));
        }
        rest = &piece[memchr::memchr(b';', piece)? + 1..];
    }
}

/// The value without a pair of quotes around it.
fn unquote(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::COOKIE;

    use proptest::prelude::*;

    use super::{Fields, cookie, cookie_bytes, unquote, value_in};

    /// [`value_in`] piece by piece.
    fn plain<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
        line.split(|&b| b == b';').find_map(|piece| {
            let equals = piece.iter().position(|&b| b == b'=')?;
            (piece[..equals].trim_ascii() == name).then(|| unquote(piece[equals + 1..].trim_ascii()))
        })
    }

    proptest! {
        #[test]
        fn a_pair_is_found_as_piece_by_piece(line in "([ab]{0,3}|[ab =;\"\t]){0,12}", name in "[ab]{0,2}") {
            prop_assert_eq!(value_in(line.as_bytes(), name.as_bytes()), plain(line.as_bytes(), name.as_bytes()));
        }
    }

    #[test]
    fn the_first_of_a_name_wins_over_all_lines() {
        let mut fields = Fields::new();
        fields.append(&COOKIE, &HeaderValue::from_static("a=1; b=\"two\"; c=;junk; d = 4 "));
        fields.append(&COOKIE, &HeaderValue::from_static("e=5; a=6; q=a=b; \""));
        fields.append(&COOKIE, &HeaderValue::from_bytes(b"raw=\xff\xfe; after=yes").unwrap());
        for (name, value) in [
            ("a", Some("1")),
            ("b", Some("two")),
            ("c", None),
            ("d", Some("4")),
            ("e", Some("5")),
            ("q", Some("a=b")),
            ("raw", None),
            ("after", Some("yes")),
            ("junk", None),
            ("A", None),
        ] {
            assert_eq!(cookie(&fields, name), value, "{name}");
        }
        assert_eq!(cookie_bytes(&fields, "raw"), Some(&b"\xff\xfe"[..]));
        assert_eq!(cookie_bytes(&fields, "c"), Some(&b""[..]));
    }
}
