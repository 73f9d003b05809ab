//! Requests as Pointsman reads them.

use bytes::{Bytes, BytesMut};
use http::Method;

use super::reading::{ConnectionReading, NextReading, RequestReading};
use crate::fields::Fields;
use crate::proxy::wire::field_rules::TRAILERS_MAX;
use crate::proxy::wire::grammar::Bounds;
use crate::proxy::wire::head::Head;
use crate::proxy::wire::request_body::RequestBodyDecoder;
use crate::proxy::wire::response_body::BodyPiece;
use crate::proxy::wire::scan::{BodyProgress, BodyScanner, Framing, HeadScanner, ScannedHead};
use crate::proxy::wire::tests::reading::{BodyReading, Refused};
use crate::telemetry::Refusal;

/// As the limits of a listener without any of its own.
pub(super) const BOUNDS: Bounds = Bounds {
    header_bytes: 16 * 1024,
    headers: 100,
    uri_bytes: 8 * 1024,
    chunk_extension_bytes: 16 * 1024,
    trailers: TRAILERS_MAX,
};

/// Reads the requests of a connection. The bytes arrive in these pieces.
pub(super) fn read(pieces: &[&[u8]]) -> ConnectionReading {
    let mut reader = Reader::default();
    for piece in pieces {
        reader.held.extend_from_slice(piece);
        while reader.advance() {}
    }
    reader.reading
}

#[derive(Default)]
struct Reader {
    /// The bytes that are not read yet.
    held: BytesMut,
    scanner: HeadScanner,
    fields: Fields,
    body: Option<Body>,
    reading: ConnectionReading,
}

/// The body that is being read.
struct Body {
    decoder: RequestBodyDecoder,
    /// Reads the same bytes.
    scanner: BodyScanner,
    has_ended: bool,
    persistent: bool,
}

impl Reader {
    /// Reads as far as one head or body goes. `false`: more bytes are needed, or nothing follows.
    fn advance(&mut self) -> bool {
        if self.reading.next != NextReading::Awaited {
            return false;
        }
        if self.body.is_some() { self.read_body() } else { self.read_head() }
    }

    fn read_head(&mut self) -> bool {
        match self.scanner.scan(&self.held, &BOUNDS, &mut self.fields) {
            ScannedHead::Partial => false,
            ScannedHead::Refused(refusal) => {
                self.reading.next = NextReading::Refused(refused(refusal));
                false
            }
            ScannedHead::Complete(length, framing) => {
                let bytes = self.held.split_to(length);
                self.accept(&bytes, framing);
                true
            }
        }
    }

    fn accept(&mut self, bytes: &[u8], framing: Framing) {
        let scanner = std::mem::take(&mut self.scanner);
        let head = match Head::received(&scanner, bytes, &mut self.fields) {
            Ok(head) => head,
            Err(refusal) => return self.reading.next = NextReading::Refused(refused(refusal)),
        };
        again(&head, bytes, framing);
        let has_body = !matches!(framing, Framing::Length(0) | Framing::Switch);
        self.reading.requests.push(RequestReading {
            method: head.method.clone(),
            target: target_of(&head),
            version: head.version,
            headers: head.fields.to_map(),
            body: BodyReading::Partial,
            content: Vec::new(),
            trailers: http::HeaderMap::new(),
        });
        self.body = Some(Body {
            decoder: RequestBodyDecoder::new(framing, BOUNDS),
            scanner: BodyScanner::new(framing),
            has_ended: !has_body,
            persistent: scanner.is_persistent(),
        });
    }

    fn read_body(&mut self) -> bool {
        let (Some(body), Some(request)) = (&mut self.body, self.reading.requests.last_mut()) else { return false };
        let scanned =
            if body.has_ended { Ok((0, BodyProgress::Ended)) } else { body.scanner.take(&self.held, &BOUNDS) };
        let mut input: Bytes = self.held.split().freeze();
        let arrived = input.len();
        let decoded = loop {
            match body.decoder.next(&mut input) {
                Ok(Some(BodyPiece::Data(data))) => {
                    assert!(!data.is_empty() && request.trailers.is_empty(), "content comes before the trailers");
                    request.content.extend_from_slice(&data);
                }
                Ok(Some(BodyPiece::Trailers(trailers))) => {
                    assert!(request.trailers.is_empty() && !trailers.is_empty(), "trailers come once");
                    request.trailers = trailers;
                }
                Ok(None) => break Ok(body.decoder.is_ended()),
                Err(refusal) => break Err(refusal),
            }
        };
        let taken = arrived - input.len();
        match (scanned, decoded) {
            (Ok((length, progress)), Ok(ended)) => {
                assert_eq!((length, progress == BodyProgress::Ended), (taken, ended), "scanner and decoder agree");
                self.held = input.into();
                if !ended {
                    assert!(self.held.is_empty(), "all input of an open body is read");
                    return false;
                }
                request.body = BodyReading::Complete;
                if !body.persistent {
                    self.reading.next = NextReading::Closed;
                }
                self.body = None;
                true
            }
            (Err(scanned), Err(decoded)) => {
                assert_eq!(scanned, decoded, "scanner and decoder agree");
                request.body = BodyReading::Refused(refused(decoded));
                self.reading.next = NextReading::Closed;
                false
            }
            (scanned, decoded) => panic!("scanned as {scanned:?}, decoded as {decoded:?}"),
        }
    }
}

/// The target as `http::Uri` writes it.
fn target_of(head: &Head) -> String {
    let scheme = head.scheme().map(|scheme| scheme.to_ascii_lowercase() + "://").unwrap_or_default();
    let query = head.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}{}{}{query}", head.authority().unwrap_or_default(), head.path())
}

/// What is sent of a head is one that reads as the same head.
fn again(head: &Head, received: &[u8], framing: Framing) {
    // Authority-form is refused by admission: 405.
    if head.method == Method::CONNECT {
        return;
    }
    let mut sent = Vec::new();
    head.write_line(&mut sent);
    head.fields.write(&mut sent);
    if head.version == http::Version::HTTP_10 && !head.fields.contains("host") {
        sent.extend_from_slice(b"host: a\r\n");
    }
    sent.extend_from_slice(b"\r\n");
    let (mut scanner, mut fields) = (HeadScanner::default(), Fields::new());
    // What a client may send with an absolute target is not longer in origin-form, but for `/` and blanks.
    let bounds = Bounds { header_bytes: 2 * BOUNDS.header_bytes, headers: BOUNDS.headers + 1, ..BOUNDS };
    match scanner.scan(&sent, &bounds, &mut fields) {
        ScannedHead::Complete(length, again) => {
            assert_eq!(length, sent.len());
            // An `Upgrade` counts in HTTP/1.1 only.
            assert!(again == framing || head.version == http::Version::HTTP_10, "{again:?} is not {framing:?}");
        }
        other @ (ScannedHead::Partial | ScannedHead::Refused(_)) => {
            panic!("{other:?}: {:?} of {:?}", String::from_utf8_lossy(&sent), String::from_utf8_lossy(received))
        }
    }
}

fn refused(refusal: Refusal) -> Refused {
    let is_too_large = matches!(refusal, Refusal::HeadersTooLarge | Refusal::UriTooLong);
    if is_too_large { Refused::TooLarge } else { Refused::Invalid }
}
