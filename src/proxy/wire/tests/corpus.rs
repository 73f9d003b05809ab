//! The messages of a corpus: the responses of `corpus.txt`, the requests of `requests/corpus.txt`.

use crate::route::UpstreamLimits;

const TEXT: &str = include_str!("corpus.txt");

/// One message.
pub(super) struct Sample {
    /// The line of the corpus.
    pub(super) line: usize,
    pub(super) kind: &'static str,
    /// The rows of the table of deviations that it is an example of.
    pub(super) rows: Vec<&'static str>,
    /// hyper's reading depends on the pieces in which the bytes arrive.
    pub(super) unsteady: bool,
    /// As it is written in the corpus.
    pub(super) text: &'static str,
    pub(super) bytes: Vec<u8>,
    pub(super) limits: UpstreamLimits,
}

/// All responses of the corpus.
pub(super) fn samples() -> Vec<Sample> {
    samples_of(TEXT)
}

/// All messages of a corpus.
pub(super) fn samples_of(corpus: &'static str) -> Vec<Sample> {
    let mut samples = Vec::new();
    let (mut kind, mut limits) = ("", UpstreamLimits::default());
    for (line, text) in (1..).zip(corpus.lines()) {
        if text.is_empty() || text.starts_with('#') {
        } else if let Some(heading) = text.strip_prefix("== ") {
            (kind, limits) = (heading, limits_of(heading));
        } else {
            let (marks, text) = marks(text);
            let variants = Escaped { rest: text.as_bytes(), depth: 0 }.sequence();
            samples.extend(variants.into_iter().map(|bytes| Sample {
                line,
                kind,
                rows: marks.iter().copied().filter(|mark| *mark != "~").collect(),
                unsteady: marks.contains(&"~"),
                text,
                bytes,
                limits,
            }));
        }
    }
    samples
}

/// The limits that a heading states: `KIND (BYTES bytes, FIELDS fields)`.
fn limits_of(heading: &str) -> UpstreamLimits {
    let stated = heading.split_once('(').map_or("", |(_, stated)| stated);
    let numbers = stated.split(|letter: char| !letter.is_ascii_digit()).filter_map(|word| word.parse().ok());
    let [response_header_bytes, response_headers] = numbers.collect::<Vec<u32>>()[..] else {
        return UpstreamLimits::default();
    };
    UpstreamLimits { response_headers, response_header_bytes, ..UpstreamLimits::default() }
}

fn marks(line: &'static str) -> (Vec<&'static str>, &'static str) {
    let Some((marks, text)) = line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) else {
        return (Vec::new(), line);
    };
    (marks.split(", ").collect(), text)
}

/// Escaped text that is being read.
struct Escaped {
    rest: &'static [u8],
    /// How many repeated texts it stands in.
    depth: usize,
}

impl Escaped {
    /// Reads up to the end, or up to the parenthesis that ends a repeated text. Returns a response for each byte of a
    /// class.
    fn sequence(&mut self) -> Vec<Vec<u8>> {
        let mut read = vec![Vec::new()];
        while let Some(byte) = self.next() {
            let next = match byte {
                b')' if self.depth > 0 => break,
                b'\\' => self.escape(),
                byte => vec![vec![byte]],
            };
            read = read.iter().flat_map(|begun| next.iter().map(|part| [&begun[..], part].concat())).collect();
        }
        read
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn until(&mut self, end: u8) -> &'static str {
        let at = self.rest.iter().position(|byte| *byte == end).expect("the end of an escape");
        let text = std::str::from_utf8(&self.rest[..at]).expect("ASCII");
        self.rest = &self.rest[at + 1..];
        text
    }

    fn escape(&mut self) -> Vec<Vec<u8>> {
        let one: &[u8] = match self.next().expect("an escape") {
            b'r' => b"\r",
            b'n' => b"\n",
            b't' => b"\t",
            b's' => b" ",
            b'0' => b"\0",
            b'\\' => b"\\",
            b'H' => b"HTTP/1.1 200 OK\r\n",
            b'L' => b"content-length: 2\r\n\r\nok",
            b'C' => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            b'E' => b"\r\n\r\n",
            b'G' => b"GET / HTTP/1.1\r\nhost: a\r\n",
            b'P' => b"POST / HTTP/1.1\r\nhost: a\r\n",
            b'K' => b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
            b'x' => {
                let (digits, rest) = self.rest.split_at(2);
                self.rest = rest;
                return vec![vec![hex(std::str::from_utf8(digits).expect("ASCII"))]];
            }
            b'(' => {
                let times = self.until(b'*').parse().expect("a number");
                self.depth += 1;
                let texts = self.sequence();
                self.depth -= 1;
                return texts.iter().map(|text| text.repeat(times)).collect();
            }
            b'{' => return self.until(b'}').split(' ').flat_map(range).map(|byte| vec![byte]).collect(),
            other => panic!("unknown escape `\\{}`", char::from(other)),
        };
        vec![one.to_vec()]
    }
}

fn range(text: &str) -> std::ops::RangeInclusive<u8> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    hex(first)..=hex(last)
}

fn hex(digits: &str) -> u8 {
    u8::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("`{digits}` is no byte"))
}

#[test]
fn escapes_are_read() {
    let read = |text: &'static str| Escaped { rest: text.as_bytes(), depth: 0 }.sequence();
    assert_eq!(read("a\\r\\n\\t\\s\\0\\\\\\x41\\xff)"), [b"a\r\n\t \0\\A\xff)"]);
    assert_eq!(read("\\(2*a\\(3*b)c)d"), [b"abbbcabbbcd"]);
    assert_eq!(read("a\\{30-32 7f}b"), [b"a0b", b"a1b", b"a2b", b"a\x7fb"]);
    assert_eq!(read("\\(0*x)"), [b""]);
    assert_eq!(limits_of("limits (256 bytes, 8 fields)").response_headers, 8);
    assert_eq!(marks("[a, ~] x]"), (vec!["a", "~"], "x]"));
}
