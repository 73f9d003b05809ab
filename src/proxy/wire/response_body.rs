//! Decodes the body of an HTTP/1.1 response, by the framing that its head states. Data are slices of the bytes that
//! were read; only small chunks are copied, so that a body in small chunks does not become a frame a chunk.

use std::mem;
use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::chunks::ChunkScanner;
use super::grammar::{BodyProgress, Bounds};
use super::response_head::{MalformedResponse, ResponseFraming};
use crate::telemetry::Refusal;

/// The bounds of a chunked body: trailers of 100 fields and 16 KiB, and chunk extensions of less than 16 KiB, as hyper
/// has it.
const BOUNDS: Bounds =
    Bounds { header_bytes: 16 * 1024, headers: 0, uri_bytes: 0, chunk_extension_bytes: 16 * 1024 - 1, trailers: 100 };
/// The most bytes of a piece that is joined from several chunks.
const JOINED_BYTES_MAX: usize = 16 * 1024;
/// The most bytes of a chunk that is joined with others. A larger one is passed on without a copy.
const SMALL_CHUNK_BYTES: usize = 4 * 1024;

/// A part of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyPiece {
    /// Content, at least one byte.
    Data(Bytes),
    /// The trailer fields, after all content.
    Trailers(HeaderMap),
}

/// Decodes one body as its bytes arrive.
#[derive(Debug)]
pub struct ResponseBodyDecoder {
    state: State,
    /// The body is malformed: it has no further piece.
    malformed: Option<MalformedResponse>,
}

#[derive(Debug)]
enum State {
    /// Bytes left; 0 at the end of any body.
    Length(u64),
    UntilClose,
    Chunked(ChunkedBody),
    /// The last byte is decoded; the trailers are the last piece.
    Trailers(HeaderMap),
}

impl ResponseBodyDecoder {
    /// A decoder of a body with this framing.
    #[must_use]
    pub fn new(framing: ResponseFraming) -> Self {
        let state = match framing {
            ResponseFraming::Length(length) => State::Length(length),
            ResponseFraming::Chunked => {
                State::Chunked(ChunkedBody { scanner: ChunkScanner::for_response(), trailers: BytesMut::new() })
            }
            ResponseFraming::UntilClose => State::UntilClose,
        };
        Self { state, malformed: None }
    }

    /// Whether the last piece was given out. It is known together with that piece where the input has the end too.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Length(0))
    }

    /// Bytes of content left, if the length is known.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::UntilClose | State::Chunked(_) | State::Trailers(_) => None,
        }
    }

    /// Takes the next piece from the front of `input`. `None`: the body has ended, and the rest of `input` is
    /// untouched; or more input is needed. Without input, a piece may still come: the trailers.
    ///
    /// # Errors
    /// The framing of a chunked body is malformed or exceeds its bounds. What precedes the error is given out first.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<BodyPiece>, MalformedResponse> {
        if let Some(malformed) = self.malformed {
            return Err(malformed);
        }
        match &mut self.state {
            State::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= taken as u64;
                Ok(data(input.split_to(taken)))
            }
            State::UntilClose => Ok(data(mem::take(input))),
            State::Chunked(chunks) => {
                let (content, stop) = chunks.next(input);
                let piece = data(content);
                match stop {
                    Stop::Pause => Ok(piece),
                    Stop::End(trailers) => Ok(self.end(piece, trailers)),
                    Stop::Malformed(malformed) => {
                        self.malformed = Some(malformed);
                        piece.map_or(Err(malformed), |piece| Ok(Some(piece)))
                    }
                }
            }
            State::Trailers(trailers) => {
                let trailers = mem::take(trailers);
                self.state = State::Length(0);
                Ok(Some(BodyPiece::Trailers(trailers)))
            }
        }
    }

    /// The last chunk is decoded. Returns the next piece; trailers are a piece of their own.
    fn end(&mut self, piece: Option<BodyPiece>, trailers: HeaderMap) -> Option<BodyPiece> {
        self.state = State::Length(0);
        if trailers.is_empty() {
            return piece;
        }
        if piece.is_some() {
            self.state = State::Trailers(trailers);
            return piece;
        }
        Some(BodyPiece::Trailers(trailers))
    }

    /// The connection ended after the input so far.
    ///
    /// # Errors
    /// The body is incomplete: neither has it ended, nor does it end with the connection.
    pub fn end_of_input(&mut self) -> Result<(), MalformedResponse> {
        match self.state {
            State::Length(0) | State::Trailers(_) => Ok(()),
            State::UntilClose => {
                self.state = State::Length(0);
                Ok(())
            }
            State::Length(_) | State::Chunked(_) => Err(self.malformed.unwrap_or(MalformedResponse::Invalid)),
        }
    }
}

