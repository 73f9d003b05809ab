//! A strict scanner of HTTP/1.1 requests: it determines where each message ends and where its parts lie. Nothing else
//! reads a head, so that no request that reaches an upstream is ambiguous (request smuggling).
//!
//! The grammar is RFC 9112 without its leniencies: lines end in CRLF, never in a bare LF; no obs-fold; no space before
//! the colon; exactly one `Host` (HTTP/1.0 may omit it); `Content-Length` or `Transfer-Encoding: chunked`, never both,
//! never twice.

use super::chunks::ChunkScanner;
pub use super::grammar::{BodyProgress, Bounds};
use super::grammar::{field_line, is_name, is_token, target_length, token_length};
use crate::fields::{FieldSpan, Fields};
use crate::telemetry::Refusal;

/// The framing of the body after a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes; 0 without a body.
    Length(u64),
    /// Chunks.
    Chunked,
    /// No body, and an `Upgrade` field: the next bytes are HTTP only if the upstream does not switch (RFC 9110 §7.8).
    Switch,
}

/// The result of scanning the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScannedHead {
    /// More bytes are needed.
    Partial,
    /// The length of the head, and the framing of its body.
    Complete(usize, Framing),
    /// The request must be refused.
    Refused(Refusal),
}

/// The longest method that is accepted.
const METHOD_BYTES_MAX: usize = 32;

/// Scans one request head from the start of `bytes`.
#[must_use]
pub fn head(bytes: &[u8], bounds: &Bounds) -> ScannedHead {
    HeadScanner::default().scan(bytes, bounds, &mut Fields::new())
}

/// Scans one head as its bytes arrive. Complete lines are not scanned again.
#[derive(Debug, Default)]
pub struct HeadScanner {
    /// The start of the first line that is not complete.
    at: usize,
    /// The bytes before this offset have no line end behind `at`.
    searched: usize,
    line: RequestLine,
    framing: FramingFields,
}

/// The request line of a head. The places are offsets in the head.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RequestLine {
    pub(crate) method: FieldSpan,
    pub(crate) target: FieldSpan,
    version: Version,
    /// The start of the field section; 0 before the line is complete.
    pub(crate) fields_at: usize,
}

impl RequestLine {
    /// The version of the request.
    pub(crate) fn version(&self) -> http::Version {
        match self.version {
            Version::Http10 => http::Version::HTTP_10,
            Version::Http11 => http::Version::HTTP_11,
        }
    }
}

impl HeadScanner {
    /// Scans a head. `bytes` are all that have arrived of it: those of the last call, and more. The lines of fields are
    /// noted in `fields`, which is the same for all calls.
    pub fn scan(&mut self, bytes: &[u8], bounds: &Bounds, fields: &mut Fields) -> ScannedHead {
        match self.scan_lines(bytes, bounds, fields) {
            Ok(Some((length, framing))) => ScannedHead::Complete(length, framing),
            Ok(None) => ScannedHead::Partial,
            Err(refusal) => ScannedHead::Refused(refusal),
        }
    }

    /// The request line, once it is complete.
    pub(crate) fn line(&self) -> Option<&RequestLine> {
        Some(&self.line).filter(|line| line.fields_at > 0)
    }

