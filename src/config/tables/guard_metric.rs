//! `metric` of a guard: the events that it counts.

use std::time::Duration;

use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::grammar::parse_duration;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{NAME, Shape, TableSpec, optional};
use crate::config::toml::suggest::did_you_mean;
use crate::config::toml::value;
use crate::route::{GRPC_STATUSES, Signal, SlowThreshold, StatusRange};

/// The metrics without a value.
pub(super) const WORDS: &[&str] = &["error", "lost", "sample_ratio"];

/// The statuses of a response that can be counted.
const STATUSES: std::ops::RangeInclusive<u16> = 200..=599;

/// The range of a fixed threshold. What is longer is no longer in the window of a guard.
const FIXED: TimeBounds =
    TimeBounds { least: Duration::from_millis(1), most: Duration::from_mins(5), words: "1ms to 5m" };

/// The range of the time that a quantile is taken over.
const OVER: TimeBounds =
    TimeBounds { least: Duration::from_mins(1), most: Duration::from_hours(1), words: "over 1m to 1h" };

/// `metric = { … }`.
pub(super) const METRIC: TableSpec = TableSpec {
    title: "metric",
    doc: "What a guard counts: exactly one of these keys.",
    keys: &[
        optional(
            "status",
            Shape::OneOrMore(&Shape::Either(&[
                Shape::Pattern(r"^[2-5]([0-9][0-9]|xx)$|\$\{"),
                Shape::Integer(200, 599),
            ])),
            "Responses with one of these statuses, 200 to 599, or `5xx` for all from 500 to 599.",
        ),
        optional(
            "grpc",
            Shape::OneOrMore(&Shape::Words(&GRPC_STATUSES)),
            "gRPC calls that end with one of these statuses.",
        ),
        optional(
            "event",
            Shape::Pattern(NAME),
            "Responses whose header `x-pointsman-event` has this name; clients do not get the header.",
        ),
        optional(
            "slower_than",
            Shape::Pattern(r"^(p[0-9]+(\.[0-9]+)?\(stable, *)?(\d+(ms|s|m|h|d))+\)?$|\$\{"),
            "Requests without a response after this time, 1ms to 5m; or `p99(stable, 10m)`, a quantile (`p50` to `p99.9`) \
             of stable's times over 1m to 1h, taken when the weight changes.",
        ),
    ],
    later: &[],
};

/// Help for an invalid metric.
const HELP: &str = "write `\"error\"`, `\"lost\"`, `\"sample_ratio\"`, `{ status = [\"5xx\"] }`, `{ grpc = [\"internal\"] }`, \
                    `{ event = \"NAME\" }` or `{ slower_than = \"p99(stable, 10m)\" }`";

/// Words of other tools for metrics, in lower case and with `_` for `-`, and ours.
const FOREIGN: &[(&str, &str)] = &[
    // Flagger, Argo Rollouts
    ("success_rate request_success_rate error_rate failure_rate http_error 5xx_rate failures", "`metric = \"error\"`"),
    (
        "latency duration request_duration response_time slow p50 p90 p95 p99",
        "`metric = { slower_than = \"p99(stable, 10m)\" }`",
    ),
    ("srm sample_ratio_mismatch traffic_split weight", "`metric = \"sample_ratio\"`"),
    ("event business_event", "`metric = { event = \"NAME\" }`"),
];

/// What a guard counts.
pub(super) enum Metric {
    /// Callers with this event.
    Rate(Signal),
    /// Callers by variant.
    SampleRatio,
}

/// Compiles `metric`.
pub(super) fn metric(context: &mut Context<'_>, item: &Item<'_>) -> Option<Metric> {
    if let Some(reader) = item.is_table().then(|| item.table(context, &METRIC)).flatten() {
        return by_table(context, &reader).map(Metric::Rate);
    }
    if !item.is_text() {
        item.mismatch_with_help(context, "a string or a table", HELP);
        return None;
    }
    let text = item.text(context)?;
    match WORDS.iter().position(|word| *word == &*text) {
        Some(0) => Some(Metric::Rate(Signal::Error)),
        Some(1) => Some(Metric::Rate(Signal::Lost)),
        Some(_) => Some(Metric::SampleRatio),
        None => {
            let finding = Finding::error("unknown-word", text.span, format!("`metric` cannot be `{}`", &*text));
            context.report(finding.help(HELP).maybe_help(suggestion(&text)));
            None
        }
    }
}

