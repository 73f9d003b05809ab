//! JSON as a flat tree: every value with its position in the text, in the order of the text. RFC 8259.
//!
//! The parser does not recurse, so deep nesting cannot overflow the stack. Strings are compared by their unescaped
//! content, numbers by their value (`number.rs`). A lone surrogate is a character of its own. `NaN`, `Infinity`,
//! comments and trailing commas are not JSON. Of members with the same key the last one counts, as in most parsers; see
//! `weigh.rs`.

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::matching::{Element, Lead};
use super::number::normal_form;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonType {
    Null,
    False,
    True,
    Number,
    String,
    Array,
    Object,
}

/// A value.
#[derive(Clone, Debug)]
pub(super) struct JsonNode {
    pub(super) form: JsonType,
    /// The position in the text.
    pub(super) start: u32,
    pub(super) end: u32,
    /// The index of the next value that is not below this one.
    pub(super) next: u32,
    /// The position of the key without quotes, and the hash of the unescaped key.
    pub(super) key: Option<(u32, u32)>,
    pub(super) key_hash: u64,
    /// For a scalar set by the parser; for arrays and objects by `weigh`.
    pub(super) hash: u64,
    pub(super) ignored: bool,
    pub(super) unordered: bool,
    pub(super) redacted: bool,
    /// The tolerance of a number, or of the lead of an array or object. `NAN` means none: smaller than an `Option`.
    pub(super) within: f64,
    /// The lead: the first number with a tolerance in this value; `NAN` for none.
    pub(super) lead: f64,
}

impl JsonNode {
    /// The tolerance, if there is one.
    pub(super) fn within(&self) -> Option<f64> {
        (!self.within.is_nan()).then_some(self.within)
    }

    /// Whether the hash represents the whole value: nothing in it has a tolerance.
    pub(super) fn is_exact(&self) -> bool {
        self.lead.is_nan() || self.form == JsonType::Number
    }

    /// Whether the hashes show that the values are equal.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.form == other.form && self.hash == other.hash && self.is_exact() && other.is_exact()
    }

    /// The value as an element of an array. All ignored values are equal, and so are all numbers with a tolerance.
    pub(super) fn element(&self) -> Element {
        if self.ignored {
            return Element { hash: 7, lead: None };
        }
        let lead = self.within().filter(|_| !self.lead.is_nan()).map(|within| Lead { value: self.lead, within });
        Element { hash: if lead.is_some() && self.form == JsonType::Number { 8 } else { self.hash }, lead }
    }
}

/// A document; the first node is its root.
#[derive(Clone, Debug)]
pub(super) struct JsonTree<'a> {
    pub(super) text: &'a str,
    pub(super) nodes: Vec<JsonNode>,
}

/// Why a text cannot be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonError {
    Malformed,
    TooManyValues,
}

/// What the grammar allows next.
#[derive(Clone, Copy)]
enum Expected {
    Value,
    FirstElement,
    Key,
    FirstKey,
    Separator,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    nodes: Vec<JsonNode>,
    nodes_max: usize,
    open: Vec<usize>,
    key: Option<(u32, u32)>,
    key_hash: u64,
    scratch: Vec<u8>,
}