    /// Whether the client lets the connection carry another request (RFC 9112 §9.3).
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        match self.framing.persistence {
            Persistence::Close => false,
            Persistence::KeepAlive => true,
            Persistence::Default => self.line.version == Version::Http11,
        }
    }

    /// Whether the client may wait for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
    pub(crate) fn expects_continue(&self) -> bool {
        self.framing.expects_continue && self.line.version == Version::Http11
    }

    /// Whether the client accepts trailers (RFC 9110 §6.5.1).
    pub(crate) fn accepts_trailers(&self) -> bool {
        self.framing.accepts_trailers
    }

    fn scan_lines(
        &mut self,
        bytes: &[u8],
        bounds: &Bounds,
        fields: &mut Fields,
    ) -> Result<Option<(usize, Framing)>, Refusal> {
        if self.line.fields_at == 0 {
            // RFC 9112 §2.2: at least one empty line before the request line should be ignored.
            self.at = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
            if !self.is_late()
                && let Some(line) = request_line(self.rest(bytes), self.at, bounds)
            {
                self.line = line;
            } else if !self.take_late_line(bytes, bounds)? {
                return Ok(None);
            }
            self.at = self.line.fields_at;
        }
        loop {
            let rest = self.rest(bytes);
            if !self.is_late()
                && let Some(field) = field_line(rest)
            {
                let at = self.pass(field.length, bounds, fields)?;
                self.framing.take(field.name, field.value)?;
                field.note(at, fields);
            } else if rest.starts_with(b"\r\n") {
                self.at += 2;
                debug_assert!(self.at <= bytes.len(), "a head ends in the scanned bytes");
                return self.framing.framing(self.line.version).map(|framing| Some((self.at, framing)));
            } else if !self.take_late_field(bytes, bounds, fields)? {
                return Ok(None);
            }
        }
    }

    /// The bytes of the current line, and those behind it.
    #[inline]
    fn rest<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        bytes.get(self.at..).unwrap_or_default()
    }

    /// Whether the current line was incomplete in an earlier call. It is not read again before it is complete: its bytes are
    /// read twice, not more.
    #[inline]
    fn is_late(&self) -> bool {
        self.searched > self.at
    }

    /// Takes a request line that is complete at last, and refuses a malformed one. Returns whether it is complete.
    #[cold]
    fn take_late_line(&mut self, bytes: &[u8], bounds: &Bounds) -> Result<bool, Refusal> {
        let rest = self.rest(bytes);
        let Some(length) = self.line_length(bytes)? else { return partial_request_line(rest, bounds).map(|()| false) };
        let line = request_line(rest, self.at, bounds);
        self.line = line.ok_or_else(|| line_refusal(&rest[..length - 2], bounds))?;
        Ok(true)
    }

    /// Takes a field line that is complete at last, and refuses a malformed one. Returns whether it is complete.
    #[cold]
    fn take_late_field(&mut self, bytes: &[u8], bounds: &Bounds, fields: &mut Fields) -> Result<bool, Refusal> {
        let rest = self.rest(bytes);
        let Some(length) = self.line_length(bytes)? else {
            // Also an incomplete head is bounded: an endless field section must not fill the buffer. The last byte may be
            // the CR of the empty line, which does not count.
            let over = bytes.len() - self.line.fields_at > bounds.header_bytes + 1;
            return if over { Err(Refusal::HeadersTooLarge) } else { Ok(false) };
        };
        let at = self.pass(length, bounds, fields)?;
        let field = field_line(rest).ok_or(Refusal::MalformedHead)?;
        self.framing.take(field.name, field.value)?;
        field.note(at, fields);
        Ok(true)
    }

    /// Goes on behind a field line of this length, within the bounds. Returns the start of the line.
    #[inline]
    fn pass(&mut self, length: usize, bounds: &Bounds, fields: &Fields) -> Result<usize, Refusal> {
        let at = self.at;
        self.at = at + length;
        let over = self.at - self.line.fields_at > bounds.header_bytes || fields.len() >= bounds.headers;
        if over { Err(Refusal::HeadersTooLarge) } else { Ok(at) }
    }

    /// The length of the next line with its CRLF, `None` if it is incomplete. A bare LF is refused.
    fn line_length(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        // RFC 9112 §2.2 lets a recipient accept a bare LF. An upstream that does not would see another head (request
        // smuggling). A CR inside the line is refused by `field_line` or `request_line`.
        let (start, from) = (self.at, self.at.max(self.searched));
        let Some(found) = memchr::memchr(b'\n', bytes.get(from..).unwrap_or_default()) else {
            self.searched = bytes.len();
            return Ok(None);
        };
        let end = from + found;
        if end == start || bytes[end - 1] != b'\r' {
            return Err(Refusal::MalformedHead);
        }
        Ok(Some(end + 1 - start))
    }
}

