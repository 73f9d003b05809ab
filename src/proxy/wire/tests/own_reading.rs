//! A response as Pointsman reads it.

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};

use super::reading::{BodyReading, HeadReading, Informational, Reading, Readings, Refused};
use crate::proxy::wire::field_rules::strip_hop_by_hop;
use crate::proxy::wire::response_body::{BodyPiece, ResponseBodyDecoder};
use crate::proxy::wire::response_head::{
    ExpectedResponse, HeadLimits, HeadProgress, MalformedResponse, ResponseHead, ResponseHeadScanner,
};
use crate::route::UpstreamLimits;

/// Reads the response to a request with this method. The bytes arrive in these pieces.
pub(super) fn read(pieces: &[&[u8]], method: &Method, limits: &UpstreamLimits) -> Readings {
    let mut reader = Reader::new(limits);
    reader.scanner.begin(ExpectedResponse::of(method));
    reader.read(pieces)
}

/// Reads the response to the second request on a connection.
pub(super) fn read_second(first: &[u8], bytes: &[u8], method: &Method, limits: &UpstreamLimits) -> Readings {
    let mut reader = Reader::new(limits);
    reader.scanner.begin(ExpectedResponse::HeadOnly);
    let head = reader.scanner.scan(first);
    assert_eq!(head, Ok(HeadProgress::Final(first.len())), "the first response is valid");
    reader.scanner.begin(ExpectedResponse::of(method));
    reader.read(&[bytes])
}

struct Reader {
    scanner: ResponseHeadScanner,
    /// How many bytes have arrived.
    arrived: usize,
    /// The bytes of an incomplete head.
    held: BytesMut,
    /// The bytes after the head that are not read yet.
    input: Bytes,
    body: Option<ResponseBodyDecoder>,
    persistent: bool,
    reading: Reading,
}

impl Reader {
    fn new(limits: &UpstreamLimits) -> Self {
        let limits =
            HeadLimits { bytes: limits.response_header_bytes as usize, fields: limits.response_headers as usize };
        Self {
            scanner: ResponseHeadScanner::new(limits),
            arrived: 0,
            held: BytesMut::new(),
            input: Bytes::new(),
            body: None,
            persistent: false,
            reading: Reading::default(),
        }
    }

    fn read(mut self, pieces: &[&[u8]]) -> Readings {
        for piece in pieces {
            self.take(piece);
        }
        let open = self.reading.clone();
        self.end();
        Readings { open, ended: self.reading }
    }

    fn take(&mut self, piece: &[u8]) {
        if self.reading.is_refused() {
            return;
        }
        self.arrived += piece.len();
        if self.body.is_some() {
            self.input = [&self.input[..], piece].concat().into();
        } else {
            self.held.extend_from_slice(piece);
            self.read_head();
        }
        self.read_body();
        self.reading.reusable = self.reading.body == BodyReading::Complete && self.persistent && self.input.is_empty();
    }

    fn read_head(&mut self) {
        loop {
            match self.scanner.scan(&self.held) {
                Ok(HeadProgress::Partial) => return,
                Ok(HeadProgress::Informational(length)) => {
                    let head = self.held.split_to(length);
                    let status = StatusCode::from_u16(self.scanner.status()).expect("a status");
                    self.scanner.keep(&head).expect("a complete head");
                    let headers = self.scanner.take_fields().to_map();
                    self.reading.informational.push(Informational { status, headers });
                    self.scanner.next_head();
                }
                Ok(HeadProgress::Final(length)) => {
                    let head = self.held.split_to(length).freeze();
                    self.input = self.held.split().freeze();
                    match self.scanner.keep(&head).and_then(|()| self.scanner.take_head()) {
                        Ok(head) => self.accept(head),
                        Err(malformed) => self.reading.head = HeadReading::Refused(refused(malformed)),
                    }
                    return;
                }
                Err(malformed) => {
                    self.reading.head = HeadReading::Refused(refused(malformed));
                    return;
                }
            }
        }
    }

    fn accept(&mut self, head: ResponseHead) {
        let ResponseHead { status, version, fields, framing, persistent, hop_by_hop, has_event: _ } = head;
        assert_eq!(status.as_u16(), self.scanner.status());
        let headers = fields.to_map();
        let mut stripped = fields;
        strip_hop_by_hop(&mut stripped);
        assert!(stripped.to_map() == headers || hop_by_hop, "{headers:?} has a hop-by-hop field");
        self.reading.head = HeadReading::Accepted { status, version, headers };
        self.persistent = persistent;
        self.body = Some(ResponseBodyDecoder::new(framing));
    }

    fn read_body(&mut self) {
        let Some(body) = &mut self.body else { return };
        loop {
            match body.next(&mut self.input) {
                Ok(Some(BodyPiece::Data(data))) => self.reading.add_content(&data),
                Ok(Some(BodyPiece::Trailers(trailers))) => {
                    assert!(self.reading.trailers.is_empty() && !trailers.is_empty(), "trailers come once");
                    self.reading.trailers = trailers;
                }
                Ok(None) if body.is_ended() => {
                    assert!(matches!(body.left(), None | Some(0)), "a body that has ended has nothing left");
                    self.reading.body = BodyReading::Complete;
                    self.reading.length = Some(self.arrived - self.input.len());
                    return;
                }
                Ok(None) => return,
                Err(malformed) => {
                    self.reading.body = BodyReading::Refused(refused(malformed));
                    return;
                }
            }
        }
    }

    /// The connection ends.
    fn end(&mut self) {
        self.reading.reusable = false;
        let Some(body) = self.body.as_mut().filter(|_| !self.reading.is_refused()) else { return };
        if body.end_of_input().is_ok() {
            self.reading.body = BodyReading::Complete;
            self.reading.length = Some(self.arrived - self.input.len());
        }
    }
}

fn refused(malformed: MalformedResponse) -> Refused {
    match malformed {
        MalformedResponse::Invalid => Refused::Invalid,
        MalformedResponse::TooLarge => Refused::TooLarge,
    }
}
