//! The id of a request. It lies in the exchange: a request without an id gets one without an allocation.

use uuid::fmt::Hyphenated;

/// The longest id that is taken from a trusted peer, in bytes.
const RECEIVED_BYTES_MAX: usize = 128;

/// The id of a request: visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(IdText);

#[derive(Clone, Debug, PartialEq, Eq)]
enum IdText {
    Own([u8; Hyphenated::LENGTH]),
    Received(Box<str>),
}

impl RequestId {
    /// A new id (RFC 9562, version 7): these milliseconds since the Unix epoch, and 74 of these random bits.
    pub(crate) fn new(millis: u64, random: u128) -> Self {
        let random = random.to_le_bytes();
        let (random, _) = random.split_first_chunk::<10>().unwrap_or((&[0; 10], &[]));
        let id = uuid::Builder::from_unix_timestamp_millis(millis, random).into_uuid();
        let mut text = [0; Hyphenated::LENGTH];
        id.hyphenated().encode_lower(&mut text);
        Self(IdText::Own(text))
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
}

#[cfg(test)]
mod tests {
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
            assert_eq!(RequestId::received(good).map(|id| id.as_str().as_bytes().to_vec()).as_deref(), Some(good));
        }
        for bad in [&b""[..], b"a b", b"a\tb", b"caf\xc3\xa9", b"\xff", b"a\x7f", &[b'x'; RECEIVED_BYTES_MAX + 1]] {
            assert_eq!(RequestId::received(bad), None, "{bad:?}");
        }
    }
}
