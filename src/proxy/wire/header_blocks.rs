//! Scans HTTP/2 header blocks through HPACK (RFC 7541) far enough to recognize pseudo-fields. h2 silently drops
//! pseudo-fields in trailers, where RFC 9113 §8.1 requires a stream error.
//!
//! Names and values are skipped: an entry of the dynamic table is its kind only, in two bits. Evictions are not
//! tracked, since h2 rejects a reference to an evicted entry.

/// Most entries of the dynamic table: it has 4096 bytes, and an entry takes more than 32 (§4.1).
const ENTRIES_MAX: u64 = 128;
/// Entries of the static table.
const STATIC_MAX: u64 = 61;
/// h2 rejects an integer with more bits.
const SHIFT_MAX: u32 = 28;

const PADDED: u8 = 8;
const PRIORITY: u8 = 32;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The kind of a field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FieldKind {
    /// Not a pseudo-field.
    #[default]
    Plain,
    /// A pseudo-field of a request.
    Request,
    /// The status of a final response.
    Final,
    /// The status of an informational response.
    Informational,
}

impl FieldKind {
    const fn bits(self) -> (u128, u128) {
        match self {
            Self::Plain => (0, 0),
            Self::Request => (0, 1),
            Self::Final => (1, 0),
            Self::Informational => (1, 1),
        }
    }

    const fn of_bits(high: u128, low: u128) -> Self {
        match (high & 1, low & 1) {
            (0, 0) => Self::Plain,
            (0, _) => Self::Request,
            (_, 0) => Self::Final,
            (_, _) => Self::Informational,
        }
    }

    /// The kind of a field with this name and a new value, which begins with `first`.
    const fn with_value(self, first: Option<u8>, coding: Coding) -> Self {
        match (self, first, coding) {
            (Self::Final | Self::Informational, Some(b'1'), Coding::Plain) => Self::Informational,
            // `1` is 00001 in the Huffman code: the first digit of an informational status.
            (Self::Final | Self::Informational, Some(byte), Coding::Huffman) if byte >> 3 == 1 => Self::Informational,
            (Self::Final | Self::Informational, _, _) => Self::Final,
            (other @ (Self::Plain | Self::Request), _, _) => other,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Plain,
    Huffman,
}

/// What an integer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    /// The index of a field.
    Indexed,
    /// The index of the name of a literal, or 0.
    NameOf(Indexing),
    /// A new size of the dynamic table.
    TableSize,
    NameLength(Coding),
    ValueLength(Coding),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Indexing {
    Yes,
    No,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Representation,
    NameLength,
    ValueLength,
    Integer {
        number: Number,
        value: u64,
        shift: u32,
    },
    Name {
        left: u64,
        first: Option<Coding>,
    },
    Value {
        left: u64,
        first: Option<Coding>,
    },
    /// The block is malformed, for h2 too: the rest is not scanned.
    Lost,
}

/// Scans the header blocks of one direction of a connection.
#[derive(Debug)]
pub(crate) struct HeaderBlocks {
    next: Next,
    /// The kinds of the entries of the dynamic table, one bit of each word an entry; bit 0 is the youngest.
    high: u128,
    low: u128,
    /// The kind of the current field.
    field: FieldKind,
    indexing: Indexing,
    /// Bytes left of the padding length and the priority, which precede the block in a HEADERS frame.
    lead: usize,
    padded: bool,
    padding: usize,
    /// The pseudo-fields of the block so far.
    seen: PseudoFields,
}

/// The pseudo-fields of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PseudoFields {
    /// The block has a pseudo-field.
    pub(crate) any: bool,
    /// The block has the status of a final response.
    pub(crate) is_final: bool,
}

impl Default for HeaderBlocks {
    fn default() -> Self {
        Self {
            next: Next::Representation,
            high: 0,
            low: 0,
            field: FieldKind::Plain,
            indexing: Indexing::No,
            lead: 0,
            padded: false,
            padding: 0,
            seen: PseudoFields::default(),
        }
    }
}

impl HeaderBlocks {
    /// Begins a HEADERS frame with these flags, and with it a block.
    pub(crate) fn begin(&mut self, flags: u8) {
        self.padded = flags & PADDED != 0;
        self.lead = usize::from(self.padded) + if flags & PRIORITY == 0 { 0 } else { 5 };
        self.padding = 0;
        self.seen = PseudoFields::default();
        // HPACK has state: after a malformed block the table is wrong for all later blocks.
        if self.next != Next::Lost {
            self.next = Next::Representation;
        }
    }

