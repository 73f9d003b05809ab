//! The syntax of values: parsers and checks for plain text, without diagnostics.

use std::time::Duration;

use crate::route::HostPattern;

/// The largest body that a route may allow, in bytes.
pub(in crate::config) const BODY_MAX: u64 = 1 << 50;

/// The longest name.
const NAME_MAX: usize = 63;

/// Whether a text is a valid name of an upstream, a route, a segment or a variant.
pub(in crate::config) fn is_name(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let rest = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    begins && rest && name.len() <= NAME_MAX
}

/// Whether a number is a valid weight in percent.
pub(in crate::config) fn is_weight(digits: &str) -> bool {
    percent(digits).is_ok()
}

/// Parses a percentage exactly, in millionths of the whole; the error is a code and a message.
pub(in crate::config) fn percent(digits: &str) -> Result<u32, (&'static str, &'static str)> {
    const RANGE: (&str, &str) = ("out-of-range", "a weight is a percentage from 0 to 100");
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    if digits.contains(['e', 'E']) {
        return Err(("bad-weight", "a weight is written without an exponent"));
    }
    let decimals = decimals.trim_end_matches('0');
    let whole = whole.trim_start_matches('0');
    if whole.len() > 3 || !whole.bytes().chain(decimals.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(RANGE);
    }
    if decimals.len() > 4 {
        return Err(("bad-weight", "a weight has at most four decimals"));
    }
    debug_assert!(whole.len() <= 3 && decimals.len() <= 4, "seven digits never overflow");
    let number = |text: &str| text.bytes().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    let millionths = number(whole) * 10_000 + number(&format!("{decimals:0<4}"));
    if millionths > 1_000_000 { Err(RANGE) } else { Ok(millionths) }
}

/// Whether a number is from 0 to 1.
pub(in crate::config) fn is_share(digits: &str) -> bool {
    digits.parse::<f64>().is_ok_and(|number| (0.0..=1.0).contains(&number))
}

/// Parses a duration such as `250ms`, `5s` or `1h30m`; at most 365 days.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum_ms = 0_u64;
    let mut last_ms = u64::MAX;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        debug_assert!(text.ends_with(rest), "each step removes a number and its unit");
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let ms = match &rest[digits..digits + unit] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        if ms >= last_ms {
            return None;
        }
        last_ms = ms;
        sum_ms = sum_ms.checked_add(number.checked_mul(ms)?)?;
        rest = &rest[digits + unit..];
    }
    (sum_ms <= 365 * 86_400_000).then(|| Duration::from_millis(sum_ms))
}

/// Converts a size in another notation, such as `10MB` or `64k`, to ours.
pub(in crate::config) fn with_binary_unit(text: &str) -> Option<String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "bytes" | "byte" => "B",
        "k" | "kb" | "kib" | "ki" => "KiB",
        "m" | "mb" | "mib" | "mi" => "MiB",
        "g" | "gb" | "gib" | "gi" => "GiB",
        _ => return None,
    };
    let size = (1..=15).contains(&digits).then(|| format!("{}{unit}", &text[..digits]));
    size.filter(|size| parse_size(size).is_some())
}

/// Parses a size, in bytes.
pub(in crate::config) fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match text[digits..].trim_start_matches(' ') {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// Whether a text is a host without a port: labels of letters, digits, `-` and `_`, or an IP address.
pub(in crate::config) fn is_host(host: &str) -> bool {
    if let Some(inside) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inside.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

/// Whether a text is a host pattern.
pub(in crate::config) fn is_host_pattern(text: &str) -> bool {
    host_pattern(text).is_ok()
}

/// Parses a host pattern; the error is a message and a help.
pub(in crate::config) fn host_pattern(text: &str) -> Result<HostPattern, (String, &'static str)> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('.').unwrap_or(&lower);
    let (suffix, wild) = lower.strip_prefix("*.").map_or((lower, false), |suffix| (suffix, true));
    if suffix == "*" {
        return Err(("`*` alone is not a host".to_owned(), "remove `host` to match every host"));
    }
    if suffix.contains('*') {
        return Err((format!("`{lower}` has a `*` in the wrong place"), "`*.` is allowed at the beginning only"));
    }
    if suffix.rsplit_once(':').is_some_and(|(host, port)| !host.contains(':') && port.parse::<u16>().is_ok()) {
        return Err((format!("`{lower}` has a port"), "remove the port: routes ignore the port of the `Host` header"));
    }
    if !is_host(suffix) || (wild && suffix.starts_with('[')) {
        let help = "write `shop.example.com` or `*.shop.example.com`";
        return Err((format!("`{text}` is not a host"), help));
    }
    Ok(if wild { HostPattern::Wildcard(format!(".{suffix}")) } else { HostPattern::Exact(suffix.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_exact() {
        let check = |text: &str, expected: Option<u32>| assert_eq!(percent(text).ok(), expected, "{text}");
        check("5", Some(50_000));
        check("0.0001", Some(1));
        check("33.3333", Some(333_333));
        check("99.9999", Some(999_999));
        check("100", Some(1_000_000));
        check("100.0000", Some(1_000_000));
        check("007.50", Some(75_000));
        check("0", Some(0));
        check("+1", Some(10_000));
        check("33.33333", None);
        check("100.0001", None);
        check("-1", None);
        check("101", None);
        check("1e1", None);
        check("nan", None);
        check("inf", None);
        check("99999999999999999999", None);
    }

    #[test]
    fn durations() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(parse_duration(text), expected.map(Duration::from_millis), "{text}");
        };
        check("250ms", Some(250));
        check("5s", Some(5_000));
        check("1h30m", Some(5_400_000));
        check("0s", Some(0));
        check("2d", Some(172_800_000));
        for bad in ["", "5", "s", "5 s", "1.5s", "30m1h", "1s1s", "-1s", "99999999999999999999h", "400d", "5é"] {
            check(bad, None);
        }
    }

    #[test]
    fn sizes() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(parse_size(text), expected, "{text}");
        check("64KiB", Some(65_536));
        check("10 MiB", Some(10_485_760));
        check("0B", Some(0));
        assert_eq!(with_binary_unit("10MB").as_deref(), Some("10MiB"));
        assert_eq!(with_binary_unit("64").as_deref(), Some("64B"));
        assert_eq!(
            (with_binary_unit("MB"), with_binary_unit("10 parsecs"), with_binary_unit("99999999999GB")),
            (None, None, None)
        );
        for bad in ["64", "64KB", "64kib", "", "KiB", "-1B", "99999999999999999999B", "99999999999GiB"] {
            check(bad, None);
        }
    }

    #[test]
    fn hosts() {
        for good in ["a", "shop.example.com", "[::1]", "10.0.0.1", "a_b.c", "xn--bcher-kva.example"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "a..b", ".a", "a b", "a/b", "u@a", "-a", "[::1", "bücher.example"] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
