//! Clients of both versions that read a response as far as it comes.

use bytes::Bytes;

use crate::harness::h2_client::{End, read_body};
use crate::harness::wire::{Fields, all, text_of};
use crate::harness::{H2, Proxy, Raw};

/// What came of a response.
#[derive(Debug, Default)]
pub struct Received {
    /// The status; 0 without a head.
    pub status: u16,
    /// The fields of the head.
    pub fields: Fields,
    /// The body, as far as it came.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Fields,
    /// The informational responses before it.
    pub early: Vec<u16>,
    /// It came completely.
    pub complete: bool,
}

/// A client that keeps its connection as long as the proxy does.
pub enum Client<'a> {
    /// A client of HTTP/1.1.
    Http1(&'a Proxy, Raw),
    /// A client of HTTP/2.
    Http2(Box<H2>),
}

/// The version of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

impl<'a> Client<'a> {
    /// Connects.
    pub fn connect(proxy: &'a Proxy, version: Version) -> Self {
        match version {
            Version::Http1 => Self::Http1(proxy, proxy.connect()),
            Version::Http2 => Self::Http2(Box::new(H2::connect(proxy.address()))),
        }
    }

    /// Whether it reads informational responses: hyper's server sends none over HTTP/2.
    pub fn reads_informational(&self) -> bool {
        matches!(self, Self::Http1(..))
    }

    /// Sends a request, and reads its response; calls `at_head` after the head of the final response.
    #[track_caller]
    pub fn exchange(&mut self, method: &str, path: &str, at_head: impl FnOnce()) -> Received {
        match self {
            Self::Http1(proxy, client) => {
                let received = over_http1(client, method, path, at_head);
                // After a cut body, and after the proxy's own response to an upload, the connection ends.
                let closes = all(&received.fields, "connection").contains(&"close");
                assert!(!closes || (method == "POST" && received.status == 502), "{path}: {received:?}");
                if closes || !received.complete {
                    *client = proxy.connect();
                }
                received
            }
            Self::Http2(client) => over_http2(client, method, path, at_head),
        }
    }
}

fn over_http1(client: &mut Raw, method: &str, path: &str, at_head: impl FnOnce()) -> Received {
    let body = if method == "POST" { "Content-Length: 1\r\n\r\nx" } else { "\r\n" };
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: test\r\nTE: trailers\r\n{body}"));
    let mut received = Received::default();
    loop {
        let Ok((_, status, fields)) = client.head() else { return received };
        if (100..200).contains(&status) && status != 101 {
            received.early.push(status);
            continue;
        }
        (received.status, received.fields) = (status, fields);
        break;
    }
    at_head();
    let bodiless = method == "HEAD" || matches!(received.status, 101 | 204 | 304);
    let framed = if bodiless { Ok(Some(Default::default())) } else { client.wire.framed(&received.fields) };
    match framed {
        Ok(Some((body, trailers))) => (received.body, received.trailers, received.complete) = (body, trailers, true),
        Ok(None) => received.body = client.wire.rest().0,
        Err(_) => received.body = std::mem::take(&mut client.wire.partial),
    }
    received
}

fn over_http2(client: &mut H2, method: &str, path: &str, at_head: impl FnOnce()) -> Received {
    let request = H2::request(method, path).header("te", "trailers").body(()).unwrap();
    let posts = method == "POST";
    let (response, mut upload) = client.open(request, if posts { End::Later } else { End::Now });
    if posts {
        // The response may have come already.
        let _ = upload.send_data(Bytes::from_static(b"x"), true);
    }
    let Ok(response) = client.block_on(response) else { return Received::default() };
    at_head();
    let answer = client.block_on(read_body(response));
    Received {
        status: answer.status,
        fields: lines(&answer.headers),
        trailers: answer.trailers.as_ref().map(lines).unwrap_or_default(),
        complete: answer.error.is_empty(),
        body: answer.body,
        early: Vec::new(),
    }
}

fn lines(headers: &http::HeaderMap) -> Fields {
    headers.iter().map(|(name, value)| (name.to_string(), text_of(value.as_bytes()))).collect()
}
