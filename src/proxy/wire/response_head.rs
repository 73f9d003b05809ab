//! Scans the head of an HTTP/1.1 response and decides the framing of its body. The grammar is RFC 9112 without its
//! leniencies: lines end in CRLF, no folded lines, no blank before a colon. Framing that two recipients could read
//! differently is refused: the connection then carries nothing more.

use http::{Method, StatusCode, Version};

use super::field_rules::{is_event, is_hop_by_hop};
use super::grammar::{field_line, is_name, text_length};
use super::scan::{content_length, is_framing_look_alike};
use crate::fields::Fields;

/// The most fields that an `http::HeaderMap` holds in any case.
const FIELDS_MAX: usize = 24_576;
/// The most bytes of a name that an `http::HeaderName` holds.
const NAME_BYTES_MAX: usize = 65_535;

/// Limits on one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes, with the status line, the final empty line, and empty lines before the status line.
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
}

/// What a response consists of, by the method of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedResponse {
    /// A head alone: the request is a `HEAD`.
    HeadOnly,
    /// A head and a body.
    HeadAndBody,
}

impl ExpectedResponse {
    /// The response to a request with this method.
    #[must_use]
    pub fn of(method: &Method) -> Self {
        if *method == Method::HEAD { Self::HeadOnly } else { Self::HeadAndBody }
    }
}

/// Where the body of a response ends (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFraming {
    /// After this many bytes; 0 without a body.
    Length(u64),
    /// After the last chunk.
    Chunked,
    /// At the end of the connection.
    UntilClose,
}

/// Why a response is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedResponse {
    /// It violates the grammar, or its framing is ambiguous.
    Invalid,
    /// It exceeds a limit.
    TooLarge,
}

/// The result of scanning the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadProgress {
    /// More bytes are needed.
    Partial,
    /// An informational head of this length is complete. Another head of the same response follows.
    Informational(usize),
    /// The final head is complete and has this length. `101` is final: it ends HTTP on the connection.
    Final(usize),
}

/// A complete final head.
#[derive(Debug)]
pub struct ResponseHead {
    /// The status, 101 or 200 to 599.
    pub status: StatusCode,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// All fields.
    pub fields: Fields,
    /// Where the body ends.
    pub framing: ResponseFraming,
    /// Whether the connection may carry another request after the body (RFC 9112 §9.3).
    pub persistent: bool,
    /// Whether `strip_hop_by_hop` would remove a field.
    pub hop_by_hop: bool,
    /// Whether it has an `x-pointsman-event`.
    pub has_event: bool,
}

/// Scans one head after the other. It keeps its memory for the next head.
#[derive(Debug)]
pub struct ResponseHeadScanner {
    limits: HeadLimits,
    expected: ExpectedResponse,
    /// Start of the current line.
    line_at: usize,
    /// No byte before this index is a line feed of the current line.
    scanned: usize,
    /// The length of the head; 0 until it is complete.
    length: usize,
    start: StatusLine,
    /// Bytes of the status line, and of empty lines before it.
    prelude: usize,
    framing: FramingFields,
    /// The lines of the head so far.
    fields: Fields,
    hop_by_hop: bool,
    has_event: bool,
    /// How many bytes were looked at: in search of the end of a line, or to read a line.
    #[cfg(test)]
    looked_at: usize,
}

/// The status line.
#[derive(Clone, Copy, Debug)]
struct StatusLine {
    /// 0 until the line is complete.
    status: u16,
    version: Version,
}

/// The fields that decide framing and persistence.
#[derive(Clone, Copy, Debug, Default)]
struct FramingFields {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl ResponseHeadScanner {
    /// A scanner with these limits. A head has at most 24 576 fields and 4 GiB, whatever the limits.
    #[must_use]
    pub fn new(limits: HeadLimits) -> Self {
        Self {
            limits: HeadLimits { bytes: limits.bytes.min(u32::MAX as usize), fields: limits.fields.min(FIELDS_MAX) },
            expected: ExpectedResponse::HeadAndBody,
            line_at: 0,
            scanned: 0,
            length: 0,
            start: StatusLine { status: 0, version: Version::HTTP_11 },
            prelude: 0,
            framing: FramingFields::default(),
            fields: Fields::new(),
            hop_by_hop: false,
            has_event: false,
            #[cfg(test)]
            looked_at: 0,
        }
    }

    /// Begins a response: its first byte has not been scanned.
    pub fn begin(&mut self, expected: ExpectedResponse) {
        self.expected = expected;
        self.next_head();
    }

    /// Gives it the memory of an empty list for the next head. Without one, it allocates.
    pub fn lend(&mut self, spare: Fields) {
        debug_assert!(spare.is_empty() && self.fields.is_empty(), "before the first byte of a head");
        self.fields = spare;
    }

    /// Begins the next head of the same response, after an informational one.
    pub fn next_head(&mut self) {
        (self.line_at, self.scanned, self.length) = (0, 0, 0);
        self.start.status = 0;
        self.framing = FramingFields::default();
        self.fields.clear();
        (self.hop_by_hop, self.has_event) = (false, false);
    }

