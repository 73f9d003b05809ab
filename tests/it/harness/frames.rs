//! HTTP/2 by hand: frames as bytes (RFC 9113 §4), for everything that no client library sends.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// Frame types.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags.
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Settings.
pub const INITIAL_WINDOW_SIZE: u16 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A complete response with this status and body.
    Answered(u16, Vec<u8>),
    /// It was reset with this code.
    Reset(u32),
    /// The connection got GOAWAY with this error code.
    GoneAway(u32),
    /// The connection was closed.
    Closed,
}

impl Frame {
    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    Frame { kind, flags, stream, payload: payload.to_vec() }.bytes()
}

/// One field as a literal that is never indexed, with name and value unchanged (RFC 7541 §6.2.2).
pub fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut block = vec![0];
    for text in [name, value] {
        integer(&mut block, 7, text.len());
        block.extend(text);
    }
    block
}

/// An integer with a prefix of `bits` (RFC 7541 §5.1), the bits before it being zero.
fn integer(block: &mut Vec<u8>, bits: u32, number: usize) {
    let full = (1 << bits) - 1;
    if number < full {
        block.push(u8::try_from(number).unwrap());
        return;
    }
    block.push(u8::try_from(full).unwrap());
    let mut rest = number - full;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// A header block of these fields.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name.as_bytes(), value.as_bytes())).collect()
}

/// The pseudo-fields of a plain GET.
pub fn get(host: &str, path: &str) -> Vec<u8> {
    block(&[(":method", "GET"), (":scheme", "http"), (":authority", host), (":path", path)])
}

/// A connection that sends and reads frames.
pub struct Frames {
    stream: TcpStream,
    /// Whether the settings and pings of the other side are acknowledged by [`Self::next`].
    pub polite: bool,
}

impl Frames {
    /// Connects, and sends the preface and these settings.
    pub fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        Self::over(TcpStream::connect(address).unwrap(), settings)
    }

    /// Sends the preface and these settings over a connection.
    pub fn over(stream: TcpStream, settings: &[(u16, u32)]) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut frames = Self { stream, polite: true };
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let _ = frames.write(&[PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat());
        frames
    }

    /// Writes bytes unchanged; returns whether the connection took them.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends one frame.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.write(&frame(kind, flags, stream, payload))
    }

    /// Sends a request's head in one HEADERS frame.
    pub fn headers(&mut self, stream: u32, flags: u8, block: &[u8]) -> bool {
        self.send(HEADERS, END_HEADERS | flags, stream, block)
    }

    /// The next frame, or nothing if the connection has ended.
    pub fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.fill(&mut payload)?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        if self.polite && matches!(frame.kind, SETTINGS | PING) && frame.flags & ACK == 0 {
            let payload: &[u8] = if frame.kind == PING { &frame.payload } else { b"" };
            self.send(frame.kind, ACK, 0, payload);
        }
        Some(frame)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(buffer) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("no frame within {} s", PATIENCE.as_secs())
            }
            Err(_) => None,
        }
    }

    /// Reads until the stream has ended.
    pub fn fate(&mut self, stream: u32) -> Fate {
        let (mut status, mut body) = (0, Vec::new());
        loop {
            let Some(frame) = self.next() else { return Fate::Closed };
            match frame.kind {
                GOAWAY => {
                    let code = u32::from_be_bytes(frame.payload[4..8].try_into().unwrap());
                    if code != 0 {
                        return Fate::GoneAway(code);
                    }
                }
                RST_STREAM if frame.stream == stream => {
                    return Fate::Reset(u32::from_be_bytes(frame.payload[..4].try_into().unwrap()));
                }
                HEADERS if frame.stream == stream && status == 0 => status = status_of(&frame.payload),
                DATA if frame.stream == stream => body.extend(&frame.payload),
                _ => {}
            }
            if frame.stream == stream && matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                return Fate::Answered(status, body);
            }
        }
    }

    /// Reads until the connection has ended, and returns the code of its GOAWAY, if there was one.
    pub fn end(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next() {
            if frame.kind == GOAWAY {
                code = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
            }
        }
        code
    }
}

/// The status that a response's header block begins with: indexed, or a literal of three digits. Only the first
/// response of a connection can be read without a table.
fn status_of(block: &[u8]) -> u16 {
    // Updates of the table's size come first.
    let block = &block[block.iter().take_while(|byte| **byte >> 5 == 1).count()..];
    match *block {
        [indexed @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        [0x48 | 0x08, 3, ref digits @ ..] => {
            digits[..3].iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
        }
        [0x48 | 0x08, huffman, ref coded @ ..] if huffman & 0x80 != 0 => {
            let bytes = &coded[..usize::from(huffman & 0x7f)];
            let bits = bytes.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            huffman_digits(bits, 8 * u32::try_from(bytes.len()).unwrap())
        }
        _ => panic!("a response that does not begin with its status: {block:02x?}"),
    }
}

/// Three digits in HPACK's Huffman code: `0` to `2` have five bits, the others six (RFC 7541 appendix B).
fn huffman_digits(bits: u64, mut left: u32) -> u16 {
    let mut status = 0;
    for _ in 0..3 {
        let five = bits >> (left - 5) & 0x1f;
        let (digit, used) = if five <= 2 { (five, 5) } else { ((bits >> (left - 6) & 0x3f) - 0x19 + 3, 6) };
        status = status * 10 + u16::try_from(digit).unwrap();
        left -= used;
    }
    status
}