impl<'a> JsonTree<'a> {
    /// Parses a document of at most `nodes_max` values and less than 4 GiB.
    pub(super) fn parse(text: &'a str, nodes_max: usize) -> Result<Self, JsonError> {
        // RFC 8259 §8.1: a parser may ignore a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if u32::try_from(text.len()).is_err() {
            return Err(JsonError::TooManyValues);
        }
        let mut reader = Reader {
            text,
            at: 0,
            nodes: Vec::new(),
            nodes_max,
            open: Vec::new(),
            key: None,
            key_hash: 0,
            scratch: Vec::new(),
        };
        reader.document()?;
        debug_assert!(reader.open.is_empty(), "a document ends with its root");
        Ok(Self { text, nodes: reader.nodes })
    }

    pub(super) fn node(&self, at: u32) -> &JsonNode {
        debug_assert!((at as usize) < self.nodes.len(), "the index is of this tree");
        &self.nodes[at as usize]
    }

    /// The text of a value.
    pub(super) fn text_of(&self, node: &JsonNode) -> &'a str {
        &self.text[node.start as usize..node.end as usize]
    }

    /// The key of a member.
    pub(super) fn key_of(&self, node: &JsonNode) -> Option<Cow<'a, str>> {
        let (start, end) = node.key?;
        let raw = &self.text[start as usize..end as usize];
        if !raw.contains('\\') {
            return Some(Cow::Borrowed(raw));
        }
        let mut key = Vec::new();
        unescape(raw, &mut key);
        Some(Cow::Owned(String::from_utf8_lossy(&key).into_owned()))
    }

    /// Sorts the indexes `some` of the elements `all` by number or text.
    pub(super) fn sort_by_text(&self, all: &[u32], some: &mut [usize]) {
        let number = |text: &str| text.parse().ok().filter(|number: &f64| !number.is_nan());
        some.sort_by(|&one, &other| {
            let [one, other] = [one, other].map(|at| self.text_of(self.node(all[at])));
            match (number(one), number(other)) {
                (Some(one), Some(other)) => one.total_cmp(&other),
                (_, _) => one.cmp(other),
            }
        });
    }

    /// The children of a value.
    pub(super) fn below(&self, at: u32) -> impl Iterator<Item = u32> {
        let end = self.node(at).next;
        let mut child = at + 1;
        std::iter::from_fn(move || {
            let found = (child < end).then_some(child)?;
            child = self.node(found).next;
            Some(found)
        })
    }
}