    /// Begins a CONTINUATION frame: it has neither padding nor priority.
    pub(crate) fn begin_continuation(&mut self) {
        (self.padded, self.lead, self.padding) = (false, 0, 0);
    }

    /// The pseudo-fields of the block so far.
    pub(crate) const fn pseudo_fields(&self) -> PseudoFields {
        self.seen
    }

    /// Scans bytes of a frame's payload, of which `left` bytes are still to come.
    pub(crate) fn payload(&mut self, mut bytes: &[u8], left: usize) {
        while self.lead > 0 {
            let Some((first, rest)) = bytes.split_first() else { return };
            // The padding length precedes the priority (RFC 9113 §6.2).
            if std::mem::take(&mut self.padded) {
                self.padding = usize::from(*first);
            }
            self.lead -= 1;
            bytes = rest;
        }
        // The padding is at the end of the payload, perhaps partly in these bytes.
        let of_block = (bytes.len() + left).saturating_sub(self.padding).min(bytes.len());
        bytes = &bytes[..of_block];
        while let Some(first) = bytes.first() {
            bytes = match self.next {
                Next::Name { left, first: coding } => &bytes[self.name(bytes, left, coding)..],
                Next::Value { left, first: coding } => &bytes[self.value(bytes, left, coding)..],
                Next::Representation | Next::NameLength | Next::ValueLength | Next::Integer { .. } => {
                    self.byte(*first);
                    &bytes[1..]
                }
                Next::Lost => return,
            };
        }
    }

    /// Takes bytes of a name, of which `left` are missing. Only its first byte matters. Returns the number taken.
    fn name(&mut self, bytes: &[u8], left: u64, first: Option<Coding>) -> usize {
        if let (Some(coding), Some(byte)) = (first, bytes.first()) {
            // `:` is 1011100 in the Huffman code.
            let colon = if coding == Coding::Huffman { byte >> 1 == 0b101_1100 } else { *byte == b':' };
            // A response has no other pseudo-field than the status; for requests, `Final` serves as well.
            self.field = if colon { FieldKind::Final } else { FieldKind::Plain };
        }
        let taken = available(bytes, left);
        let left = left - taken as u64;
        self.next = if left > 0 { Next::Name { left, first: None } } else { Next::ValueLength };
        taken
    }

    /// Takes bytes of a value, of which `left` are missing. Only its first byte matters. Returns the number taken.
    fn value(&mut self, bytes: &[u8], left: u64, first: Option<Coding>) -> usize {
        if let Some(coding) = first {
            self.field = self.field.with_value(bytes.first().copied(), coding);
        }
        let taken = available(bytes, left);
        let left = left - taken as u64;
        if left > 0 {
            self.next = Next::Value { left, first: None };
        } else {
            self.end_literal();
        }
        taken
    }

