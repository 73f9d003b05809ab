//! Scans the responses of an HTTP/1.1 upstream before hyper reads them. hyper accepts more than RFC 9112 allows; the
//! scanner stops the stream at a line (head, chunk size or trailer) that ends in a bare LF.

use bytes::BytesMut;

use super::chunks::ChunkScanner;
use super::grammar::{BodyProgress, Bounds};
pub(crate) use super::response_head::ExpectedResponse;

/// A longer head passes unscanned: hyper rejects it.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// The bounds of a chunked body. The bound of trailers is hyper's own.
const BOUNDS: Bounds =
    Bounds { header_bytes: 16 * 1024, headers: 0, uri_bytes: 0, chunk_extension_bytes: 16 * 1024, trailers: 100 };

/// Scans one response after the other.
#[derive(Debug)]
pub(crate) struct ResponseScanner {
    state: State,
    expected: ExpectedResponse,
    /// The bytes of an incomplete head. hyper has them already; a head is scanned from its first byte.
    held: BytesMut,
}

#[derive(Debug)]
enum State {
    /// The bytes pass unscanned.
    PassThrough,
    Head(Head),
    Chunked(ChunkScanner),
    /// hyper gets nothing more.
    Broken,
}

/// The result of scanning the bytes of a head.
enum HeadScan {
    Partial,
    /// The length of the head.
    Complete(usize),
    /// A line ends in a bare LF, or states an impossible length. The index of its LF.
    Malformed(usize),
}

/// The state of an incomplete head.
#[derive(Debug, Default)]
struct Head {
    /// Start of the current line.
    line_at: usize,
    /// The bytes before this index are scanned.
    scanned: usize,
    /// The code of the status line; 0 if the line has none.
    status: Option<u16>,
    chunked: bool,
}

impl Head {
    /// Scans the bytes of a head from its first one; continues where the last call stopped.
    fn scan(&mut self, bytes: &[u8]) -> HeadScan {
        while let Some(at) = memchr::memchr(b'\n', &bytes[self.scanned..]) {
            let end = self.scanned + at;
            let Some((b'\r', line)) = bytes[self.line_at..end].split_last() else { return HeadScan::Malformed(end) };
            (self.line_at, self.scanned) = (end + 1, end + 1);
            match self.status {
                // hyper skips empty lines before the status line.
                None if line.is_empty() => {}
                None => self.status = Some(status(line)),
                Some(_) if line.is_empty() => return HeadScan::Complete(end + 1),
                Some(_) if is_impossible_length(line) => return HeadScan::Malformed(end),
                Some(_) => self.chunked |= names_transfer_encoding(line),
            }
        }
        self.scanned = bytes.len();
        HeadScan::Partial
    }

    /// Whether another head follows this one. `101` ends HTTP on the connection, so none follows it.
    fn is_informational(&self) -> bool {
        self.status.is_some_and(|status| (100..200).contains(&status) && status != 101)
    }

    /// Whether the status excludes a body, whatever the fields say (RFC 9112 §6.3).
    fn is_bodiless(&self) -> bool {
        matches!(self.status, Some(101 | 204 | 304))
    }
}