/// Refuses an incomplete request line that is too long or malformed already, so that it does not occupy a buffer.
fn partial_request_line(bytes: &[u8], bounds: &Bounds) -> Result<(), Refusal> {
    let method = memchr::memchr(b' ', bytes).unwrap_or(bytes.len());
    // A CR may be the first half of the empty line that `scan_lines` skips.
    if method > METHOD_BYTES_MAX || !bytes[..method].iter().all(|b| is_token(*b) || *b == b'\r') {
        return Err(Refusal::MalformedHead);
    }
    // Behind a target of the greatest length come a blank, the version and the CR; a blank precedes it.
    if bytes.len() - method > bounds.uri_bytes + "  HTTP/1.1\r".len() {
        return Err(Refusal::UriTooLong);
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Version {
    #[default]
    Http10,
    Http11,
}

/// The request line that `bytes` begin with, `None` if it is incomplete or refused. It lies at offset `at` of the head.
#[inline]
fn request_line(bytes: &[u8], at: usize, bounds: &Bounds) -> Option<RequestLine> {
    let method = token_length(bytes);
    let rest = bytes.get(method..)?.strip_prefix(b" ")?;
    let target = target_length(rest);
    let (target, rest) = rest.split_at_checked(target)?;
    let version = match rest.first_chunk::<11>()? {
        b" HTTP/1.1\r\n" => Version::Http11,
        b" HTTP/1.0\r\n" => Version::Http10,
        _ => return None,
    };
    let has_sizes = (1..=METHOD_BYTES_MAX).contains(&method) && (1..=bounds.uri_bytes).contains(&target.len());
    if !has_sizes || !is_request_target(&bytes[..method], target) {
        return None;
    }
    let target_at = at + method + 1;
    let target_end = target_at + target.len();
    Some(RequestLine {
        method: FieldSpan::new(at, at + method),
        target: FieldSpan::new(target_at, target_end),
        version,
        fields_at: target_end + " HTTP/1.1\r\n".len(),
    })
}

/// Why a request line without its CRLF is refused.
#[cold]
fn line_refusal(line: &[u8], bounds: &Bounds) -> Refusal {
    let method = token_length(line);
    let is_long = line[method..].strip_prefix(b" ").is_some_and(|rest| {
        let target = rest.strip_suffix(b" HTTP/1.1").or_else(|| rest.strip_suffix(b" HTTP/1.0"));
        target.is_some_and(|target| target.len() > bounds.uri_bytes)
    });
    let has_method = (1..=METHOD_BYTES_MAX).contains(&method);
    if has_method && is_long { Refusal::UriTooLong } else { Refusal::MalformedHead }
}

/// Whether a target has only allowed bytes.
pub(crate) fn is_uri(target: &[u8]) -> bool {
    target_length(target) == target.len()
}

/// RFC 9112 §3.2: origin-form, absolute-form for `http` and `https`, asterisk-form only for `OPTIONS`. Admission
/// refuses `CONNECT` with its authority-form: 405.
#[inline]
fn is_request_target(method: &[u8], target: &[u8]) -> bool {
    debug_assert!(!target.is_empty(), "`request_line` refuses an empty target");
    target.first() == Some(&b'/') || is_rare_target(method, target)
}

#[cold]
fn is_rare_target(method: &[u8], target: &[u8]) -> bool {
    let scheme_end = memchr::memchr(b':', target).unwrap_or(0);
    // `target_length` has checked the query, which may have bytes that `http::Uri` rejects.
    let before_query = &target[..memchr::memchr(b'?', target).unwrap_or(target.len())];
    let is_scheme = |scheme: &[u8]| target[..scheme_end].eq_ignore_ascii_case(scheme);
    let absolute = (is_scheme(b"http") || is_scheme(b"https")) && target[scheme_end..].starts_with(b"://");
    (method == b"CONNECT" && http::Uri::try_from(target).is_ok())
        || (target == b"*" && method == b"OPTIONS")
        || (absolute && http::Uri::try_from(before_query).is_ok())
}

/// The fields that concern framing and the connection.
#[derive(Debug, Default)]
struct FramingFields {
    hosts: usize,
    length: Option<u64>,
    chunked: usize,
    upgrade: bool,
    persistence: Persistence,
    expects_continue: bool,
    accepts_trailers: bool,
}

/// What a client wants of the connection after its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Persistence {
    /// What its version has.
    #[default]
    Default,
    KeepAlive,
    Close,
}

impl Persistence {
    /// Reads a `Connection` value. `close` wins, wherever it stands (RFC 9112 §9.3).
    fn read(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                *self = Self::Close;
            } else if option.eq_ignore_ascii_case(b"keep-alive") && *self == Self::Default {
                *self = Self::KeepAlive;
            }
        }
    }
}