    fn byte(&mut self, byte: u8) {
        match self.next {
            Next::Representation => match byte {
                0x80.. => self.integer(Number::Indexed, byte, 7),
                0x40.. => self.integer(Number::NameOf(Indexing::Yes), byte, 6),
                0x20.. => self.integer(Number::TableSize, byte, 5),
                _ => self.integer(Number::NameOf(Indexing::No), byte, 4),
            },
            Next::NameLength => self.integer(Number::NameLength(coding(byte)), byte, 7),
            Next::ValueLength => self.integer(Number::ValueLength(coding(byte)), byte, 7),
            Next::Integer { number, value, shift } => {
                debug_assert!(shift <= SHIFT_MAX, "a longer integer is malformed");
                // Cannot overflow: the shift is at most 28, so the value has at most 36 bits.
                let value = value + (u64::from(byte & 0x7f) << shift);
                if byte & 0x80 == 0 {
                    self.number(number, value);
                } else if shift >= SHIFT_MAX {
                    self.next = Next::Lost;
                } else {
                    self.next = Next::Integer { number, value, shift: shift + 7 };
                }
            }
            // `payload` takes texts as a whole, and nothing of a malformed block.
            Next::Name { .. } | Next::Value { .. } | Next::Lost => {}
        }
    }

    /// Reads the first byte of an integer whose prefix has this many bits (§5.1).
    fn integer(&mut self, number: Number, byte: u8, prefix: u32) {
        debug_assert!((4..=7).contains(&prefix), "the prefixes of RFC 7541 §6");
        let full = (1 << prefix) - 1;
        let value = u64::from(byte) & full;
        if value < full {
            self.number(number, value);
        } else {
            self.next = Next::Integer { number, value, shift: 0 };
        }
    }

    fn number(&mut self, number: Number, value: u64) {
        self.next = match number {
            Number::Indexed => {
                self.record(self.indexed(value));
                Next::Representation
            }
            Number::NameOf(indexing) => {
                (self.indexing, self.field) = (indexing, self.indexed(value));
                if value == 0 { Next::NameLength } else { Next::ValueLength }
            }
            // A smaller table only evicts entries, which are not tracked.
            Number::TableSize => Next::Representation,
            Number::NameLength(_) if value == 0 => Next::ValueLength,
            Number::NameLength(coding) => Next::Name { left: value, first: Some(coding) },
            Number::ValueLength(coding) if value == 0 => {
                self.field = self.field.with_value(None, coding);
                return self.end_literal();
            }
            Number::ValueLength(coding) => Next::Value { left: value, first: Some(coding) },
        };
    }

    /// The kind of an entry of the tables (appendix A, §2.3.3).
    fn indexed(&self, index: u64) -> FieldKind {
        match index {
            // `:authority`, `:method`, `:path` and `:scheme`; then the entries of `:status`.
            1..=7 => FieldKind::Request,
            8..=14 => FieldKind::Final,
            // 0 in a literal: its name follows. As an index, 0 is an error that h2 detects (§6.1).
            0 | 15..=STATIC_MAX => FieldKind::Plain,
            // A shift by 128 would overflow. h2 rejects such a reference.
            _ if index - STATIC_MAX > ENTRIES_MAX => FieldKind::Plain,
            _ => FieldKind::of_bits(self.high >> (index - STATIC_MAX - 1), self.low >> (index - STATIC_MAX - 1)),
        }
    }

    fn end_literal(&mut self) {
        if self.indexing == Indexing::Yes {
            let (high, low) = self.field.bits();
            // The oldest of 128 entries falls out of the words: no table has more.
            (self.high, self.low) = (self.high << 1 | high, self.low << 1 | low);
        }
        self.record(self.field);
        self.next = Next::Representation;
    }

    fn record(&mut self, field: FieldKind) {
        self.seen.any |= field != FieldKind::Plain;
        self.seen.is_final |= field == FieldKind::Final;
    }
}

/// The number of `bytes` that belong to a text, of which `left` bytes are missing.
fn available(bytes: &[u8], left: u64) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
}

