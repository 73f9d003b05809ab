//! `[upstream.NAME]`: a named set of endpoints.

use std::time::Duration;

use super::client_tls;
use super::client_tls::{Owner, SystemRoots, UPSTREAM_TLS};
use super::outlier;
use super::outlier::{OUTLIER, RETRY_BUDGET};
use crate::config::toml::address::is_digits;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::endpoint::{is_endpoint, parse};
use crate::config::toml::item::{Item, Named};
use crate::config::toml::quote::{REPEATED_MAX, quoted};
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{DURATION, SIZE, Shape, TableSpec, default, optional, required};
use crate::config::toml::value;
use crate::route::{Balance, EndpointSpec, Protocol, ProxyProtocol, Upstream, UpstreamLimits};

/// The pattern of the URL of an endpoint.
const URL: &str = r"^(https?|h2c)://|\$\{";

/// `[upstream.NAME]`.
pub(in crate::config) const UPSTREAM: TableSpec = TableSpec {
    title: "[upstream.NAME]",
    doc: "A named set of endpoints that run one revision of a service.",
    keys: &[
        required(
            "endpoints",
            Shape::OneOrMore(&Shape::Either(&[Shape::Pattern(URL), Shape::Table(&ENDPOINT)])),
            "URLs of the endpoints: `http://host:port`, `https://host:port` or `h2c://host:port`.",
        ),
        optional(
            "revision",
            Shape::Text,
            "Revision that is deployed there; a new revision is a new release; none by default.",
        ),
        default(
            "balance",
            Shape::Words(&["least_request", "round_robin", "hash"]),
            "\"least_request\"",
            "Load balancing; `least_request` takes the less loaded of two random endpoints.",
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
    later: &["health", "slow_start"],
};

const ENDPOINT: TableSpec = TableSpec {
    title: "an endpoint",
    doc: "An endpoint with a weight.",
    keys: &[
        required("url", Shape::Pattern(URL), "URL of the endpoint."),
        default("weight", Shape::Integer(1, 1_000), "1", "Weight relative to the other endpoints."),
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
) -> Option<Upstream> {
    let reader = named.item.table(context, &UPSTREAM)?.with_name(named.name);
    let endpoints = endpoints(context, &reader);
    let revision = reader.text(context, "revision").map(|text| text.to_string());
    let balance = match reader.word(context, "balance") {
        Some(1) => Balance::RoundRobin,
        Some(2) => Balance::Hash,
        _ => Balance::LeastRequest,
    };
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
        connect_timeout,
        limits,
        outlier,
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

fn endpoints(context: &mut Context<'_>, reader: &Reader<'_>) -> Vec<EndpointSpec> {
    let Some(item) = reader.require(context, "endpoints") else { return Vec::new() };
    let items = item.one_or_more();
    if items.is_empty() {
        item.refuse(context, "empty-list", format!("{} has no endpoint", reader.title()));
    }
    let mut all: Vec<(EndpointSpec, Span)> = Vec::new();
    for item in items {
        let Some(endpoint) = endpoint(context, &item) else { continue };
        let same = |known: &EndpointSpec| known.host == endpoint.host && known.port == endpoint.port;
        if let Some((_, first)) = all.iter().take(1_000).find(|(known, _)| same(known)) {
            let finding = Finding::error("duplicate-endpoint", item.span(), "this endpoint is listed twice");
            let finding = finding.label("and again here").also(*first, "first listed here");
            context.report(finding.help("to send it more requests, write `{ url = \"…\", weight = 2 }`"));
        }
        all.push((endpoint, item.span()));
    }
    all.into_iter().map(|(endpoint, _)| endpoint).collect()
}

fn endpoint(context: &mut Context<'_>, item: &Item<'_>) -> Option<EndpointSpec> {
    if !item.is_table() {
        let text = item.shown_text(context)?;
        if let Some(all) = several(&text) {
            let message = format!("`{}` is more than one URL", &*text);
            let all = all.iter().map(|url| quoted(url)).collect::<Vec<_>>().join(", ");
            let (how, all) = if item.element { ("each in quotes", all) } else { ("a list", format!("[{all}]")) };
            context.report(Finding::error("bad-endpoint", text.span, message).help(format!("write `{all}`, {how}")));
            return None;
        }
        return url(context, &text, 1);
    }
    let reader = item.table(context, &ENDPOINT)?;
    let text = reader.require(context, "url").and_then(|item| item.shown_text(context));
    let weight = reader.count(context, "weight").unwrap_or(1);
    reader.finish(context);
    url(context, &text?, weight)
}

/// The URLs of a text with more than one.
fn several(text: &str) -> Option<Vec<&str>> {
    let parts = || text.split([',', ' ', '\t']).filter(|part| !part.is_empty());
    (parts().count() > 1 && text.len() <= REPEATED_MAX && parts().all(is_endpoint)).then(|| parts().collect())
}

fn url(context: &mut Context<'_>, text: &SpannedString<'_>, weight: u32) -> Option<EndpointSpec> {
    match parse(text) {
        Ok((protocol, host, port)) => Some(EndpointSpec { protocol, host, port, weight }),
        Err(message) => {
            let with_scheme = format!("http://{}", &**text);
            let port = text.strip_prefix("http://").unwrap_or(text).trim_start_matches(':');
            let is_port = is_digits(port) && port.parse::<u16>().is_ok_and(|port| port > 0);
            let help = if is_port {
                format!("write `http://127.0.0.1:{port}`, with a host")
            } else if parse(&with_scheme).is_ok() {
                format!("write `{with_scheme}`")
            } else {
                "write `http://host:port`, `https://host:port`, or `h2c://host:port` for HTTP/2 in cleartext".to_owned()
            };
            context.report(Finding::error("bad-endpoint", text.span, message).help(help));
            None
        }
    }
}
