//! The syntax of path patterns, and help for invalid ones.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::route::{EncodedSlash, normal_path};

/// Whether a byte is allowed in a path without percent-encoding.
const fn is_path_byte(b: u8) -> bool {
    b > b' '
        && b < 0x7f
        && !matches!(b, b'#' | b'?' | b'*' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
}

/// Whether a text is a path in the form in which paths are matched and forwarded: absolute, legal bytes only,
/// normalized.
pub(in crate::config) fn is_plain_path(path: &str) -> bool {
    let normal = normal_path(path, EncodedSlash::Keep);
    path.starts_with('/') && path.bytes().all(is_path_byte) && normal.is_ok_and(|normal| *normal == *path)
}

/// Whether a text is a path pattern: `/x` or `/x/*`.
pub(in crate::config) fn is_path(text: &str) -> bool {
    is_plain_path(plain(text).0)
}

/// The path of a pattern without `/*`, and whether the pattern is a prefix.
pub(in crate::config) fn plain(text: &str) -> (&str, bool) {
    match text.strip_suffix("/*") {
        Some("") => ("/", true),
        Some(path) => (path, true),
        None => (text, false),
    }
}

/// The message and the help for an invalid pattern `text`, which is `path` followed by `rest` (empty, or `/*`).
pub(in crate::config) fn not_plain(text: &str, path: &str, rest: &str) -> (String, String) {
    debug_assert_eq!(text.strip_suffix(rest), Some(path), "a pattern is a path and its rest");
    let message = format!("`{text}` is not a path that a request can have");
    let simple = "write `/x` for exactly this path, or `/x/*` for all paths below it".to_owned();
    if text.is_empty() {
        return (message, simple);
    }
    if text.starts_with(['~', '^']) {
        return (message, "a regex is written `{ regex = \"…\" }` and must match the whole path".to_owned());
    }
    if !path.starts_with('/') {
        let message = format!("`{text}` does not begin with `/`");
        let better = format!("/{path}");
        let help = if text == "*" {
            "write `/*` for every path".to_owned()
        } else if is_plain_path(&better) {
            format!("write `{better}{rest}`")
        } else {
            simple
        };
        return (message, help);
    }
    if path.contains('*') {
        let help = "`*` is allowed at the end only, as in `/x/*`; for other patterns, write `{ regex = \"…\" }`";
        return (message, help.to_owned());
    }
    if path.contains(['?', '#']) {
        return (message, "a path has no query: a route matches it with `query = { … }`".to_owned());
    }
    if let Some(escape) = bad_escape(path) {
        let message = format!("`{escape}` in `{text}` is not a valid escape");
        return (message, "an escape is `%` and two hexadecimal digits; a literal percent sign is `%25`".to_owned());
    }
    if let Some(bad) = path.chars().find(|c| !u8::try_from(*c).is_ok_and(is_path_byte)) {
        let encoded = percent_encoded(path);
        let encoded = normal_path(&encoded, EncodedSlash::Keep).map_or_else(|_| encoded.clone(), Cow::into_owned);
        let message = format!("`{text}` contains `{}`, which must be percent-encoded", bad.escape_debug());
        return (message, format!("write `{encoded}{rest}`"));
    }
    let help = match normal_path(path, EncodedSlash::Keep) {
        Ok(normal) if is_plain_path(&normal) => format!("paths are matched in normal form: write `{normal}{rest}`"),
        Ok(_) | Err(_) => simple,
    };
    (message, help)
}

/// The first `%` without two hexadecimal digits, with the two characters after it.
fn bad_escape(path: &str) -> Option<&str> {
    let is_hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_hexdigit());
    path.match_indices('%').map(|(at, _)| &path[at..]).find_map(|rest| {
        let mut digits = rest.bytes().skip(1);
        let end = rest.char_indices().nth(3).map_or(rest.len(), |(end, _)| end);
        (!is_hex(digits.next()) || !is_hex(digits.next())).then(|| &rest[..end])
    })
}

/// Percent-encodes the bytes that are not allowed in a path.
fn percent_encoded(path: &str) -> String {
    path.bytes().fold(String::new(), |mut out, b| {
        if is_path_byte(b) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}"); // writing to memory cannot fail
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_fits_the_mistake() {
        for (text, message, help) in [
            ("api/*", "does not begin with `/`", "write `/api/*`"),
            ("api", "does not begin with `/`", "write `/api`"),
            ("*", "does not begin with `/`", "write `/*` for every path"),
            ("*/x", "does not begin with `/`", "write `/x` for exactly this path, or `/x/*` for all paths below it"),
            ("/a*", "is not a path", "`*` is allowed at the end only, as in `/x/*`"),
            ("/\u{e4}/*", "contains `\u{e4}`", "write `/%C3%A4/*`"),
            ("/\u{e4}%c3/x", "contains `\u{e4}`", "write `/%C3%A4%C3/x`"),
            ("/a b", "contains ` `", "write `/a%20b`"),
            ("/%zz/*", "`%zz` in `/%zz/*` is not a valid escape", "`%25`"),
            ("/100%", "`%` in `/100%` is not a valid escape", "`%25`"),
            ("/%4", "`%4` in `/%4` is not a valid escape", "`%25`"),
            ("/%\u{e4}x", "`%\u{e4}x` in", "`%25`"),
            ("/a?b=1", "is not a path", "a path has no query"),
            ("/a/../b/*", "is not a path", "normal form: write `/b/*`"),
            ("~ ^/x", "is not a path", "a regex is written `{ regex"),
            ("", "is not a path", "write `/x`"),
        ] {
            let (path, rest) = text.strip_suffix("/*").map_or((text, ""), |path| (path, "/*"));
            assert!(!is_plain_path(path), "{text}");
            let (why, how) = not_plain(text, path, rest);
            assert!(why.contains(message) && how.contains(help), "{text}: {why}: {how}");
        }
    }
}