const fn coding(byte: u8) -> Coding {
    if byte & 0x80 == 0 { Coding::Plain } else { Coding::Huffman }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: PseudoFields = PseudoFields { any: false, is_final: false };
    const REQUEST: PseudoFields = PseudoFields { any: true, is_final: false };
    const FINAL: PseudoFields = PseudoFields { any: true, is_final: true };

    /// Scans the blocks one after the other on one connection, in pieces of several sizes.
    #[track_caller]
    fn check(blocks: &[(&[u8], PseudoFields)]) {
        for step in [1, 2, 3, 5, 1000] {
            let mut follower = HeaderBlocks::default();
            for (block, seen) in blocks {
                follower.begin(0);
                let mut left = block.len();
                for piece in block.chunks(step) {
                    left -= piece.len();
                    follower.payload(piece, left);
                }
                assert_eq!(follower.pseudo_fields(), *seen, "{block:02x?} in pieces of {step}");
                assert_eq!(follower.next, Next::Representation, "{block:02x?} in pieces of {step}");
            }
        }
    }

    #[test]
    fn pseudo_fields_are_recognized_in_every_form() {
        // Appendix C.3 and C.4 of RFC 7541: requests, with a dynamic table.
        let plain = b"\x82\x86\x84\x41\x0fwww.example.com".as_slice();
        check(&[
            (plain, REQUEST),
            (b"\xbe", REQUEST),
            (b"\x58\x08no-cache", NOTHING),
            (b"\xbe", NOTHING),
            (b"\xbf", REQUEST),
            (b"\x40\x0acustom-key\x0ccustom-value\xbe\xbf", NOTHING),
            (b"\xc0", REQUEST),
        ]);
        check(&[(b"\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff", REQUEST), (b"\xbe", REQUEST)]);
        for (block, seen) in [
            (b"\x00\x05:path\x02/x".as_slice(), FINAL),
            (b"\x10\x05:path\x00", FINAL),
            // `:path` and `path` in the Huffman code.
            (b"\x00\x84\xb9\x58\xd3\x3f\x01/", FINAL),
            (b"\x00\x03\xac\xe8\x4f\x01/", NOTHING),
            (b"\x04\x02/x", REQUEST),
            (b"\x00\x01x\x05:path", NOTHING),
            (b"\x3f\xe1\x1f\x0f\x01\x00", NOTHING),
            (b"", NOTHING),
        ] {
            check(&[(block, seen)]);
        }
    }

    #[test]
    fn final_responses_differ_from_informational_ones() {
        check(&[
            (b"\x88", FINAL),
            (b"\x48\x03103", REQUEST),
            (b"\xbe", REQUEST),
            (b"\x48\x03302\xbe", FINAL),
            (b"\xbf", REQUEST),
        ]);
        // 103 and 302 in the Huffman code, and 204 as a literal behind the name of an entry of the dynamic table.
        check(&[(b"\x48\x82\x08\x19", REQUEST), (b"\x48\x82\x64\x02", FINAL), (b"\x0f\x2f\x03204", FINAL)]);
        check(&[(b"\x00\x07:status\x03200", FINAL), (b"\x00\x07:status\x03103", REQUEST)]);
    }

    #[test]
    fn padding_and_priority_are_skipped() {
        let mut follower = HeaderBlocks::default();
        follower.begin(PADDED | PRIORITY);
        let payload = b"\x03\x80\0\0\x01\x10\x00\x01a\x01b\x82\x82\x82";
        for (at, byte) in payload.iter().enumerate() {
            follower.payload(&[*byte], payload.len() - at - 1);
        }
        assert_eq!((follower.pseudo_fields(), follower.next), (NOTHING, Next::Representation));
        follower.begin(0);
        follower.payload(b"\x00\x01a", 0);
        follower.begin_continuation();
        follower.payload(b"\x01b\x82", 0);
        assert_eq!(follower.pseudo_fields(), REQUEST);
    }

    #[test]
    fn endless_integers_are_left_to_h2() {
        let mut follower = HeaderBlocks::default();
        follower.begin(0);
        follower.payload(&[0xff; 100], 0);
        assert_eq!(follower.next, Next::Lost);
        follower.begin(0);
        follower.payload(b"\x82", 0);
        assert_eq!(follower.pseudo_fields(), NOTHING);
    }
}
