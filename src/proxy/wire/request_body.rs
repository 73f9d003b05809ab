//! Decodes the body of an HTTP/1.1 request, by the framing that the scanner has found in its head.

use std::mem;

use bytes::Bytes;
use http::HeaderMap;

use super::chunked_body::{ChunkStop, ChunkedBody};
use super::chunks::ChunkScanner;
use super::grammar::Bounds;
use super::response_body::{BodyPiece, data};
use super::scan::Framing;
use crate::telemetry::Refusal;

/// Decodes one body as its bytes arrive.
#[derive(Debug)]
pub struct RequestBodyDecoder {
    state: State,
    /// The body is malformed: it has no further piece.
    refused: Option<Refusal>,
}

#[derive(Debug)]
enum State {
    /// Bytes left; 0 at the end of any body.
    Length(u64),
    Chunked(ChunkedBody),
    /// The last byte is decoded; the trailers are the last piece.
    Trailers(HeaderMap),
}

impl RequestBodyDecoder {
    /// A decoder of a body with this framing.
    #[must_use]
    pub fn new(framing: Framing, bounds: Bounds) -> Self {
        let state = match framing {
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(ChunkedBody::new(ChunkScanner::default(), bounds)),
            Framing::Switch => State::Length(0),
        };
        Self { state, refused: None }
    }

    /// Whether the last piece was given out.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Length(0))
    }

    /// Whether the next byte is content, not framing.
    pub(crate) fn is_in_data(&self) -> bool {
        match &self.state {
            State::Length(left) => *left > 0,
            State::Chunked(chunks) => chunks.is_in_data(),
            State::Trailers(_) => false,
        }
    }

    /// Bytes of content left, if the length is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Chunked(_) | State::Trailers(_) => None,
        }
    }

    /// Takes the next piece from the front of `input`. `None`: the body has ended, and the rest of `input` is
    /// untouched; or more input is needed.
    ///
    /// # Errors
    /// The framing is malformed or exceeds its bounds. What precedes the error is given out first.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<BodyPiece>, Refusal> {
        if let Some(refusal) = self.refused {
            return Err(refusal);
        }
        match &mut self.state {
            State::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                debug_assert!(taken as u64 <= *left, "a body has no more bytes than its length");
                *left -= taken as u64;
                Ok(data(input.split_to(taken)))
            }
            State::Chunked(chunks) => {
                let (content, stop) = chunks.next(input);
                let piece = data(content);
                match stop {
                    ChunkStop::Pause => Ok(piece),
                    ChunkStop::End(trailers) => {
                        let trailers = (!trailers.is_empty()).then_some(trailers);
                        self.state = State::Length(0);
                        let Some(trailers) = trailers else { return Ok(piece) };
                        if piece.is_none() {
                            return Ok(Some(BodyPiece::Trailers(trailers)));
                        }
                        self.state = State::Trailers(trailers);
                        Ok(piece)
                    }
                    ChunkStop::Malformed(refusal) => {
                        self.refused = Some(refusal);
                        piece.map_or(Err(refusal), |piece| Ok(Some(piece)))
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
}

#[cfg(test)]
mod tests {
    use super::super::scan::{BodyProgress, BodyScanner};
    use super::*;

    const BOUNDS: Bounds =
        Bounds { header_bytes: 64, headers: 10, uri_bytes: 64, chunk_extension_bytes: 16, trailers: 2 };

    /// What a body has, and how many bytes are left behind it.
    #[derive(Debug, PartialEq, Eq)]
    struct Decoded {
        content: Vec<u8>,
        trailers: Vec<(String, String)>,
        /// `None`: it has not ended.
        left: Option<usize>,
    }

    /// Decodes bytes that arrive in pieces of this size.
    fn decode(framing: Framing, bytes: &[u8], size: usize) -> Result<Decoded, Refusal> {
        let mut decoder = RequestBodyDecoder::new(framing, BOUNDS);
        let mut found = Decoded { content: Vec::new(), trailers: Vec::new(), left: None };
        let mut at = 0;
        let mut input = Bytes::new();
        loop {
            while let Some(piece) = decoder.next(&mut input)? {
                match piece {
                    BodyPiece::Data(data) => found.content.extend_from_slice(&data),
                    BodyPiece::Trailers(map) => {
                        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                        found
                            .trailers
                            .extend(map.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))));
                    }
                }
            }
            if decoder.is_ended() {
                found.left = Some(bytes.len() - at + input.len());
                return Ok(found);
            }
            assert!(input.is_empty(), "all input of an open body is found");
            if at == bytes.len() {
                return Ok(found);
            }
            let end = at.saturating_add(size).min(bytes.len());
            input = Bytes::copy_from_slice(&bytes[at..end]);
            at = end;
        }
    }

    /// How the scanner alone reads the body: the bytes behind it, if it ends.
    fn scanned(framing: Framing, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        let (taken, progress) = BodyScanner::new(framing).take(bytes, &BOUNDS)?;
        Ok((progress == BodyProgress::Ended).then_some(bytes.len() - taken))
    }

    #[test]
    fn every_split_decodes_to_the_same() {
        let good = [
            (Framing::Length(5), "helloGET", "hello", 3),
            (Framing::Chunked, "5\r\nhello\r\n0\r\n\r\nGET", "hello", 3),
            (Framing::Chunked, "2;x=y\r\nhe\r\n003\r\nllo\r\n0\r\n\r\n", "hello", 0),
            (Framing::Chunked, "0\r\n\r\n", "", 0),
            (Framing::Chunked, "1\r\na\r\n0\r\nX-Sum: 1 \r\nx-b:\r\n\r\nP", "a", 1),
        ];
        for (framing, bytes, content, left) in good {
            for size in [1, 2, 3, 7, usize::MAX] {
                let decoded = decode(framing, bytes.as_bytes(), size).unwrap();
                assert_eq!((decoded.content.as_slice(), decoded.left), (content.as_bytes(), Some(left)), "{bytes:?}");
                assert_eq!(scanned(framing, bytes.as_bytes()), Ok(Some(left)));
                let trailers = if bytes.contains("X-Sum") { 2 } else { 0 };
                assert_eq!(decoded.trailers.len(), trailers);
                if let Some(first) = decoded.trailers.first() {
                    assert_eq!((first.0.as_str(), first.1.as_str()), ("x-sum", "1"));
                }
            }
        }
        for bytes in
            ["5\r\nhello0\r\n", "x\r\n", "1\na\n0\n\n", "1 \r\na", "0\r\n a: b\r\n\r\n", "0\r\na: b\nc: d\r\n\r\n"]
        {
            for size in [1, 2, usize::MAX] {
                assert_eq!(decode(Framing::Chunked, bytes.as_bytes(), size), Err(Refusal::BadFraming), "{bytes:?}");
            }
            assert_eq!(scanned(Framing::Chunked, bytes.as_bytes()), Err(Refusal::BadFraming), "{bytes:?}");
        }
    }

    #[test]
    fn an_open_body_waits_for_more() {
        for bytes in ["5\r\nhel", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n", ""] {
            assert_eq!(decode(Framing::Chunked, bytes.as_bytes(), 1).unwrap().left, None, "{bytes:?}");
        }
        assert_eq!(decode(Framing::Length(4), b"abc", 1).unwrap().left, None);
    }
}
