//! `[upstream.NAME.health]`: active checks of endpoints.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

use super::http_target::{DurationBounds, bounded};
use super::{action, rewrite};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{DURATION, Shape, TableSpec, default, optional};
use crate::config::toml::value;
use crate::route::{EndpointSpec, GrpcProbe, HealthCheck, HealthProbe, HttpProbe, Protocol};

/// The statuses that `expect` can name.
const STATUSES: RangeInclusive<u16> = 100..=599;

/// The good statuses, where the file does not name them.
const GOOD: RangeInclusive<u16> = 200..=399;

/// How often a result must come in a row.
const IN_A_ROW: Shape = Shape::Integer(1, 100);

/// The longest path, in bytes.
const PATH_BYTES_MAX: usize = 2_048;

/// The headers that a check sets itself.
const OWN: [&str; 3] = ["content-type", "grpc-encoding", "grpc-timeout"];

const WHAT: &str =
    "write `path = \"/healthz\"` for HTTP, `grpc = true` for gRPC, or `tcp = true` for a connection only";

/// `[upstream.NAME.health]`.
pub(super) const HEALTH: TableSpec = TableSpec {
    title: "[upstream.NAME.health]",
    doc: "Active checks of the endpoints: exactly one of `path`, `grpc` and `tcp`.",
    keys: &[
        optional(
            "path",
            Shape::Pattern("^/|\\$\\{"),
            "Path and query of a `GET` request; `expect` has the good statuses.",
        ),
        optional(
            "grpc",
            Shape::Boolean,
            "`true`: calls `grpc.health.v1.Health/Check` over HTTP/2; only `SERVING` is good.",
        ),
        optional(
            "tcp",
            Shape::Boolean,
            "`true`: opens a connection and closes it; for `https://` endpoints with the TLS handshake.",
        ),
        optional("service", Shape::Text, "Service that `grpc` asks for; default: the server as a whole."),
        default(
            "interval",
            Shape::Pattern(DURATION),
            "\"5s\"",
            "Time between two checks of an endpoint, 250ms to 1h; it varies by a tenth.",
        ),
        default("timeout", Shape::Pattern(DURATION), "\"1s\"", "Time limit of a check, 1ms to 60s."),
        default("healthy", IN_A_ROW, "2", "Good checks in a row after which an endpoint is healthy."),
        default("unhealthy", IN_A_ROW, "3", "Bad checks in a row after which an endpoint gets no new request."),
        default(
            "expect",
            Shape::OneOrMore(&Shape::Either(&[
                Shape::Pattern(r"^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$|\$\{"),
                Shape::Integer(100, 599),
            ])),
            "[\"200-399\"]",
            "Good statuses of `path`, such as `200` and `\"200-399\"`. A redirect is not followed.",
        ),
        optional("host", Shape::Text, "`Host` of the check; default: that of the endpoint."),
        optional("headers", Shape::Map(&Shape::Text), "Further headers of the check."),
        optional("port", Shape::Integer(1, 65_535), "Port of the checks; default: that of the endpoint."),
    ],
    later: &[],
};

/// Compiles `[upstream.NAME.health]` of the upstream with this name.
pub(super) fn health(
    context: &mut Context<'_>,
    upstream: &Reader<'_>,
    name: &str,
    endpoints: &[EndpointSpec],
) -> Option<HealthCheck> {
    let reader = upstream.table(context, "health", &HEALTH)?.with_name(name);
    let probe = probe(context, &reader);
    let bounds =
        DurationBounds { least: Duration::from_millis(250), most: Duration::from_hours(1), words: "250ms to 1h" };
    let interval = bounded(context, &reader, "interval", &bounds).unwrap_or(Duration::from_secs(5));
    let bounds = DurationBounds { least: Duration::from_millis(1), most: Duration::from_mins(1), words: "1ms to 60s" };
    let timeout = bounded(context, &reader, "timeout", &bounds).unwrap_or(Duration::from_secs(1));
    let healthy = reader.count(context, "healthy").unwrap_or(2);
    let unhealthy = reader.count(context, "unhealthy").unwrap_or(3);
    let port = reader.integer(context, "port").and_then(|port| u16::try_from(port).ok());
    reader.finish(context);
    if timeout > interval {
        let at = if reader.get("timeout").is_some() { reader.place("timeout") } else { reader.place("interval") };
        let message = "`timeout` is above `interval`: while a check waits, the next one does not begin";
        let finding = Finding::warning("slow-check", at, message);
        context.report(finding.help("write a `timeout` below `interval`, so that a dead endpoint is noticed in time"));
    }
    let probe = probe?;
    warn_of_http1(context, &reader, &probe, endpoints);
    Some(HealthCheck { probe, interval, timeout, healthy, unhealthy, port })
}

