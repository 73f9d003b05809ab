//! Decodes a body in chunks. Data are slices of the bytes that were read; only small chunks are copied, so that a body
//! in small chunks does not become a frame a chunk.

use std::mem;
use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::chunks::ChunkScanner;
use super::grammar::{BodyProgress, Bounds};
use crate::telemetry::Refusal;

/// The most bytes of a piece that is joined from several chunks.
pub(super) const JOINED_BYTES_MAX: usize = 16 * 1024;
/// The most bytes of a chunk that is joined with others. A larger one is passed on without a copy.
pub(super) const SMALL_CHUNK_BYTES: usize = 4 * 1024;

/// A body in chunks.
#[derive(Debug)]
pub(super) struct ChunkedBody {
    scanner: ChunkScanner,
    bounds: Bounds,
    /// The bytes of the trailer section so far. The bounds of the scanner are its bounds, with three bytes a field.
    trailers: BytesMut,
}

/// Why the decoder of chunks stops.
pub(super) enum ChunkStop {
    /// The input is used up, or the next chunk is a piece of its own.
    Pause,
    /// The body has ended, with these trailers.
    End(HeaderMap),
    /// The framing is malformed, or exceeds its bounds.
    Malformed(Refusal),
}

impl ChunkedBody {
    /// A body that `scanner` scans, within these bounds.
    pub(super) fn new(scanner: ChunkScanner, bounds: Bounds) -> Self {
        Self { scanner, bounds, trailers: BytesMut::new() }
    }

    /// Whether the next byte is content, not framing.
    pub(super) fn is_in_data(&self) -> bool {
        self.scanner.is_in_data()
    }

    /// Takes content from the front of `input`, and the framing around it.
    pub(super) fn next(&mut self, input: &mut Bytes) -> (Bytes, ChunkStop) {
        let mut content = Content::default();
        let mut at = 0;
        let stop = loop {
            if at == input.len() {
                break ChunkStop::Pause;
            }
            if self.scanner.is_in_data() {
                let end = at + self.scanner.data_left(input.len() - at);
                if !content.has_room_for(end - at) {
                    break ChunkStop::Pause;
                }
                self.scanner.skip_data(end - at);
                content.add(input, at..end);
                at = end;
                continue;
            }
            let is_trailer = self.scanner.is_in_trailers();
            let (taken, progress) = self.scanner.take_framing(&input[at..], &self.bounds);
            if is_trailer {
                self.trailers.extend_from_slice(&input[at..at + taken]);
            }
            at += taken;
            match progress {
                Ok(BodyProgress::More) => {}
                Ok(BodyProgress::Ended) => {
                    let trailers = fields(&mem::take(&mut self.trailers).freeze());
                    break trailers.map_or_else(ChunkStop::Malformed, ChunkStop::End);
                }
                Err(refusal) => break ChunkStop::Malformed(refusal),
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
fn fields(section: &Bytes) -> Result<HeaderMap, Refusal> {
    let mut trailers = HeaderMap::new();
    let mut at = 0;
    for line in section.split(|byte| *byte == b'\n') {
        let start = at;
        at += line.len() + 1;
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let value_at = start + line.len() - value.trim_ascii_start().len();
        let value = section.slice(value_at..value_at + value.trim_ascii().len());
        let name = HeaderName::from_bytes(name).map_err(|_| Refusal::BadFraming)?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| Refusal::BadFraming)?;
        trailers.append(name, value);
    }
    Ok(trailers)
}