impl Reader<'_> {
    fn document(&mut self) -> Result<(), JsonError> {
        let mut expected = Expected::Value;
        loop {
            let Some(byte) = self.peek() else {
                // RFC 8259 §2: a text is one value; only white space may follow.
                let ended = matches!(expected, Expected::Separator) && self.open.is_empty();
                return if ended { Ok(()) } else { Err(JsonError::Malformed) };
            };
            expected = match (expected, byte) {
                (Expected::FirstElement, b']') | (Expected::FirstKey, b'}') | (Expected::Separator, b']' | b'}') => {
                    self.close(byte)?
                }
                (Expected::Value | Expected::FirstElement, _) => self.value(byte)?,
                (Expected::Key | Expected::FirstKey, b'"') => {
                    let (start, end) = self.string()?;
                    self.key_hash = self.hash_of(start, end);
                    self.key = Some((place(start), place(end)));
                    if self.peek() != Some(b':') {
                        return Err(JsonError::Malformed);
                    }
                    self.at += 1;
                    Expected::Value
                }
                (Expected::Separator, b',') => {
                    self.at += 1;
                    match self.open.last().map(|&open| self.nodes[open].form) {
                        Some(JsonType::Object) => Expected::Key,
                        Some(_) => Expected::Value,
                        None => return Err(JsonError::Malformed),
                    }
                }
                (Expected::Key | Expected::FirstKey | Expected::Separator, _) => return Err(JsonError::Malformed),
            };
        }
    }

    /// The next byte after white space.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let skipped = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))?;
        self.at += skipped;
        Some(rest[skipped])
    }

    fn value(&mut self, byte: u8) -> Result<Expected, JsonError> {
        // Before the value is read: time and memory of a hostile document are bounded.
        if self.nodes.len() >= self.nodes_max {
            return Err(JsonError::TooManyValues);
        }
        let start = self.at;
        let (form, hash) = match byte {
            b'{' => (JsonType::Object, 0),
            b'[' => (JsonType::Array, 0),
            b'"' => {
                let (from, until) = self.string()?;
                (JsonType::String, self.hash_of(from, until))
            }
            b'n' => (JsonType::Null, self.word("null")?),
            b't' => (JsonType::True, self.word("true")?),
            b'f' => (JsonType::False, self.word("false")?),
            _ => (JsonType::Number, self.number()?),
        };
        let number = self.nodes.len();
        let expected = match form {
            JsonType::Object | JsonType::Array => {
                self.at += 1;
                // On the heap: nesting cannot overflow the stack (CVE-2026-48042).
                self.open.push(number);
                if form == JsonType::Object { Expected::FirstKey } else { Expected::FirstElement }
            }
            JsonType::Null | JsonType::False | JsonType::True | JsonType::Number | JsonType::String => {
                Expected::Separator
            }
        };
        self.nodes.push(JsonNode {
            form,
            start: place(start),
            end: place(self.at),
            // For a scalar; `close` sets it for arrays and objects.
            next: place(number + 1),
            key: self.key.take(),
            key_hash: self.key_hash,
            hash,
            ignored: false,
            unordered: false,
            redacted: false,
            within: f64::NAN,
            lead: f64::NAN,
        });
        Ok(expected)
    }

    fn close(&mut self, byte: u8) -> Result<Expected, JsonError> {
        let next = place(self.nodes.len());
        let node = self.open.pop().and_then(|open| self.nodes.get_mut(open)).ok_or(JsonError::Malformed)?;
        if (node.form == JsonType::Object) != (byte == b'}') {
            return Err(JsonError::Malformed);
        }
        self.at += 1;
        (node.next, node.end) = (next, place(self.at));
        Ok(Expected::Separator)
    }

    fn word(&mut self, word: &str) -> Result<u64, JsonError> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(JsonError::Malformed);
        }
        self.at += word.len();
        // Each type has its own seed: elements of arrays are compared by hash alone, and `"null"` is not `null`.
        Ok(xxh3_64_with_seed(word.as_bytes(), 3))
    }

    /// Skips a string, and returns its position without quotes.
    fn string(&mut self) -> Result<(usize, usize), JsonError> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut at = start;
        loop {
            match bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok((start, at));
                }
                Some(b'\\') => {
                    at += match bytes.get(at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                        // In range, since there is a byte at `at + 1`.
                        Some(b'u') if unit(&bytes[at + 2..]).is_some() => 6,
                        Some(_) | None => return Err(JsonError::Malformed),
                    }
                }
                Some(0..0x20) | None => return Err(JsonError::Malformed),
                Some(_) => at += 1,
            }
        }
    }

    /// Skips a number, and returns the hash of its value.
    fn number(&mut self) -> Result<u64, JsonError> {
        let bytes = &self.text.as_bytes()[self.at..];
        let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut length = usize::from(bytes.first() == Some(&b'-'));
        let whole = digits(length);
        if whole == 0 || (whole > 1 && bytes[length] == b'0') {
            return Err(JsonError::Malformed);
        }
        length += whole;
        if bytes.get(length) == Some(&b'.') {
            let fraction = digits(length + 1);
            if fraction == 0 {
                return Err(JsonError::Malformed);
            }
            length += 1 + fraction;
        }
        if let Some(b'e' | b'E') = bytes.get(length) {
            let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
            let power = digits((length + 1 + sign).min(bytes.len()));
            if power == 0 {
                return Err(JsonError::Malformed);
            }
            length += 1 + sign + power;
        }
        normal_form(&bytes[..length], &mut self.scratch);
        self.at += length;
        Ok(xxh3_64_with_seed(&self.scratch, 2))
    }

    /// The hash of the unescaped string between two positions.
    fn hash_of(&mut self, start: usize, end: usize) -> u64 {
        let raw = &self.text[start..end];
        if memchr::memchr(b'\\', raw.as_bytes()).is_none() {
            return xxh3_64_with_seed(raw.as_bytes(), 1);
        }
        self.scratch.clear();
        unescape(raw, &mut self.scratch);
        xxh3_64_with_seed(&self.scratch, 1)
    }
}

/// A position in the text: below 4 GiB, which `JsonTree::parse` ensures.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// A UTF-16 unit of four hexadecimal digits.
fn unit(bytes: &[u8]) -> Option<u32> {
    bytes.get(..4)?.iter().try_fold(0, |unit, &byte| Some(unit * 16 + char::from(byte).to_digit(16)?))
}

