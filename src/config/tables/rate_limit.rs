//! `[[route.rate_limit]]`: how many requests a route lets through, for each key.

use std::time::Duration;

use http::StatusCode;

use super::identity_warnings;
use super::route_context::{NameRegistries, line_in};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::grammar::is_name;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{NAME, Shape, TableSpec, default, optional, required};
use crate::config::toml::suggest::did_you_mean;
use crate::config::toml::value;
use crate::route::{Rate, RateKey, RateLimit, RateLimitMode, RouteLine, SegmentId};

/// The most limits of a route.
const LIMITS_MAX: usize = 32;

/// The highest rate, in requests a second, and the highest burst.
const RATE_MAX: u32 = 1_000_000;

/// The longest time in which a burst comes back.
const BURST_TIME_MAX: Duration = Duration::from_hours(30 * 24);

/// Units of time, with their seconds; the first word of each is how it is shown.
const UNITS: [(&[&str], u64); 4] =
    [(&["s", "sec", "second"], 1), (&["min", "minute"], 60), (&["h", "hour"], 3_600), (&["d", "day"], 86_400)];

/// Words of other proxies for `per`, and ours.
const FOREIGN: &[(&str, &str)] = &[
    ("ip client source_ip remote_addr remote_address remoteaddress src address client.ip peer", "client_ip"),
    ("all global none everyone service router path host method", "route"),
    ("account org organisation organization customer jwt:tid", "tenant"),
    ("sub subject login jwt:sub cookie session", "user"),
];

const PER_HELP: &str = "write `route`, `client_ip`, `user`, `tenant`, or a header such as `header:x-api-key`";

const RATE_HELP: &str =
    "write a whole number of requests a second, such as `100`, or `\"6000/min\"`, `\"100/h\"`, `\"1000/d\"`";

/// `[[route.rate_limit]]`.
pub(super) const RATE_LIMIT: TableSpec = TableSpec {
    title: "[[route.rate_limit]]",
    doc: "How many requests the route lets through. Of several limits the strictest decides.",
    keys: &[
        required(
            "per",
            Shape::Pattern(r"^(route|client_ip|user|tenant|header:.+)$|\$\{"),
            "What has a count of its own: `route`, `client_ip`, `user`, `tenant` or `header:NAME`. A request without a \
             user, a tenant or this header counts by its client address.",
        ),
        required(
            "rate",
            Shape::Either(&[
                Shape::Integer(1, RATE_MAX as i64),
                Shape::Pattern(r"^[0-9]+ */ *(s|sec|second|min|minute|h|hour|d|day)$|\$\{"),
            ]),
            "Requests a second, or a string such as `\"6000/min\"`; the units are `s`, `min`, `h` and `d`.",
        ),
        optional(
            "burst",
            Shape::Integer(1, RATE_MAX as i64),
            "Requests that are let through at once after a pause; default: those of one second, at least 1.",
        ),
        optional(
            "name",
            Shape::Pattern(NAME),
            "Name of the limit, unique in the route; default: that of `per`. With the same `per` and `name`, a reload \
             keeps the counts.",
        ),
        optional("except", Shape::Text, "Callers in this segment are not limited."),
        default("dry_run", Shape::Boolean, "false", "Counts the requests beyond the limit, and lets them through."),
        default(
            "status",
            Shape::Integer(400, 599),
            "429",
            "Status code of the response to a request beyond the limit.",
        ),
    ],
    later: &[],
};

/// Compiles all limits of a route.
pub(super) fn rate_limits(
    context: &mut Context<'_>,
    route: &Reader<'_>,
    names: &mut NameRegistries<'_, '_>,
) -> Box<[RateLimit]> {
    let mut all: Vec<RateLimit> = Vec::new();
    let mut places: Vec<Span> = Vec::new();
    let readers = route.tables(context, "rate_limit", &RATE_LIMIT);
    if let Some(reader) = readers.get(LIMITS_MAX) {
        let message = format!("a route has at most {LIMITS_MAX} rate limits");
        context.report(Finding::error("too-many", reader.span(), message));
    }
    for reader in readers.iter().take(LIMITS_MAX) {
        let line = line_in(context, route, reader);
        let Some((limit, at)) = rate_limit(context, reader, line, names) else { continue };
        if let Some(first) = all.iter().position(|known| known.name == limit.name) {
            let message = format!("two rate limits of this route have the name `{}`", limit.name);
            let finding = Finding::error("duplicate-name", at, message).label("and again here");
            let finding = finding.also(places[first], "first here");
            context.report(finding.help("give each a `name` of its own"));
        }
        all.push(limit);
        places.push(at);
    }
    debug_assert_eq!(all.len(), places.len(), "each limit has a place");
    all.into()
}

