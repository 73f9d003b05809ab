//! Shared by the scanners of HTTP/1.1: classes of bytes, field lines, bounds, and the progress of a body.

use crate::fields::{FieldLine, FieldSpan, Fields};

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

/// The classes of a byte: each bit is one of the constants below.
const CLASSES: [u8; 256] = {
    let (mut table, mut at) = ([0; 256], 0_u8);
    loop {
        let is_mark = matches!(
            at,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        );
        let is_outside = matches!(at, b'#' | b'"' | b'<' | b'>' | b'`' | b'?');
        let mut classes = 0;
        if at.is_ascii_alphanumeric() || is_mark {
            classes |= TOKEN;
        }
        if at.is_ascii_uppercase() {
            classes |= UPPER;
        }
        if at.is_ascii_graphic() && !is_outside {
            classes |= PATH;
        }
        if at > b' ' && !matches!(at, 0x7f | b'#') {
            classes |= QUERY;
        }
        table[at as usize] = classes;
        if at == u8::MAX {
            break table;
        }
        at += 1;
    }
};
const TOKEN: u8 = 1;
const UPPER: u8 = 2;
/// The path of a target: visible ASCII without `#`, quotes, angle brackets, backticks and `?` (RFC 3986 §2).
const PATH: u8 = 4;
/// The query of a target: any byte but controls, blanks and `#`.
const QUERY: u8 = 8;

/// Bytes at the beginning of others that are all of one class.
#[derive(Clone, Copy)]
struct Run {
    length: usize,
    /// All classes that one of its bytes is of.
    classes: u8,
}

/// The longest run of a class that `bytes` begin with. Eight bytes at a time: the length is then checked once for all. Not
/// inline: the loop needs registers that its callers need as well.
#[inline(never)]
fn run_of<const CLASS: u8>(bytes: &[u8]) -> Run {
    let (mut rest, mut classes) = (bytes, 0);
    while let Some((eight, after)) = rest.split_first_chunk::<8>() {
        for (index, byte) in eight.iter().enumerate() {
            let found = CLASSES[usize::from(*byte)];
            if found & CLASS == 0 {
                return Run { length: bytes.len() - rest.len() + index, classes };
            }
            classes |= found;
        }
        rest = after;
    }
    for (index, byte) in rest.iter().enumerate() {
        let found = CLASSES[usize::from(*byte)];
        if found & CLASS == 0 {
            return Run { length: bytes.len() - rest.len() + index, classes };
        }
        classes |= found;
    }
    Run { length: bytes.len(), classes }
}

/// Whether a byte may be part of a token (RFC 9110 §5.6.2).
#[inline]
pub(crate) const fn is_token(byte: u8) -> bool {
    CLASSES[byte as usize] & TOKEN != 0
}

/// The length of the token that `bytes` begin with; 0 if there is none.
#[inline]
pub(super) fn token_length(bytes: &[u8]) -> usize {
    run_of::<TOKEN>(bytes).length
}

/// The length of the request target that `bytes` begin with: a path, and a query of any bytes but controls, blanks and
/// `#`, as in other proxies, since no parser splits the query in another way.
#[inline]
pub(super) fn target_length(bytes: &[u8]) -> usize {
    let path = run_of::<PATH>(bytes).length;
    match bytes.get(path..) {
        Some([b'?', query @ ..]) => path + 1 + run_of::<QUERY>(query).length,
        Some(_) | None => path,
    }
}

/// Whether a name is `known`, which has letters in lower case and dashes. The name is a token in any case.
#[inline]
pub(super) fn is_name<const N: usize>(name: &[u8], known: &[u8; N]) -> bool {
    let Ok(name) = <&[u8; N]>::try_from(name) else { return false };
    // Among the bytes of tokens, only an upper-case letter becomes a letter by this bit, and none becomes a dash.
    if N < 4 {
        return name.iter().zip(known).all(|(byte, known)| byte | 0x20 == *known);
    }
    let word = |bytes: &[u8; N], at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let is_same = |at| word(name, at).map(|word| word | 0x2020_2020) == word(known, at);
    // The last four bytes may overlap those before them.
    (0..N / 4).all(|index| is_same(index * 4)) && is_same(N.saturating_sub(4))
}