/// Help for an unknown word.
fn suggestion(text: &str) -> Option<String> {
    let plain = text.to_ascii_lowercase().replace('-', "_");
    if let Some((_, ours)) = FOREIGN.iter().find(|(words, _)| words.split(' ').any(|known| known == plain)) {
        return Some(format!("write {ours}"));
    }
    if statuses(&plain).is_some() {
        return Some(format!("write `metric = {{ status = [\"{plain}\"] }}`"));
    }
    if let Some(name) = grpc_name(&plain) {
        return Some(format!("write `metric = {{ grpc = [\"{name}\"] }}`"));
    }
    did_you_mean(text, WORDS.iter().copied())
}

/// Exactly one key.
fn by_table(context: &mut Context<'_>, reader: &Reader<'_>) -> Option<Signal> {
    let errors = context.errors();
    let mut found: Vec<(&'static str, Option<Signal>)> = Vec::new();
    if let Some(item) = reader.get("status") {
        found.push(("status", status(context, &item)));
    }
    if let Some(item) = reader.get("grpc") {
        found.push(("grpc", grpc(context, &item)));
    }
    if let Some(item) = reader.get("event") {
        found.push(("event", event(context, &item)));
    }
    if let Some(item) = reader.get("slower_than") {
        found.push(("slower_than", slower_than(context, &item).map(Signal::SlowerThan)));
    }
    reader.finish(context);
    found.sort_by_key(|(key, _)| reader.place(key).start);
    match &found[..] {
        [] if errors == context.errors() => {
            let finding = Finding::error("missing-key", reader.span(), "this metric counts nothing");
            context.report(finding.help(HELP));
        }
        [] | [_] => {}
        [(first, _), (second, _), ..] => {
            let message = format!("a metric cannot have both `{first}` and `{second}`");
            let finding = Finding::error("ambiguous", reader.place(second), message);
            context.report(finding.also(reader.place(first), "").help("write a `[[route.guard]]` for each"));
            return None;
        }
    }
    found.pop().and_then(|(_, signal)| signal)
}

fn status(context: &mut Context<'_>, item: &Item<'_>) -> Option<Signal> {
    let items = item.not_empty(context);
    let all = value::parse_unique(context, &items, |context, item| {
        let number = item.digits().filter(|_| !item.is_text()).map(str::to_owned);
        let text = match number {
            Some(digits) => digits,
            None => item.text(context)?.to_string(),
        };
        let found = statuses(&text);
        if found.is_none() {
            let finding = Finding::error("out-of-range", item.span(), format!("`{text}` is not a status"));
            let help = "write a status from `200` to `599`, or `4xx` or `5xx` for all of its kind";
            let lower = text.to_ascii_lowercase();
            let meant = statuses(&lower).map(|_| format!("did you mean `{lower}`?"));
            context.report(finding.help(help).maybe_help(meant));
        }
        found
    });
    (!all.is_empty()).then(|| Signal::Status(merged(all)))
}

/// The statuses of `404` or `5xx`.
fn statuses(text: &str) -> Option<StatusRange> {
    let range = if let Some(kind) = text.strip_suffix("xx") {
        let kind: u16 = kind.parse().ok().filter(|_| kind.len() == 1)?;
        StatusRange { from: kind * 100, to: kind * 100 + 99 }
    } else {
        let status = text.parse().ok().filter(|_| text.len() == 3 && !text.starts_with('+'))?;
        StatusRange { from: status, to: status }
    };
    (STATUSES.contains(&range.from) && STATUSES.contains(&range.to)).then_some(range)
}

/// The ranges in order, without overlaps: the same statuses are the same signal.
fn merged(mut all: Vec<StatusRange>) -> Vec<StatusRange> {
    all.sort_unstable_by_key(|range| range.from);
    let mut merged: Vec<StatusRange> = Vec::with_capacity(all.len());
    for range in all {
        match merged.last_mut().filter(|last| range.from <= last.to + 1) {
            Some(last) => last.to = last.to.max(range.to),
            None => merged.push(range),
        }
    }
    debug_assert!(merged.windows(2).all(|pair| pair[0].to < pair[1].from), "ranges are apart");
    merged
}

fn grpc(context: &mut Context<'_>, item: &Item<'_>) -> Option<Signal> {
    let items = item.not_empty(context);
    let codes = value::parse_unique(context, &items, |context, item| {
        if item.is_text()
            && let Some(text) = item.text(context)
            && !GRPC_STATUSES.contains(&&*text)
            && let Some(name) = grpc_name(&text.to_ascii_lowercase())
        {
            let finding = Finding::error("unknown-word", text.span, format!("`grpc` cannot be `{}`", &*text));
            context.report(finding.help(format!("did you mean `{name}`?")));
            return None;
        }
        item.word(context, &GRPC_STATUSES)
    });
    let bits = codes.iter().fold(0, |bits, at| bits | 1 << (at + 1));
    (bits != 0).then_some(Signal::Grpc(bits))
}

/// The name of a gRPC status, from `grpc:internal`, `INTERNAL` or `13`.
fn grpc_name(text: &str) -> Option<&'static str> {
    let plain = text.trim_start_matches("grpc:").trim_start_matches("grpc_").replace('-', "_");
    let by_code = || plain.parse::<usize>().ok().and_then(|code| GRPC_STATUSES.get(code.checked_sub(1)?));
    GRPC_STATUSES.iter().find(|name| **name == plain).or_else(by_code).copied()
}

