//! `match = { grpc = { service = "…", method = "…" } }`: short for path, method and content type of gRPC calls.

use http::Method;

use super::route_context::DefinedUpstreams;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::path_pattern::is_plain_path;
use crate::config::toml::reader::Reader;
use crate::config::toml::registry::Registry;
use crate::config::toml::spec::{Shape, TableSpec, optional, required};
use crate::route::{Match, PathPattern, Predicate, Protocol, Route};

/// `grpc = { … }`.
pub(super) const GRPC: TableSpec = TableSpec {
    title: "[route.match.grpc]",
    doc: "gRPC calls: POST requests to `/service/method` with the content type of gRPC.",
    keys: &[
        required("service", Shape::OneOrMore(&Shape::Text), "Full name of the service, such as `shop.v1.Checkout`."),
        optional("method", Shape::OneOrMore(&Shape::Text), "Name of the method; default: every method."),
    ],
    later: &[],
};

/// Adds the conditions of `grpc` to a match, which must not have `path` or `methods` besides.
pub(in crate::config) fn grpc(context: &mut Context<'_>, reader: &Reader<'_>, matches: &mut Match) {
    let Some(calls) = reader.table(context, "grpc", &GRPC) else { return };
    for key in ["path", "methods"] {
        if reader.get(key).is_some() {
            let message = format!("a match cannot have both `grpc` and `{key}`");
            let finding = Finding::error("ambiguous", reader.place(key), message).also(reader.place("grpc"), "");
            context.report(finding.help("`grpc` already means POST to `/service/method`"));
        }
    }
    let services = calls.require(context, "service").map(|item| names(context, &item)).unwrap_or_default();
    let methods = calls.get("method").map(|item| names(context, &item));
    calls.finish(context);
    matches.paths = services
        .iter()
        .flat_map(|service| match &methods {
            None => vec![PathPattern::Prefix(format!("/{service}"))],
            Some(methods) => methods.iter().map(|method| PathPattern::Exact(format!("/{service}/{method}"))).collect(),
        })
        .collect();
    matches.methods = vec![Method::POST];
    matches.predicates.push(Predicate::Grpc);
}

/// Warns of gRPC routes with an HTTP/1.1 upstream, where every call fails.
pub(in crate::config) fn warn_of_http1(
    context: &mut Context<'_>,
    routes: &[Route],
    defined: &DefinedUpstreams<'_>,
    route_names: &Registry<'_>,
) {
    let is_for_calls = |route: &Route| route.matches.predicates.iter().any(|one| matches!(one, Predicate::Grpc));
    for (number, route) in (0_u32..).zip(routes).filter(|(_, route)| is_for_calls(route)) {
        let variants = route.split().map(|split| split.variants.as_slice()).unwrap_or_default();
        let mut checked = Vec::new();
        for id in variants.iter().map(|variant| variant.upstream) {
            let Some((upstream, upstream_at)) = defined.get(id).filter(|_| !checked.contains(&id)) else { continue };
            checked.push(id);
            let has_http1 = upstream.endpoints.iter().any(|endpoint| endpoint.protocol == Protocol::Http1);
            let Some(at) = route_names.place(number).filter(|_| has_http1) else { continue };
            let message = format!(
                "route `{}` matches gRPC calls, but upstream `{}` speaks HTTP/1.1 (`http://`) and cannot serve them",
                route.name, upstream.name
            );
            let finding = Finding::warning("grpc-over-http1", at, message).also(upstream_at, "its endpoints");
            context.report(finding.help("write `h2c://` for HTTP/2 in cleartext, or `https://`"));
        }
    }
}

fn names(context: &mut Context<'_>, item: &Item<'_>) -> Vec<String> {
    let mut all = Vec::new();
    for item in item.not_empty(context) {
        let Some(text) = item.text(context) else { continue };
        if text.is_empty() || text.contains('/') || !is_plain_path(&format!("/{}", &*text)) {
            let message = format!("`{}` is not the name of a gRPC {}", &*text, item.key);
            let finding = Finding::error("bad-grpc", text.span, message);
            context
                .report(finding.help("write `service = \"shop.v1.Checkout\"` and `method = \"Pay\"`, without slashes"));
            continue;
        }
        all.push(text.to_string());
    }
    all
}