/// The code of a status line; 0 if it has none.
fn status(line: &[u8]) -> u16 {
    // `HTTP/1.1` and a blank are nine bytes.
    let code = line.get(9..12).and_then(|code| std::str::from_utf8(code).ok());
    code.and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// Whether a line is a `Content-Length` of 20 digits or more. hyper reports it as a head that is too large, which is
/// another fault.
fn is_impossible_length(line: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length:";
    let is_long = line.len() >= NAME.len() + 20 && matches!(line[0], b'c' | b'C');
    is_long && line[..NAME.len()].eq_ignore_ascii_case(NAME) && line[NAME.len()..].trim_ascii().len() >= 20
}

fn names_transfer_encoding(line: &[u8]) -> bool {
    const NAME: &[u8] = b"transfer-encoding:";
    line.len() >= NAME.len() && matches!(line[0], b't' | b'T') && line[..NAME.len()].eq_ignore_ascii_case(NAME)
}

impl Default for ResponseScanner {
    fn default() -> Self {
        Self { state: State::PassThrough, expected: ExpectedResponse::HeadAndBody, held: BytesMut::new() }
    }
}

impl ResponseScanner {
    /// Starts a response: its request is sent.
    pub(crate) fn begin(&mut self, expected: ExpectedResponse) {
        self.state = State::Head(Head::default());
        self.expected = expected;
        self.held = BytesMut::new();
    }

    /// Whether the next bytes are scanned.
    pub(crate) fn is_scanning(&self) -> bool {
        !matches!(self.state, State::PassThrough)
    }

    /// Whether the next byte belongs to a head.
    pub(crate) fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// Whether the response is malformed: hyper gets nothing more.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.state, State::Broken)
    }

    /// Scans bytes that were read. Returns how many of them hyper may read, and passes each informational head to the
    /// callback.
    pub(crate) fn scan(&mut self, bytes: &[u8], mut on_informational: impl FnMut(&[u8])) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let taken = match &mut self.state {
                State::PassThrough => bytes.len() - at,
                State::Broken => return at,
                State::Head(_) => self.scan_head(&bytes[at..], &mut on_informational),
                State::Chunked(chunks) => {
                    let (taken, progress) = chunks.take_valid(&bytes[at..], &BOUNDS);
                    match progress {
                        Ok(BodyProgress::More) => {}
                        // The next response begins with its request: until then nothing is scanned.
                        Ok(BodyProgress::Ended) => self.state = State::PassThrough,
                        Err(_) => self.state = State::Broken,
                    }
                    taken
                }
            };
            at += taken;
        }
        at
    }

    fn scan_head(&mut self, bytes: &[u8], on_informational: &mut impl FnMut(&[u8])) -> usize {
        let State::Head(head) = &mut self.state else { return 0 };
        let before = self.held.len();
        if before > 0 {
            self.held.extend_from_slice(bytes);
        }
        // Without an earlier part, the head is scanned in place: most heads arrive in one piece and are not copied.
        let all = if before > 0 { &self.held[..] } else { bytes };
        match head.scan(all) {
            HeadScan::Partial => {
                if before == 0 {
                    self.held.extend_from_slice(bytes);
                }
                if self.held.len() > HEAD_BYTES_MAX {
                    self.state = State::PassThrough;
                    self.held = BytesMut::new();
                }
                bytes.len()
            }
            HeadScan::Malformed(at) => {
                debug_assert!(at >= before, "an earlier call has scanned the bytes before");
                self.state = State::Broken;
                // `at` counts from the first byte of the head; hyper has those of earlier calls. It never gets the LF.
                at - before
            }
            HeadScan::Complete(length) => {
                debug_assert!((before + 1..=all.len()).contains(&length), "a head ends in the bytes of this call");
                if head.is_informational() {
                    on_informational(&all[..length]);
                    // Another head of the same response follows: `expected` stays.
                    self.state = State::Head(Head::default());
                } else if head.chunked && !head.is_bodiless() && self.expected == ExpectedResponse::HeadAndBody {
                    // In the other cases there is no body, whatever the field says (RFC 9112 §6.3).
                    self.state = State::Chunked(ChunkScanner::for_response());
                } else {
                    self.state = State::PassThrough;
                }
                self.held = BytesMut::new();
                length - before
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of these bytes hyper gets, how many informational heads there were, and whether the scanner broke off.
    fn scanned(expected: ExpectedResponse, bytes: &[u8], step: usize) -> (usize, usize, bool) {
        let mut scanner = ResponseScanner::default();
        scanner.begin(expected);
        let (mut given, mut informed) = (0, 0);
        for piece in bytes.chunks(step) {
            given += scanner.scan(piece, |_| informed += 1);
            if scanner.is_broken() {
                break;
            }
        }
        (given, informed, scanner.is_broken())
    }

    #[track_caller]
    fn check(expected: ExpectedResponse, text: &str, informed: usize, broken_at: Option<&str>) {
        let whole = broken_at.map_or(text.len(), str::len);
        for step in [1, 2, 3, 7, text.len()] {
            let (bytes, heads, broken) = scanned(expected, text.as_bytes(), step);
            assert_eq!(broken, broken_at.is_some(), "{text:?} in steps of {step}");
            assert_eq!(heads, informed, "{text:?} in steps of {step}");
            assert_eq!(bytes, whole, "{text:?} in steps of {step}");
        }
    }

    #[test]
    fn valid_responses_pass() {
        for (text, informed) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\na\nb", 0),
            ("\r\nHTTP/1.1 200 OK\r\n\r\nuntil\nthe end", 0),
            ("HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 102 P\r\n\r\nHTTP/1.1 200 OK\r\n\r\n\n", 2),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\na\nb\r\n0;x\r\nsum: 1\r\n\r\n", 0),
            ("HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\nmore\n", 0),
            ("HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n\n\n", 0),
        ] {
            check(ExpectedResponse::HeadAndBody, text, informed, None);
        }
        check(ExpectedResponse::HeadOnly, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 0, None);
    }

    #[test]
    fn a_bare_lf_ends_the_stream() {
        for (before, after) in [
            ("", "\nHTTP/1.1 200 OK\r\n\r\n"),
            ("HTTP/1.1 200 OK", "\ncontent-length: 0\r\n\r\n"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0", "\n\r\n"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n", "\n"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2", "\nok\r\n0\r\n\r\n"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok", "\n0\r\n\r\n"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nsum: 1", "\n\r\n"),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", "\n"),
        ] {
            check(ExpectedResponse::HeadAndBody, &format!("{before}{after}"), 0, Some(before));
        }
        let early = "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Processing";
        check(ExpectedResponse::HeadAndBody, &format!("{early}\n\r\n"), 1, Some(early));
    }

    #[test]
    fn an_endless_head_passes_to_hyper() {
        let mut scanner = ResponseScanner::default();
        scanner.begin(ExpectedResponse::HeadAndBody);
        for _ in 0..300 {
            let line = [b"x: ".as_slice(), &[b'y'; 1000], b"\r\n"].concat();
            assert_eq!(scanner.scan(&line, |_| ()), line.len());
        }
        assert!(!scanner.is_scanning() && scanner.held.capacity() == 0);
    }
}