    /// Scans `bytes`: all bytes from the first one of the current head on. Continues where the last call stopped.
    ///
    /// # Errors
    /// The head is malformed or exceeds a limit. The result is the same in whatever pieces the bytes arrive, and again
    /// in a later call.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<HeadProgress, MalformedResponse> {
        if self.length > 0 {
            return Ok(self.complete());
        }
        // Bytes beyond the limit are not read: else the result would depend on the pieces.
        let within = &bytes[..bytes.len().min(self.limits.bytes)];
        debug_assert!(self.scanned <= within.len(), "a later call has all bytes of the earlier ones");
        // A line that was incomplete is looked at again when it is complete: its bytes are read twice, not more.
        let is_behind = self.scanned == self.line_at;
        if is_behind || self.has_line_feed(within.get(self.scanned..).unwrap_or_default()) {
            while let Some(line) = self.next_line(within)? {
                self.line_at += line;
                if self.length > 0 {
                    return Ok(self.complete());
                }
            }
        }
        self.scanned = within.len();
        if self.start.status == 0 && !may_begin_status_line(&within[self.line_at..]) {
            return Err(MalformedResponse::Invalid);
        }
        // At the limit, too: the head is incomplete, so it is longer.
        if bytes.len() >= self.limits.bytes { Err(MalformedResponse::TooLarge) } else { Ok(HeadProgress::Partial) }
    }

    /// Takes the next line. Returns its length with its CRLF, or `None` if it is incomplete.
    #[inline]
    fn next_line(&mut self, within: &[u8]) -> Result<Option<usize>, MalformedResponse> {
        let bytes = within.get(self.line_at..).unwrap_or_default();
        #[cfg(test)]
        {
            self.looked_at += memchr::memchr(b'\n', bytes).map_or(bytes.len(), |end| end + 1);
        }
        let line = match bytes {
            [b'\r', b'\n', ..] => self.take_empty_line(),
            _ if self.start.status > 0 => self.take_field(bytes),
            _ => self.take_status_line(bytes),
        };
        // RFC 9112 §2.2 lets a recipient accept a bare LF. Another recipient would see another head: each LF ends a
        // line, and a line that ends in another way is malformed. Without an LF it is incomplete, whatever its bytes
        // are: else the result would depend on the pieces.
        match line {
            Ok(line) => Ok(Some(line)),
            Err(_) if !self.has_line_feed(bytes) => Ok(None),
            Err(malformed) => Err(malformed),
        }
    }

    /// Whether a line ends in these bytes.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests count the bytes"))]
    fn has_line_feed(&mut self, bytes: &[u8]) -> bool {
        let end = memchr::memchr(b'\n', bytes);
        #[cfg(test)]
        {
            self.looked_at += end.map_or(bytes.len(), |end| end + 1);
        }
        end.is_some()
    }

    /// Takes an empty line: the end of the head. Before the status line it is skipped, as before a request line (RFC
    /// 9112 §2.2): some servers send one after a body.
    fn take_empty_line(&mut self) -> Result<usize, MalformedResponse> {
        if self.start.status > 0 {
            self.framing.check(self.start.version)?;
            self.length = self.line_at + 2;
        }
        Ok(2)
    }

    fn take_status_line(&mut self, bytes: &[u8]) -> Result<usize, MalformedResponse> {
        let (start, line) = status_line(bytes).ok_or(MalformedResponse::Invalid)?;
        (self.start, self.prelude) = (start, self.line_at + line);
        Ok(line)
    }

    #[inline]
    fn take_field(&mut self, bytes: &[u8]) -> Result<usize, MalformedResponse> {
        if self.fields.len() >= self.limits.fields {
            return Err(MalformedResponse::TooLarge);
        }
        let line = field_line(bytes).ok_or(MalformedResponse::Invalid)?;
        if line.name.len() > NAME_BYTES_MAX {
            return Err(MalformedResponse::TooLarge);
        }
        if is_special_length(line.name.len()) {
            self.take_special(line.name, line.value)?;
        }
        line.note(self.line_at, &mut self.fields);
        Ok(line.length)
    }

    /// Takes a field of whose name's length there are names with a meaning.
    fn take_special(&mut self, name: &[u8], value: &[u8]) -> Result<(), MalformedResponse> {
        self.framing.take(name, value)?;
        self.hop_by_hop |= is_hop_by_hop(name);
        self.has_event |= is_event(name);
        Ok(())
    }

    /// The progress of a complete head.
    fn complete(&self) -> HeadProgress {
        debug_assert!(self.length > 0 && self.start.status >= 100, "the head is complete");
        match self.start.status {
            100 | 102..200 => HeadProgress::Informational(self.length),
            _ => HeadProgress::Final(self.length),
        }
    }

