//! `[route.retry]` and `rescue`: which failed tries are repeated, and for which requests.

use http::Method;

use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{SIZE, Shape, TableSpec, default};
use crate::config::toml::suggest::did_you_mean;
use crate::config::toml::value;
use crate::route::{Rescue, RetryCondition, RetryConditions, RetryMethods, RetryPolicy};

/// The highest `body_buffer`, in bytes.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// The statuses after which a request can be tried again.
const STATUSES: std::ops::RangeInclusive<u16> = 400..=599;

/// All statuses of the server.
const SERVER_ERRORS: &str = "5xx";

/// One or more conditions.
const CONDITIONS: Shape = Shape::OneOrMore(&Shape::Either(&[
    Shape::Pattern(
        r"^(connect|refused_stream|reset_before_head|timeout|[45][0-9][0-9]|5xx|grpc:(cancelled|unknown|invalid_argument|deadline_exceeded|not_found|already_exists|permission_denied|resource_exhausted|failed_precondition|aborted|out_of_range|unimplemented|internal|unavailable|data_loss|unauthenticated))$|\$\{",
    ),
    Shape::Integer(400, 599),
]));

/// One or more methods.
const METHODS: Shape = Shape::OneOrMore(&Shape::Pattern("^[A-Z]+$|\\$\\{"));

/// The default of `methods`.
const IDEMPOTENT: &str = r#"["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]"#;

/// `[route.retry]`.
pub(super) const RETRY: TableSpec = TableSpec {
    title: "[route.retry]",
    doc: "When a request is tried again at another endpoint of its upstream.",
    keys: &[
        default(
            "attempts",
            Shape::Integer(0, 10),
            "1",
            "Further tries after the request was sent; those after `connect` and `refused_stream` are outside this number.",
        ),
        default(
            "on",
            CONDITIONS,
            r#"["connect", "refused_stream", "reset_before_head", "timeout", "502", "503", "504"]"#,
            "Failures after which a request is tried again: these words, a status from 400 to 599, `5xx` for all from 500 \
             to 599, or `grpc:STATUS`; `[]`: none.",
        ),
        default(
            "methods",
            METHODS,
            IDEMPOTENT,
            "Methods that are tried again after they were sent; `connect` and `refused_stream` hold for every method.",
        ),
        default(
            "body_buffer",
            Shape::Pattern(SIZE),
            "\"64KiB\"",
            "Largest request body that is kept for another try, at most 1MiB; a request with a longer body is not repeated.",
        ),
    ],
    later: &[],
};

/// `rescue = { … }` of a variant.
pub(super) const RESCUE: TableSpec = TableSpec {
    title: "rescue",
    doc: "When stable answers instead of the variant.",
    keys: &[
        default(
            "on",
            CONDITIONS,
            "[\"connect\"]",
            "Failures after which stable answers; the words are those of `retry.on`. `connect`: no endpoint of the variant \
             accepts a connection, and nothing was sent.",
        ),
        default(
            "methods",
            METHODS,
            IDEMPOTENT,
            "Methods for which stable answers after the variant got the request; `connect` and `refused_stream` hold for \
             every method.",
        ),
    ],
    later: &[],
};

/// Help for an invalid `rescue`.
const RESCUE_HELP: &str = "write `rescue = false`, so that stable never answers, or `rescue = { on = [\"connect\"] }`";

/// Words of other proxies for conditions, and ours.
const FOREIGN: &[(&str, &str)] = &[
    ("connect_failure conn_failure connection_failure refused error", "`connect`"), // Envoy, HAProxy, nginx
    ("reset reset_before_request empty_response junk_response invalid_header invalid_response", "`reset_before_head`"),
    ("response_timeout timed_out per_try_timeout", "`timeout`"),
    ("gateway_error", "`502`, `503` and `504`"),
    ("retriable_4xx 4xx", "single statuses, such as `409` and `429`"),
    ("all_retryable_errors server_error http_5xx", "`connect`, `reset_before_head` and `5xx`"),
];