/// Compiles one limit; with the place that its name comes from.
fn rate_limit(
    context: &mut Context<'_>,
    reader: &Reader<'_>,
    line: RouteLine,
    names: &mut NameRegistries<'_, '_>,
) -> Option<(RateLimit, Span)> {
    let per = reader.require(context, "per").and_then(|item| item.text(context));
    let key = per.as_ref().and_then(|text| key(context, text));
    let rate = reader.require(context, "rate").and_then(|item| rate(context, &item));
    let burst = reader.get("burst").map(|item| burst(context, &item, rate));
    let name = reader.text(context, "name").filter(|text| value::name(context, text, text.span));
    let except = reader.text(context, "except").and_then(|text| names.segments.find(context, &text)).map(SegmentId);
    let dry_run = reader.get("dry_run").and_then(|item| item.boolean(context)).unwrap_or(false);
    let status = reader.count(context, "status").unwrap_or(429);
    reader.finish(context);
    let (key, rate) = (key?, rate?);
    let at = name.as_ref().map_or(reader.place("per"), |text| text.span);
    if burst.is_none() {
        warn_small_burst(context, reader.place("rate"), rate);
    }
    let limit = RateLimit {
        name: name.map_or_else(|| default_name(&key), |text| text.to_string()),
        line,
        per: key,
        rate,
        burst: burst.unwrap_or_else(|| Some(one_second(rate)))?,
        except,
        mode: if dry_run { RateLimitMode::DryRun } else { RateLimitMode::Enforce },
        status: u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok())?,
    };
    Some((limit, at))
}

/// The name of a limit without a `name`.
fn default_name(key: &RateKey) -> String {
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' { c } else { '-' };
    let name: String = key.to_string().chars().map(plain).take(63).collect();
    debug_assert!(is_name(&name), "the default is a name");
    name
}

/// The requests of one second, at least 1.
fn one_second(rate: Rate) -> u32 {
    let seconds = u32::try_from(rate.per.as_secs()).unwrap_or(u32::MAX).max(1);
    (rate.requests / seconds).max(1)
}

/// Warns if a rate of a minute or more has the default burst, which is less than the requests of that time.
fn warn_small_burst(context: &mut Context<'_>, at: Span, rate: Rate) {
    let burst = one_second(rate);
    if rate.per.as_secs() <= 1 || burst >= rate.requests {
        return;
    }
    let (requests, are) = (rate.requests.min(RATE_MAX), if burst == 1 { "request is" } else { "requests are" });
    let message = format!("{burst} {are} let through at once, not {requests}: `{rate}` has no `burst`");
    let help = format!(
        "write `burst = {requests}` to let all of them through at once after a pause, or `burst = {burst}` to keep it so"
    );
    context.report(Finding::warning("small-burst", at, message).help(help));
}

/// The value of `per`.
fn key(context: &mut Context<'_>, text: &SpannedString<'_>) -> Option<RateKey> {
    if let Some(name) = text.strip_prefix("header:") {
        return value::header_name(context, name.trim(), text.span).map(RateKey::Header);
    }
    let (found, unread) = match &**text {
        "route" => (Some(RateKey::Route), None),
        "client_ip" => (Some(RateKey::ClientIp), None),
        "user" => (Some(RateKey::User), Some("user")),
        "tenant" => (Some(RateKey::Tenant), Some("tenant")),
        _ => (None, None),
    };
    if let Some(what) = unread {
        identity_warnings::warn_unread(context, what, text.span, "each caller counts by its address");
    }
    if found.is_none() {
        let finding = Finding::error("unknown-word", text.span, format!("`per` cannot be `{}`", &**text));
        context.report(finding.help(PER_HELP).maybe_help(per_meant(text)));
    }
    found
}

