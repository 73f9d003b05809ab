//! Scans a chunked body (RFC 9112 §7.1): byte by byte in its framing, in one step over the data of a chunk.

use super::grammar::{BodyProgress, Bounds, is_text, is_token};
use crate::telemetry::Refusal;

/// The most blanks behind one chunk size. A size that is padded to a fixed width has a few.
const SIZE_BLANKS_MAX: usize = 256;

/// Scans a chunked body as its bytes arrive.
#[derive(Clone, Debug, Default)]
pub struct ChunkScanner {
    state: State,
    size: u64,
    digits: u8,
    /// Blanks behind the current size.
    size_blanks: usize,
    extension_bytes: usize,
    trailers: usize,
    trailer_bytes: usize,
    sender: Sender,
}

/// The sender of the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sender {
    /// A client.
    #[default]
    Client,
    /// An upstream. Some pad chunk sizes with blanks: harmless, since the proxy writes new chunks to the client.
    Upstream,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    /// Behind a blank that follows a size: more blanks, an extension, or the end of the line.
    Blanks,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
}

impl ChunkScanner {
    /// A scanner for the body of a response.
    pub(super) fn for_response() -> Self {
        Self { sender: Sender::Upstream, ..Self::default() }
    }

    /// Whether the next byte is data.
    pub(crate) fn is_in_data(&self) -> bool {
        self.state == State::Data
    }

    /// How many of this many bytes are data of the current chunk.
    pub(super) fn data_left(&self, available: usize) -> usize {
        debug_assert!(self.state == State::Data && self.size > 0, "an empty chunk has no data");
        usize::try_from(self.size).unwrap_or(usize::MAX).min(available)
    }

    /// Skips this many bytes of data, at most [`Self::data_left`].
    pub(super) fn skip_data(&mut self, bytes: usize) {
        debug_assert!(bytes as u64 <= self.size, "a chunk has no more data than its size");
        self.size = self.size.saturating_sub(bytes as u64);
        if self.size == 0 {
            self.state = State::DataCr;
        }
    }

    /// Whether the next byte belongs to the trailer section, its final empty line included.
    pub(super) fn is_in_trailers(&self) -> bool {
        use State as S;
        matches!(self.state, S::TrailerStart | S::TrailerName | S::TrailerValue | S::TrailerLf | S::EndLf)
    }

    /// Scans bytes; see [`super::scan::BodyScanner::take`].
    pub(crate) fn take(&mut self, bytes: &[u8], bounds: &Bounds) -> Result<(usize, BodyProgress), Refusal> {
        let (taken, progress) = self.take_valid(bytes, bounds);
        progress.map(|progress| (taken, progress))
    }

    /// Scans bytes. Returns how many are valid, also in front of an error.
    pub(super) fn take_valid(&mut self, bytes: &[u8], bounds: &Bounds) -> (usize, Result<BodyProgress, Refusal>) {
        let mut at = 0;
        while at < bytes.len() {
            if self.state == State::Data {
                let taken = self.data_left(bytes.len() - at);
                self.skip_data(taken);
                at += taken;
                continue;
            }
            let (taken, progress) = self.take_framing(&bytes[at..], bounds);
            at += taken;
            if progress != Ok(BodyProgress::More) {
                return (at, progress);
            }
        }
        (at, Ok(BodyProgress::More))
    }

    /// Scans bytes up to the next byte of data, the trailer section, or the end of the body. The next byte is no data.
    /// Returns how many are valid, also in front of an error.
    pub(super) fn take_framing(&mut self, bytes: &[u8], bounds: &Bounds) -> (usize, Result<BodyProgress, Refusal>) {
        for (at, byte) in bytes.iter().copied().enumerate() {
            // The only end of a body: the empty line after the trailers. The bytes behind it are the next message.
            if self.state == State::EndLf && byte == b'\n' {
                return (at + 1, Ok(BodyProgress::Ended));
            }
            let before = self.state;
            match self.next_state(byte, bounds) {
                Ok(next) => self.state = next,
                Err(refusal) => return (at, Err(refusal)),
            }
            // A size line is complete: data or trailers follow.
            if before == State::SizeLf {
                return (at + 1, Ok(BodyProgress::More));
            }
        }
        (bytes.len(), Ok(BodyProgress::More))
    }

