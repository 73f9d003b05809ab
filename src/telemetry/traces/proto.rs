//! The part of Protocol Buffers that spans need: varints, fixed-size numbers, bytes and messages.

/// A message under construction.
#[derive(Clone, Debug, Default)]
pub struct Message(pub Vec<u8>);

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

impl Message {
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }

    fn key(&mut self, field: u32, kind: u32) {
        self.number(u64::from(field << 3 | kind));
    }

    /// An integer or enum; zero is the default and omitted.
    pub fn varint(&mut self, field: u32, value: u64) {
        if value > 0 {
            self.key(field, VARINT);
            self.number(value);
        }
    }

    /// `fixed64`.
    pub fn fixed64(&mut self, field: u32, value: u64) {
        self.key(field, FIXED64);
        self.0.extend(value.to_le_bytes());
    }

    /// `fixed32`.
    pub fn fixed32(&mut self, field: u32, value: u32) {
        self.key(field, FIXED32);
        self.0.extend(value.to_le_bytes());
    }

    /// Bytes or text.
    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, BYTES);
        self.number(value.len() as u64);
        self.0.extend(value);
    }

    /// A message inside.
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let mut inside = Self::default();
        write(&mut inside);
        self.bytes(field, &inside.0);
    }

    /// `KeyValue` with a text.
    pub fn text_attribute(&mut self, field: u32, key: &str, value: &str) {
        self.message(field, |pair| {
            pair.bytes(1, key.as_bytes());
            pair.message(2, |any| any.bytes(1, value.as_bytes()));
        });
    }

    /// `KeyValue` with the boolean `true`.
    pub fn truth_attribute(&mut self, field: u32, key: &str) {
        self.message(field, |pair| {
            pair.bytes(1, key.as_bytes());
            pair.message(2, |any| any.varint(2, 1));
        });
    }

    /// `KeyValue` with an integer.
    pub fn int_attribute(&mut self, field: u32, key: &str, value: u64) {
        self.message(field, |pair| {
            pair.bytes(1, key.as_bytes());
            pair.message(2, |any| {
                // Zero is written too: the field is one of a `oneof`.
                any.key(3, VARINT);
                any.number(value);
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Message;

    #[test]
    fn fields_are_written_as_the_specification_shows() {
        // The examples of protobuf.dev/programming-guides/encoding.
        let check = |write: &dyn Fn(&mut Message), expected: &[u8]| {
            let mut message = Message::default();
            write(&mut message);
            assert_eq!(message.0, expected);
        };
        check(&|m| m.varint(1, 150), &[0x08, 0x96, 0x01]);
        check(&|m| m.varint(1, 0), &[]);
        check(&|m| m.bytes(2, b"testing"), &[0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]);
        check(&|m| m.message(3, |inside| inside.varint(1, 150)), &[0x1a, 0x03, 0x08, 0x96, 0x01]);
        check(&|m| m.fixed32(16, 1), &[0x85, 0x01, 1, 0, 0, 0]);
        check(&|m| m.fixed64(7, 1), &[0x39, 1, 0, 0, 0, 0, 0, 0, 0]);
        check(&|m| m.truth_attribute(1, "k"), &[0x0a, 7, 0x0a, 1, b'k', 0x12, 2, 0x10, 1]);
        check(&|m| m.int_attribute(1, "k", 0), &[0x0a, 7, 0x0a, 1, b'k', 0x12, 2, 0x18, 0]);
    }
}
