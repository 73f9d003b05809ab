//! The list of fields.

use std::fmt;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::span::{FieldLine, FieldSpan};

/// Bytes of `: ` and CRLF in a line.
const LINE_OVERHEAD: usize = 4;
/// Buffers up to this size are kept for the next head.
const KEPT_BYTES: usize = 8 * 1024;
const KEPT_LINES: usize = 64;
/// The values of a head up to this size share one copy of it.
const SHARED_BYTES_MAX: usize = 2048;

/// The fields of one head, in their order. Names are tokens in lower case; values have no CR, LF and NUL.
///
/// The bytes are those of the received head, followed by the lines that were added. Before the first line is the
/// prelude: the start line, or what a protocol has in its place.
#[derive(Default)]
pub struct Fields {
    bytes: Vec<u8>,
    lines: Vec<Line>,
    /// Length of the prelude.
    prelude: u32,
    /// The bytes behind the first name are not the lines as they are sent, one after another.
    scattered: bool,
}

#[derive(Clone, Copy)]
struct Line {
    name: FieldSpan,
    value: FieldSpan,
    form: LineForm,
}

/// How a line stands in the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LineForm {
    /// As it is sent: the name in lower case, a colon, a blank, the value, CRLF.
    Sent,
    /// As it was received; `set_head` reads its bytes.
    Received,
    /// With other blanks.
    Other,
}