/// Whether a byte may be part of a field's value (RFC 9110 §5.5). Bytes from 0x80 on are obs-text.
#[inline]
pub(super) const fn is_text(byte: u8) -> bool {
    // CR, LF, NUL and DEL are excluded; of the controls only HTAB is allowed.
    byte >= 0x20 && byte != 0x7f || byte == b'\t'
}

/// The length of the longest beginning that may be part of a field's value. Not inline, as [`run_of`].
#[inline(never)]
pub(super) fn text_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    // Eight bytes at a time.
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        match first_control(u64::from_le_bytes(*word)) {
            None => at += 8,
            Some(index) if bytes.get(at + index).is_some_and(|byte| is_text(*byte)) => at += index + 1,
            Some(index) => return at + index,
        }
    }
    at + bytes[at..].iter().take_while(|byte| is_text(**byte)).count()
}

/// The first of the eight bytes of a word that is below 0x20 or DEL. Also found is a `~` behind 0xff.
#[inline]
fn first_control(word: u64) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    // The high bit of a byte becomes set where the byte is below 0x20, by the subtraction, or is DEL, by the addition. A
    // borrow sets others behind the first one only; a carry comes from 0xff.
    let found = (word.wrapping_sub(ONES * 0x20) | word.wrapping_add(ONES)) & !word & (ONES * 0x80);
    (found != 0).then(|| (found.trailing_zeros() / 8) as usize)
}

/// A field line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScannedField<'b> {
    pub(super) name: &'b [u8],
    /// Without blanks around it.
    pub(super) value: &'b [u8],
    /// The offset of the value from the start of the line.
    value_at: usize,
    /// Bytes of the line with its CRLF.
    pub(super) length: usize,
    /// It is as the proxy sends it: the name in lower case, a colon, a blank, the value.
    is_sent: bool,
}

impl ScannedField<'_> {
    /// Notes the line, which lies at offset `at` of its head.
    #[inline]
    pub(super) fn note(&self, at: usize, fields: &mut Fields) {
        let value_at = at + self.value_at;
        let name = FieldSpan::new(at, at + self.name.len());
        let value = FieldSpan::new(value_at, value_at + self.value.len());
        if self.is_sent {
            fields.push_sent_line(name, value);
        } else {
            fields.push_line(FieldLine { name, value, end: FieldSpan::new(at, at + self.length).to });
        }
    }
}

/// The field line that `bytes` begin with, in one pass; `None` if it is incomplete or malformed.
#[expect(clippy::inline_always, reason = "a call would pass the parts of each line through memory")]
#[inline(always)]
pub(super) fn field_line(bytes: &[u8]) -> Option<ScannedField<'_>> {
    let Run { length, classes } = run_of::<TOKEN>(bytes);
    let (name, rest) = bytes.split_at_checked(length)?;
    // Nearly every line has one blank and a value. In a value, only blanks and tabs are not above a blank.
    if let [b':', b' ', text @ ..] = rest
        && !name.is_empty()
    {
        let (value, rest) = text.split_at_checked(text_length(text))?;
        if rest.starts_with(b"\r\n")
            && let ([first, ..], [.., last]) = (value, value)
            && *first > b' '
            && *last > b' '
        {
            let value_at = name.len() + 2;
            let length = value_at + value.len() + 2;
            return Some(ScannedField { name, value, value_at, length, is_sent: classes & UPPER == 0 });
        }
    }
    rare_line(name, rest)
}

