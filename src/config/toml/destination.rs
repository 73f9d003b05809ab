//! The syntax of redirect targets.

use crate::route::Template;

/// Whether a text is a valid target of a redirect.
pub(in crate::config) fn is_destination(text: &str) -> bool {
    is_one_word(text) && is_absolute(text) && Template::parse(text).is_ok()
}

/// Whether a text is not empty and contains no white space.
pub(in crate::config) fn is_one_word(to: &str) -> bool {
    !to.is_empty() && !to.contains(char::is_whitespace)
}

/// Whether a browser does not resolve the target relative to the current path.
pub(in crate::config) fn is_absolute(to: &str) -> bool {
    to.starts_with('/') || to.starts_with("{path}") || to.starts_with("{scheme}://") || has_scheme(to)
}

/// Whether the target has a scheme (RFC 3986 §3.1). `example.com:8080` has none: it is a host with a port.
fn has_scheme(to: &str) -> bool {
    let Some((scheme, rest)) = to.split_once(':') else { return false };
    let mut letters = scheme.bytes();
    let named = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let is_port = rest.starts_with(|first: char| first.is_ascii_digit());
    named && (rest.starts_with("//") || !(is_port || scheme.contains('.')))
}
