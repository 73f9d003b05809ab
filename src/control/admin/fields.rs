//! Fields of the bodies of acting calls: how they are read, and their bounds.

use std::time::Duration;

use http::HeaderMap;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::problem::{CallProblem, ProblemKind};
use crate::config::parse_duration;

/// The longest reason, in characters.
pub(super) const REASON_CHARS_MAX: usize = 1_000;
/// The longest name of a scope, in characters.
pub(super) const NAME_CHARS_MAX: usize = 256;
/// Ranges of letters that show nothing: white space, and marks that only join, direct or fill.
pub(super) const EMPTY_LETTERS: [[char; 2]; 23] = [
    ['\u{0}', ' '],
    ['\u{7f}', '\u{a0}'],
    ['\u{ad}', '\u{ad}'],
    ['\u{34f}', '\u{34f}'],
    ['\u{61c}', '\u{61c}'],
    ['\u{115f}', '\u{1160}'],
    ['\u{1680}', '\u{1680}'],
    ['\u{17b4}', '\u{17b5}'],
    ['\u{180b}', '\u{180f}'],
    ['\u{2000}', '\u{200f}'],
    ['\u{2028}', '\u{202f}'],
    ['\u{205f}', '\u{206f}'],
    ['\u{2800}', '\u{2800}'],
    ['\u{3000}', '\u{3000}'],
    ['\u{3164}', '\u{3164}'],
    ['\u{fe00}', '\u{fe0f}'],
    ['\u{feff}', '\u{feff}'],
    ['\u{ffa0}', '\u{ffa0}'],
    ['\u{fff0}', '\u{fffb}'],
    ['\u{1bca0}', '\u{1bca3}'],
    ['\u{1d159}', '\u{1d159}'],
    ['\u{1d173}', '\u{1d17a}'],
    ['\u{e0000}', '\u{e0fff}'],
];
/// The largest sequence number in JSON: all readers have it exactly.
pub(super) const SEQ_MAX: u64 = (1 << 53) - 1;
/// The longest time limit for streams.
pub(super) const CLOSE_STREAMS_MAX: Duration = Duration::from_hours(24);
/// The header of a call that may be repeated.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The longest `Idempotency-Key`, in characters.
pub(super) const KEY_CHARS_MAX: usize = 128;

/// Reads a field that may be missing but not `null`.
pub(super) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(field: D) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

/// Checks a text: not blank, without control characters, not too long.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_text(field: &str, text: &str, chars_max: usize) -> Result<(), CallProblem> {
    let count = text.chars().count();
    let error = if !text.chars().any(is_visible) {
        format!("`{field}` is blank")
    } else if text.chars().any(char::is_control) {
        format!("`{field}` has control characters")
    } else if count > chars_max {
        format!("`{field}` has {count} characters")
    } else {
        return Ok(());
    };
    let help = format!("write 1 to {chars_max} characters, without control characters");
    Err(ProblemKind::BadBody.because(error, help).with("field", field))
}

/// The reason of an act.
///
/// # Errors
/// It is missing, or no such text.
pub(super) fn checked_reason(reason: Option<String>) -> Result<String, CallProblem> {
    let Some(reason) = reason else {
        let help = "say why in \"reason\": others read it in the journal";
        return Err(ProblemKind::BadBody.because("`reason` is missing", help).with("field", "reason"));
    };
    check_text("reason", &reason, REASON_CHARS_MAX)?;
    Ok(reason)
}

/// Whether a letter shows anything.
fn is_visible(letter: char) -> bool {
    !EMPTY_LETTERS.iter().any(|[first, last]| (*first..=*last).contains(&letter))
}

/// Reads a sequence number; `7.0` is 7, as in JSON Schema.
pub(super) fn sequence<'de, D: Deserializer<'de>>(field: D) -> Result<Option<u64>, D::Error> {
    let number = serde_json::Number::deserialize(field)?;
    let whole = number.as_u64().or_else(|| whole_number(number.as_f64()?));
    let valid = whole.filter(|seq| *seq <= SEQ_MAX);
    valid.map(Some).ok_or_else(|| D::Error::custom(format!("{number} is not a sequence number (0 to {SEQ_MAX})")))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the bounds are checked")]
fn whole_number(number: f64) -> Option<u64> {
    let is_whole = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
    is_whole.then_some(number as u64)
}

/// Reads `close_streams`, such as `5s`.
///
/// # Errors
/// When it is not a duration, or too long.
pub(super) fn close_streams(text: &str) -> Result<Duration, CallProblem> {
    let help = "write a number and its unit, such as \"5s\", \"500ms\" or \"1m\"; at most 24h";
    let bad = |detail: String| ProblemKind::BadBody.because(detail, help).with("field", "close_streams");
    let duration = parse_duration(text).ok_or_else(|| bad("`close_streams` is not a duration".to_owned()))?;
    if duration > CLOSE_STREAMS_MAX {
        return Err(bad("`close_streams` is longer than 24h".to_owned()));
    }
    Ok(duration)
}

/// The `Idempotency-Key` of a call.
///
/// # Errors
/// When it is there twice, empty, too long, or has other than visible characters.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, CallProblem> {
    let mut all = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(key), None) => check_key(key.as_bytes()).map(Some),
        (Some(_), Some(_)) => Err(ProblemKind::BadKey.because("the field is there twice", "send it once")),
    }
}

fn check_key(key: &[u8]) -> Result<String, CallProblem> {
    let is_valid = (1..=KEY_CHARS_MAX).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    match std::str::from_utf8(key) {
        Ok(key) if is_valid => Ok(key.to_owned()),
        Ok(_) | Err(_) => {
            let help = format!("send 1 to {KEY_CHARS_MAX} visible ASCII characters, such as a UUID");
            Err(ProblemKind::BadKey.because("it is empty, too long, or has other characters", help))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_and_printable() {
        let check = |text: &str| check_text("reason", text, 5).map_err(|problem| problem.detail);
        assert_eq!(check("größe"), Ok(()));
        assert_eq!(check("größer"), Err("`reason` has 6 characters".to_owned()));
        for blank in ["", " ", "   ", "\u{200b}", "\u{a0}\u{3000}", "\u{2060} \u{feff}"] {
            assert_eq!(check(blank), Err("`reason` is blank".to_owned()));
        }
        for control in ["a\nb", "\u{1b}[1m", "a\u{7f}", "a\u{85}"] {
            assert_eq!(check(control), Err("`reason` has control characters".to_owned()), "{control:?}");
        }
    }

    #[test]
    fn durations_and_keys_have_bounds() {
        assert_eq!(close_streams("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(close_streams("24h"), Ok(CLOSE_STREAMS_MAX));
        for bad in ["25h", "5", "", "-1s", "x"] {
            assert!(close_streams(bad).is_err(), "{bad}");
        }
        assert_eq!(check_key(b"a-1"), Ok("a-1".to_owned()));
        for bad in [&b""[..], b"a b", "ä".as_bytes(), &[b'x'; 129], b"a\x7f"] {
            assert!(check_key(bad).is_err(), "{bad:?}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(idempotency_key(&headers), Ok(None));
        headers.append(IDEMPOTENCY_KEY, "a".parse().expect("a value"));
        assert_eq!(idempotency_key(&headers), Ok(Some("a".to_owned())));
        headers.append(IDEMPOTENCY_KEY, "a".parse().expect("a value"));
        assert_eq!(idempotency_key(&headers).map_err(|problem| problem.kind), Err(ProblemKind::BadKey));
    }
}
