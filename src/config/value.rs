//! Values: names, weights, durations, sizes, hosts, paths, headers. Each is parsed once and then cannot be wrong.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;

use super::context::{Context, REGEXES_MAX};
use super::diagnostic::Finding;
use super::hints::PERCENT;
use super::reader::{Item, Reader, Text};
use super::source::{Span, offset};
use crate::route::{HostPattern, Weight};

/// Bound on a compiled regex, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Words of the design that a later version brings.
const LATER_WORDS: &[&str] = &["peak_ewma"];

/// How long a name may be.
const NAME_MAX: usize = 63;

/// Checks a name that the user chose.
pub(super) fn name(context: &mut Context<'_>, name: &str, at: Span) -> bool {
    if is_name(name) {
        return true;
    }
    let message = format!("`{name}` is not a name");
    let help = "names are 1 to 63 of a-z, 0-9, `_` and `-`, and begin with a letter or digit";
    context.report(Finding::error("bad-name", at, message).help(help));
    false
}

/// Whether a text is a name as the user may choose it.
pub(super) fn is_name(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let rest = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    begins && rest && name.len() <= NAME_MAX
}

/// Whether digits are a weight in percent.
pub(super) fn is_weight(digits: &str) -> bool {
    percent(digits).is_ok()
}

/// A weight in percent, exactly: at most four decimals.
pub(super) fn weight(context: &mut Context<'_>, item: &Item<'_>) -> Option<Weight> {
    let Some(digits) = item.digits() else {
        item.mismatch_number(context, PERCENT, is_weight);
        return None;
    };
    match percent(digits) {
        Ok(millionths) => Weight::from_millionths(millionths),
        Err((code, message)) => {
            item.refuse(context, code, message);
            None
        }
    }
}

fn percent(digits: &str) -> Result<u32, (&'static str, &'static str)> {
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
    let number = |text: &str| text.bytes().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    let millionths = number(whole) * 10_000 + number(&format!("{decimals:0<4}"));
    if millionths > 1_000_000 { Err(RANGE) } else { Ok(millionths) }
}

/// Whether digits are a share from 0 to 1.
pub(super) fn is_share(digits: &str) -> bool {
    digits.parse::<f64>().is_ok_and(|number| (0.0..=1.0).contains(&number))
}

/// A duration such as `1h30m`.
pub(super) fn duration(context: &mut Context<'_>, item: &Item<'_>) -> Option<Duration> {
    const HELP: &str = "write `250ms`, `5s`, `2h` or `1h30m`, at most 365 days";
    if !item.is_text() {
        item.mismatch_with(context, ("a string", HELP));
        return None;
    }
    let text = item.text(context)?;
    let parsed = parse_duration(&text);
    if parsed.is_none() {
        let finding = Finding::error("bad-duration", text.span, format!("`{}` is not a duration", &*text));
        context.report(finding.help(HELP));
    }
    parsed
}

/// Reads a duration such as `250ms`, `5s` or `1h30m`; at most 365 days.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum_ms = 0_u64;
    let mut last_ms = u64::MAX;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
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

/// A size in bytes such as `64KiB`, in these bounds.
pub(super) fn size(context: &mut Context<'_>, item: &Item<'_>, (min, max): (u64, u64)) -> Option<u64> {
    const HELP: &str = "write `512B`, `64KiB`, `10MiB` or `1GiB`";
    if !item.is_text() {
        item.mismatch_with(context, ("a string", HELP));
        return None;
    }
    let text = item.text(context)?;
    let Some(bytes) = parse_size(&text) else {
        let finding = Finding::error("bad-size", text.span, format!("`{}` is not a size", &*text));
        context.report(finding.help(HELP).maybe_help(binary(&text).map(|size| format!("write `{size}`"))));
        return None;
    };
    if (min..=max).contains(&bytes) {
        return Some(bytes);
    }
    item.refuse(context, "out-of-range", format!("`{}` must be {min} to {max} bytes", item.key));
    None
}

