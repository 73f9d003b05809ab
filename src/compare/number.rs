//! Equality of JSON numbers: exact, by value.
//!
//! `1`, `1.0` and `10e-1` are one number, `-0` is `0`, and `9007199254740993` is not `9007199254740992`, although they
//! are the same `double`.

/// Writes the normal form of a number: sign, digits without zeros at either end, and the power of ten of the last
/// digit. `text` is a valid JSON number.
pub(super) fn normal_form(text: &[u8], form: &mut Vec<u8>) {
    form.clear();
    let (mut point, mut fraction, mut exponent) = (false, 0_i64, 0_i64);
    let mut rest = text.iter().enumerate();
    if text.first() == Some(&b'-') {
        form.push(b'-');
        rest.next();
    }
    let sign = form.len();
    for (at, &byte) in rest {
        match byte {
            b'.' => point = true,
            b'e' | b'E' => {
                exponent = power(&text[at + 1..]);
                break;
            }
            digit => {
                fraction += i64::from(point);
                if digit != b'0' || form.len() > sign {
                    form.push(digit);
                }
            }
        }
    }
    debug_assert!(form[sign..].first() != Some(&b'0'), "leading zeros are skipped");
    let zeros = form[sign..].iter().rev().take_while(|&&digit| digit == b'0').count();
    form.truncate(form.len() - zeros);
    if form.len() == sign {
        form.clear();
        form.push(b'0');
        return;
    }
    let zeros = i64::try_from(zeros).unwrap_or(i64::MAX);
    let last = exponent.saturating_sub(fraction).saturating_add(zeros);
    form.push(b'e');
    form.extend_from_slice(last.to_string().as_bytes());
}

/// An exponent, limited to a value that the digits of a body cannot compensate.
fn power(text: &[u8]) -> i64 {
    const MOST: i64 = 1_000_000_000_000_000;
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let size = digits.iter().fold(0_i64, |sum, digit| (sum * 10 + i64::from(digit - b'0')).min(MOST));
    if negative { -size } else { size }
}

/// Whether two numbers differ by at most `within`, computed as `double`.
pub(super) fn close(a: &str, b: &str, within: f64) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= within,
        (Ok(_) | Err(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> String {
        let mut form = Vec::new();
        normal_form(text.as_bytes(), &mut form);
        String::from_utf8(form).unwrap()
    }

    #[test]
    fn numbers_are_equal_when_they_denote_the_same() {
        for (a, b) in [
            ("1", "1.0"),
            ("1", "1e0"),
            ("1", "10e-1"),
            ("100", "1E+2"),
            ("0", "-0.00e7"),
            ("0.001", "1e-3"),
            ("12.50", "125e-1"),
            ("-1", "-1.000"),
            ("9007199254740993", "9007199254740993.0"),
            ("0e999999999999999999999", "0"),
        ] {
            assert_eq!(normal(a), normal(b), "{a} and {b}");
        }
        for (a, b) in [
            ("1", "-1"),
            ("1", "10"),
            ("9007199254740993", "9007199254740992"),
            ("0.1", "0.10000000000000001"),
            ("1e400", "1e401"),
            ("1", "1e-400"),
        ] {
            assert_ne!(normal(a), normal(b), "{a} and {b}");
        }
    }

    #[test]
    fn tolerance_is_absolute() {
        assert!(close("1.0", "1.01", 0.0101) && !close("1.0", "1.02", 0.01) && close("-1", "1", 2.0));
        assert!(!close("1e400", "1e400", 1.0), "beyond a double there is no distance");
    }
}