/// Help for an unknown `per`.
fn per_meant(text: &str) -> Option<String> {
    let plain = text.to_ascii_lowercase().replace('-', "_");
    let foreign = FOREIGN.iter().find(|(words, _)| words.split(' ').any(|known| known == plain));
    if let Some((_, ours)) = foreign {
        return Some(format!("did you mean `{ours}`? {PER_HELP}"));
    }
    if plain.starts_with("x_") || plain == "authorization" {
        return Some(format!("write `header:{}`", text.to_ascii_lowercase()));
    }
    did_you_mean(text, ["route", "client_ip", "user", "tenant", "header:"].into_iter())
}

/// The value of `rate`.
fn rate(context: &mut Context<'_>, item: &Item<'_>) -> Option<Rate> {
    if item.is_text() {
        let text = item.text(context)?;
        return match parse_rate(&text) {
            Ok(rate) => Some(rate),
            Err((message, help)) => {
                context.report(Finding::error("bad-rate", text.span, message).help(help));
                None
            }
        };
    }
    let Some(digits) = item.digits() else {
        item.mismatch_with_help(context, "a whole number or a string", RATE_HELP);
        return None;
    };
    if let Some(requests) = digits.parse().ok().filter(|requests| (1..=RATE_MAX).contains(requests)) {
        return Some(Rate { requests, per: Duration::from_secs(1) });
    }
    let (message, help) = refused_number(digits);
    context.report(Finding::error("bad-rate", item.span(), message).help(help));
    None
}

/// The message and the help for a number that is no rate.
fn refused_number(digits: &str) -> (String, String) {
    let number: f64 = digits.parse().unwrap_or(0.0);
    if number < 0.0 {
        return ("`rate` is below zero".to_owned(), RATE_HELP.to_owned());
    }
    if number < f64::EPSILON {
        let help = "to refuse all requests, write `respond = { status = 503 }` in the route; to have no limit, remove this \
                    table";
        return ("`rate` is zero, so that no request would be let through".to_owned(), help.to_owned());
    }
    if number > f64::from(RATE_MAX) {
        return (
            format!("`rate` is above {RATE_MAX} requests a second"),
            format!("write at most {RATE_MAX}, or remove the limit"),
        );
    }
    let whole = |factor: f64| {
        let product = number * factor;
        ((product - product.round()).abs() < 1e-6 && product >= 1.0).then(|| product.round())
    };
    let units = [("min", 60.0), ("h", 3_600.0), ("d", 86_400.0)];
    let found = units.iter().find_map(|(unit, factor)| Some(format!("write `\"{}/{unit}\"`", whole(*factor)?)));
    ("`rate` is not a whole number".to_owned(), found.unwrap_or_else(|| RATE_HELP.to_owned()))
}

/// Parses a rate such as `6000/min`; the error is a message and a help.
fn parse_rate(text: &str) -> Result<Rate, (String, String)> {
    let wrong = |message: String| (message, RATE_HELP.to_owned());
    let Some((count, unit)) = text.split_once('/') else {
        if text.trim().parse::<u32>().is_ok_and(|count| count > 0) {
            let count = text.trim();
            return Err((
                format!("`{text}` has no unit"),
                format!("write `\"{count}/s\"`, or `{count}` without quotes"),
            ));
        }
        return Err(wrong(format!("`{}` is not a rate", short(text))));
    };
    let (count, unit) = (count.trim(), unit.trim());
    let seconds = UNITS.iter().find(|(words, _)| words.contains(&unit)).map(|(_, seconds)| *seconds);
    let Some(seconds) = seconds else {
        let plain = unit.to_ascii_lowercase();
        let all = ["s sec secs seconds", "m min mins minutes", "h hr hrs hours", "d days"];
        let at = all.iter().position(|words| words.split(' ').any(|word| word == plain));
        let at = at.or_else(|| UNITS.iter().position(|(words, _)| words.contains(&&*plain)));
        let help =
            at.map_or_else(|| RATE_HELP.to_owned(), |at| format!("write `\"{}/{}\"`", short(count), UNITS[at].0[0]));
        return Err((format!("`{}` is not a unit of a rate", short(unit)), help));
    };
    let Ok(requests) = count.parse::<u32>() else {
        let is_number = count.parse::<f64>().is_ok_and(f64::is_finite) && count.len() <= 20;
        return Err(if is_number && seconds == 1 {
            refused_number(count)
        } else if is_number {
            wrong(format!("`{}` is not a whole number of requests", short(count)))
        } else {
            wrong(format!("`{}` is not a number of requests", short(count)))
        });
    };
    if requests == 0 {
        return Err(refused_number("0"));
    }
    let rate = Rate { requests, per: Duration::from_secs(seconds) };
    if rate.per_second() > f64::from(RATE_MAX) {
        return Err(refused_number("1000001"));
    }
    Ok(rate)
}

