//! `[upstream.NAME]`: a named set of endpoints.

use std::time::Duration;

use super::client_tls::{Owner, SystemRoots, UPSTREAM_TLS};
use super::endpoints::{ENDPOINTS, endpoints};
use super::health::HEALTH;
use super::http_target::{DurationBounds, bounded};
use super::outlier::{OUTLIER, RETRY_BUDGET};
use super::{client_tls, health, outlier};
use crate::config::toml::address::ListenAddresses;
use crate::config::toml::context::Context;
use crate::config::toml::item::Named;
use crate::config::toml::reader::Reader;
use crate::config::toml::spec::{DURATION, SIZE, Shape, TableSpec, default, optional};
use crate::config::toml::value;
use crate::route::{Balance, Protocol, ProxyProtocol, Upstream, UpstreamLimits};

/// `[upstream.NAME]`.
pub(in crate::config) const UPSTREAM: TableSpec = TableSpec {
    title: "[upstream.NAME]",
    doc: "A named set of endpoints that run one revision of a service.",
    keys: &[
        ENDPOINTS,
        optional(
            "revision",
            Shape::Text,
            "Revision that is deployed there; a new revision is a new release; none by default.",
        ),
        default(
            "balance",
            Shape::Words(&["least_request", "round_robin", "peak_ewma", "hash"]),
            "\"least_request\"",
            "Load balancing; `least_request` takes the less loaded of two random endpoints, `peak_ewma` the one with the \
             lower recent latency times load; `hash` keeps a sticky key on one endpoint while its load allows it.",
        ),
        default(
            "slow_start",
            Shape::Pattern(DURATION),
            "\"0s\"",
            "Time in which the share of an endpoint grows from a tenth to the whole after it is admitted, at most 1h; \
             `0s`: at once.",
        ),
        default(
            "connect_timeout",
            Shape::Pattern(DURATION),
            "\"1s\"",
            "Time limit for connecting, including the TLS handshake.",
        ),
        optional(
            "limits",
            Shape::Table(&LIMITS),
            "Limits of the upstream: beyond `connections`, `pending` requests wait; the others get 503 at once.",
        ),
        optional("health", Shape::Table(&HEALTH), "Active checks of the endpoints; none by default."),
        optional("outlier", Shape::Table(&OUTLIER), "When an endpoint that fails gets no requests for a while."),
        optional("retry_budget", Shape::Table(&RETRY_BUDGET), "Limit on further tries of failed requests."),
        optional(
            "proxy_protocol",
            Shape::Words(&["v1", "v2"]),
            "Version of the PROXY protocol header that is sent on each connection; each connection then serves one client; default: no header.",
        ),
        optional(
            "tls",
            Shape::Table(&UPSTREAM_TLS),
            "How `https://` endpoints are verified, and which client certificate they get.",
        ),
    ],
    later: &[],
};

const LIMITS: TableSpec = TableSpec {
    title: "[upstream.NAME.limits]",
    doc: "Limits of an upstream.",
    keys: &[
        default("connections", Shape::Integer(1, 1_000_000), "1024", "Maximum number of open connections."),
        default("requests", Shape::Integer(1, 1_000_000), "4096", "Maximum number of requests in flight."),
        default(
            "pending",
            Shape::Integer(0, 100_000),
            "128",
            "Maximum number of requests that wait for a connection, at most for `connect_timeout`; 0: none waits.",
        ),
        default(
            "response_headers",
            Shape::Integer(1, 10_000),
            "256",
            "Maximum number of header fields of a response; if there are more, the client gets 502.",
        ),
        default(
            "response_header_bytes",
            Shape::Pattern(SIZE),
            "\"64KiB\"",
            "Maximum size of the head of a response, 1KiB to 256KiB; if it is larger, the client gets 502.",
        ),
    ],
    later: &[],
};

/// Compiles one upstream.
pub(in crate::config) fn upstream(
    context: &mut Context<'_>,
    named: &Named<'_>,
    system: &mut SystemRoots,
    listening: &ListenAddresses,
) -> Option<Upstream> {
    let reader = named.item.table(context, &UPSTREAM)?.with_name(named.name);
    let endpoints = endpoints(context, &reader, listening);
    let revision = reader.text(context, "revision").map(|text| text.to_string());
    let balance = match reader.word(context, "balance") {
        Some(1) => Balance::RoundRobin,
        Some(2) => Balance::PeakEwma,
        Some(3) => Balance::Hash,
        _ => Balance::LeastRequest,
    };
    let bounds = DurationBounds { least: Duration::ZERO, most: Duration::from_hours(1), words: "0s to 1h" };
    let slow_start = bounded(context, &reader, "slow_start", &bounds).unwrap_or(Duration::ZERO);
    let mut connect_timeout = Duration::from_secs(1);
    if let Some(item) = reader.get("connect_timeout") {
        match value::duration(context, &item) {
            Some(duration) if duration.is_zero() => {
                item.refuse(context, "out-of-range", "`connect_timeout` must be more than zero");
            }
            Some(duration) => connect_timeout = duration,
            None => {}
        }
    }
    let limits = match reader.table(context, "limits", &LIMITS) {
        Some(reader) => limits(context, &reader.with_name(named.name)),
        None => UpstreamLimits::default(),
    };
    let health = health::health(context, &reader, named.name, &endpoints);
    let outlier = outlier::outlier(context, &reader, named.name, &endpoints);
    let retry_budget = outlier::retry_budget(context, &reader, named.name);
    let proxy_protocol = reader.word(context, "proxy_protocol").map(|word| match word {
        0 => ProxyProtocol::V1,
        _ => ProxyProtocol::V2,
    });
    let given = reader.get("tls").is_some();
    let secured = endpoints.iter().any(|endpoint| endpoint.protocol == Protocol::Https);
    let owner = Owner::upstream(&reader, named.name);
    let tls = if secured { client_tls::tls(context, &owner, system) } else { None };
    if given && !secured && !endpoints.is_empty() {
        let help = "write `https://host:port` in `endpoints`";
        client_tls::refuse_useless(context, &owner, "has no `https://` endpoint", help);
    }
    reader.finish(context);
    let name = named.name.to_owned();
    Some(Upstream {
        name,
        revision,
        endpoints,
        balance,
        slow_start,
        connect_timeout,
        limits,
        outlier,
        health,
        retry_budget,
        proxy_protocol,
        tls,
    })
}

fn limits(context: &mut Context<'_>, reader: &Reader<'_>) -> UpstreamLimits {
    let mut limits = UpstreamLimits::default();
    for (key, field) in [
        ("connections", &mut limits.connections),
        ("requests", &mut limits.requests),
        ("pending", &mut limits.pending),
        ("response_headers", &mut limits.response_headers),
    ] {
        *field = reader.count(context, key).unwrap_or(*field);
    }
    let bytes = reader.get("response_header_bytes");
    let bytes = bytes.and_then(|item| value::size(context, &item, 1 << 10..=256 << 10));
    if let Some(bytes) = bytes.and_then(|bytes| u32::try_from(bytes).ok()) {
        limits.response_header_bytes = bytes;
    }
    reader.finish(context);
    limits
}
