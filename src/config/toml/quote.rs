//! Writes keys and values in TOML syntax, for help lines.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The longest value that a help line repeats, in bytes.
pub(in crate::config) const REPEATED_MAX: usize = 60;

/// A text as a TOML string.
pub(in crate::config) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            _ if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c)); // writing to memory cannot fail
            }
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The boolean for a word such as `yes` or `off`.
pub(in crate::config) fn switch(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "enabled" => Some("true"),
        "false" | "no" | "off" | "0" | "disabled" => Some("false"),
        _ => None,
    }
}

/// A key in TOML syntax: in quotes if it needs them.
pub(in crate::config) fn bare(key: &str) -> Cow<'_, str> {
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_bare { Cow::Borrowed(key) } else { Cow::Owned(quoted(key)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted() {
        for (text, expected) in
            [("", r#""""#), ("a'b", r#""a'b""#), ("a\"b\\", r#""a\"b\\""#), ("a\nb\u{7f}", r#""a\u000Ab\u007F""#)]
        {
            assert_eq!(quoted(text), expected);
        }
    }
}
