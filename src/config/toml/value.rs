//! Parses values and reports errors: names, weights, durations, sizes, hosts, methods, headers.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;

use super::context::{Context, REGEXES_MAX};
use super::diagnostic::Finding;
use super::grammar::{
    host_pattern, is_name, is_share, is_weight, parse_duration, parse_size, percent, with_binary_unit,
};
use super::hints::PERCENT;
use super::item::Item;
use super::reader::Reader;
use super::source::{Span, offset};
use super::spanned_string::SpannedString;
use crate::route::{HostPattern, Weight};

/// The largest compiled regex, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Checks a name that the user chose; reports an error if it is invalid.
pub(in crate::config) fn name(context: &mut Context<'_>, name: &str, at: Span) -> bool {
    if is_name(name) {
        return true;
    }
    let message = format!("`{name}` is not a name");
    let help = "a name has 1 to 63 characters of a-z, 0-9, `_` and `-`, and begins with a letter or digit";
    context.report(Finding::error("bad-name", at, message).help(help));
    false
}

/// A weight in percent, exactly: at most four decimals.
pub(in crate::config) fn weight(context: &mut Context<'_>, item: &Item<'_>) -> Option<Weight> {
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

/// A duration such as `1h30m`.
pub(in crate::config) fn duration(context: &mut Context<'_>, item: &Item<'_>) -> Option<Duration> {
    const HELP: &str = "write `250ms`, `5s`, `2h` or `1h30m`, at most 365 days";
    if !item.is_text() {
        item.mismatch_with_help(context, "a string", HELP);
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

/// A size such as `64KiB`, in bytes and in this range.
pub(in crate::config) fn size(context: &mut Context<'_>, item: &Item<'_>, range: RangeInclusive<u64>) -> Option<u64> {
    const HELP: &str = "write `512B`, `64KiB`, `10MiB` or `1GiB`";
    if !item.is_text() {
        item.mismatch_with_help(context, "a string", HELP);
        return None;
    }
    let text = item.text(context)?;
    let Some(bytes) = parse_size(&text) else {
        let finding = Finding::error("bad-size", text.span, format!("`{}` is not a size", &*text));
        context.report(finding.help(HELP).maybe_help(with_binary_unit(&text).map(|size| format!("write `{size}`"))));
        return None;
    };
    if range.contains(&bytes) {
        return Some(bytes);
    }
    let (min, max) = range.into_inner();
    item.refuse(context, "out-of-range", format!("`{}` must be {min} to {max} bytes", item.key));
    None
}

/// A network such as `10.0.0.0/8`, or a single address.
pub(in crate::config) fn network(context: &mut Context<'_>, item: &Item<'_>) -> Option<IpNet> {
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

/// Parses the items of a list; reports duplicates.
pub(in crate::config) fn parse_unique<T: PartialEq>(
    context: &mut Context<'_>,
    items: &[Item<'_>],
    parse: impl Fn(&mut Context<'_>, &Item<'_>) -> Option<T>,
) -> Vec<T> {
    let mut all = Vec::new();
    for item in items {
        let Some(value) = parse(context, item) else { continue };
        if all.contains(&value) {
            item.refuse(context, "duplicate-key", "this is listed twice");
        } else {
            all.push(value);
        }
    }
    all
}

/// A header's name.
pub(in crate::config) fn header_name(context: &mut Context<'_>, name: &str, at: Span) -> Option<HeaderName> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
    if parsed.is_none() {
        context.report(Finding::error("bad-header", at, format!("`{name}` is not a valid header name")));
    }
    parsed
}

/// A header's value.
pub(in crate::config) fn header_value(context: &mut Context<'_>, text: &SpannedString<'_>) -> Option<HeaderValue> {
    let parsed = HeaderValue::from_str(text).ok();
    if parsed.is_none() {
        context.report(Finding::error("bad-header", text.span, "this is not a valid header value"));
    }
    parsed
}

/// The name of a cookie: a token (RFC 6265 §4.1.1).
pub(in crate::config) fn token(context: &mut Context<'_>, name: &str, at: Span) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let is_valid = !name.is_empty() && name.bytes().all(token);
    if !is_valid {
        let message = format!("`{name}` is not a valid cookie name");
        let help = "a cookie name has letters, digits, `-`, `_` and `.`, and no spaces, such as `pm_id`";
        context.report(Finding::error("bad-cookie", at, message).help(help));
    }
    is_valid
}

/// A method of requests that are served.
pub(in crate::config) fn method(context: &mut Context<'_>, item: &Item<'_>) -> Option<Method> {
    match any_method(context, item)? {
        method @ (Method::CONNECT | Method::TRACE) => {
            item.refuse(context, "bad-method", format!("Pointsman rejects all `{method}` requests"));
            None
        }
        method => Some(method),
    }
}

/// A method.
pub(in crate::config) fn any_method(context: &mut Context<'_>, item: &Item<'_>) -> Option<Method> {
    let text = item.text(context)?;
    let upper = text.to_ascii_uppercase();
    let parsed = Method::from_bytes(text.as_bytes()).ok().filter(|_| *upper == *text);
    if parsed.is_none() {
        let finding = Finding::error("bad-method", text.span, format!("`{}` is not a method", &*text));
        context.report(finding.help("methods are upper case, such as `GET`"));
    }
    parsed
}

/// A regex of limited size.
pub(in crate::config) fn regex(context: &mut Context<'_>, text: &SpannedString<'_>) -> Option<regex::Regex> {
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
            context.report(Finding::error("bad-regex", text.span, "this regex does not compile").label(why));
            None
        }
    }
}

/// A host pattern: `shop.example.com` or `*.shop.example.com`.
pub(in crate::config) fn host(context: &mut Context<'_>, item: &Item<'_>) -> Option<HostPattern> {
    let text = item.text(context)?;
    match host_pattern(&text) {
        Ok(pattern) => Some(pattern),
        Err((message, help)) => {
            context.report(Finding::error("bad-host", text.span, message).help(help));
            None
        }
    }
}

/// The duration of a key, where `0s` means no limit.
pub(in crate::config) fn timeout(
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

/// The number from 0 to 1 of a key.
pub(in crate::config) fn share(context: &mut Context<'_>, reader: &Reader<'_>, key: &'static str) -> Option<f64> {
    let item = reader.get(key)?;
    let Some(digits) = item.digits() else {
        item.mismatch_number(context, "a number from 0 to 1", is_share);
        return None;
    };
    let number = digits.parse().ok().filter(|_| is_share(digits));
    if number.is_none() {
        let percent = digits.parse::<f64>().ok().filter(|percent| (1.0..=100.0).contains(percent));
        let help = percent.map(|percent| format!("write `{}` for {percent} %", percent / 100.0));
        let finding = Finding::error("out-of-range", item.span(), format!("`{key}` must be 0 to 1"));
        context.report(finding.maybe_help(help));
    }
    number
}

/// The place of a part of a string, if the string has no escapes; otherwise the place of the string.
pub(in crate::config) fn inside(context: &Context<'_>, text: &SpannedString<'_>, at: usize, len: usize) -> Span {
    debug_assert!(text.value.get(at..at + len).is_some(), "the part is inside the string");
    let written = context.files.text(text.span);
    match written.find(&*text.value).filter(|_| len > 0) {
        Some(begin) => {
            let start = text.span.start + offset(begin + at);
            Span { start, end: start + offset(len), ..text.span }
        }
        None => text.span,
    }
}