/// Compiles `[route.retry]`.
pub(in crate::config) fn retry(context: &mut Context<'_>, reader: &Reader<'_>) -> RetryPolicy {
    let defaults = RetryPolicy::default();
    let Some(reader) = reader.table(context, "retry", &RETRY) else { return defaults };
    let attempts = reader.count(context, "attempts").unwrap_or(defaults.attempts);
    let on = reader.get("on").map_or(defaults.on, |item| conditions(context, &item));
    let methods = methods(context, &reader);
    let body = reader.get("body_buffer").and_then(|item| value::size(context, &item, 0..=BODY_BYTES_MAX));
    let body_buffer = body.and_then(|bytes| u32::try_from(bytes).ok()).unwrap_or(defaults.body_buffer);
    reader.finish(context);
    if attempts > 0 {
        warn_of_repetition(context, reader.place("methods"), &on, &methods);
    }
    RetryPolicy { attempts, on, methods, body_buffer }
}

/// Compiles `rescue`: `false`, or a table.
pub(super) fn rescue(context: &mut Context<'_>, item: &Item<'_>) -> Rescue {
    if !item.is_table() {
        if !item.is_boolean() {
            item.mismatch_with_help(context, "`false` or a table", RESCUE_HELP);
            return Rescue::default();
        }
        return if item.boolean(context) == Some(false) { Rescue::off() } else { Rescue::default() };
    }
    let defaults = Rescue::default();
    let Some(reader) = item.table(context, &RESCUE) else { return defaults };
    let on = reader.get("on");
    if let Some(item) = on.filter(|item| item.one_or_more().is_empty()) {
        item.refuse(context, "empty-list", "`on` is empty: to turn it off, write `rescue = false`");
    }
    let on = on.map_or(defaults.on, |item| conditions(context, &item));
    let methods = methods(context, &reader);
    reader.finish(context);
    warn_of_repetition(context, reader.place("methods"), &on, &methods);
    Rescue { on, methods }
}

/// The conditions of `on`.
fn conditions(context: &mut Context<'_>, item: &Item<'_>) -> RetryConditions {
    let all = value::parse_unique(context, &item.one_or_more(), |context, item| {
        if !item.is_text() && item.digits().is_some() {
            let number = item.integer(context, i64::MIN..=i64::MAX)?;
            let status = u16::try_from(number).ok().filter(|status| STATUSES.contains(status));
            if status.is_none() {
                refuse_status(context, item);
            }
            return status.map(|status| vec![RetryCondition::Status(status)]);
        }
        let text = item.text(context)?;
        let found = condition(&text);
        if found.is_none() && text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
            refuse_status(context, item);
        } else if found.is_none() {
            let message = format!("`{}` cannot be `{}`", item.key, &*text);
            context.report(Finding::error("unknown-word", text.span, message).help(suggestion(&text)));
        }
        found
    });
    all.into_iter().flatten().collect()
}

fn refuse_status(context: &mut Context<'_>, item: &Item<'_>) {
    let message = format!("a status in `{}` must be {} to {}", item.key, STATUSES.start(), STATUSES.end());
    item.refuse(context, "out-of-range", message);
}

/// The conditions of a word.
fn condition(word: &str) -> Option<Vec<RetryCondition>> {
    if word == SERVER_ERRORS {
        return Some((500..=599).map(RetryCondition::Status).collect());
    }
    if word.len() == 3 && word.bytes().all(|b| b.is_ascii_digit()) {
        let status = word.parse().ok().filter(|status| STATUSES.contains(status));
        return status.map(|status| vec![RetryCondition::Status(status)]);
    }
    let mut named = RetryCondition::PLAIN.into_iter().chain(RetryCondition::every_grpc());
    named.find(|condition| condition.to_string() == word).map(|condition| vec![condition])
}

