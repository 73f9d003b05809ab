//! HTTP/1.1 over a socket, read strictly by RFC 9112: every deviation is an error.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rustls::ClientConnection;

use super::PATIENCE;

/// Fields in their order, with names as written.
pub type Fields = Vec<(String, String)>;

/// Why a message is incomplete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The peer closed in order.
    Closed,
    /// The peer reset the connection.
    Reset,
    /// The read timed out.
    Silent,
    /// The bytes do not match the grammar.
    Malformed(String),
}

/// A connection from the client address 127.0.0.`last`.
pub fn connect_from(last: u8, address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

/// A connection and the bytes read ahead.
pub struct Wire {
    stream: TcpStream,
    session: Option<Box<ClientConnection>>,
    buffer: Vec<u8>,
    /// The received part of a body that is incomplete.
    pub partial: Vec<u8>,
}

impl Wire {
    /// Reads `stream`.
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, session: None, buffer: Vec::new(), partial: Vec::new() }
    }

    /// Performs a TLS handshake; returns the session's error if it fails.
    pub fn secured(stream: TcpStream, mut session: ClientConnection) -> std::io::Result<Self> {
        let mut wire = Self::new(stream);
        while session.is_handshaking() {
            session.complete_io(&mut wire.stream)?;
        }
        wire.session = Some(Box::new(session));
        Ok(wire)
    }

    /// The TLS session.
    pub fn session(&self) -> &ClientConnection {
        self.session.as_ref().expect("it was made with one")
    }

    /// Sends `close_notify` and nothing more.
    pub fn notify_close(&mut self) {
        let session = self.session.as_mut().expect("it was made with one");
        session.send_close_notify();
        while session.wants_write() && session.write_tls(&mut self.stream).is_ok() {}
    }

    /// Sets the read timeout.
    pub fn patience(&mut self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).unwrap();
    }

    /// Sends bytes; false if the peer takes no more.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        match &mut self.session {
            None => self.stream.write_all(bytes).is_ok(),
            Some(session) => {
                let mut stream = rustls::Stream::new(session.as_mut(), &mut self.stream);
                stream.write_all(bytes).is_ok() && stream.flush().is_ok()
            }
        }
    }

    /// Ends this direction.
    pub fn finish(&mut self) {
        // The peer may have closed.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Makes the next close a reset.
    pub fn reset_at_close(&mut self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    fn fill(&mut self) -> Result<(), Broken> {
        let mut chunk = [0; 16 * 1024];
        let read = match &mut self.session {
            None => self.stream.read(&mut chunk),
            Some(session) => rustls::Stream::new(session.as_mut(), &mut self.stream).read(&mut chunk),
        };
        match read {
            Ok(0) => Err(Broken::Closed),
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(Broken::Silent),
            Err(_) => Err(Broken::Reset),
        }
    }

    /// Whether the buffer has bytes or some can be read at once.
    pub fn has_bytes(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let filled = self.fill();
        self.stream.set_nonblocking(false).unwrap();
        filled.is_ok() || !self.buffer.is_empty()
    }

    /// The bytes before the next CRLF.
    pub fn line(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                if line.pop() != Some(b'\r') || line.contains(&b'\r') {
                    return Err(Broken::Malformed(format!("a line ends in a bare LF or holds a CR: {line:?}")));
                }
                return Ok(line);
            }
            self.fill()?;
        }
    }

    /// Exactly `count` bytes; if it fails, the bytes before are in [`Self::partial`].
    pub fn exact(&mut self, count: usize) -> Result<Vec<u8>, Broken> {
        while self.buffer.len() < count {
            if let Err(broken) = self.fill() {
                self.partial.append(&mut self.buffer);
                return Err(broken);
            }
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// A second handle, to write while this one reads.
    pub fn writer(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    /// The next bytes, at least one.
    pub fn some(&mut self) -> Result<Vec<u8>, Broken> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Everything until the peer ends, and how it ended.
    pub fn rest(&mut self) -> (Vec<u8>, Broken) {
        loop {
            if let Err(broken) = self.fill() {
                return (std::mem::take(&mut self.buffer), broken);
            }
        }
    }

    /// Fields up to the empty line.
    pub fn fields(&mut self) -> Result<Fields, Broken> {
        let mut fields = Fields::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            fields.push(field_line(&line)?);
        }
    }

    /// A chunked body and its trailers.
    pub fn chunked(&mut self) -> Result<(Vec<u8>, Fields), Broken> {
        let mut body = Vec::new();
        loop {
            let chunk = self.line().and_then(|line| {
                let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
                let text = String::from_utf8_lossy(size).into_owned();
                if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(Broken::Malformed(format!("a chunk's size is {text:?}")));
                }
                usize::from_str_radix(&text, 16).map_err(|error| Broken::Malformed(error.to_string()))
            });
            let part = chunk.and_then(|size| if size == 0 { Ok(Vec::new()) } else { self.exact(size + 2) });
            match part {
                Ok(part) if part.is_empty() => return Ok((body, self.fields()?)),
                Ok(part) if part.ends_with(b"\r\n") => body.extend_from_slice(&part[..part.len() - 2]),
                Ok(_) => return Err(Broken::Malformed("a chunk is longer than it says".to_owned())),
                Err(broken) => {
                    body.append(&mut self.partial);
                    self.partial = body;
                    return Err(broken);
                }
            }
        }
    }

    /// A body as framed by its head's fields; `None` if there is no length.
    pub fn framed(&mut self, fields: &Fields) -> Result<Option<(Vec<u8>, Fields)>, Broken> {
        let lengths = all(fields, "content-length");
        let codings = all(fields, "transfer-encoding");
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(None),
            ([], ["chunked"]) => self.chunked().map(Some),
            ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
                let length = length.parse().map_err(|_| Broken::Malformed(format!("content-length: {length}")))?;
                Ok(Some((self.exact(length)?, Fields::new())))
            }
            _ => Err(Broken::Malformed(format!("framed by lengths {lengths:?} and codings {codings:?}"))),
        }
    }
}

fn field_line(line: &[u8]) -> Result<(String, String), Broken> {
    let malformed = || Broken::Malformed(format!("a field line {:?}", String::from_utf8_lossy(line)));
    let colon = line.iter().position(|byte| *byte == b':').ok_or_else(malformed)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let text = |byte: &u8| *byte == b'\t' || *byte >= 0x20 && *byte != 0x7f;
    if name.is_empty() || !name.iter().all(token) || !value.iter().all(text) {
        return Err(malformed());
    }
    Ok((String::from_utf8_lossy(name).into_owned(), text_of(value.trim_ascii())))
}

/// A value as unambiguous text: bytes that are not UTF-8 are escaped.
pub fn text_of(value: &[u8]) -> String {
    str::from_utf8(value).map_or_else(|_| value.escape_ascii().to_string(), str::to_owned)
}

/// The values of all fields of this name.
pub fn all<'f>(fields: &'f Fields, name: &str) -> Vec<&'f str> {
    fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
}

/// The values of all fields of this name.
pub fn fields<'f>(of: &'f Fields, name: &str) -> Vec<&'f str> {
    all(of, name)
}

/// The value of the one field of this name.
#[track_caller]
pub fn field<'f>(of: &'f Fields, name: &str) -> Option<&'f str> {
    let values = all(of, name);
    assert!(values.len() < 2, "{name} occurs more than once: {values:?}");
    values.first().copied()
}