/// A text for a message: at most 40 characters.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The value of `burst`; it must come back within [`BURST_TIME_MAX`].
fn burst(context: &mut Context<'_>, item: &Item<'_>, rate: Option<Rate>) -> Option<u32> {
    if item.digits() == Some("0") {
        let finding =
            Finding::error("out-of-range", item.span(), "`burst` is zero, so that no request would be let through");
        context.report(finding.help("write at least 1, or remove it: then it is one second's worth of `rate`"));
        return None;
    }
    let burst = item.integer(context, 1..=i64::from(RATE_MAX)).and_then(|burst| u32::try_from(burst).ok())?;
    let Some(rate) = rate else { return Some(burst) };
    let seconds = f64::from(burst) / rate.per_second();
    if seconds > BURST_TIME_MAX.as_secs_f64() {
        let days = BURST_TIME_MAX.as_secs() / 86_400;
        let message = format!("a burst of {burst} at {rate} takes more than {days} days to come back");
        context.report(Finding::error("out-of-range", item.span(), message).help("write a smaller `burst`"));
        return None;
    }
    Some(burst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units() {
        let rate = |requests, seconds| Rate { requests, per: Duration::from_secs(seconds) };
        for (text, expected) in [
            ("100/s", rate(100, 1)),
            ("100/sec", rate(100, 1)),
            ("1/second", rate(1, 1)),
            ("6000/min", rate(6_000, 60)),
            ("6000 / minute", rate(6_000, 60)),
            ("10/h", rate(10, 3_600)),
            ("10/hour", rate(10, 3_600)),
            ("1/d", rate(1, 86_400)),
            ("1/day", rate(1, 86_400)),
            ("60000000/min", rate(60_000_000, 60)),
        ] {
            assert_eq!(parse_rate(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn bad_rates_have_help() {
        for (text, help) in [
            ("100", "write `\"100/s\"`, or `100` without quotes"),
            ("100/m", "write `\"100/min\"`"),
            ("100/minutes", "write `\"100/min\"`"),
            ("100/S", "write `\"100/s\"`"),
            ("0.5/s", "write `\"30/min\"`"),
            ("0/s", "to refuse all requests"),
            ("0/d", "to refuse all requests"),
            ("-1/s", "write a whole number"),
            ("1.5/min", "write a whole number"),
            ("", "write a whole number"),
            ("/", "write a whole number"),
            ("many/s", "write a whole number"),
            ("99999999999/s", "write at most 1000000, or remove the limit"),
            ("1000001/s", "write at most 1000000, or remove the limit"),
            ("60000001/min", "write at most 1000000, or remove the limit"),
        ] {
            let (_, found) = parse_rate(text).unwrap_err();
            assert!(found.starts_with(help), "{text}: {found}");
        }
    }

    #[test]
    fn fractions_are_written_with_a_longer_unit() {
        for (number, help) in [
            ("0.5", "write `\"30/min\"`"),
            ("0.01", "write `\"36/h\"`"),
            ("0.0001", RATE_HELP),
            ("1.5", "write `\"90/min\"`"),
            ("-3", RATE_HELP),
            ("2000000", "write at most 1000000, or remove the limit"),
        ] {
            assert_eq!(refused_number(number).1, help, "{number}");
        }
    }

    #[test]
    fn the_default_burst_is_one_second_and_never_zero() {
        for (requests, seconds, burst) in [(100, 1, 100), (6_000, 60, 100), (90, 60, 1), (1, 86_400, 1), (59, 60, 1)] {
            assert_eq!(one_second(Rate { requests, per: Duration::from_secs(seconds) }), burst);
        }
    }

    #[test]
    fn default_names_are_names() {
        let header = |name: &'static str| RateKey::Header(http::HeaderName::from_static(name));
        for (key, name) in [
            (RateKey::Route, "route"),
            (RateKey::ClientIp, "client_ip"),
            (header("x-key"), "header-x-key"),
            (header("x.key!"), "header-x-key-"),
        ] {
            assert_eq!(default_name(&key), name);
        }
    }
}
