//! gRPC calls (gRPC over HTTP/2): their deadline, their status, and the proxy's own responses in the form of gRPC.
//!
//! `grpc-timeout` limits the whole call. The field passes on unchanged, so that the server applies it too. A malformed
//! value is no timeout here: it is the server's part to reject it.

use std::fmt::Write as _;
use std::time::Duration;

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};

use crate::clock::Timestamp;
use crate::fields::Fields;
use crate::telemetry::GrpcStatus;

/// Longest `grpc-message` of a response of the proxy; the rest is cut.
const MESSAGE_BYTES_MAX: usize = 1024;
/// Most digits of a timeout.
const DIGITS_MAX: usize = 8;

/// A gRPC call.
#[derive(Debug)]
pub(crate) struct GrpcCall {
    /// When it must end.
    pub(crate) deadline: Option<Timestamp>,
    /// Its status; unseen until the response has one.
    pub(crate) status: GrpcStatus,
}

impl GrpcCall {
    /// The call of a request with these fields, received at `began`.
    pub(crate) fn new(fields: &Fields, began: Timestamp) -> Self {
        let mut lines = fields.get_all("grpc-timeout");
        // Two fields are ambiguous: neither counts.
        let timeout = match (lines.next(), lines.next()) {
            (Some(only), None) => timeout(only),
            (None | Some(_), _) => None,
        };
        Self { deadline: timeout.map(|timeout| began + timeout), status: GrpcStatus::UNSEEN }
    }

    /// Records a response's head. It may be trailers-only, or not be of gRPC.
    pub(crate) fn head(&mut self, status: StatusCode, fields: &Fields) {
        if let Some(seen) = GrpcStatus::of_fields(fields) {
            self.status = seen;
        } else if status != StatusCode::OK {
            // A 200 without the field has its status in the trailers.
            self.status = GrpcStatus::of_http(status);
        }
    }

    /// Records a response's trailers.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(seen) = GrpcStatus::of_map(trailers) {
            self.status = seen;
        }
    }
}

/// `grpc-timeout`: at most eight digits and a unit.
fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let many = digits.iter().fold(0_u64, |many, digit| many * 10 + u64::from(digit - b'0'));
    debug_assert!(many < 10_u64.pow(8), "eight digits at most, so no unit overflows");
    match unit {
        b'H' => Some(Duration::from_secs(many * 3600)),
        b'M' => Some(Duration::from_secs(many * 60)),
        b'S' => Some(Duration::from_secs(many)),
        b'm' => Some(Duration::from_millis(many)),
        b'u' => Some(Duration::from_micros(many)),
        b'n' => Some(Duration::from_nanos(many)),
        _ => None,
    }
}

/// Makes `head` the head of a trailers-only response: it carries the status, and there is no body.
pub(crate) fn trailers_only(head: &mut Fields, status: GrpcStatus, message: &[u8]) {
    head.insert(&header::CONTENT_TYPE, &HeaderValue::from_static("application/grpc"));
    head.extend(&trailers(status, message));
}

/// Trailers that end a call.
pub(crate) fn trailers(status: GrpcStatus, message: &[u8]) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(status.name()));
    if let Ok(message) = HeaderValue::try_from(encoded(message)) {
        trailers.insert("grpc-message", message);
    }
    trailers
}

/// Percent-encodes the percent sign and every byte but printable ASCII, as `grpc-message` requires.
fn encoded(message: &[u8]) -> String {
    let message = message.trim_ascii();
    let mut text = String::with_capacity(message.len());
    // The limit is on the bytes before encoding, which may triple them.
    for byte in message.iter().take(MESSAGE_BYTES_MAX) {
        match byte {
            b' '..=b'~' if *byte != b'%' => text.push(char::from(*byte)),
            // Writing to a string cannot fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn timeouts_are_read_as_written() {
        for (text, expected) in [
            ("1S", Some(Duration::from_secs(1))),
            ("100m", Some(Duration::from_millis(100))),
            ("99999999H", Some(Duration::from_hours(99_999_999))),
            ("2M", Some(Duration::from_mins(2))),
            ("5u", Some(Duration::from_micros(5))),
            ("00000007n", Some(Duration::from_nanos(7))),
            ("0n", Some(Duration::ZERO)),
            ("123456789S", None),
            ("S", None),
            ("", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            ("1.5S", None),
            (" 1S", None),
            ("1 S", None),
        ] {
            assert_eq!(timeout(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn a_call_has_the_deadline_that_one_line_gives_it() {
        let began = crate::clock::WorkerClock::of_test().now();
        let deadline = |lines: &[&'static str]| {
            let mut fields = Fields::new();
            for line in lines {
                fields.append(&HeaderName::from_static("grpc-timeout"), &HeaderValue::from_static(line));
            }
            GrpcCall::new(&fields, began).deadline.map(|deadline| deadline.duration_since(began))
        };
        assert_eq!(deadline(&["3S"]), Some(Duration::from_secs(3)));
        assert_eq!(deadline(&["3S", "4S"]), None);
        assert_eq!(deadline(&["nonsense"]), None);
        assert_eq!(deadline(&[]), None);
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(encoded(b" plain, \"quoted\" ~ "), "plain, \"quoted\" ~");
        assert_eq!(encoded("100 % sch\u{f6}n\n\u{0}!".as_bytes()), "100 %25 sch%C3%B6n%0A%00!");
        assert_eq!(encoded(&[b'x'; 5000]).len(), MESSAGE_BYTES_MAX);
    }

    #[test]
    fn the_last_status_counts() {
        let began = crate::clock::WorkerClock::of_test().now();
        let mut call = GrpcCall::new(&Fields::new(), began);
        call.head(StatusCode::OK, &Fields::new());
        assert_eq!(call.status, GrpcStatus::UNSEEN);
        call.head(StatusCode::SERVICE_UNAVAILABLE, &Fields::new());
        assert_eq!(call.status, GrpcStatus::UNAVAILABLE);
        call.trailers(&trailers(GrpcStatus::INTERNAL, b"x"));
        assert_eq!(call.status, GrpcStatus::INTERNAL);
    }
}
