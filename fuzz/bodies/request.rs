//! Properties of any bytes of an HTTP/1.1 client: its requests are the same however the bytes are split, and a head that is
//! sent on reads as the same head.

use http::{HeaderMap, Method, Version};
use pointsman::fields::Fields;
use pointsman::proxy::head::Head;
use pointsman::proxy::request_body::RequestBodyDecoder;
use pointsman::proxy::response_body::BodyPiece;
use pointsman::proxy::scan::{Bounds, Framing, HeadScanner, ScannedHead};
use pointsman::telemetry::Refusal;

const BOUNDS: Bounds =
    Bounds { header_bytes: 1024, headers: 16, uri_bytes: 256, chunk_extension_bytes: 64, trailers: 4 };
/// Enough for what is sent of a head that was received within the bounds: a blank behind each colon, an absolute target.
const WIDER: Bounds = Bounds { header_bytes: 2048, headers: 17, uri_bytes: 1024, ..BOUNDS };

/// One request.
#[derive(Debug, PartialEq)]
struct Request {
    method: Method,
    target: String,
    version: Version,
    headers: HeaderMap,
    framing: Framing,
    persistent: bool,
    content: Vec<u8>,
    trailers: Option<HeaderMap>,
    ended: bool,
}

/// What was read of a connection.
#[derive(Debug, Default, PartialEq)]
struct Connection {
    requests: Vec<Request>,
    refused: Option<Refused>,
}

/// Why the rest of a connection is refused. A head that has two faults is refused for the one that arrives first: an
/// incomplete line can be too long before its end shows that it is malformed.
#[derive(Clone, Copy, Debug)]
enum Refused {
    Head(Refusal),
    Body(Refusal),
}

impl PartialEq for Refused {
    fn eq(&self, other: &Self) -> bool {
        let is_of_size = |refusal: &Refusal| {
            matches!(refusal, Refusal::MalformedHead | Refusal::UriTooLong | Refusal::HeadersTooLarge)
        };
        match (self, other) {
            (Self::Head(one), Self::Head(other)) => one == other || is_of_size(one) && is_of_size(other),
            (Self::Body(one), Self::Body(other)) => one == other,
            (Self::Head(_), Self::Body(_)) | (Self::Body(_), Self::Head(_)) => false,
        }
    }
}

/// A byte for the size of the pieces, then any bytes of a client.
pub fn any(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let whole = read(bytes, usize::MAX);
    for step in [1, usize::from(first % 32) + 2] {
        assert_eq!(read(bytes, step), whole, "the same in pieces of {step}");
    }
}

/// Reads a connection whose bytes arrive in pieces of this size.
fn read(bytes: &[u8], step: usize) -> Connection {
    let mut reader = Reader::default();
    for piece in bytes.chunks(step.min(bytes.len()).max(1)) {
        reader.held.extend_from_slice(piece);
        while reader.connection.refused.is_none() {
            let goes_on = if reader.body.is_some() { reader.read_body() } else { reader.read_head() };
            if !goes_on {
                break;
            }
        }
    }
    reader.connection
}

#[derive(Default)]
struct Reader {
    held: Vec<u8>,
    scanner: HeadScanner,
    fields: Fields,
    body: Option<RequestBodyDecoder>,
    connection: Connection,
}

impl Reader {
    fn read_head(&mut self) -> bool {
        let (length, framing) = match self.scanner.scan(&self.held, &BOUNDS, &mut self.fields) {
            ScannedHead::Complete(length, framing) => (length, framing),
            ScannedHead::Partial => return false,
            ScannedHead::Refused(refusal) => {
                self.connection.refused = Some(Refused::Head(refusal));
                return false;
            }
        };
        assert!(length <= self.held.len(), "a head ends within the input");
        let bytes: Vec<u8> = self.held.drain(..length).collect();
        let scanner = std::mem::take(&mut self.scanner);
        let head = match Head::received(&scanner, &bytes, &mut self.fields) {
            Ok(head) => head,
            Err(refusal) => {
                self.connection.refused = Some(Refused::Head(refusal));
                return false;
            }
        };
        check(&head, framing);
        self.connection.requests.push(Request {
            method: head.method.clone(),
            target: target(&head),
            version: head.version,
            headers: head.fields.to_map(),
            framing,
            persistent: scanner.is_persistent(),
            content: Vec::new(),
            trailers: None,
            ended: false,
        });
        self.body = Some(RequestBodyDecoder::new(framing, BOUNDS));
        true
    }