/// A size as it is written here, of one as it is often written elsewhere, such as `10MB` or `64k`.
pub(super) fn binary(text: &str) -> Option<String> {
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

/// The bytes of a size.
pub(super) fn parse_size(text: &str) -> Option<u64> {
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

/// A network such as `10.0.0.0/8`; an address alone is itself.
pub(super) fn network(context: &mut Context<'_>, item: &Item<'_>) -> Option<IpNet> {
    let text = item.text(context)?;
    let parsed = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    let Ok(net) = parsed else {
        let finding = Finding::error("bad-cidr", text.span, format!("`{}` is not a network", &*text));
        context.report(finding.help("write `10.0.0.0/8`, `fd00::/8` or one address"));
        return None;
    };
    if net != net.trunc() {
        let finding = Finding::error("bad-cidr", text.span, format!("`{net}` has bits set beyond its prefix"));
        context.report(finding.help(format!("did you mean `{}`?", net.trunc())));
        return None;
    }
    Some(net)
}

/// One of these words.
pub(super) fn word(context: &mut Context<'_>, item: &Item<'_>, words: &'static [&'static str]) -> Option<usize> {
    let known = || words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    if !item.is_text() {
        let help = format!("one of {}", known());
        item.mismatch_with(context, ("a string", help.as_str()));
        return None;
    }
    let text = item.text(context)?;
    let found = words.iter().position(|word| *word == &*text);
    if found.is_none() {
        let message = format!("`{}` cannot be `{}`", item.key, &*text);
        let later = LATER_WORDS.contains(&&*text);
        let help = if later {
            Some(format!("`{}` is not supported by this version of Pointsman", &*text))
        } else {
            super::suggest::did_you_mean(&text, words.iter().copied())
        };
        let finding = Finding::error("unknown-word", text.span, message).help(format!("one of {}", known()));
        context.report(finding.maybe_help(help));
    }
    found
}

/// A header's name.
pub(super) fn header_name(context: &mut Context<'_>, name: &str, at: Span) -> Option<HeaderName> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
    if parsed.is_none() {
        context.report(Finding::error("bad-header", at, format!("`{name}` is not the name of a header")));
    }
    parsed
}

/// A header's value.
pub(super) fn header_value(context: &mut Context<'_>, text: &Text<'_>) -> Option<HeaderValue> {
    let parsed = HeaderValue::from_str(text).ok();
    if parsed.is_none() {
        context.report(Finding::error("bad-header", text.span, "this cannot be the value of a header"));
    }
    parsed
}

/// The name of a cookie: a token (RFC 6265 §4.1.1).
pub(super) fn token(context: &mut Context<'_>, name: &str, at: Span) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let holds = !name.is_empty() && name.bytes().all(token);
    if !holds {
        let message = format!("`{name}` is not the name of a cookie");
        let help = "a name has letters, digits, `-`, `_` or `.`, and no blank, such as `pm_id`";
        context.report(Finding::error("bad-cookie", at, message).help(help));
    }
    holds
}

/// A method.
pub(super) fn method(context: &mut Context<'_>, item: &Item<'_>) -> Option<Method> {
    let text = item.text(context)?;
    let upper = text.to_ascii_uppercase();
    let parsed = Method::from_bytes(text.as_bytes()).ok().filter(|_| *upper == *text);
    match parsed {
        None => {
            let finding = Finding::error("bad-method", text.span, format!("`{}` is not a method", &*text));
            context.report(finding.help("methods are upper case, such as `GET`"));
            None
        }
        Some(Method::CONNECT | Method::TRACE) => {
            context.report(Finding::error("bad-method", text.span, format!("`{}` is always refused", &*text)));
            None
        }
        Some(method) => Some(method),
    }
}

/// A regex, bounded in size.
pub(super) fn regex(context: &mut Context<'_>, text: &Text<'_>) -> Option<regex::Regex> {
    if !context.count_regex() {
        let message = format!("there are more than {REGEXES_MAX} regexes");
        context.report(Finding::error("too-many", text.span, message));
        return None;
    }
    match regex::RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build() {
        Ok(regex) => Some(regex),
        Err(error) => {
            let error = error.to_string();
            let why = error.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
            context.report(Finding::error("bad-regex", text.span, "this regex does not compile").saying(why));
            None
        }
    }
}

/// Whether a host, without port, is of the grammar: labels of letters, digits, `-` and `_`, or an IP address.
pub(super) fn is_host(host: &str) -> bool {
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

/// A host pattern: `shop.example.com` or `*.shop.example.com`.
pub(super) fn host(context: &mut Context<'_>, item: &Item<'_>) -> Option<HostPattern> {
    let text = item.text(context)?;
    match host_pattern(&text) {
        Ok(pattern) => Some(pattern),
        Err((message, help)) => {
            context.report(Finding::error("bad-host", text.span, message).help(help));
            None
        }
    }
}

/// Whether a text is a host pattern.
pub(super) fn is_host_pattern(text: &str) -> bool {
    host_pattern(text).is_ok()
}

/// The host pattern in a text; else what is wrong with it, and what to do.
fn host_pattern(text: &str) -> Result<HostPattern, (String, &'static str)> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix('.').unwrap_or(&lower);
    let (suffix, wild) = lower.strip_prefix("*.").map_or((lower, false), |suffix| (suffix, true));
    if suffix == "*" {
        return Err(("`*` alone is not a host".to_owned(), "leave `host` out to take every host"));
    }
    if suffix.contains('*') {
        return Err((format!("`{lower}` has a `*` in the wrong place"), "`*.` may only stand in front"));
    }
    if suffix.rsplit_once(':').is_some_and(|(host, port)| !host.contains(':') && port.parse::<u16>().is_ok()) {
        return Err((format!("`{lower}` has a port"), "the port of a request's host is ignored: leave it out"));
    }
    if !is_host(suffix) || (wild && suffix.starts_with('[')) {
        let help = "write `shop.example.com` or `*.shop.example.com`";
        return Err((format!("`{text}` is not a host"), help));
    }
    Ok(if wild { HostPattern::Wildcard(format!(".{suffix}")) } else { HostPattern::Exact(suffix.to_owned()) })
}

/// A duration of a key, where "0s" means none.
pub(super) fn timeout(
    context: &mut Context<'_>,
    reader: &Reader<'_>,
    key: &'static str,
    default: Option<Duration>,
) -> Option<Duration> {
    match reader.get(key) {
        None => default,
        Some(item) => duration(context, &item).filter(|duration| !duration.is_zero()),
    }
}

/// The place of a part of a string, when it is written as it reads; else the string.
pub(super) fn inside(context: &Context<'_>, text: &Text<'_>, at: usize, len: usize) -> Span {
    let written = context.files.text(text.span);
    match written.find(&*text.value).filter(|_| len > 0) {
        Some(begin) => {
            let start = text.span.start + offset(begin + at);
            Span { start, end: start + offset(len), ..text.span }
        }
        None => text.span,
    }
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
        assert_eq!(binary("10MB").as_deref(), Some("10MiB"));
        assert_eq!(binary("64").as_deref(), Some("64B"));
        assert_eq!((binary("MB"), binary("10 parsecs"), binary("99999999999GB")), (None, None, None));
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
