//! Reads a file line by line in bounded memory.

use std::io::{self, BufRead as _, BufReader, Read};

use super::line::LINE_MAX;

/// The lines of a file.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    begin: u64,
    end: u64,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineRead {
    /// A line with a line feed: [`Lines::line`] has it.
    Whole,
    /// A line with a line feed that is longer than [`LINE_MAX`]; [`Lines::line`] has its beginning.
    TooLong,
    /// This many bytes without a line feed, at the end of the file.
    Torn(u64),
}

impl<R: Read> Lines<R> {
    pub fn new(reader: R) -> Self {
        Self { reader: BufReader::new(reader), line: Vec::new(), begin: 0, end: 0 }
    }

    /// The line without its line feed, at most [`LINE_MAX`] bytes of it.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// Where the line begins in the file.
    pub const fn begin(&self) -> u64 {
        self.begin
    }

    /// Where the line ends in the file, behind its line feed.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Reads on; `None` at the end of the file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&mut self) -> io::Result<Option<LineRead>> {
        self.begin = self.end;
        self.line.clear();
        let mut is_ended = false;
        while !is_ended {
            let bytes = self.reader.fill_buf()?;
            if bytes.is_empty() {
                break;
            }
            let end = memchr::memchr(b'\n', bytes);
            is_ended = end.is_some();
            let taken = end.map_or(bytes.len(), |end| end + 1);
            let text = &bytes[..end.unwrap_or(bytes.len())];
            let room = LINE_MAX - self.line.len();
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            self.reader.consume(taken);
            self.end += u64::try_from(taken).unwrap_or(u64::MAX);
        }
        debug_assert!(self.line.len() <= LINE_MAX, "memory is bounded");
        let bytes = self.end - self.begin;
        let longest = u64::try_from(LINE_MAX).unwrap_or(u64::MAX);
        Ok(match bytes {
            0 => None,
            _ if !is_ended => Some(LineRead::Torn(bytes)),
            _ if bytes - 1 > longest => Some(LineRead::TooLong),
            _ => Some(LineRead::Whole),
        })
    }
}