/// A piece with this content, if there is any.
fn data(content: Bytes) -> Option<BodyPiece> {
    (!content.is_empty()).then_some(BodyPiece::Data(content))
}

/// A body in chunks.
#[derive(Debug)]
struct ChunkedBody {
    scanner: ChunkScanner,
    /// The bytes of the trailer section so far. The bounds of the scanner are its bounds, with three bytes a field.
    trailers: BytesMut,
}

/// Why the decoder of chunks stops.
enum Stop {
    /// The input is used up, or the next chunk is a piece of its own.
    Pause,
    /// The body has ended, with these trailers.
    End(HeaderMap),
    Malformed(MalformedResponse),
}

impl ChunkedBody {
    /// Takes content from the front of `input`, and the framing around it.
    fn next(&mut self, input: &mut Bytes) -> (Bytes, Stop) {
        let mut content = Content::default();
        let mut at = 0;
        let stop = loop {
            if at == input.len() {
                break Stop::Pause;
            }
            if self.scanner.is_in_data() {
                let end = at + self.scanner.data_left(input.len() - at);
                if !content.has_room_for(end - at) {
                    break Stop::Pause;
                }
                self.scanner.skip_data(end - at);
                content.add(input, at..end);
                at = end;
                continue;
            }
            let is_trailer = self.scanner.is_in_trailers();
            let (taken, progress) = self.scanner.take_framing(&input[at..], &BOUNDS);
            if is_trailer {
                self.trailers.extend_from_slice(&input[at..at + taken]);
            }
            at += taken;
            match progress {
                Ok(BodyProgress::More) => {}
                Ok(BodyProgress::Ended) => {
                    let trailers = fields(&mem::take(&mut self.trailers).freeze());
                    break trailers.map_or_else(Stop::Malformed, Stop::End);
                }
                Err(Refusal::HeadersTooLarge) => break Stop::Malformed(MalformedResponse::TooLarge),
                Err(_) => break Stop::Malformed(MalformedResponse::Invalid),
            }
        };
        let content = content.into_bytes(input);
        input.advance(at);
        (content, stop)
    }
}

/// Content of one or more chunks in one input.
#[derive(Default)]
struct Content {
    /// The place of the first chunk, as long as it is the only one.
    first: Range<usize>,
    /// Several chunks.
    joined: BytesMut,
}

impl Content {
    fn len(&self) -> usize {
        self.first.len() + self.joined.len()
    }

    /// Whether this many bytes of the next chunk are part of the same piece.
    fn has_room_for(&self, length: usize) -> bool {
        self.len() == 0
            || (self.first.len() <= SMALL_CHUNK_BYTES
                && length <= SMALL_CHUNK_BYTES
                && self.len() + length <= JOINED_BYTES_MAX)
    }

    fn add(&mut self, input: &[u8], chunk: Range<usize>) {
        debug_assert!(self.has_room_for(chunk.len()), "the caller asks before");
        if self.len() == 0 {
            self.first = chunk;
            return;
        }
        if self.joined.is_empty() {
            // The rest of the input has no more content than bytes.
            self.joined.reserve((input.len() - self.first.start).min(JOINED_BYTES_MAX));
            self.joined.extend_from_slice(&input[mem::take(&mut self.first)]);
        }
        self.joined.extend_from_slice(&input[chunk]);
    }

    fn into_bytes(self, input: &Bytes) -> Bytes {
        if self.joined.is_empty() { input.slice(self.first) } else { self.joined.freeze() }
    }
}

/// The fields of a trailer section, which the scanner has found valid.
fn fields(section: &Bytes) -> Result<HeaderMap, MalformedResponse> {
    let mut trailers = HeaderMap::new();
    let mut at = 0;
    for line in section.split(|byte| *byte == b'\n') {
        let start = at;
        at += line.len() + 1;
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let value_at = start + line.len() - value.trim_ascii_start().len();
        let value = section.slice(value_at..value_at + value.trim_ascii().len());
        let name = HeaderName::from_bytes(name).map_err(|_| MalformedResponse::Invalid)?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| MalformedResponse::Invalid)?;
        trailers.append(name, value);
    }
    debug_assert!(trailers.len() <= BOUNDS.trailers, "the scanner bounds the fields");
    Ok(trailers)
}

#[cfg(test)]
mod tests;