    fn read_body(&mut self) -> bool {
        let (Some(body), Some(request)) = (&mut self.body, self.connection.requests.last_mut()) else { return false };
        let mut input = std::mem::take(&mut self.held).into();
        loop {
            match body.next(&mut input) {
                Ok(Some(BodyPiece::Data(data))) => {
                    assert!(!data.is_empty() && request.trailers.is_none(), "content comes before the trailers");
                    request.content.extend_from_slice(&data);
                }
                Ok(Some(BodyPiece::Trailers(trailers))) => {
                    assert!((1..=BOUNDS.trailers).contains(&trailers.len()));
                    assert!(request.trailers.replace(trailers).is_none(), "trailers come once");
                }
                Ok(None) => break,
                Err(refusal) => {
                    self.connection.refused = Some(Refused::Body(refusal));
                    return false;
                }
            }
        }
        self.held = input.to_vec();
        request.ended = body.is_ended();
        if let Framing::Length(length) = request.framing {
            assert_eq!(request.ended, request.content.len() as u64 == length);
        }
        if !request.ended {
            assert!(self.held.is_empty(), "all input of an open body is read");
            return false;
        }
        self.body = None;
        true
    }
}

fn target(head: &Head) -> String {
    format!("{:?} {:?} {} {:?}", head.scheme(), head.authority(), head.path(), head.query())
}

/// What is true of every head, and of what is sent of it.
fn check(head: &Head, framing: Framing) {
    assert!(head.fields.len() <= BOUNDS.headers);
    for (name, value) in head.fields.iter() {
        assert!(!name.is_empty() && !name.iter().any(u8::is_ascii_uppercase), "names are in lower case");
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "a value is a part of its line");
        assert_eq!(value.trim_ascii(), value, "no blanks around a value");
    }
    // Authority-form is refused by admission.
    if head.method == Method::CONNECT {
        return;
    }
    let mut sent = Vec::new();
    head.write_line(&mut sent);
    head.fields.write(&mut sent);
    let Some(lines) = sent.strip_suffix(b"\r\n") else { panic!("the last line has no end") };
    for line in lines.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(!line.is_empty() && !line.iter().any(|byte| matches!(byte, b'\r' | 0)), "each line is one");
    }
    assert_eq!(lines.split(|byte| *byte == b'\n').count(), 1 + head.fields.len(), "a line a field");
    if !head.fields.contains("host") {
        sent.extend_from_slice(b"host: a\r\n");
    }
    sent.extend_from_slice(b"\r\n");
    let (mut scanner, mut fields) = (HeadScanner::default(), Fields::new());
    let ScannedHead::Complete(length, again) = scanner.scan(&sent, &WIDER, &mut fields) else {
        panic!("it is read no more: {:?}", String::from_utf8_lossy(&sent));
    };
    assert_eq!(length, sent.len());
    // Without a body, an `Upgrade` field counts in HTTP/1.1 alone.
    assert!(again == framing || head.version == Version::HTTP_10 && again == Framing::Switch, "{again:?}");
    let Ok(second) = Head::received(&scanner, &sent, &mut fields) else { panic!("its target was read before") };
    assert_eq!((&second.method, second.path(), second.query()), (&head.method, head.path(), head.query()));
    assert!(second.fields.iter().take(head.fields.len()).eq(head.fields.iter()), "the same fields");
}