    /// The status of the complete head; 0 before its status line is complete.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.start.status
    }

    /// Keeps the fields of a complete head, informational or final, which `bytes` begin with.
    ///
    /// # Errors
    /// The head is not complete, or `bytes` are not those that were scanned.
    pub fn keep(&mut self, bytes: &[u8]) -> Result<(), MalformedResponse> {
        let head = bytes.get(..self.length).filter(|head| !head.is_empty()).ok_or(MalformedResponse::Invalid)?;
        self.fields.set_head(head, self.prelude);
        Ok(())
    }

    /// Takes the fields that were kept.
    pub fn take_fields(&mut self) -> Fields {
        std::mem::take(&mut self.fields)
    }

    /// Takes the final head whose fields were kept.
    ///
    /// # Errors
    /// No head has been scanned.
    #[inline]
    pub fn take_head(&mut self) -> Result<ResponseHead, MalformedResponse> {
        let status = StatusCode::from_u16(self.start.status).map_err(|_| MalformedResponse::Invalid)?;
        let framing = self.framing();
        Ok(ResponseHead {
            status,
            version: self.start.version,
            fields: self.take_fields(),
            framing,
            persistent: status != StatusCode::SWITCHING_PROTOCOLS
                && framing != ResponseFraming::UntilClose
                && self.framing.keeps_connection(self.start.version),
            hop_by_hop: self.hop_by_hop,
            has_event: self.has_event,
        })
    }

    /// RFC 9112 §6.3.
    fn framing(&self) -> ResponseFraming {
        let is_bodiless = self.expected == ExpectedResponse::HeadOnly || matches!(self.start.status, 101 | 204 | 304);
        match (self.framing.chunked, self.framing.length) {
            _ if is_bodiless => ResponseFraming::Length(0),
            (true, _) => ResponseFraming::Chunked,
            (false, Some(length)) => ResponseFraming::Length(length),
            (false, None) => ResponseFraming::UntilClose,
        }
    }
}

impl FramingFields {
    /// Takes a field with a trimmed value. A malformed or repeated framing field is refused, whatever the status: also
    /// where there is no body, another recipient may read one.
    #[inline]
    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), MalformedResponse> {
        // The length is compared first: it excludes most names at once.
        match name.len() {
            10 if is_name(name, b"connection") => {
                for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if is_name(name, b"content-length") => {
                let length = content_length(value).ok_or(MalformedResponse::Invalid)?;
                if self.length.replace(length).is_some() {
                    return Err(MalformedResponse::Invalid);
                }
            }
            17 if is_name(name, b"transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(MalformedResponse::Invalid);
                }
                self.chunked = true;
            }
            13.. if is_framing_look_alike(name) => return Err(MalformedResponse::Invalid),
            _ => {}
        }
        Ok(())
    }

    /// Refuses a transfer coding beside a length, or in HTTP/1.0, which has none (RFC 9112 §6.1).
    fn check(&self, version: Version) -> Result<(), MalformedResponse> {
        if self.chunked && (self.length.is_some() || version == Version::HTTP_10) {
            return Err(MalformedResponse::Invalid);
        }
        Ok(())
    }

    /// Whether the sender keeps the connection open after the response (RFC 9112 §9.3).
    fn keeps_connection(&self, version: Version) -> bool {
        !self.close && (version == Version::HTTP_11 || self.keep_alive)
    }
}

/// Whether names of this length may have a meaning for the connection. Most fields are done with this one comparison.
#[inline]
fn is_special_length(length: usize) -> bool {
    length > 12 || matches!(length, 2 | 5 | 7 | 10)
}

/// The status line that `bytes` begin with, and its length. Its reason may be empty, with or without the blank before
/// it (RFC 9112 §4 requires the blank; many servers omit it).
fn status_line(bytes: &[u8]) -> Option<(StatusLine, usize)> {
    let (start, rest) = bytes.split_at_checked(b"HTTP/1.1 ".len())?;
    let version = match start {
        b"HTTP/1.1 " => Version::HTTP_11,
        b"HTTP/1.0 " => Version::HTTP_10,
        _ => return None,
    };
    let [hundreds @ b'1'..=b'5', tens @ b'0'..=b'9', ones @ b'0'..=b'9', reason @ ..] = rest else { return None };
    let digit = |byte: u8| u16::from(byte - b'0');
    let status = digit(*hundreds) * 100 + digit(*tens) * 10 + digit(*ones);
    let end = text_length(reason);
    let is_valid = matches!(reason, [b' ' | b'\r', ..]) && reason[end..].starts_with(b"\r\n");
    is_valid.then_some((StatusLine { status, version }, b"HTTP/1.1 200".len() + end + 2))
}

/// Whether an incomplete line can become a status line, or the empty line before one. A peer that speaks another
/// protocol is recognized at its first wrong byte: it may never send a line feed.
fn may_begin_status_line(bytes: &[u8]) -> bool {
    let is_allowed = |(index, byte): (usize, &u8)| match index {
        7 => matches!(byte, b'0' | b'1'),
        9 => matches!(byte, b'1'..=b'5'),
        10 | 11 => byte.is_ascii_digit(),
        12 => matches!(byte, b' ' | b'\r'),
        // Behind a CR comes only the LF, which completes the line.
        13 => bytes[12] == b' ',
        _ => b"HTTP/1.1 ".get(index) == Some(byte),
    };
    bytes == b"\r" || bytes.iter().take(14).enumerate().all(is_allowed)
}

#[cfg(test)]
mod tests;
