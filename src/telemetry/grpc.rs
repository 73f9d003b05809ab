//! gRPC's status codes, as a label.

use std::sync::OnceLock;

use http::{HeaderMap, StatusCode};

use super::Counter;
use crate::fields::{Fields, text};

const GRPC_STATUS: &str = "grpc-status";

/// The status of a call: one of the 17 codes, or `UNSEEN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcStatus(u8);

impl GrpcStatus {
    /// Not an error.
    pub const OK: Self = Self(0);
    /// The caller cancelled the call.
    pub const CANCELLED: Self = Self(1);
    /// An unknown error.
    pub const UNKNOWN: Self = Self(2);
    /// The call took too long.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// The caller has no permission.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// Too large, or too many.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// There is no such method.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// An internal error.
    pub const INTERNAL: Self = Self(13);
    /// Temporarily unavailable; a retry may help.
    pub const UNAVAILABLE: Self = Self(14);
    /// The caller is not authenticated.
    pub const UNAUTHENTICATED: Self = Self(16);
    /// No status was seen: the call was cut, or the response was not gRPC.
    pub const UNSEEN: Self = Self(17);
    /// Number of values.
    pub const COUNT: usize = 18;

    const NAMES: [&str; Self::COUNT] =
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "unknown"];

    /// The label's value: the code in digits, or `unknown`. Also a valid `grpc-status`, except for the last.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.get(usize::from(self.0)).copied().unwrap_or("unknown")
    }

    /// Whether the status blames the server or the connection to it: UNKNOWN, `DEADLINE_EXCEEDED`,
    /// `RESOURCE_EXHAUSTED`, INTERNAL, UNAVAILABLE, `DATA_LOSS`, or no status at all.
    #[must_use]
    pub const fn blames_server(self) -> bool {
        matches!(self.0, 2 | 4 | 8 | 13 | 14 | 15 | 17)
    }

    /// Whether guards count it as an error of the server: UNKNOWN, `DEADLINE_EXCEEDED`, UNIMPLEMENTED, INTERNAL,
    /// UNAVAILABLE, `DATA_LOSS`, or no status at all.
    #[must_use]
    pub const fn is_error(self) -> bool {
        matches!(self.0, 2 | 4 | 12 | 13 | 14 | 15 | 17)
    }

    /// The code; `None` when no status was seen.
    #[must_use]
    pub fn code(self) -> Option<u8> {
        (self != Self::UNSEEN).then_some(self.0)
    }

    /// All of them, in the order of their index.
    pub fn all() -> impl Iterator<Item = Self> {
        (0_u8..).take(Self::COUNT).map(Self)
    }

    /// Reads `grpc-status` from trailers, or from a head without a body. An unknown code is UNKNOWN, as in gRPC
    /// clients.
    #[must_use]
    pub fn of_fields(fields: &Fields) -> Option<Self> {
        fields.get(GRPC_STATUS).and_then(Self::of_value)
    }

    /// [`of_fields`](Self::of_fields), for fields of HTTP/2.
    #[must_use]
    pub fn of_map(fields: &HeaderMap) -> Option<Self> {
        fields.get(GRPC_STATUS).and_then(|value| Self::of_value(value.as_bytes()))
    }

    fn of_value(value: &[u8]) -> Option<Self> {
        let text = text(value)?;
        let code = text.parse::<u32>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
        let known = code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code < Self::UNSEEN.0);
        Some(known.map_or(Self::UNKNOWN, Self))
    }

    /// The status that gRPC clients derive from an HTTP status (gRPC's `http-grpc-status-mapping`).
    #[must_use]
    pub const fn of_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::INTERNAL,
            401 => Self::UNAUTHENTICATED,
            403 => Self::PERMISSION_DENIED,
            404 => Self::UNIMPLEMENTED,
            429 | 502..=504 => Self::UNAVAILABLE,
            _ => Self::UNKNOWN,
        }
    }
}

/// Calls by status, allocated at the first call: most series have none.
#[derive(Debug, Default)]
pub struct GrpcCounters(OnceLock<Box<[Counter; GrpcStatus::COUNT]>>);

impl GrpcCounters {
    /// Counts a call. One writer.
    pub fn inc(&self, status: GrpcStatus) {
        self.0.get_or_init(Box::default)[usize::from(status.0)].inc();
    }

    /// The number of calls with this status.
    #[must_use]
    pub fn value(&self, status: GrpcStatus) -> u64 {
        self.0.get().map_or(0, |counters| counters[usize::from(status.0)].value())
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_status_is_read_and_bounded() {
        let read = |text: &str| {
            let mut fields = Fields::new();
            fields.append(&HeaderName::from_static(GRPC_STATUS), &HeaderValue::from_str(text).unwrap());
            assert_eq!(GrpcStatus::of_map(&fields.to_map()), GrpcStatus::of_fields(&fields));
            GrpcStatus::of_fields(&fields).map(GrpcStatus::name)
        };
        for (text, name) in [("0", "0"), ("16", "16"), ("05", "5"), ("17", "2"), ("4294967296", "2"), ("", "2")] {
            assert_eq!(read(text), Some(name), "{text}");
        }
        assert_eq!(read("+1"), Some("2"));
        assert_eq!(GrpcStatus::of_fields(&Fields::new()), None);
        assert_eq!(GrpcStatus::all().count(), GrpcStatus::COUNT);
        assert_eq!(GrpcStatus::all().last(), Some(GrpcStatus::UNSEEN));
        assert_eq!((GrpcStatus::UNSEEN.code(), GrpcStatus::INTERNAL.code()), (None, Some(13)));
    }

    #[test]
    fn calls_are_counted_by_status() {
        let counters = GrpcCounters::default();
        assert_eq!(counters.value(GrpcStatus::OK), 0);
        counters.inc(GrpcStatus::OK);
        counters.inc(GrpcStatus::UNSEEN);
        assert_eq!((counters.value(GrpcStatus::OK), counters.value(GrpcStatus::INTERNAL)), (1, 0));
        assert_eq!(counters.value(GrpcStatus::UNSEEN), 1);
    }
}