fn event(context: &mut Context<'_>, item: &Item<'_>) -> Option<Signal> {
    let text = item.text(context)?;
    value::name(context, &text, text.span).then(|| Signal::Event(text.to_string()))
}

/// A duration, or a quantile of stable's times.
fn slower_than(context: &mut Context<'_>, item: &Item<'_>) -> Option<SlowThreshold> {
    const THRESHOLD: &str =
        "write a duration such as `250ms`, or `p99(stable, 10m)`: a quantile of stable's times, and over how long";
    if !item.is_text() {
        item.mismatch_with_help(context, "a string", THRESHOLD);
        return None;
    }
    let text = item.text(context)?;
    if let Some(fixed) = parse_duration(&text) {
        return within(context, &text, fixed, &FIXED).map(SlowThreshold::Fixed);
    }
    let Some((quantile, over)) = quantile(&text) else {
        let finding = Finding::error("bad-threshold", text.span, format!("`{}` is not a threshold", &*text));
        let digits = text.strip_prefix(['p', 'P']).filter(|digits| is_quantile(digits));
        let meant = digits.map(|digits| format!("did you mean `p{digits}(stable, 10m)`?"));
        context.report(finding.help(THRESHOLD).maybe_help(meant));
        return None;
    };
    let over = within(context, &text, over, &OVER)?;
    Some(SlowThreshold::OfStable { quantile, over })
}

/// A range of times.
struct TimeBounds {
    least: Duration,
    most: Duration,
    /// The range in words.
    words: &'static str,
}

/// The duration, if it is in its range.
fn within(
    context: &mut Context<'_>,
    text: &SpannedString<'_>,
    duration: Duration,
    bounds: &TimeBounds,
) -> Option<Duration> {
    if (bounds.least..=bounds.most).contains(&duration) {
        return Some(duration);
    }
    let words = bounds.words;
    context.report(Finding::error("out-of-range", text.span, format!("`slower_than` must be {words}")));
    None
}

/// `p99(stable, 10m)`.
fn quantile(text: &str) -> Option<(f64, Duration)> {
    let (digits, rest) = text.strip_prefix('p')?.split_once('(')?;
    let (arm, over) = rest.strip_suffix(')')?.split_once(',')?;
    if arm.trim() != "stable" || !is_quantile(digits) {
        return None;
    }
    // `99.9` is 0.999, digit by digit.
    let quantile = format!("0.{}", digits.replace('.', "")).parse().ok()?;
    Some((quantile, parse_duration(over.trim())?))
}

/// Whether the digits are 50 to 99.9, with at most one decimal.
fn is_quantile(digits: &str) -> bool {
    let (whole, decimal) = digits.split_once('.').unwrap_or((digits, "0"));
    let digits = |text: &str, len: usize| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    digits(whole, 2) && digits(decimal, 1) && whole >= "50"
}
