//! `[[rollout.NAME.stage.gate]]`: questions to other programs before a stage is left.

use std::time::Duration;

use super::client_tls::{Owner, SystemRoots, WEBHOOK_TLS};
use super::http_target::{self, DurationBounds, HEADERS, ShownTarget, TIMEOUT_KEY};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::spec::{DURATION, KeySpec, Shape, TableSpec, default, optional, required};
use crate::route::{Gate, HttpTarget};

/// The longest query, in bytes.
const QUERY_BYTES_MAX: usize = 4_096;

/// How often a program is asked, where the file does not say it.
const EVERY: Duration = Duration::from_secs(30);

const EVERY_KEY: KeySpec = default("every", Shape::Pattern(DURATION), "\"30s\"", "How often it is asked, 1s to 1h.");

/// `every` of a question.
pub(super) const EVERY_BOUNDS: DurationBounds =
    DurationBounds { least: Duration::from_secs(1), most: Duration::from_hours(1), words: "1s to 1h" };

/// `[[rollout.NAME.stage.gate]]`.
pub(super) const GATE: TableSpec = TableSpec {
    title: "[[rollout.NAME.stage.gate]]",
    doc: "A question to another program, which must be answered well before the stage is left: exactly one of these keys.",
    keys: &[
        optional(
            "webhook",
            Shape::Table(&WEBHOOK),
            "A program that answers 2xx with `{\"pass\": true, \"reason\": \"…\"}`.",
        ),
        optional("prometheus", Shape::Table(&QUERY), "A query of Prometheus, with bounds for its value."),
    ],
    later: &[],
};

/// `webhook` of a gate.
const WEBHOOK: TableSpec = TableSpec {
    title: "[rollout.NAME.stage.gate.webhook]",
    doc: "A program that is asked by a POST.",
    keys: &[
        required("url", Shape::Text, "URL, `http://` or `https://`."),
        EVERY_KEY,
        TIMEOUT_KEY,
        HEADERS,
        optional("tls", Shape::Table(&WEBHOOK_TLS), "How an `https://` URL is verified."),
    ],
    later: &[],
};

/// `prometheus` of a gate.
const QUERY: TableSpec = TableSpec {
    title: "[rollout.NAME.stage.gate.prometheus]",
    doc: "A query of Prometheus, whose value must be within bounds.",
    keys: &[
        required("query", Shape::Text, "Query in PromQL that has one value."),
        optional("max", NUMBER, "Largest value that passes."),
        optional("min", NUMBER, "Smallest value that passes."),
        EVERY_KEY,
    ],
    later: &[],
};

/// A number of any size.
pub(super) const NUMBER: Shape = Shape::Number(i64::MIN, i64::MAX);

/// Whether there is a `[prometheus]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum PrometheusTable {
    Given,
    Missing,
}

/// What gates need to know.
pub(super) struct GateContext<'a, 'd> {
    pub(super) rollout: &'d str,
    pub(super) prometheus: PrometheusTable,
    pub(super) system: &'a mut SystemRoots,
}

/// A gate, with the place of its webhook.
pub(super) struct ReadGate {
    pub(super) gate: Gate,
    pub(super) target: Option<HttpTarget>,
}

/// Compiles one gate.
pub(super) fn gate(context: &mut Context<'_>, reader: &Reader<'_>, of: &mut GateContext<'_, '_>) -> Option<ReadGate> {
    let (webhook, prometheus) = (reader.get("webhook"), reader.get("prometheus"));
    reader.finish(context);
    match (webhook, prometheus) {
        (Some(item), None) => self::webhook(context, &item, of),
        (None, Some(item)) => query(context, &item, of).map(|gate| ReadGate { gate, target: None }),
        (Some(_), Some(_)) => {
            let message = "a gate cannot have both `webhook` and `prometheus`";
            let finding = Finding::error("ambiguous", reader.place("prometheus"), message);
            let help = "write a `[[rollout.NAME.stage.gate]]` for each: all of them must pass";
            context.report(finding.also(reader.place("webhook"), "").help(help));
            None
        }
        (None, None) => {
            if !["webhook", "prometheus"].iter().any(|key| reader.misspells(context, key)) {
                let finding = Finding::error("missing-key", reader.span(), "this gate asks nothing");
                let help = "add `webhook = { url = \"…\" }` or `prometheus = { query = \"…\", max = 0.2 }`";
                context.report(finding.help(help));
            }
            None
        }
    }
}