impl Fields {
    /// No fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes everything. The memory is kept, unless it is unusually large.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.lines.clear();
        (self.prelude, self.scattered) = (0, false);
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
        if self.lines.capacity() > KEPT_LINES {
            self.lines = Vec::new();
        }
    }

    /// Notes a line of a head that is being scanned. [`set_head`](Self::set_head) follows with its bytes.
    #[inline]
    pub fn push_line(&mut self, line: FieldLine) {
        let is_regular = line.value.from == line.name.to + 2 && line.end == line.value.to + 2;
        // Whether the one byte between colon and value is a blank, `set_head` finds out.
        let form = if is_regular { LineForm::Received } else { LineForm::Other };
        self.lines.push(Line { name: line.name, value: line.value, form });
    }

    /// Notes a line as [`push_line`](Self::push_line) does, which stands in the head as it is sent: the name in lower case, a
    /// colon, a blank, the value, CRLF.
    #[inline]
    pub fn push_sent_line(&mut self, name: FieldSpan, value: FieldSpan) {
        debug_assert!(value.from == name.to + 2, "a colon and a blank");
        self.lines.push(Line { name, value, form: LineForm::Sent });
    }

    /// Forgets the lines of a head that turned out to be incomplete.
    pub fn discard_lines(&mut self) {
        self.lines.clear();
    }

    /// Sets the bytes of the head whose lines were noted. The first `prelude` bytes come before its fields. Names become
    /// lower case.
    pub fn set_head(&mut self, head: &[u8], prelude: usize) {
        debug_assert!(self.bytes.is_empty(), "one head a list");
        debug_assert!(prelude <= head.len(), "the prelude is a part of the head");
        // Without the empty line at the end, lines that are added follow the received ones.
        let has_end = head.len() >= prelude + 2 && head.ends_with(b"\r\n\r\n");
        self.bytes.extend_from_slice(if has_end { &head[..head.len() - 2] } else { head });
        self.prelude = FieldSpan::new(0, prelude).to;
        let mut end = self.prelude;
        for line in &mut self.lines {
            if line.form != LineForm::Sent {
                line.settle(&mut self.bytes);
            }
            self.scattered |= line.form != LineForm::Sent || line.name.from != end;
            end = line.value.to + 2;
        }
        self.scattered |= end as usize != self.bytes.len();
    }

    /// Sets the prelude of a head without received bytes. Fields are added afterwards.
    pub fn set_prelude(&mut self, prelude: &[u8]) {
        debug_assert!(self.bytes.is_empty() && self.lines.is_empty(), "the prelude comes first");
        self.bytes.extend_from_slice(prelude);
        self.prelude = FieldSpan::new(0, prelude.len()).to;
    }

    /// Adds to the prelude. Returns the place of the bytes.
    pub fn append_prelude(&mut self, bytes: &[u8]) -> FieldSpan {
        debug_assert!(self.lines.is_empty(), "the prelude comes first");
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let place = FieldSpan::new(from, self.bytes.len());
        self.prelude = place.to;
        place
    }

    /// The bytes before the first field.
    #[must_use]
    pub fn prelude(&self) -> &[u8] {
        FieldSpan { from: 0, to: self.prelude }.of(&self.bytes)
    }

    /// A part of the head's bytes.
    #[must_use]
    #[inline]
    pub fn part(&self, span: FieldSpan) -> &[u8] {
        span.of(&self.bytes)
    }

    /// Number of lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lines.iter().map(|line| line.name.len() + line.value.len()).sum()
    }

    /// All fields with their values, in their order. A name occurs as often as it has lines.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> + Clone {
        self.lines.iter().map(|line| (line.name.of(&self.bytes), line.value.of(&self.bytes)))
    }

    /// The names, in their order. A name occurs as often as it has lines.
    #[must_use]
    pub fn names(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        self.lines.iter().map(|line| line.name.of(&self.bytes))
    }

    /// The lines with this name.
    #[inline]
    fn lines_of<'a>(&'a self, name: &str) -> impl DoubleEndedIterator<Item = &'a Line> + Clone {
        debug_assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()), "names are in lower case");
        self.lines
            .iter()
            .filter(move |line| line.name.len() == name.len() && line.name.of(&self.bytes) == name.as_bytes())
    }

    /// The first value of a field. The name is in lower case.
    #[must_use]
    #[inline]
    pub fn get(&self, name: impl AsRef<str>) -> Option<&[u8]> {
        self.span(name).map(|span| span.of(&self.bytes))
    }

    /// The place of the first value of a field.
    #[must_use]
    #[inline]
    pub fn span(&self, name: impl AsRef<str>) -> Option<FieldSpan> {
        self.lines_of(name.as_ref()).next().map(|line| line.value)
    }

    /// All values of a field, in their order.
    #[inline]
    pub fn get_all<'a>(
        &'a self,
        name: &(impl AsRef<str> + ?Sized),
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + Clone {
        self.lines_of(name.as_ref()).map(|line| line.value.of(&self.bytes))
    }

    /// The first value as text; `None` also if it has other bytes than visible ASCII, blanks and tabs.
    #[must_use]
    pub fn get_text(&self, name: impl AsRef<str>) -> Option<&str> {
        self.get(name).and_then(text)
    }

    /// Whether there is such a field.
    #[must_use]
    #[inline]
    pub fn contains(&self, name: impl AsRef<str>) -> bool {
        self.span(name).is_some()
    }

    /// Adds a line at the end.
    #[inline]
    pub fn append(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append_valid(name.as_str().as_bytes(), value.as_bytes());
    }

    /// Adds a line at the end. The caller has checked the bytes: a token in lower case, and a value without CR, LF and NUL.
    #[inline]
    pub fn append_valid(&mut self, name: &[u8], value: &[u8]) {
        debug_assert!(HeaderName::from_lowercase(name).is_ok(), "{:?}", String::from_utf8_lossy(name));
        debug_assert!(HeaderValue::from_bytes(value).is_ok(), "a valid value");
        self.bytes.reserve(name.len() + value.len() + LINE_OVERHEAD);
        self.append_line(name, |bytes| bytes.extend_from_slice(value));
    }

    /// Adds a line at the end. `write` appends the value, without CR, LF and NUL, to the bytes.
    pub fn append_with(&mut self, name: &HeaderName, write: impl FnOnce(&mut Vec<u8>)) {
        self.append_line(name.as_str().as_bytes(), write);
    }

    #[inline]
    fn append_line(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(b": ");
        let value_at = self.bytes.len();
        write(&mut self.bytes);
        let value = FieldSpan::new(value_at, self.bytes.len());
        debug_assert!(HeaderValue::from_bytes(value.of(&self.bytes)).is_ok(), "a valid value");
        self.bytes.extend_from_slice(b"\r\n");
        self.lines.push(Line { name: FieldSpan::new(at, value_at - 2), value, form: LineForm::Sent });
    }

    /// Adds all lines of a list at the end. It has no prelude.
    pub fn append_all(&mut self, other: &Self) {
        debug_assert!(other.prelude == 0, "the bytes of a head stay in it");
        let at = FieldSpan::new(0, self.bytes.len()).to;
        self.bytes.extend_from_slice(&other.bytes);
        self.lines.extend(other.lines.iter().map(|line| Line {
            name: line.name.moved(at),
            value: line.value.moved(at),
            form: line.form,
        }));
        self.scattered |= other.scattered;
    }

    /// Replaces the value of the last line by one of the same length. The caller has checked the bytes. Returns whether
    /// the lengths are the same.
    #[inline]
    pub fn set_last(&mut self, value: &[u8]) -> bool {
        let last = self.lines.last().map(|line| line.value).unwrap_or_default();
        debug_assert!(HeaderValue::from_bytes(value).is_ok(), "a valid value");
        match self.bytes.get_mut(last.from as usize..last.to as usize) {
            Some(place) if place.len() == value.len() => {
                place.copy_from_slice(value);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Gives back the memory that the list does not need.
    pub fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.lines.shrink_to_fit();
    }

    /// Sets a field: removes its lines and adds one.
    pub fn insert(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.remove(name);
        self.append(name, value);
    }

    /// Sets a field to a number.
    pub fn insert_number(&mut self, name: &HeaderName, number: u64) {
        self.remove(name);
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut left = number;
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(left % 10).unwrap_or(0);
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.append_valid(name.as_str().as_bytes(), &digits[at..]);
    }

    /// Removes all lines of a field. Returns whether there was one.
    pub fn remove(&mut self, name: impl AsRef<str>) -> bool {
        let name = name.as_ref().as_bytes();
        let (before, bytes) = (self.lines.len(), &self.bytes);
        self.lines.retain(|line| line.name.len() != name.len() || line.name.of(bytes) != name);
        let has_removed = self.lines.len() < before;
        self.scattered |= has_removed;
        has_removed
    }

    /// Keeps the lines for which `keeps` is true.
    pub fn retain(&mut self, mut keeps: impl FnMut(&[u8], &[u8]) -> bool) {
        let (before, bytes) = (self.lines.len(), &self.bytes);
        self.lines.retain(|line| keeps(line.name.of(bytes), line.value.of(bytes)));
        self.scattered |= self.lines.len() < before;
    }

    /// Appends all lines in the form of HTTP/1.1, without the empty line after them. Neighbours are copied together.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        if self.scattered {
            return self.write_runs(out);
        }
        if let Some(first) = self.lines.first() {
            out.extend_from_slice(self.bytes.get(first.name.from as usize..).unwrap_or_default());
        }
    }

    fn write_runs(&self, out: &mut Vec<u8>) {
        let mut run = FieldSpan::default();
        for line in &self.lines {
            let is_sent = line.form == LineForm::Sent;
            if is_sent && line.name.from == run.to {
                run.to = line.value.to + 2;
                continue;
            }
            out.extend_from_slice(run.of(&self.bytes));
            if is_sent {
                run = FieldSpan { from: line.name.from, to: line.value.to + 2 };
                continue;
            }
            run = FieldSpan::default();
            for part in [line.name.of(&self.bytes), b": ", line.value.of(&self.bytes), b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
        out.extend_from_slice(run.of(&self.bytes));
    }

    /// Adds all fields of a map.
    pub fn extend(&mut self, map: &HeaderMap) {
        for (name, value) in map {
            self.append(name, value);
        }
    }

    /// The fields as a map.
    #[must_use]
    pub fn to_map(&self) -> HeaderMap {
        self.to_map_without(&[])
    }

    /// The fields but these, as a map. Fields that no map can hold are left out: there are none in a head within the
    /// limits.
    #[must_use]
    pub fn to_map_without(&self, names: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::try_with_capacity(self.lines.len()).unwrap_or_default();
        // One copy for all values, unless it is large: a table of HPACK may keep one of them for long.
        let shared = (self.bytes.len() <= SHARED_BYTES_MAX).then(|| Bytes::copy_from_slice(&self.bytes));
        for line in &self.lines {
            let name = line.name.of(&self.bytes);
            if names.iter().any(|other| other.as_bytes() == name) {
                continue;
            }
            let value = match &shared {
                Some(all) => {
                    HeaderValue::from_maybe_shared(all.slice(line.value.from as usize..line.value.to as usize))
                }
                None => HeaderValue::from_bytes(line.value.of(&self.bytes)),
            };
            let name = frequent_name(name).map_or_else(|| HeaderName::from_lowercase(name), Ok);
            if let (Ok(name), Ok(value)) = (name, value) {
                let _ = map.try_append(name, value);
            }
        }
        map
    }
}

impl Line {
    /// Puts the name into lower case, and finds the form of the line.
    fn settle(&mut self, bytes: &mut [u8]) {
        make_lower(bytes, self.name);
        if self.form == LineForm::Received {
            let has_blank = bytes.get(self.name.to as usize + 1) == Some(&b' ');
            self.form = if has_blank { LineForm::Sent } else { LineForm::Other };
        }
    }
}

/// Puts the letters of ASCII in a part of `bytes` into lower case.
#[inline]
fn make_lower(bytes: &mut [u8], part: FieldSpan) {
    let (mut at, end) = (part.from as usize, part.to as usize);
    while at < end {
        // Eight bytes at a time, while there are so many: those behind the part stay as they are.
        let Some(eight) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<8>()) else {
            return lower_rest(bytes.get_mut(at..end).unwrap_or_default());
        };
        *eight = lower_word(u64::from_le_bytes(*eight), end - at).to_le_bytes();
        at += 8;
    }
}

