//! Decodes the body of an HTTP/1.1 response, by the framing that its head states.

use std::mem;

use bytes::Bytes;
use http::header::HeaderMap;

use super::chunked_body::{ChunkStop, ChunkedBody};
use super::chunks::ChunkScanner;
use super::grammar::Bounds;
use super::response_head::{MalformedResponse, ResponseFraming};
use crate::telemetry::Refusal;

/// The bounds of a chunked body: trailers of 100 fields and 16 KiB, and chunk extensions of less than 16 KiB, as hyper
/// has it.
const BOUNDS: Bounds =
    Bounds { header_bytes: 16 * 1024, headers: 0, uri_bytes: 0, chunk_extension_bytes: 16 * 1024 - 1, trailers: 100 };

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
    /// Boxed, because every exchange has this size.
    Chunked(Box<ChunkedBody>),
    /// The last byte is decoded; the trailers are the last piece.
    Trailers(Box<HeaderMap>),
}

impl ResponseBodyDecoder {
    /// A decoder of a body with this framing.
    #[must_use]
    pub fn new(framing: ResponseFraming) -> Self {
        let state = match framing {
            ResponseFraming::Length(length) => State::Length(length),
            ResponseFraming::Chunked => {
                State::Chunked(Box::new(ChunkedBody::new(ChunkScanner::for_response(), BOUNDS)))
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
                // Nearly always all of it: a move costs less than a split.
                Ok(data(if taken == input.len() { mem::take(input) } else { input.split_to(taken) }))
            }
            State::UntilClose => Ok(data(mem::take(input))),
            State::Chunked(chunks) => {
                let (content, stop) = chunks.next(input);
                let piece = data(content);
                match stop {
                    ChunkStop::Pause => Ok(piece),
                    ChunkStop::End(trailers) => Ok(self.end(piece, trailers)),
                    ChunkStop::Malformed(refusal) => {
                        let malformed = malformed(refusal);
                        self.malformed = Some(malformed);
                        piece.map_or(Err(malformed), |piece| Ok(Some(piece)))
                    }
                }
            }
            State::Trailers(trailers) => {
                let trailers = mem::take(trailers);
                self.state = State::Length(0);
                Ok(Some(BodyPiece::Trailers(*trailers)))
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
            self.state = State::Trailers(Box::new(trailers));
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

/// What is wrong with a response whose chunks are refused.
fn malformed(refusal: Refusal) -> MalformedResponse {
    if refusal == Refusal::HeadersTooLarge { MalformedResponse::TooLarge } else { MalformedResponse::Invalid }
}

/// A piece with this content, if there is any.
pub(super) fn data(content: Bytes) -> Option<BodyPiece> {
    (!content.is_empty()).then_some(BodyPiece::Data(content))
}

#[cfg(test)]
mod tests;
