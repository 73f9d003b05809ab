//! Formats times and ratios for JSON.

use std::time::Duration;

use serde_json::{Value, json};

/// RFC 3339 with milliseconds.
pub(super) fn time(at: Duration) -> Value {
    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or(Value::Null, |at| json!(format!("{at:.3}")))
}

#[expect(clippy::cast_precision_loss, reason = "a ratio is for people")]
pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