/// Help for an unknown condition: its word here, the nearest one, or all.
fn suggestion(text: &SpannedString<'_>) -> String {
    let plain = text.to_ascii_lowercase().replace('-', "_");
    if let Some(help) = foreign(&plain) {
        return help;
    }
    let grpc: Vec<String> = RetryCondition::every_grpc().map(|condition| condition.to_string()).collect();
    let words: Vec<String> = RetryCondition::PLAIN.iter().map(ToString::to_string).collect();
    let mut known: Vec<&str> = words.iter().map(String::as_str).chain([SERVER_ERRORS]).collect();
    if plain.starts_with("grpc") {
        known.extend(grpc.iter().map(String::as_str));
        let code = plain.rsplit([':', '_']).next().and_then(|code| code.parse::<usize>().ok());
        if let Some(name) = code.and_then(|code| grpc.get(code.checked_sub(1)?)) {
            return format!("did you mean `{name}`?");
        }
    }
    if let Some(help) = did_you_mean(text, known.into_iter()) {
        return help;
    }
    // A status of gRPC without its prefix.
    let names = grpc.iter().map(|name| name.trim_start_matches("grpc:"));
    if let Some(at) = names.clone().position(|name| name == plain) {
        return format!("did you mean `{}`?", grpc[at]);
    }
    let statuses: Vec<String> = names.map(|name| format!("`grpc:{name}`")).collect();
    if plain.starts_with("grpc:") {
        return format!("the statuses of gRPC are {}", statuses.join(", "));
    }
    "write `connect`, `refused_stream`, `reset_before_head`, `timeout`, a status from `400` to `599`, `5xx`, or a status \
     of gRPC such as `grpc:unavailable`"
        .to_owned()
}

/// Help for a word of another proxy, in lower case and with `_` for `-`.
fn foreign(word: &str) -> Option<String> {
    let status = word.strip_prefix("http_").filter(|status| condition(status).is_some());
    let listed = FOREIGN.iter().find(|(words, _)| words.split(' ').any(|known| known == word));
    status.map(|status| format!("write `{status}`")).or(listed.map(|(_, ours)| format!("write {ours}")))
}

fn methods(context: &mut Context<'_>, reader: &Reader<'_>) -> RetryMethods {
    let Some(item) = reader.get("methods") else { return RetryMethods::idempotent() };
    let items = item.one_or_more();
    if items.is_empty() {
        let finding = Finding::error("empty-list", item.span(), "`methods` is empty");
        let help = "to repeat only requests that no endpoint processed, write `on = [\"connect\", \"refused_stream\"]`";
        context.report(finding.help(help));
    }
    RetryMethods::new(value::parse_unique(context, &items, value::any_method))
}

/// Warns of methods whose requests may be processed twice.
fn warn_of_repetition(context: &mut Context<'_>, at: Span, on: &RetryConditions, methods: &RetryMethods) {
    let idempotent = RetryMethods::idempotent();
    let risky: Vec<&Method> = methods.all().iter().filter(|method| !idempotent.contains(method)).collect();
    // `grpc:STATUS` is the answer of a service: the file names the ones after which its calls may be repeated.
    let is_risky =
        |condition: &RetryCondition| !condition.is_unprocessed() && !matches!(condition, RetryCondition::Grpc(_));
    let after: RetryConditions = on.all().filter(is_risky).collect();
    if risky.is_empty() || after.is_empty() {
        return;
    }
    let listed: Vec<String> = risky.iter().map(|method| format!("`{method}`")).collect();
    let (verb, listed) = (if risky.len() == 1 { "is" } else { "are" }, listed.join(", "));
    let message =
        format!("{listed} {verb} not idempotent: a request that is repeated after {after} may be processed twice");
    let known = || idempotent.all().iter().map(Method::as_str).chain(["POST", "PATCH", "CONNECT"]);
    let mut unknown = risky.iter().filter(|method| known().all(|known| known != method.as_str()));
    let meant = unknown.find_map(|method| did_you_mean(method.as_str(), known()));
    let help = "keep only methods that are safe to repeat, or only `connect` and `refused_stream` in `on`";
    context.report(Finding::warning("repeats-requests", at, message).help(help).maybe_help(meant));
}
