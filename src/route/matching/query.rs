//! Query parameters: split at `&`, names and values decoded once (`%xx`, and `+` as a space).

use std::borrow::Cow;

/// The values of all parameters called `name`, decoded, in order. A parameter without `=` has the empty value.
pub(in crate::route) fn parameters<'a, 'n>(
    query: Option<&'a str>,
    name: &'n str,
) -> impl Iterator<Item = Cow<'a, str>> + use<'a, 'n> {
    query.into_iter().flat_map(|query| query.split('&')).filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (!pair.is_empty() && decoded_form(key) == name).then(|| decoded_form(value))
    })
}

/// `text` with `%xx` decoded, once; bytes that are not UTF-8 become U+FFFD. Borrows if there is nothing to decode.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'%', text.as_bytes()).is_none() { Cow::Borrowed(text) } else { decode(text, b'\0') }
}

/// As [`decoded`], and `+` is a space.
fn decoded_form(text: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'%', b'+', text.as_bytes()).is_none() { Cow::Borrowed(text) } else { decode(text, b'+') }
}

/// Decodes `%xx`, and replaces the byte `space` by a space.
fn decode(text: &str, space: u8) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if let Some(byte) = escaped(&bytes[at..]) {
            out.push(byte);
            at += 3;
        } else {
            out.push(if bytes[at] == space { b' ' } else { bytes[at] });
            at += 1;
        }
    }
    debug_assert!(out.len() <= bytes.len(), "decoding never makes a text longer");
    Cow::Owned(String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

/// The byte of the escape `%xx` at the start of `bytes`.
pub(super) fn escaped(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else { return None };
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(*high)? << 4 | digit(*low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_once() {
        let all = |query, name| parameters(Some(query), name).map(Cow::into_owned).collect::<Vec<_>>();
        assert_eq!(all("a=1&b=2&a=3", "a"), ["1", "3"]);
        assert_eq!(all("a=x%20y+z&%61=%2525", "a"), ["x y z", "%25"]);
        assert_eq!(all("a&&a=&=x&b", "a"), ["", ""]);
        assert_eq!(all("a=%zz&a=%&a=%4", "a"), ["%zz", "%", "%4"]);
        assert_eq!(all("a=%ff%fe", "a"), ["\u{fffd}\u{fffd}"]);
        assert_eq!(parameters(None, "a").count(), 0);
        assert_eq!(all("", ""), Vec::<String>::new());
    }

    #[test]
    fn a_plus_in_a_path_is_a_plus() {
        assert_eq!(decoded("a+b%20c"), "a+b c");
    }
}
