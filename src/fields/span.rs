//! Places in the bytes of a head.

/// A part of the bytes of a head. It stays right while fields are added and removed, until the head is cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldSpan {
    /// The first byte.
    pub from: u32,
    /// The byte after the last one.
    pub to: u32,
}

impl FieldSpan {
    /// The part between two offsets. Offsets beyond 4 GiB do not occur: a head has a limit far below.
    #[must_use]
    pub fn new(from: usize, to: usize) -> Self {
        debug_assert!(from <= to && u32::try_from(to).is_ok(), "a part of a head");
        Self { from: offset(from), to: offset(to) }
    }

    /// Bytes in it.
    #[must_use]
    pub fn len(self) -> usize {
        (self.to - self.from) as usize
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.from == self.to
    }

    /// The same part of bytes that begin later.
    #[inline]
    pub(super) fn moved(self, by: u32) -> Self {
        Self { from: self.from + by, to: self.to + by }
    }

    /// The bytes in `all`; none if they are shorter.
    #[must_use]
    #[inline]
    pub fn of(self, all: &[u8]) -> &[u8] {
        all.get(self.from as usize..self.to as usize).unwrap_or_default()
    }
}

/// An offset in a head.
#[expect(clippy::cast_possible_truncation, reason = "a head is far below 4 GiB")]
fn offset(at: usize) -> u32 {
    at as u32
}

/// The place of one field line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldLine {
    /// The name, without the colon.
    pub name: FieldSpan,
    /// The value, without blanks around it.
    pub value: FieldSpan,
    /// The byte after the CRLF of the line.
    pub end: u32,
}