/// Unescapes a validated string. A lone surrogate is encoded as UTF-8 would encode a character of that code.
fn unescape(raw: &str, text: &mut Vec<u8>) {
    let bytes = raw.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let plain = memchr::memchr(b'\\', &bytes[at..]).unwrap_or(bytes.len() - at);
        text.extend_from_slice(&bytes[at..at + plain]);
        at += plain;
        let Some(&escape) = bytes.get(at + 1) else { return };
        at += 2;
        match escape {
            b'u' => {
                let high = unit(&bytes[at..]).unwrap_or(0);
                at += 4;
                let low = if bytes[at.min(bytes.len())..].starts_with(b"\\u") { unit(&bytes[at + 2..]) } else { None };
                let code = match (high, low) {
                    // Two surrogates are one character (RFC 8259 §7).
                    (0xd800..0xdc00, Some(low @ 0xdc00..0xe000)) => {
                        at += 6;
                        0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
                    }
                    (high, _) => high,
                };
                push_code(code, text);
            }
            b'b' => text.push(8),
            b'f' => text.push(12),
            b'n' => text.push(b'\n'),
            b'r' => text.push(b'\r'),
            b't' => text.push(b'\t'),
            itself => text.push(itself),
        }
    }
}

fn push_code(code: u32, text: &mut Vec<u8>) {
    if let Some(letter) = char::from_u32(code) {
        text.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
        return;
    }
    // A lone surrogate: three bytes that do not occur in valid UTF-8, so no other string is equal.
    let [_, _, high, low] = code.to_be_bytes();
    text.extend_from_slice(&[0xe0 | (high >> 4), 0x80 | ((high & 15) << 2) | (low >> 6), 0x80 | (low & 63)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<usize, JsonError> {
        JsonTree::parse(text, 1_000).map(|tree| tree.nodes.len())
    }

    #[test]
    fn json_is_parsed() {
        for (text, values) in [
            ("null", 1),
            (" [ ] ", 1),
            ("{}", 1),
            ("[1,-0,2.5e+7,[]]", 5),
            ("{\"a\":{\"b\":[true,false]},\"c\":\"\\ud83d\\ude00\\\"\"}", 6),
            ("\u{feff}1", 1),
            ("\"\\ud800\"", 1),
        ] {
            assert_eq!(parse(text), Ok(values), "{text}");
        }
    }

    #[test]
    fn invalid_json_is_malformed() {
        for text in [
            "",
            " ",
            "[",
            "]",
            "{",
            "}",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "[1}",
            "{\"a\":1]",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "NaN",
            "Infinity",
            "-Infinity",
            "nul",
            "truex",
            "1 2",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\n\"",
            "'a'",
            "[1 2]",
            "// a\n1",
            "\u{a0}1",
            "1e+",
        ] {
            assert_eq!(parse(text), Err(JsonError::Malformed), "{text:?}");
        }
    }

    #[test]
    fn the_parser_agrees_with_serde_json() {
        // All short texts over the letters of the grammar.
        let letters = ["{", "}", "[", "]", ",", ":", "\"", "\\", "u", "0", "1", "-", ".", "e", " ", "null"];
        let mut texts = vec![String::new()];
        for _ in 0..4 {
            texts = texts.iter().flat_map(|text| letters.map(|letter| format!("{text}{letter}"))).collect();
            for text in &texts {
                let other = serde_json::from_str::<serde_json::Value>(text).is_ok();
                // serde_json also rejects numbers beyond a double, which do not occur here.
                assert_eq!(parse(text).is_ok(), other, "{text}");
            }
        }
    }

    #[test]
    fn strings_are_compared_unescaped() {
        let hash = |text: &str| JsonTree::parse(text, 10).unwrap().nodes[0].hash;
        assert_eq!(hash("\"A\\/\\n\""), hash("\"\\u0041/\\u000a\""));
        assert_eq!(hash("\"\\ud83d\\ude00\""), hash("\"😀\""));
        assert_ne!(hash("\"\\ud800\""), hash("\"\\ufffd\""));
        assert_ne!(hash("\"1\""), hash("1"));
        assert_ne!(hash("\"null\""), hash("null"));
    }

    #[test]
    fn values_are_bounded_and_depth_is_not() {
        assert_eq!(JsonTree::parse("[1,2,3]", 3).err(), Some(JsonError::TooManyValues));
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(JsonTree::parse(&deep, 10_000).map(|tree| tree.nodes.len()), Ok(10_000));
    }
}
