//! `[upstream.NAME.outlier]` and `[upstream.NAME.retry_budget]`: ejection of endpoints that fail, and the limit on
//! further tries.

use std::time::Duration;

use super::route_context::DefinedUpstreams;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::reader::Reader;
use crate::config::toml::registry::Registry;
use crate::config::toml::spec::{DURATION, Shape, TableSpec, default};
use crate::config::toml::value;
use crate::route::{EndpointHost, EndpointSpec, OutlierSettings, RetryBudgetSettings, Route, UpstreamId};

/// The range of `base_ejection`.
const EJECTION: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// `[upstream.NAME.outlier]`.
pub(super) const OUTLIER: TableSpec = TableSpec {
    title: "[upstream.NAME.outlier]",
    doc: "When an endpoint that fails gets no requests for a while.",
    keys: &[
        default(
            "consecutive_failures",
            Shape::Integer(0, 1_000),
            "5",
            "Failures in a row after which an endpoint is ejected; 0: off.",
        ),
        default(
            "failure_percent",
            Shape::Integer(0, 100),
            "0",
            "Also eject at this share of failures within 10 s, in percent of at least 20 requests; 0: off.",
        ),
        default(
            "base_ejection",
            Shape::Pattern(DURATION),
            "\"30s\"",
            "Time of the first ejection, 1s to 300s; it doubles with each ejection in a row, up to 300s.",
        ),
        default(
            "max_ejected_percent",
            Shape::Integer(1, 100),
            "50",
            "Most endpoints, in percent, that are ejected because they answer badly; at least one where there are two or \
             more, never the last.",
        ),
        default(
            "panic_percent",
            Shape::Integer(0, 50),
            "0",
            "Below this share of usable endpoints, in percent, all endpoints serve; 0: while one is usable, only usable \
             ones serve.",
        ),
        default("any_5xx", Shape::Boolean, "false", "Every 5xx response is a failure, not only 502, 503 and 504."),
    ],
    later: &[],
};

/// `[upstream.NAME.retry_budget]`.
pub(super) const RETRY_BUDGET: TableSpec = TableSpec {
    title: "[upstream.NAME.retry_budget]",
    doc: "Limit on further tries within 10 s: a share of the requests, and a number for each second.",
    keys: &[
        default("ratio", Shape::Number(0, 1), "0.2", "Further tries, as a share of the requests of the last 10 s."),
        default("min_per_second", Shape::Integer(0, 1_000), "3", "Further tries a second besides, whatever the load."),
    ],
    later: &[],
};

/// Compiles `[upstream.NAME.outlier]` of the upstream with this name.
pub(super) fn outlier(
    context: &mut Context<'_>,
    upstream: &Reader<'_>,
    name: &str,
    endpoints: &[EndpointSpec],
) -> OutlierSettings {
    let defaults = OutlierSettings::default();
    let Some(reader) = upstream.table(context, "outlier", &OUTLIER) else { return defaults };
    let reader = reader.with_name(name);
    let consecutive_failures = reader.count(context, "consecutive_failures").unwrap_or(defaults.consecutive_failures);
    let failure_percent = reader.count(context, "failure_percent").unwrap_or(defaults.failure_percent);
    let settings = OutlierSettings {
        consecutive_failures,
        failure_percent,
        base_ejection: base_ejection(context, &reader).unwrap_or(defaults.base_ejection),
        max_ejected_percent: max_ejected(context, &reader).unwrap_or(defaults.max_ejected_percent),
        panic_percent: reader.count(context, "panic_percent").unwrap_or(defaults.panic_percent),
        any_5xx: reader.get("any_5xx").and_then(|item| item.boolean(context)).unwrap_or(defaults.any_5xx),
    };
    reader.finish(context);
    warn_of_lone_endpoint(context, upstream, name, settings, endpoints);
    settings
}

fn base_ejection(context: &mut Context<'_>, reader: &Reader<'_>) -> Option<Duration> {
    let item = reader.get("base_ejection")?;
    let duration = value::duration(context, &item)?;
    if duration < EJECTION.0 || duration > EJECTION.1 {
        item.refuse(context, "out-of-range", "`base_ejection` must be 1s to 300s");
        return None;
    }
    Some(duration)
}

fn max_ejected(context: &mut Context<'_>, reader: &Reader<'_>) -> Option<u32> {
    let item = reader.get("max_ejected_percent")?;
    if item.digits() == Some("0") {
        let finding = Finding::error("out-of-range", item.span(), "`max_ejected_percent` must be 1 to 100");
        context.report(finding.help("write `consecutive_failures = 0` to turn ejection off"));
        return None;
    }
    reader.count(context, "max_ejected_percent")
}

/// Compiles `[upstream.NAME.retry_budget]`.
pub(super) fn retry_budget(context: &mut Context<'_>, upstream: &Reader<'_>, name: &str) -> RetryBudgetSettings {
    let defaults = RetryBudgetSettings::default();
    let Some(reader) = upstream.table(context, "retry_budget", &RETRY_BUDGET) else { return defaults };
    let reader = reader.with_name(name);
    let ratio = value::share(context, &reader, "ratio").unwrap_or(defaults.ratio);
    let min_per_second = reader.count(context, "min_per_second").unwrap_or(defaults.min_per_second);
    reader.finish(context);
    RetryBudgetSettings { ratio, min_per_second }
}

/// Warns of settings for an upstream with one address: the only endpoint is never ejected. A name may have several
/// addresses.
fn warn_of_lone_endpoint(
    context: &mut Context<'_>,
    upstream: &Reader<'_>,
    name: &str,
    settings: OutlierSettings,
    endpoints: &[EndpointSpec],
) {
    let is_lone = matches!(endpoints, [EndpointSpec { host: EndpointHost::Ip(_), .. }]);
    let ejects = settings.consecutive_failures > 0 || settings.failure_percent > 0;
    if !is_lone || !ejects {
        return;
    }
    let message = format!("upstream `{name}` has one endpoint, which is never ejected");
    let finding = Finding::warning("lone-endpoint", upstream.place("outlier"), message);
    context.report(finding.help("add a second endpoint, or remove `outlier`"));
}

/// Warns of upstreams whose budget allows no further try, where a route wants some.
pub(in crate::config) fn warn_of_no_budget(
    context: &mut Context<'_>,
    routes: &[Route],
    defined: &DefinedUpstreams<'_>,
    route_names: &Registry<'_>,
) {
    let mut warned: Vec<UpstreamId> = Vec::new();
    for (number, route) in (0_u32..).zip(routes).filter(|(_, route)| route.retry.attempts > 0) {
        let variants = route.split().map(|split| split.variants.as_slice()).unwrap_or_default();
        for id in variants.iter().map(|variant| variant.upstream) {
            let Some((upstream, at)) = defined.get(id).filter(|_| !warned.contains(&id)) else { continue };
            let budget = upstream.retry_budget;
            if budget.ratio > 0.0 || budget.min_per_second > 0 {
                continue;
            }
            warned.push(id);
            let message = format!(
                "no further try is within the retry budget of `{}`, but route `{}` has `attempts = {}`",
                upstream.name, route.name, route.retry.attempts
            );
            let mut finding = Finding::warning("no-retry-budget", at, message);
            if let Some(route_at) = route_names.place(number) {
                finding = finding.also(route_at, "its route");
            }
            context.report(finding.help("write `retry = { attempts = 0 }` in the route, or a larger `ratio`"));
        }
    }
}