impl FramingFields {
    fn take(&mut self, name: &[u8], text: &[u8]) -> Result<(), Refusal> {
        // The length is compared first: it excludes most names at once.
        match name.len() {
            2 if is_name(name, b"te") => self.accepts_trailers |= has_option(text, b"trailers"),
            4 if is_name(name, b"host") => self.hosts += 1,
            6 if is_name(name, b"expect") => self.expects_continue = text.eq_ignore_ascii_case(b"100-continue"),
            7 if is_name(name, b"upgrade") => self.upgrade = true,
            10 if is_name(name, b"connection") => self.persistence.read(text),
            14 if is_name(name, b"content-length") => {
                let length = content_length(text).ok_or(Refusal::BadFraming)?;
                // RFC 9110 §8.6 permits repeated equal lengths. Parsers treat them differently, so they are refused
                // like a list.
                if self.length.replace(length).is_some() {
                    return Err(Refusal::BadFraming);
                }
            }
            17 if is_name(name, b"transfer-encoding") => {
                // Several codings, or another one, hide the end of the body from some parsers (RUSTSEC-2021-0020).
                if !text.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::BadFraming);
                }
                self.chunked += 1;
            }
            13.. if is_framing_look_alike(name) => return Err(Refusal::BadFraming),
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, version: Version) -> Result<Framing, Refusal> {
        let hosts_valid = match version {
            // With two hosts, proxy and upstream could route by different ones (RFC 9112 §3.2 requires 400).
            Version::Http11 => self.hosts == 1,
            Version::Http10 => self.hosts <= 1,
        };
        if !hosts_valid {
            return Err(Refusal::BadHost);
        }
        match (self.length, self.chunked) {
            // A body before the switch would leave it unclear where the other protocol begins: such a request stays
            // HTTP.
            (None | Some(0), 0) if self.upgrade && version == Version::Http11 => Ok(Framing::Switch),
            (length, 0) => Ok(Framing::Length(length.unwrap_or(0))),
            // HTTP/1.0 has no transfer codings: its server may read the chunks as a request (CVE-2026-2835, RFC 9112
            // §6.1).
            (None, 1) if version == Version::Http11 => Ok(Framing::Chunked),
            // Length and chunks together are the classic request smuggling (RFC 9112 §6.3): refused, not resolved.
            (Some(_) | None, _) => Err(Refusal::BadFraming),
        }
    }
}

/// Whether a list has this member.
fn has_option(list: &[u8], option: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|member| member.trim_ascii().eq_ignore_ascii_case(option))
}

/// Whether a name is not that of a framing field, but a lenient parser may read it as one: `Transfer_Encoding`,
/// `Content--Length`, `transfer.encoding`. Only letters and digits are compared. The rule is the same for heads and
/// trailers, for requests and responses, and for all protocols.
pub(super) fn is_framing_look_alike(name: &[u8]) -> bool {
    const FRAMING: [(&[u8], &[u8]); 2] =
        [(b"transferencoding", b"transfer-encoding"), (b"contentlength", b"content-length")];
    // Most names are shorter, or begin with another letter.
    let first = name.iter().find(|b| b.is_ascii_alphanumeric());
    if name.len() < FRAMING[1].0.len() || !matches!(first, Some(b't' | b'T' | b'c' | b'C')) {
        return false;
    }
    if FRAMING.into_iter().any(|(_, exact)| name.eq_ignore_ascii_case(exact)) {
        return false;
    }
    let letters = || name.iter().filter(|b| b.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase);
    FRAMING.into_iter().any(|(plain, _)| letters().eq(plain.iter().copied()))
}

