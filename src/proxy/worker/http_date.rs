//! The `date` of responses (RFC 9110 §6.6.1), formatted once a second.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use http::HeaderValue;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

/// The value of the current second.
#[derive(Debug)]
pub(crate) struct HttpDate {
    second: Cell<u64>,
    value: RefCell<HeaderValue>,
}

impl Default for HttpDate {
    fn default() -> Self {
        Self { second: Cell::new(u64::MAX), value: RefCell::new(HeaderValue::from_static("")) }
    }
}

impl HttpDate {
    /// The value at this time since the epoch.
    pub(crate) fn at(&self, wall: Duration) -> HeaderValue {
        self.follow(wall);
        self.value.borrow().clone()
    }

    /// Appends the value at this time since the epoch.
    #[inline]
    pub(crate) fn write(&self, wall: Duration, out: &mut Vec<u8>) {
        self.follow(wall);
        out.extend_from_slice(self.value.borrow().as_bytes());
    }

    #[inline]
    fn follow(&self, wall: Duration) {
        if self.second.replace(wall.as_secs()) != wall.as_secs() {
            self.value.replace(format(wall.as_secs()));
        }
    }
}

/// A second since the epoch as IMF-fixdate (RFC 9110 §5.6.7).
fn format(second: u64) -> HeaderValue {
    let moment = i64::try_from(second).ok().and_then(|second| Timestamp::from_second(second).ok());
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&moment.unwrap_or_default());
    text.ok().and_then(|text| HeaderValue::try_from(text).ok()).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_of_its_second() {
        let date = HttpDate::default();
        for (wall, expected) in [
            (Duration::ZERO, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (Duration::from_secs(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT"),
            (Duration::from_millis(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT"),
            (Duration::from_secs(784_111_778), "Sun, 06 Nov 1994 08:49:38 GMT"),
            (Duration::from_secs(4_102_444_799), "Thu, 31 Dec 2099 23:59:59 GMT"),
        ] {
            let mut out = b"date: ".to_vec();
            date.write(wall, &mut out);
            assert_eq!(
                (date.at(wall), out),
                (HeaderValue::from_static(expected), format!("date: {expected}").into_bytes())
            );
        }
    }
}