fn webhook(context: &mut Context<'_>, item: &Item<'_>, of: &mut GateContext<'_, '_>) -> Option<ReadGate> {
    let reader = item.table(context, &WEBHOOK)?.with_name(of.rollout);
    let every = http_target::bounded(context, &reader, "every", &EVERY_BOUNDS).unwrap_or(EVERY);
    let found = http_target::target(context, &Owner::webhook(&reader, of.rollout), of.system);
    reader.finish(context);
    let ShownTarget { target, shown } = found?;
    let gate = Gate::Webhook { url: shown, every_ms: millis(every), timeout_ms: millis(target.timeout) };
    Some(ReadGate { gate, target: Some(target) })
}

fn query(context: &mut Context<'_>, item: &Item<'_>, of: &GateContext<'_, '_>) -> Option<Gate> {
    let reader = item.table(context, &QUERY)?.with_name(of.rollout);
    let query = query_text(context, &reader);
    let (max, min) = (number(context, &reader, "max"), number(context, &reader, "min"));
    let every = http_target::bounded(context, &reader, "every", &EVERY_BOUNDS).unwrap_or(EVERY);
    reader.finish(context);
    need_prometheus(context, item, of.prometheus);
    if reader.get("max").is_none() && reader.get("min").is_none() {
        if !["max", "min"].iter().any(|key| reader.misspells(context, key)) {
            let finding = Finding::error("missing-key", reader.span(), "this query passes with any value");
            context.report(finding.help("add `max = 0.2`, `min = 1`, or both"));
        }
        return None;
    }
    if let (Some(max), Some(min)) = (max, min)
        && min > max
    {
        let message = format!("no value is at least {min} and at most {max}");
        let finding = Finding::error("out-of-range", reader.place("min"), message);
        context.report(finding.also(reader.place("max"), "").help("write a `min` that is not above `max`"));
        return None;
    }
    Some(Gate::Prometheus { query: query?, max, min, every_ms: millis(every) })
}

/// The query of a gate or guard.
pub(super) fn query_text(context: &mut Context<'_>, reader: &Reader<'_>) -> Option<String> {
    let text = reader.require(context, "query").and_then(|item| item.shown_text(context))?;
    if text.trim().is_empty() || text.len() > QUERY_BYTES_MAX {
        let message = format!("a query has 1 to {QUERY_BYTES_MAX} bytes");
        let finding = Finding::error("bad-query", text.span, message);
        context.report(finding.help("write PromQL that has one value, such as `sum(rate(payment_failures[5m]))`"));
        return None;
    }
    Some(text.to_string())
}

/// Reports a query without a `[prometheus]` to ask.
pub(super) fn need_prometheus(context: &mut Context<'_>, item: &Item<'_>, prometheus: PrometheusTable) {
    if prometheus == PrometheusTable::Missing {
        let message = "there is no `[prometheus]` to ask this query";
        let finding = Finding::error("no-prometheus", item.span(), message);
        context.report(finding.help("add `[prometheus]` with `url = \"http://prometheus:9090\"`"));
    }
}

/// The finite number of a key.
pub(super) fn number(context: &mut Context<'_>, reader: &Reader<'_>, key: &'static str) -> Option<f64> {
    let item = reader.get(key)?;
    let parsed = |digits: &str| digits.parse::<f64>().ok().filter(|number| number.is_finite());
    let Some(digits) = item.digits() else {
        item.mismatch_number(context, "a number", |digits| parsed(digits).is_some());
        return None;
    };
    let number = parsed(digits);
    if number.is_none() {
        item.refuse(context, "out-of-range", format!("`{key}` must be a finite number"));
    }
    number
}

/// In milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