/// Puts the last bytes of a head into lower case. Not inline, as [`lower_word`].
#[cold]
#[inline(never)]
fn lower_rest(bytes: &mut [u8]) {
    bytes.make_ascii_lowercase();
}

/// A word with its first bytes in lower case. Not inline: the compiler would make a loop for long names of this.
#[inline(never)]
fn lower_word(word: u64, bytes: usize) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let seven = word & (ONES * 0x7f);
    // The high bit of a byte becomes set from `A` on, and by the second sum from the byte after `Z` on.
    let upper = (seven + ONES * (0x80 - 0x41)) & !(seven + ONES * (0x80 - 0x5b)) & !word & (ONES * 0x80);
    let within = u64::MAX >> (64 - 8 * bytes.min(8));
    word | ((upper & within) >> 2)
}

/// The name of a field that most messages of HTTP/2 have. Others are looked up in the list of standard names, or copied.
fn frequent_name(name: &[u8]) -> Option<HeaderName> {
    Some(match name {
        b"te" => header::TE,
        b"via" => header::VIA,
        b"date" => header::DATE,
        b"accept" => header::ACCEPT,
        b"server" => header::SERVER,
        b"forwarded" => header::FORWARDED,
        b"user-agent" => header::USER_AGENT,
        b"grpc-status" => const { HeaderName::from_static("grpc-status") },
        b"content-type" => header::CONTENT_TYPE,
        b"x-request-id" => const { HeaderName::from_static("x-request-id") },
        b"grpc-encoding" => const { HeaderName::from_static("grpc-encoding") },
        b"content-length" => header::CONTENT_LENGTH,
        b"x-forwarded-for" => const { HeaderName::from_static("x-forwarded-for") },
        b"x-forwarded-host" => const { HeaderName::from_static("x-forwarded-host") },
        b"x-forwarded-port" => const { HeaderName::from_static("x-forwarded-port") },
        b"x-forwarded-proto" => const { HeaderName::from_static("x-forwarded-proto") },
        b"grpc-accept-encoding" => const { HeaderName::from_static("grpc-accept-encoding") },
        _ => return None,
    })
}

