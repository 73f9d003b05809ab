//! A client that sends given bytes and reads responses strictly.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::ClientConfig;

use super::certs::session;
use super::wire::{Broken, Fields, Wire, field, fields};

/// A client's connection.
pub struct Raw {
    /// The bytes.
    pub wire: Wire,
}

/// A complete response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `1.1` or `1.0`.
    pub version: String,
    /// The status code.
    pub status: u16,
    /// Fields in their order.
    pub fields: Fields,
    /// The body.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Fields,
    /// Informational responses that came before it: status and fields.
    pub early: Vec<(u16, Fields)>,
}

impl Answer {
    /// The value of the one field of this name.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    /// The values of all fields of this name.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        fields(&self.fields, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// The values of this field in the request that an echoing upstream got.
    #[track_caller]
    pub fn echoed(&self, name: &str) -> Vec<String> {
        let got = self.json();
        let headers = got["headers"].as_array().unwrap_or_else(|| panic!("no echo: {} {got}", self.status));
        let of = |pair: &serde_json::Value| Some((pair[0].as_str()?.to_owned(), pair[1].as_str()?.to_owned()));
        let pairs = headers.iter().filter_map(of);
        pairs.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// Whether the response announces the end of the connection.
    pub fn closes(&self) -> bool {
        self.fields("connection").iter().any(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl Raw {
    /// Connects.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self { wire: Wire::new(TcpStream::connect(address).unwrap()) }
    }

    /// Connects with TLS to a server that must have this name.
    #[track_caller]
    pub fn secured(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Self {
        Self::try_secured(address, config, name).unwrap_or_else(|error| panic!("no TLS with {name}: {error}"))
    }

    /// The same, if that may fail.
    pub fn try_secured(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> std::io::Result<Self> {
        Ok(Self { wire: Wire::secured(TcpStream::connect(address).unwrap(), session(config, name))? })
    }

    /// Sends bytes.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        assert!(self.wire.try_send(bytes.as_ref()), "the proxy takes no more bytes");
        self
    }

    /// Sends bytes that the proxy may refuse.
    pub fn offer(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.wire.try_send(bytes.as_ref());
        self
    }

    /// Ends the direction to the proxy.
    pub fn finish(&mut self) -> &mut Self {
        self.wire.finish();
        self
    }

    /// Sends a GET of this path, with further field lines that each end in CRLF.
    #[track_caller]
    pub fn get(&mut self, path: &str, lines: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n{lines}\r\n")).read_response()
    }

    /// Sends a POST of this path and body, with further field lines that each end in CRLF.
    #[track_caller]
    pub fn post(&mut self, path: &str, lines: &str, body: &[u8]) -> Answer {
        let head = format!("POST {path} HTTP/1.1\r\nHost: test\r\n{lines}Content-Length: {}\r\n\r\n", body.len());
        self.send([head.as_bytes(), body].concat()).read_response()
    }

    /// Reads a complete response to a request other than HEAD.
    #[track_caller]
    pub fn read_response(&mut self) -> Answer {
        self.read_response_to("GET")
    }

    /// Reads a complete response to a request with this method.
    #[track_caller]
    pub fn read_response_to(&mut self, method: &str) -> Answer {
        match self.try_response_to(method) {
            Ok(answer) => answer,
            Err(broken) => {
                let partial = String::from_utf8_lossy(&self.wire.partial).into_owned();
                panic!("the response is incomplete: {broken:?}; the part of its body is {partial:?}")
            }
        }
    }

    /// Reads a response to a request other than HEAD, complete or not.
    pub fn try_response(&mut self) -> Result<Answer, Broken> {
        self.try_response_to("GET")
    }

    /// Reads a response, complete or not.
    pub fn try_response_to(&mut self, method: &str) -> Result<Answer, Broken> {
        let mut early = Vec::new();
        loop {
            let (version, status, fields) = self.head()?;
            if (100..200).contains(&status) && status != 101 {
                early.push((status, fields));
                continue;
            }
            let bodiless = method == "HEAD" || matches!(status, 101 | 204 | 304);
            let (body, trailers) = if bodiless {
                (Vec::new(), Fields::new())
            } else {
                match self.wire.framed(&fields)? {
                    Some(framed) => framed,
                    None => match self.wire.rest() {
                        (body, Broken::Closed) => (body, Fields::new()),
                        (partial, broken) => {
                            self.wire.partial = partial;
                            return Err(broken);
                        }
                    },
                }
            };
            return Ok(Answer { version, status, fields, body, trailers, early });
        }
    }

    /// Reads a response's head.
    pub fn head(&mut self) -> Result<(String, u16, Fields), Broken> {
        let line = String::from_utf8_lossy(&self.wire.line()?).into_owned();
        let parsed = line.strip_prefix("HTTP/").and_then(|rest| {
            let (version, rest) = rest.split_once(' ')?;
            let status: u16 = rest.get(..3)?.parse().ok()?;
            (matches!(version, "1.1" | "1.0") && rest[3..].starts_with(' ')).then(|| (version.to_owned(), status))
        });
        let (version, status) = parsed.ok_or_else(|| Broken::Malformed(format!("a status line {line:?}")))?;
        Ok((version, status, self.wire.fields()?))
    }

    /// Waits for the connection's end; bytes before it are an error.
    #[track_caller]
    pub fn ends(&mut self) {
        let (rest, broken) = self.wire.rest();
        assert!(rest.is_empty(), "unexpected bytes: {:?}", String::from_utf8_lossy(&rest));
        assert!(matches!(broken, Broken::Closed | Broken::Reset), "the connection stays open");
    }

    /// Closes with a reset.
    pub fn reset(mut self) {
        self.wire.reset_at_close();
    }
}
