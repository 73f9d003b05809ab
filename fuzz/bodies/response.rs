//! Properties of any bytes of an HTTP/1.1 upstream: what is read does not depend on how they are split, nothing behind
//! the end of a response is taken, and no limit is exceeded.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pointsman::proxy::response_body::{BodyPiece, ResponseBodyDecoder};
use pointsman::proxy::response_head::{
    ExpectedResponse, HeadLimits, HeadProgress, MalformedResponse, ResponseFraming, ResponseHead, ResponseHeadScanner,
};

/// What one response consists of.
#[derive(Debug, Default, PartialEq)]
struct Response {
    /// The status of each informational head and its fields, name and value one after the other.
    informational: Vec<(u16, Vec<Vec<u8>>)>,
    /// The final head.
    head: Option<Head>,
    content: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// Bytes of the response so far.
    taken: usize,
    ended: bool,
    /// Whether the response is complete if the connection ends.
    complete: bool,
    malformed: Option<MalformedResponse>,
}

#[derive(Debug, PartialEq)]
struct Head {
    status: u16,
    headers: HeaderMap,
    framing: ResponseFraming,
    persistent: bool,
    hop_by_hop: bool,
}

/// A byte for what is expected and the limits, then any bytes from an upstream.
pub fn any(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let expected = if first & 1 == 0 { ExpectedResponse::HeadAndBody } else { ExpectedResponse::HeadOnly };
    let limits = match first >> 1 & 3 {
        0 => HeadLimits { bytes: 4096, fields: 32 },
        1 => HeadLimits { bytes: 64, fields: 4 },
        2 => HeadLimits { bytes: 16 * usize::from(first >> 3), fields: 1 },
        _ => HeadLimits { bytes: usize::MAX, fields: usize::MAX },
    };
    let whole = read(Reader::new(expected, limits), bytes, bytes.len());
    let step = usize::from(first >> 3) + 2;
    for step in [1, step] {
        assert_eq!(read(Reader::new(expected, limits), bytes, step), whole, "the same in pieces of {step}");
    }
    if whole.ended {
        let alone = read(Reader::new(expected, limits), &bytes[..whole.taken], whole.taken);
        assert_eq!(alone, whole, "the bytes behind a response do not change it");
    }
    if let Some(head) = &whole.head {
        check(head, expected, limits);
    }
}

/// What is true of every head.
fn check(head: &Head, expected: ExpectedResponse, limits: HeadLimits) {
    assert!(head.headers.len() <= limits.fields);
    assert!(head.status == 101 || (200..600).contains(&head.status));
    let lengths = head.headers.get_all(CONTENT_LENGTH).iter().count();
    let codings = head.headers.get_all(TRANSFER_ENCODING).iter().count();
    assert!(lengths + codings <= 1, "the framing is unambiguous");
    let bodiless = expected == ExpectedResponse::HeadOnly || matches!(head.status, 101 | 204 | 304);
    match head.framing {
        ResponseFraming::Length(length) => {
            let field = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
            assert_eq!(length, if bodiless { 0 } else { field.unwrap_or(u64::MAX) });
        }
        ResponseFraming::Chunked => assert!(!bodiless && codings == 1),
        ResponseFraming::UntilClose => assert!(!bodiless && codings + lengths == 0 && !head.persistent),
    }
    assert!(!(head.persistent && head.status == 101));
    assert!(head.hop_by_hop || !(head.headers.contains_key("connection") || codings == 1));
}

/// Reads one response.
struct Reader {
    scanner: ResponseHeadScanner,
    decoder: Option<ResponseBodyDecoder>,
    limits: HeadLimits,
    /// Bytes that arrived and are not taken.
    input: Vec<u8>,
    response: Response,
}

fn read(mut reader: Reader, bytes: &[u8], step: usize) -> Response {
    for piece in bytes.chunks(step.max(1)) {
        reader.input.extend_from_slice(piece);
        match reader.advance() {
            Ok(true) => break,
            Ok(false) => {}
            Err(malformed) => {
                reader.response.malformed = Some(malformed);
                break;
            }
        }
    }
    if let Some(decoder) = &mut reader.decoder {
        reader.response.complete = reader.response.malformed.is_none() && decoder.end_of_input().is_ok();
    }
    reader.response
}

impl Reader {
    fn new(expected: ExpectedResponse, limits: HeadLimits) -> Self {
        let mut scanner = ResponseHeadScanner::new(limits);
        scanner.begin(expected);
        Self { scanner, decoder: None, limits, input: Vec::new(), response: Response::default() }
    }

    /// Takes what arrived. `true`: the response has ended.
    fn advance(&mut self) -> Result<bool, MalformedResponse> {
        while self.decoder.is_none() {
            match self.scanner.scan(&self.input)? {
                HeadProgress::Partial => return Ok(false),
                HeadProgress::Informational(length) => {
                    assert!(length <= self.limits.bytes);
                    self.scanner.keep(&self.input[..length])?;
                    let fields = self.scanner.take_fields();
                    let fields = fields.iter().flat_map(|(name, value)| [name.to_vec(), value.to_vec()]).collect();
                    self.response.informational.push((self.scanner.status(), fields));
                    self.take(length);
                    self.scanner.next_head();
                }
                HeadProgress::Final(length) => {
                    assert!(length <= self.limits.bytes);
                    self.scanner.keep(&self.input[..length])?;
                    let head = self.scanner.take_head()?;
                    self.take(length);
                    let ResponseHead { status, fields, framing, persistent, hop_by_hop, .. } = head;
                    let (status, headers) = (status.as_u16(), fields.to_map());
                    self.response.head = Some(Head { status, headers, framing, persistent, hop_by_hop });
                    self.decoder = Some(ResponseBodyDecoder::new(framing));
                }
            }
        }
        self.decode()
    }

    fn take(&mut self, length: usize) {
        self.input.drain(..length);
        self.response.taken += length;
    }

    fn decode(&mut self) -> Result<bool, MalformedResponse> {
        let Some(decoder) = &mut self.decoder else { return Ok(false) };
        let mut input = std::mem::take(&mut self.input).into();
        let before = self.response.taken;
        let arrived = before + bytes_of(&input);
        loop {
            let ended = decoder.is_ended();
            let piece = decoder.next(&mut input);
            self.response.taken = arrived - bytes_of(&input);
            match piece? {
                Some(BodyPiece::Data(data)) => {
                    assert!(!ended && !data.is_empty() && self.response.trailers.is_none());
                    self.response.content.extend_from_slice(&data);
                }
                Some(BodyPiece::Trailers(trailers)) => {
                    assert!(!ended && decoder.is_ended() && (1..=100).contains(&trailers.len()));
                    assert!(self.response.trailers.replace(trailers).is_none(), "trailers come once");
                }
                None => break,
            }
        }
        self.response.ended = decoder.is_ended();
        assert!(self.response.ended || input.is_empty(), "input is left before the end");
        Ok(self.response.ended)
    }
}

fn bytes_of(input: &impl AsRef<[u8]>) -> usize {
    input.as_ref().len()
}