/// The number in a `Content-Length`: digits only, at most 2^63 - 1. A server that stores it in a signed integer reads a
/// larger one as negative.
pub(crate) fn content_length(digits: &[u8]) -> Option<u64> {
    // 19 digits are below 2^64.
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut length = 0_u64;
    for digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return None;
        }
        length = length * 10 + u64::from(value);
    }
    i64::try_from(length).is_ok().then_some(length)
}

/// Scans a body as its bytes arrive.
#[derive(Clone, Debug)]
pub enum BodyScanner {
    /// The number of bytes left.
    Length(u64),
    /// Chunks.
    Chunked(ChunkScanner),
}

impl BodyScanner {
    /// A scanner for a body with this framing.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(ChunkScanner::default()),
            Framing::Switch => Self::Length(0),
        }
    }

    /// Whether the next byte is content, not framing.
    #[must_use]
    pub fn is_in_data(&self) -> bool {
        match self {
            Self::Length(_) => true,
            Self::Chunked(chunks) => chunks.is_in_data(),
        }
    }

    /// Scans bytes. Returns how many belong to this body, and whether it has ended.
    ///
    /// # Errors
    /// The framing is malformed or exceeds its bounds.
    pub fn take(&mut self, bytes: &[u8], bounds: &Bounds) -> Result<(usize, BodyProgress), Refusal> {
        match self {
            Self::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                debug_assert!(taken as u64 <= *left, "a body has no more bytes than its length");
                *left -= taken as u64;
                Ok((taken, if *left == 0 { BodyProgress::Ended } else { BodyProgress::More }))
            }
            Self::Chunked(chunks) => chunks.take(bytes, bounds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::raw_query;
    use super::*;

    const BOUNDS: Bounds =
        Bounds { header_bytes: 1024, headers: 10, uri_bytes: 64, chunk_extension_bytes: 64, trailers: 2 };

    fn check(text: &str, expected: ScannedHead) {
        assert_eq!(head(text.as_bytes(), &BOUNDS), expected, "{text:?}");
        // Every proper prefix of a complete head is partial: a head may arrive in any pieces.
        if let ScannedHead::Complete(length, _) = expected {
            for end in 0..length {
                assert_eq!(
                    head(&text.as_bytes()[..end], &BOUNDS),
                    ScannedHead::Partial,
                    "{:?}",
                    &text.as_bytes()[..end]
                );
            }
        }
    }

    #[test]
    fn a_head_at_the_limit_is_complete_in_every_split() {
        let value = "v".repeat(BOUNDS.header_bytes - "Host: a\r\nX: \r\n".len());
        check(
            &format!("GET / HTTP/1.1\r\nHost: a\r\nX: {value}\r\n\r\n"),
            ScannedHead::Complete("GET / HTTP/1.1\r\n\r\n".len() + BOUNDS.header_bytes, Framing::Length(0)),
        );
        let beyond = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {value}v\r\n\r\n");
        for end in beyond.len() - 2..=beyond.len() {
            assert_eq!(head(&beyond.as_bytes()[..end], &BOUNDS), ScannedHead::Refused(Refusal::HeadersTooLarge));
        }
    }

    #[test]
    fn valid_heads_are_complete() {
        for (text, framing) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            ("GET / HTTP/1.0\r\n\r\n", Framing::Length(0)),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Length(0)),
            ("GET http://a/x HTTP/1.1\r\nHost: b\r\n\r\n", Framing::Length(0)),
            ("POST / HTTP/1.1\r\nhost:a\r\ncontent-length: 5 \r\n\r\n", Framing::Length(5)),
            ("POST / HTTP/1.1\r\nhost:a\r\ntransfer-encoding: Chunked\r\n\r\n", Framing::Chunked),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n\r\n", Framing::Length(0)),
            ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n", Framing::Switch),
            ("GET / HTTP/1.1\r\nHost: a\r\nupgrade:\r\ncontent-length: 0\r\n\r\n", Framing::Switch),
            ("POST / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\ncontent-length: 1\r\n\r\n", Framing::Length(1)),
            ("GET / HTTP/1.0\r\nHost: a\r\nUpgrade: x\r\n\r\n", Framing::Length(0)),
        ] {
            check(text, ScannedHead::Complete(text.len(), framing));
        }
    }

    #[test]
    fn malformed_heads_are_refused() {
        for text in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
            "GET / HTTP/1.1\r\n: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
            "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            "GET / http/1.1\r\nHost: a\r\n\r\n",
            "GET /\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET admin HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\"?a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /<?a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /?a\u{7f} HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /?a\tb HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /?a#b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            check(text, ScannedHead::Refused(Refusal::MalformedHead));
        }
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\nhost: a\r\n\r\n",
        ] {
            check(text, ScannedHead::Refused(Refusal::BadHost));
        }
    }

    #[test]
    fn every_accepted_target_is_valid_for_hyper() {
        let bounds = Bounds { uri_bytes: 100, header_bytes: 1000, ..BOUNDS };
        for byte in 0..=255_u8 {
            for shape in
                ["/a~b", "/~", "/a?b~c", "/?~", "http://a~b/", "http://a:8~/x", "http://[::1~]/", "http://a/b~?c"]
            {
                let mut head = b"GET ".to_vec();
                let target: Vec<u8> = shape.bytes().map(|b| if b == b'~' { byte } else { b }).collect();
                head.extend_from_slice(&target);
                head.extend_from_slice(b" HTTP/1.1\r\nHost: a\r\n\r\n");
                if matches!(super::head(&head, &bounds), ScannedHead::Complete(..)) {
                    let mut given = bytes::BytesMut::new();
                    if let Some(query) = raw_query::find(&head) {
                        given.extend_from_slice(&head[4..query.start]);
                        raw_query::escape(&head[query], &mut given);
                    } else {
                        given.extend_from_slice(&target);
                    }
                    assert!(http::Uri::try_from(&given[..]).is_ok(), "{:?}", String::from_utf8_lossy(&target));
                }
            }
        }
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for fields in [
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length: 1, 1",
            "Content-Length: +1",
            "Content-Length: 0x1",
            "Content-Length: ",
            "Content-Length: 1_0",
            "Content-Length: 99999999999999999999",
            "Content-Length: 9223372036854775808",
            "Content-Length: 9999999999999999999",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 1",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: ",
            "Transfer_Encoding: chunked",
            "Content_Length: 5",
            "ContentLength: 5",
            "Transfer---Encoding: chunked",
            "Transfer.Encoding: chunked",
            "transfer'encoding: chunked",
            "-Content-Length: 5",
        ] {
            let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
            check(&text, ScannedHead::Refused(Refusal::BadFraming));
        }
        check("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", ScannedHead::Refused(Refusal::BadFraming));
    }

    #[test]
    fn lengths_fit_a_signed_number() {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", i64::MAX);
        check(&text, ScannedHead::Complete(text.len(), Framing::Length(i64::MAX.unsigned_abs())));
        assert_eq!(
            (content_length(b"9223372036854775807"), content_length(b"9223372036854775808")),
            (Some(i64::MAX.unsigned_abs()), None)
        );
        assert_eq!(content_length(b"18446744073709551614"), None);
    }

    #[test]
    fn look_alikes_of_framing_fields_are_recognized() {
        for name in
            ["transfer_encoding", "Transfer.Encoding", "transfer--encoding", "TransferEncoding", "content~length-"]
        {
            assert!(is_framing_look_alike(name.as_bytes()), "{name}");
        }
        for name in
            ["transfer-encoding", "Content-Length", "content-encoding", "x-content-length", "content-length2", ""]
        {
            assert!(!is_framing_look_alike(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn heads_over_their_bounds_are_refused() {
        let long = "x".repeat(80);
        check(&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), ScannedHead::Refused(Refusal::UriTooLong));
        check(&format!("GET /{long}"), ScannedHead::Refused(Refusal::UriTooLong));
        check(&"x".repeat(40), ScannedHead::Refused(Refusal::MalformedHead));
        let many = "X: 1\r\n".repeat(11);
        check(&format!("GET / HTTP/1.1\r\n{many}"), ScannedHead::Refused(Refusal::HeadersTooLarge));
        let large = "y".repeat(2000);
        check(&format!("GET / HTTP/1.1\r\nX: {large}"), ScannedHead::Refused(Refusal::HeadersTooLarge));
        check(&format!("GET / HTTP/1.1\r\nX: {large}\r\n"), ScannedHead::Refused(Refusal::HeadersTooLarge));
    }

    #[test]
    fn a_head_has_the_same_parts_in_every_split() {
        for text in [
            "GET /a?b HTTP/1.1\r\nHost: a\r\nX-A:\t 1 \t\r\nx-e:\r\n\r\nrest",
            "\r\nPOST /p HTTP/1.0\r\nconnection: x, Keep-Alive\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n",
            "PUT http://a/ HTTP/1.1\r\nhost: a\r\nTE: x, Trailers\r\nExpect: 100-Continue\r\nconnection: close\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nb\nc: d\r\n\r\n",
        ] {
            let bytes = text.as_bytes();
            let (mut whole, mut lines) = (HeadScanner::default(), Fields::new());
            let result = whole.scan(bytes, &BOUNDS, &mut lines);
            for split in 0..bytes.len() {
                let (mut scanner, mut fields) = (HeadScanner::default(), Fields::new());
                let first = scanner.scan(&bytes[..split], &BOUNDS, &mut fields);
                if first != ScannedHead::Partial {
                    assert_eq!(first, result, "{text:?} up to {split}");
                    continue;
                }
                assert_eq!(scanner.scan(bytes, &BOUNDS, &mut fields), result, "{text:?} at {split}");
                let parts = |scanner: &HeadScanner| {
                    let line = scanner.line().map(|line| (line.method, line.target, line.version(), line.fields_at));
                    (line, scanner.is_persistent(), scanner.expects_continue(), scanner.accepts_trailers())
                };
                assert_eq!(parts(&scanner), parts(&whole), "{text:?} at {split}");
                if let ScannedHead::Complete(length, _) = result {
                    fields.set_head(&bytes[..length], 0);
                    let mut all = lines.clone();
                    all.set_head(&bytes[..length], 0);
                    assert_eq!(fields, all, "{text:?} at {split}");
                }
            }
        }
    }

    #[test]
    fn the_fields_of_a_connection_are_read() {
        let read = |version: &str, lines: &str| {
            let text = format!("GET / HTTP/{version}\r\nhost: a\r\n{lines}\r\n");
            let mut scanner = HeadScanner::default();
            let result = scanner.scan(text.as_bytes(), &BOUNDS, &mut Fields::new());
            assert!(matches!(result, ScannedHead::Complete(..)), "{text:?}");
            (scanner.is_persistent(), scanner.expects_continue(), scanner.accepts_trailers())
        };
        for (version, lines, expected) in [
            ("1.1", "", (true, false, false)),
            ("1.0", "", (false, false, false)),
            ("1.0", "Connection: Keep-Alive\r\n", (true, false, false)),
            ("1.1", "Connection: upgrade ,Close\r\n", (false, false, false)),
            ("1.1", "Connection: close\r\nConnection: keep-alive\r\n", (false, false, false)),
            ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", (false, false, false)),
            ("1.1", "Connection: closed\r\n", (true, false, false)),
            ("1.1", "Expect: 100-Continue\r\n", (true, true, false)),
            ("1.0", "Expect: 100-continue\r\n", (false, false, false)),
            ("1.1", "Expect: 100-continue, x\r\n", (true, false, false)),
            ("1.1", "TE: gzip , trailers\r\n", (true, false, true)),
        ] {
            assert_eq!(read(version, lines), expected, "{version} {lines:?}");
        }
    }

    #[test]
    fn sized_bodies() {
        let mut body = BodyScanner::new(Framing::Length(5));
        assert_eq!(body.take(b"hel", &BOUNDS), Ok((3, BodyProgress::More)));
        assert_eq!(body.take(b"loGET /", &BOUNDS), Ok((2, BodyProgress::Ended)));
    }
}