    fn next_state(&mut self, byte: u8, bounds: &Bounds) -> Result<State, Refusal> {
        use State as S;
        Ok(match (self.state, byte) {
            (S::Size, _) if byte.is_ascii_hexdigit() => self.size_digit(byte)?,
            // Without a digit there is no size: an empty line must not count as the last chunk.
            (S::Size, b';') if self.digits > 0 => S::Extension,
            (S::Size, b'\r') if self.digits > 0 => S::SizeLf,
            (S::Size | S::Blanks, b' ' | b'\t') if self.digits > 0 && self.sender == Sender::Upstream => {
                // Counted in each line: a long body may have a padded size in front of each chunk.
                self.size_blanks += 1;
                bounded(self.size_blanks, SIZE_BLANKS_MAX, Refusal::BadFraming)?;
                S::Blanks
            }
            (S::Blanks, b';') => S::Extension,
            (S::Extension | S::Blanks, b'\r') => S::SizeLf,
            // `is_text` excludes CR and LF: a bare LF cannot end a chunk line (CVE-2025-22871).
            (S::Extension, _) if is_text(byte) => {
                // Counted over the whole body: tiny chunks with long extensions cost CPU and bandwidth
                // (CVE-2023-39326).
                self.extension_bytes += 1;
                bounded(self.extension_bytes, bounds.chunk_extension_bytes, Refusal::BadFraming)?;
                S::Extension
            }
            (S::SizeLf, b'\n') => {
                (self.digits, self.size_blanks) = (0, 0);
                if self.size == 0 { S::TrailerStart } else { S::Data }
            }
            // Exactly CRLF ends the data. A parser that skips other bytes here could see another chunk boundary.
            (S::DataCr, b'\r') => S::DataLf,
            (S::DataLf, b'\n') => S::Size,
            (S::TrailerStart, b'\r') => S::EndLf,
            // A blank is not a token: a folded line is refused in trailers too (RFC 9112 §5.2).
            (S::TrailerStart, _) if is_token(byte) => {
                self.trailers += 1;
                bounded(self.trailers, bounds.trailers, Refusal::HeadersTooLarge)?;
                self.trailer_byte(S::TrailerName, bounds)?
            }
            (S::TrailerName, b':') => S::TrailerValue,
            (S::TrailerName, _) if is_token(byte) => self.trailer_byte(S::TrailerName, bounds)?,
            (S::TrailerValue, b'\r') => S::TrailerLf,
            (S::TrailerValue, _) if is_text(byte) => self.trailer_byte(S::TrailerValue, bounds)?,
            (S::TrailerLf, b'\n') => S::TrailerStart,
            _ => return Err(Refusal::BadFraming),
        })
    }

    fn size_digit(&mut self, byte: u8) -> Result<State, Refusal> {
        // 15 hex digits are up to 2^60 bytes. More digits are an attack, leading zeros included.
        if self.digits >= 15 {
            return Err(Refusal::BadFraming);
        }
        self.size = if self.digits == 0 { 0 } else { self.size * 16 };
        self.digits += 1;
        self.size += u64::from(char::from(byte).to_digit(16).unwrap_or(0));
        debug_assert!(self.size < 1 << 60, "15 hex digits at most");
        Ok(State::Size)
    }

    fn trailer_byte(&mut self, next: State, bounds: &Bounds) -> Result<State, Refusal> {
        self.trailer_bytes += 1;
        bounded(self.trailer_bytes, bounds.header_bytes, Refusal::HeadersTooLarge)?;
        Ok(next)
    }
}

fn bounded(count: usize, max: usize, refusal: Refusal) -> Result<(), Refusal> {
    if count > max { Err(refusal) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::scan::{BodyScanner, Framing};
    use super::*;

    const BOUNDS: Bounds =
        Bounds { header_bytes: 1024, headers: 10, uri_bytes: 64, chunk_extension_bytes: 64, trailers: 2 };

    /// `Ok(n)`: ended after n bytes; `Ok(usize::MAX)`: not ended.
    fn check(text: &str, expected: Result<usize, Refusal>) {
        let whole = BodyScanner::new(Framing::Chunked).take(text.as_bytes(), &BOUNDS);
        let whole = whole.map(|(taken, progress)| if progress == BodyProgress::Ended { taken } else { usize::MAX });
        assert_eq!(whole, expected, "{text:?}");
        let mut body = BodyScanner::new(Framing::Chunked);
        let mut piecewise = Ok(usize::MAX);
        for (i, byte) in text.bytes().enumerate() {
            match body.take(&[byte], &BOUNDS) {
                Ok((_, BodyProgress::More)) => {}
                Ok((_, BodyProgress::Ended)) => {
                    piecewise = Ok(i + 1);
                    break;
                }
                Err(refusal) => {
                    piecewise = Err(refusal);
                    break;
                }
            }
        }
        assert_eq!(piecewise, expected, "{text:?}, byte by byte");
    }

    #[test]
    fn valid_bodies_pass() {
        check("0\r\n\r\nGET", Ok(5));
        check("5\r\nhello\r\n0\r\n\r\n", Ok(15));
        check("a;x=\"y\"\r\n0123456789\r\n0\r\n\r\n", Ok(26));
        check("1\r\na\r\n2\r\nbc\r\n0\r\nX-Sum: 1\r\n\r\n", Ok(28));
        check("5\r\nhel", Ok(usize::MAX));
    }

    #[test]
    fn malformed_bodies_are_refused() {
        for text in [
            "5\nhello\r\n",
            "5\r\nhelloX",
            "\r\n",
            "x\r\n",
            "+5\r\n",
            "0x5\r\n",
            " 5\r\n",
            "5 \r\n",
            ";x\r\n",
            "-1\r\n",
            "fffffffffffffffff\r\n",
            "0000000000000000\r\n",
            "0\r\n\n",
            "0\r\nX: 1\n",
            "5;\0\r\n",
            "0\r\n folded: x\r\n\r\n",
            "0\r\nno colon\r\n\r\n",
            "0\r\nX : 1\r\n\r\n",
        ] {
            check(text, Err(Refusal::BadFraming));
        }
        check(&format!("5;{}\r\n", "e".repeat(100)), Err(Refusal::BadFraming));
        check("0\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n", Err(Refusal::HeadersTooLarge));
        check(&format!("0\r\nA: {}", "x".repeat(2000)), Err(Refusal::HeadersTooLarge));
    }
}
