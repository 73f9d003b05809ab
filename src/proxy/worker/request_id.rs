//! The id of a request. It lies in the exchange: a request without an id gets one without an allocation.

/// The longest id that is taken from a trusted peer, in bytes.
const RECEIVED_BYTES_MAX: usize = 128;

/// The id of a request: visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(IdText);

#[derive(Clone, Debug, PartialEq, Eq)]
enum IdText {
    Own([u8; RequestId::BYTES]),
    Received(Box<str>),
}

impl RequestId {
    /// Length of a new id.
    pub(crate) const BYTES: usize = 36;

    /// A new id (RFC 9562, version 7): these milliseconds since the Unix epoch, and 74 of these random bits.
    #[inline]
    pub(crate) fn new(millis: u64, random: u128) -> Self {
        const VERSION_7: u128 = 7 << 76;
        const VERSION_BITS: u128 = 0xf << 76;
        const VARIANT: u128 = 0b10 << 62;
        const VARIANT_BITS: u128 = 0b11 << 62;
        let id = u128::from(millis) << 80 | (random & (u128::MAX >> 48) & !VERSION_BITS & !VARIANT_BITS);
        Self(IdText::Own(hyphenated(id | VERSION_7 | VARIANT)))
    }

    /// The id that a trusted peer has sent, if it may be passed on and logged.
    pub(crate) fn received(id: &[u8]) -> Option<Self> {
        let is_fine = !id.is_empty() && id.len() <= RECEIVED_BYTES_MAX && id.iter().all(u8::is_ascii_graphic);
        let text = std::str::from_utf8(id).ok().filter(|_| is_fine)?;
        Some(Self(IdText::Received(text.into())))
    }

    /// Its text.
    pub(crate) fn as_str(&self) -> &str {
        match &self.0 {
            IdText::Own(text) => std::str::from_utf8(text).unwrap_or("-"),
            IdText::Received(text) => text,
        }
    }

    /// The bytes of its text.
    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            IdText::Own(text) => text,
            IdText::Received(text) => text.as_bytes(),
        }
    }
}

/// The text of a UUID (RFC 9562 §4).
#[inline]
fn hyphenated(id: u128) -> [u8; RequestId::BYTES] {
    let bytes = id.to_be_bytes();
    let digits_at = |at: usize| digits([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let (second, third) = (digits_at(4), digits_at(8));
    let mut text = [b'-'; RequestId::BYTES];
    text[..8].copy_from_slice(&digits_at(0));
    text[9..13].copy_from_slice(&second[..4]);
    text[14..18].copy_from_slice(&second[4..]);
    text[19..23].copy_from_slice(&third[..4]);
    text[24..28].copy_from_slice(&third[4..]);
    text[28..].copy_from_slice(&digits_at(12));
    text
}

/// The hex digits of four bytes, all eight in one number.
#[inline]
fn digits(word: [u8; 4]) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Each half byte moves to a byte of its own.
    let mut all = u64::from(u32::from_be_bytes(word));
    all = (all | all << 16) & 0x0000_ffff_0000_ffff;
    all = (all | all << 8) & 0x00ff_00ff_00ff_00ff;
    all = (all | all << 4) & (ONES * 0x0f);
    let letters = ((all + ONES * 6) >> 4) & ONES;
    (all + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_own_id_is_a_uuid_of_its_time() {
        let id = RequestId::new(0x0190_f3c2_7b1e, u128::MAX);
        assert_eq!(id.as_str(), "0190f3c2-7b1e-7fff-bfff-ffffffffffff");
        assert_eq!(RequestId::new(0, 0).as_str(), "00000000-0000-7000-8000-000000000000");
    }

    #[test]
    fn a_received_id_is_short_and_visible() {
        for good in [&b"a"[..], b"0193-x/~", &[b'x'; RECEIVED_BYTES_MAX]] {
            let id = RequestId::received(good).unwrap();
            assert_eq!((id.as_str().as_bytes(), id.as_bytes()), (good, good));
        }
        for bad in [&b""[..], b"a b", b"a\tb", b"caf\xc3\xa9", b"\xff", b"a\x7f", &[b'x'; RECEIVED_BYTES_MAX + 1]] {
            assert_eq!(RequestId::received(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn an_own_id_is_read_as_that_uuid(millis in 0..1_u64 << 48, random: u128) {
            let id = RequestId::new(millis, random);
            let read = uuid::Uuid::parse_str(id.as_str()).unwrap();
            prop_assert_eq!((read.get_version_num(), read.get_variant()), (7, uuid::Variant::RFC4122));
            let (seconds, nanoseconds) = read.get_timestamp().unwrap().to_unix();
            prop_assert_eq!(seconds * 1000 + u64::from(nanoseconds) / 1_000_000, millis);
            let kept = 0xfff << 64 | (u128::MAX >> 66);
            prop_assert_eq!(read.as_u128() & kept, random & kept);
            prop_assert_eq!(read.hyphenated().to_string(), id.as_str());
        }
    }
}