/// What is asked. All keys are read, so that all errors are found.
fn probe(context: &mut Context<'_>, reader: &Reader<'_>) -> Option<HealthProbe> {
    let errors = context.errors();
    let path = reader.get("path");
    let is_on = |context: &mut Context<'_>, key| reader.get(key).and_then(|item| item.boolean(context)) == Some(true);
    let (grpc, tcp) = (is_on(context, "grpc"), is_on(context, "tcp"));
    let given: Vec<&str> =
        [("path", path.is_some()), ("grpc", grpc), ("tcp", tcp)].iter().filter(|one| one.1).map(|one| one.0).collect();
    let path = path.and_then(|item| item.text(context)).and_then(|text| request_path(context, &text));
    let service = reader.text(context, "service").map(|text| text.to_string());
    let expect = reader.get("expect").map(|item| statuses(context, &item));
    let host = reader.text(context, "host").and_then(|text| rewrite::authority(context, &text));
    let headers = headers(context, reader);
    let kind = match given[..] {
        [one] => one,
        [] if ["path", "grpc", "tcp"].iter().any(|key| reader.misspells(context, key)) || errors < context.errors() => {
            return None;
        }
        [] => {
            let message = format!("{} does not say what is checked", reader.title());
            context.report(Finding::error("missing-key", reader.span(), message).help(WHAT));
            return None;
        }
        [first, second, ..] => {
            let message = format!("a check cannot have both `{first}` and `{second}`");
            let finding = Finding::error("ambiguous", reader.place(second), message).also(reader.place(first), "");
            context.report(finding.help(WHAT));
            return None;
        }
    };
    refuse_useless(context, reader, kind);
    match kind {
        "path" => {
            let expect = expect.unwrap_or_else(|| vec![GOOD]);
            Some(HealthProbe::Http(HttpProbe { path: path?, host, headers, expect }))
        }
        "grpc" => Some(HealthProbe::Grpc(GrpcProbe { service: service.unwrap_or_default(), host, headers })),
        _ => Some(HealthProbe::Tcp),
    }
}

/// Refuses keys that have no effect for this kind of check.
fn refuse_useless(context: &mut Context<'_>, reader: &Reader<'_>, kind: &str) {
    let useless: &[&str] = match kind {
        "path" => &["service"],
        "grpc" => &["expect"],
        _ => &["service", "expect", "host", "headers"],
    };
    for key in useless.iter().filter(|key| reader.place(key) != reader.span()) {
        let message = format!("`{key}` has no effect in a check with `{kind}`");
        context.report(Finding::error("useless-key", reader.place(key), message));
    }
}