impl Clone for Fields {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), lines: self.lines.clone(), prelude: self.prelude, scattered: self.scattered }
    }

    /// Uses the memory of this list.
    fn clone_from(&mut self, other: &Self) {
        self.bytes.clone_from(&other.bytes);
        self.lines.clone_from(&other.lines);
        (self.prelude, self.scattered) = (other.prelude, other.scattered);
    }
}

impl From<&HeaderMap> for Fields {
    fn from(map: &HeaderMap) -> Self {
        let mut fields = Self::new();
        fields.extend(map);
        fields
    }
}

/// Equal if they have the same lines in the same order.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes);
        f.debug_map().entries(self.iter().map(|(name, value)| (text(name), text(value)))).finish()
    }
}

/// A value as text; `None` if it has other bytes than visible ASCII, blanks and tabs.
#[must_use]
pub fn text(value: &[u8]) -> Option<&str> {
    let is_text = value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    if is_text { std::str::from_utf8(value).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, COOKIE, HOST};
    use proptest::prelude::*;

    use super::*;

    /// Notes the lines of `head` and sets its bytes.
    fn received(start: &str, lines: &[(&str, &str, &str)]) -> Fields {
        let (mut fields, mut head) = (Fields::new(), start.as_bytes().to_vec());
        for (name, between, value) in lines {
            let at = head.len();
            head.extend_from_slice(format!("{name}{between}{value}\r\n").as_bytes());
            let value_at = at + name.len() + between.len();
            fields.push_line(FieldLine {
                name: FieldSpan::new(at, at + name.len()),
                value: FieldSpan::new(value_at, value_at + value.trim_end().len()),
                end: FieldSpan::new(0, head.len()).to,
            });
        }
        fields.set_head(&head, start.len());
        fields
    }

    fn written(fields: &Fields) -> String {
        let mut out = Vec::new();
        fields.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_received_head_is_read_by_name_and_written_in_normal_form() {
        let start = "GET / HTTP/1.1\r\n";
        let mut fields = received(
            start,
            &[("Host", ": ", "a"), ("X-A", ":", "1"), ("x-b", ":\t", "2"), ("x-a", ": ", "3 "), ("X-E", ": ", "")],
        );
        assert_eq!(fields.prelude(), start.as_bytes());
        assert_eq!((fields.get(HOST), fields.get_text("x-a"), fields.get(ACCEPT)), (Some(&b"a"[..]), Some("1"), None));
        assert_eq!(fields.get_all("x-a").collect::<Vec<_>>(), [&b"1"[..], b"3"]);
        assert_eq!(written(&fields), "host: a\r\nx-a: 1\r\nx-b: 2\r\nx-a: 3\r\nx-e: \r\n");
        let host = fields.span(HOST).unwrap();
        assert!(fields.remove("x-a") && !fields.remove("x-a") && fields.remove(HOST));
        fields.append(&COOKIE, &HeaderValue::from_static("a=b"));
        fields.insert_number(&http::header::CONTENT_LENGTH, 1200);
        assert_eq!(written(&fields), "x-b: 2\r\nx-e: \r\ncookie: a=b\r\ncontent-length: 1200\r\n");
        assert_eq!(fields.part(host), b"a", "a place stays right");
        fields.insert_number(&http::header::CONTENT_LENGTH, 0);
        assert_eq!(fields.get_text("content-length"), Some("0"));
        fields.clear();
        assert!(fields.is_empty() && written(&fields).is_empty() && fields.prelude().is_empty());
    }

    #[test]
    fn a_block_of_lines_is_added_at_the_end() {
        let mut block = Fields::new();
        for (name, value) in [(ACCEPT, "gone"), (COOKIE, "a=b"), (HOST, "h")] {
            block.append(&name, &HeaderValue::from_static(value));
        }
        block.remove(ACCEPT);
        block.shrink();
        let mut fields = received("GET / HTTP/1.1\r\n", &[("Accept", ":", "x")]);
        fields.append_all(&block);
        fields.append_all(&Fields::new());
        fields.append_all(&block);
        assert_eq!(written(&fields), "accept: x\r\ncookie: a=b\r\nhost: h\r\ncookie: a=b\r\nhost: h\r\n");
        assert_eq!((fields.get_all("host").count(), fields.get(ACCEPT)), (2, Some(&b"x"[..])));
        assert_eq!(fields.prelude(), b"GET / HTTP/1.1\r\n");
    }

    #[test]
    fn the_last_value_is_replaced_by_one_of_its_length() {
        let mut fields = Fields::new();
        assert!(!fields.set_last(b"a"));
        fields.append_valid(b"x-a", b"1");
        fields.append_valid(b"x-b", b"23");
        assert!(fields.set_last(b"45") && !fields.set_last(b"6"));
        assert_eq!(fields.iter().collect::<Vec<_>>(), [(&b"x-a"[..], &b"1"[..]), (b"x-b", b"45")]);
    }

    #[test]
    fn text_is_visible_ascii() {
        assert_eq!(
            (text(b"a b\t~"), text(b""), text(b"\xc3\xa4"), text(b"a\x7f")),
            (Some("a b\t~"), Some(""), None, None)
        );
    }

    proptest! {
        #[test]
        fn a_part_becomes_lower_case(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..40),
            from in 0..40_usize,
            length in 0..40_usize,
        ) {
            let mut expected = bytes.clone();
            let from = from.min(bytes.len());
            let to = (from + length).min(bytes.len());
            expected[from..to].make_ascii_lowercase();
            make_lower(&mut bytes, FieldSpan::new(from, to));
            prop_assert_eq!(bytes, expected);
        }

        /// Any acts leave what a plain list of lines has.
        #[test]
        fn it_is_a_list(acts in proptest::collection::vec((0..4_u8, 0..5_usize, "[ -~]{0,9}"), 0..40)) {
            let names = ["a", "bb", "x-c", "x-d", "accept"].map(HeaderName::from_static);
            let (mut fields, mut list) = (Fields::new(), Vec::<(String, String)>::new());
            for (act, name, value) in acts {
                let (name, value) = (&names[name], value.trim().to_owned());
                let field = HeaderValue::from_str(&value).unwrap();
                let keeps_others = |list: &mut Vec<(String, String)>| list.retain(|(other, _)| other != name.as_str());
                match act {
                    0 => fields.append(name, &field),
                    1 => { keeps_others(&mut list); fields.insert(name, &field); }
                    2 => { keeps_others(&mut list); fields.remove(name); continue; }
                    _ => { fields = Fields::from(&fields.to_map()); list.sort_by_key(|(other, _)| {
                        // A map keeps the lines of one name together.
                        fields.names().position(|known| known == other.as_bytes())
                    }); continue; }
                }
                list.push((name.as_str().to_owned(), value));
            }
            let lines = list.iter().flat_map(|(name, value)| [name, ": ", value, "\r\n"]);
            let expected: String = lines.collect();
            prop_assert_eq!(written(&fields), expected);
            prop_assert_eq!(fields.len(), list.len());
        }
    }
}
