//! The head of a response in the form of HTTP/1.1: status line, fields, framing, `date`.

use http::header;
use http::{StatusCode, Version};

use crate::fields::Fields;
use crate::proxy::wire::scan::content_length;
use crate::proxy::worker::Worker;

/// What a request determines of its response.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResponseForm {
    pub(super) version: Version,
    /// The request is a HEAD: its response has no body.
    pub(super) is_head: bool,
    pub(super) accepts_trailers: bool,
    /// The connection may carry another request.
    pub(super) persistent: bool,
}

/// How the body of a response is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyFraming {
    /// Bytes left; 0 also where the response has no body.
    Length(u64),
    Chunked,
    /// The end of the connection is the end of the body.
    UntilClose,
}

/// The length of a body before its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// There is no body.
    None,
    Known(u64),
    Unknown,
}

/// The head of a response that is not written yet.
pub(super) struct UnwrittenHead<'a> {
    pub(super) status: StatusCode,
    pub(super) fields: &'a mut Fields,
    pub(super) length: BodyLength,
}

/// Which fields a head has that concern framing and the connection.
#[derive(Default)]
struct Noted {
    date: bool,
    connection: bool,
    /// How many lines have a `Content-Length`, and the number in the last one.
    lengths: usize,
    declared: Option<u64>,
    coding: Coding,
}

/// Whether a head has a `Transfer-Encoding`.
#[derive(Default, PartialEq, Eq)]
enum Coding {
    #[default]
    None,
    Some,
}

impl Noted {
    fn of(fields: &Fields) -> Self {
        let mut noted = Self::default();
        for (name, value) in fields.iter() {
            // The length is compared first: it excludes most names at once.
            match name.len() {
                4 => noted.date |= name == b"date",
                10 => noted.connection |= name == b"connection",
                14 if name == b"content-length" => {
                    noted.lengths += 1;
                    noted.declared = content_length(value);
                }
                17 if name == b"transfer-encoding" => noted.coding = Coding::Some,
                _ => {}
            }
        }
        noted
    }
}

impl UnwrittenHead<'_> {
    /// Appends the head to `out`. Returns how the body is framed. Afterwards `form` says whether the connection stays.
    #[inline]
    pub(super) fn write(self, out: &mut Vec<u8>, form: &mut ResponseForm, worker: &Worker) -> BodyFraming {
        let Self { status, fields, length } = self;
        let noted = Noted::of(fields);
        if noted.coding == Coding::Some {
            // The framing is the connection's own.
            fields.remove(header::TRANSFER_ENCODING);
        }
        let has_body = allows_body(status) && !form.is_head;
        let declared = noted
            .declared
            .filter(|declared| noted.lengths == 1 && is_right_length(*declared, status, length, has_body));
        if declared.is_none() && noted.lengths > 0 {
            fields.remove(header::CONTENT_LENGTH);
        }
        let framing = match (length, declared) {
            _ if !has_body => BodyFraming::Length(0),
            (BodyLength::None, _) => BodyFraming::Length(0),
            (BodyLength::Known(bytes), _) | (BodyLength::Unknown, Some(bytes)) => BodyFraming::Length(bytes),
            (BodyLength::Unknown, None) if form.version == Version::HTTP_11 => BodyFraming::Chunked,
            (BodyLength::Unknown, None) => BodyFraming::UntilClose,
        };
        form.persistent &= framing != BodyFraming::UntilClose;
        write_status(out, status, form.version);
        let connection = if noted.connection { settle_connection(status, fields, form) } else { own_option(*form) };
        fields.write(out);
        out.extend_from_slice(connection);
        if framing == BodyFraming::Chunked {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        } else if declared.is_none() && allows_length(status) {
            match length {
                BodyLength::Known(bytes) => write_length(out, bytes),
                BodyLength::None if !form.is_head => write_length(out, 0),
                BodyLength::None | BodyLength::Unknown => {}
            }
        }
        if !noted.date {
            out.extend_from_slice(b"date: ");
            worker.write_date(out);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        framing
    }
}

/// Appends the status line (RFC 9112 §4).
#[inline]
fn write_status(out: &mut Vec<u8>, status: StatusCode, version: Version) {
    if status == StatusCode::OK && version == Version::HTTP_11 {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("<none>").as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Whether the `Content-Length` that a head has is right.
#[inline]
fn is_right_length(declared: u64, status: StatusCode, body: BodyLength, has_body: bool) -> bool {
    match body {
        _ if status == StatusCode::NO_CONTENT || status.is_informational() => false,
        // Of a response to HEAD or a 304: what a GET would get.
        _ if !has_body => true,
        BodyLength::None => declared == 0,
        BodyLength::Known(bytes) => declared == bytes,
        BodyLength::Unknown => true,
    }
}

/// Settles the `Connection` field that a head has. Returns the line that is added.
#[cold]
fn settle_connection(status: StatusCode, fields: &mut Fields, form: &mut ResponseForm) -> &'static [u8] {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return b"";
    }
    let closes = |value: &[u8]| value.split(|byte| *byte == b',').any(|option| is_close(option.trim_ascii()));
    form.persistent &= !fields.get_all(header::CONNECTION.as_str()).any(closes);
    fields.remove(header::CONNECTION);
    if form.persistent { own_option(*form) } else { b"connection: close\r\n" }
}

fn is_close(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"close")
}

/// The line for a connection that does not do what its version has.
#[inline]
fn own_option(form: ResponseForm) -> &'static [u8] {
    match (form.version == Version::HTTP_10, form.persistent) {
        (false, false) => b"connection: close\r\n",
        (true, true) => b"connection: keep-alive\r\n",
        (false, true) | (true, false) => b"",
    }
}

/// Whether a response with this status may have a body (RFC 9110 §6.4.1).
pub(super) fn allows_body(status: StatusCode) -> bool {
    allows_length(status)
}

/// Whether a response with this status may have a `Content-Length` of its own (RFC 9110 §8.6).
fn allows_length(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

fn write_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    write_decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

/// Appends a number in decimal digits.
fn write_decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let (mut at, mut left) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        if left == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

/// Appends the line with the size of a chunk (RFC 9112 §7.1).
pub(super) fn write_chunk_size(out: &mut Vec<u8>, size: usize) {
    debug_assert!(size > 0, "an empty chunk would end the body");
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4);
    for digit in (0..digits).rev() {
        let value = (size >> (digit * 4)) & 15;
        out.push(b"0123456789abcdef"[value]);
    }
    out.extend_from_slice(b"\r\n");
}