/// The path of a check.
fn request_path(context: &mut Context<'_>, text: &SpannedString<'_>) -> Option<String> {
    let is_valid = |text: &str| {
        text.starts_with('/')
            && !text.contains('#')
            && text.len() <= PATH_BYTES_MAX
            && text.parse::<PathAndQuery>().is_ok()
    };
    if is_valid(text) {
        return Some(text.to_string());
    }
    let message = if text.starts_with('/') {
        format!(
            "this is not a path: it has at most {PATH_BYTES_MAX} bytes, and no spaces, no `#` and no letters beyond ASCII"
        )
    } else {
        "the path of a check begins with `/`".to_owned()
    };
    let after_host = text.split_once("://").map(|(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
    let meant = after_host.map_or_else(|| format!("/{}", &**text), str::to_owned);
    let help = (is_valid(&meant) && meant.len() <= 60).then(|| format!("write `path = \"{meant}\"`"));
    context.report(Finding::error("bad-path", text.span, message).maybe_help(help));
    None
}

fn headers(context: &mut Context<'_>, reader: &Reader<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let mut all = Vec::new();
    for named in reader.get("headers").map(|item| item.map(context)).unwrap_or_default() {
        let name = header(context, named.name, named.span);
        let text = named.item.text(context).and_then(|text| value::header_value(context, &text));
        all.extend(name.zip(text).map(|(name, mut text)| {
            text.set_sensitive(true);
            (name, text)
        }));
    }
    all
}

fn header(context: &mut Context<'_>, name: &str, at: Span) -> Option<HeaderName> {
    let name = action::own_header(context, name, at)?;
    if name == http::header::HOST {
        let finding = Finding::error("bad-header", at, "`host` has a key of its own");
        context.report(finding.help("write `host = \"…\"` beside `headers`"));
        return None;
    }
    if OWN.contains(&name.as_str()) {
        context.report(Finding::error("bad-header", at, format!("`{name}` is set by Pointsman and cannot be changed")));
        return None;
    }
    Some(name)
}

/// The good statuses.
fn statuses(context: &mut Context<'_>, item: &Item<'_>) -> Vec<RangeInclusive<u16>> {
    let items = item.one_or_more();
    if items.is_empty() {
        let finding = Finding::error("empty-list", item.span(), "`expect` is empty, so that no answer would be good");
        context.report(finding.help("remove it: then 200 to 399 are good"));
    }
    items.iter().filter_map(|item| status_range(context, item)).collect()
}

fn status_range(context: &mut Context<'_>, item: &Item<'_>) -> Option<RangeInclusive<u16>> {
    const HELP: &str = "write `200`, `\"200-299\"`, or a list of these, within 100 to 599";
    if !item.is_text() {
        if item.digits().is_none() {
            item.mismatch_with_help(context, "a status or a range such as `\"200-399\"`", HELP);
            return None;
        }
        let status = item.integer(context, 100..=599).and_then(|status| u16::try_from(status).ok())?;
        return Some(status..=status);
    }
    let text = item.text(context)?;
    let (from, to) = text.split_once('-').unwrap_or((&text, &text));
    let status = |text: &str| text.trim().parse::<u16>().ok().filter(|status| STATUSES.contains(status));
    let class = |text: &str| {
        let digit = text.strip_suffix("xx").filter(|digit| matches!(*digit, "1" | "2" | "3" | "4" | "5"))?;
        Some(format!("write `\"{digit}00-{digit}99\"`"))
    };
    match (status(from), status(to)) {
        (Some(from), Some(to)) if from <= to => Some(from..=to),
        (Some(from), Some(to)) => {
            let message = format!("the range {from}-{to} is empty: its first status is above its last one");
            let finding = Finding::error("out-of-range", text.span, message);
            context.report(finding.help(format!("write `\"{to}-{from}\"`")));
            None
        }
        (None, _) | (_, None) => {
            let message = format!("`{}` is not a status or a range of statuses", &*text);
            let help = class(&text.to_ascii_lowercase()).unwrap_or_else(|| HELP.to_owned());
            context.report(Finding::error("bad-status", text.span, message).help(help));
            None
        }
    }
}

/// Warns of gRPC checks of endpoints that get HTTP/1.1.
fn warn_of_http1(context: &mut Context<'_>, reader: &Reader<'_>, probe: &HealthProbe, endpoints: &[EndpointSpec]) {
    let http1 = endpoints.iter().find(|endpoint| endpoint.protocol == Protocol::Http1);
    let (HealthProbe::Grpc(_), Some(endpoint)) = (probe, http1) else { return };
    let message = format!("gRPC needs HTTP/2, but `{}` gets HTTP/1.1: its checks will fail", endpoint.url());
    let finding = Finding::warning("grpc-over-http1", reader.place("grpc"), message);
    context.report(finding.help("write `h2c://` or `https://` in `endpoints`, or check a `path` or `tcp`"));
}