/// The field line with this name, which `rest` follows. A blank is not a token: this refuses a blank before the colon
/// (RFC 9112 §5.1) and a folded line (§5.2). An empty name ended the head in other parsers (CVE-2023-25725). CR, LF and
/// NUL in a value are dangerous, since parsers read them differently (RFC 9110 §5.5).
#[cold]
fn rare_line<'b>(name: &'b [u8], rest: &'b [u8]) -> Option<ScannedField<'b>> {
    let text = rest.strip_prefix(b":").filter(|_| !name.is_empty())?;
    let (text, rest) = text.split_at_checked(text_length(text))?;
    let value = text.trim_ascii_start();
    let value_at = name.len() + 1 + text.len() - value.len();
    let length = name.len() + 1 + text.len() + 2;
    let line = ScannedField { name, value: value.trim_ascii_end(), value_at, length, is_sent: false };
    rest.starts_with(b"\r\n").then_some(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    #[test]
    fn a_name_is_known_in_any_case() {
        for (name, is_known) in [
            ("te", true),
            ("TE", true),
            ("tE", true),
            ("t", false),
            ("tea", false),
            ("te\0", false),
            ("\u{14}e", false),
            ("", false),
        ] {
            assert_eq!(is_name(name.as_bytes(), b"te"), is_known, "{name:?}");
        }
        for byte in (0..=u8::MAX).filter(|byte| is_token(*byte)) {
            for known in [b"a", b"z", b"-"] {
                assert_eq!(is_name(&[byte], known), byte.eq_ignore_ascii_case(&known[0]), "{byte} {known:?}");
            }
            for at in 0..14 {
                let mut name = *b"Content-LENGTH";
                name[at] = byte;
                let is_known = name.eq_ignore_ascii_case(b"content-length");
                assert_eq!(is_name(&name, b"content-length"), is_known, "{}", name.escape_ascii());
                assert_eq!(is_name(&name[..7], b"content"), name[..7].eq_ignore_ascii_case(b"content"));
            }
        }
    }

    /// What `field_line` finds, a byte at a time.
    fn plain_line(bytes: &[u8]) -> Option<ScannedField<'_>> {
        let name_end = bytes.iter().position(|byte| !is_token(*byte))?;
        let text = bytes[name_end..].iter().skip(1).position(|byte| !is_text(*byte))?;
        let length = name_end + 1 + text + 2;
        if name_end == 0 || bytes[name_end] != b':' || bytes.get(length - 2..length) != Some(b"\r\n") {
            return None;
        }
        let (name, text) = (&bytes[..name_end], &bytes[name_end + 1..length - 2]);
        let from = text.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(text.len());
        let to = text.iter().rposition(|byte| !matches!(byte, b' ' | b'\t')).map_or(from, |last| last + 1);
        let (value, value_at) = (&text[from..to], name_end + 1 + from);
        let sent = [name.to_ascii_lowercase().as_slice(), b": ", value, b"\r\n"].concat();
        let is_sent = !value.is_empty() && bytes.starts_with(&sent);
        Some(ScannedField { name, value, value_at, length, is_sent })
    }

    /// Bytes that matter to the grammar, and others.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            8 => prop::sample::select(b"aZ09-_:;/?#<=>`~ \t\r\n\0\x1f\x20\x7e\x7f\x80\xff".to_vec()),
            8 => b'a'..=b'z',
            1 => any::<u8>(),
        ];
        prop::collection::vec(byte, 0..40)
    }

    proptest! {
        #[test]
        fn eight_bytes_at_a_time_are_the_same_as_one(bytes in bytes()) {
            let count = |is: fn(u8) -> bool| bytes.iter().take_while(|byte| is(**byte)).count();
            prop_assert_eq!(token_length(&bytes), count(is_token));
            prop_assert_eq!(text_length(&bytes), count(is_text));
            let in_path = |byte: u8| matches!(byte, 0x21..0x7f) && !b"#\"<>`?".contains(&byte);
            let in_query = |byte: &u8| *byte > 0x20 && !matches!(byte, 0x7f | b'#');
            let path = bytes.iter().position(|byte| !in_path(*byte)).unwrap_or(bytes.len());
            let query = bytes[path..].strip_prefix(b"?").map(|query| query.iter().take_while(|b| in_query(b)).count());
            prop_assert_eq!(target_length(&bytes), path + query.map_or(0, |query| 1 + query));
        }

        #[test]
        fn a_line_is_read_in_one_pass_as_in_several(
            name in "[a-zA-Z0-9_: -]{0,20}",
            between in "[: \t]{0,3}",
            value in bytes(),
            end in prop::sample::select(vec!["\r\n", "\r\n\r\n", "\r", "\n", " \t\r\nnext: line\r\n", ""]),
        ) {
            let line = [name.as_bytes(), between.as_bytes(), &value, end.as_bytes()].concat();
            prop_assert_eq!(field_line(&line), plain_line(&line));
            prop_assert_eq!(field_line(&value), plain_line(&value));
        }
    }
}
