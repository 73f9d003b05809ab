//! `[[test]]`: goldens as the file writes them. `golden_run.rs` runs them.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::listener::Listeners;
use super::predicate;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::{Finding, Label};
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::registry::Registry;
use crate::config::toml::spec::{Form, Spec, default, optional, required};
use crate::config::toml::text::Text;
use crate::config::toml::value;
use crate::route::{Claims, Country};

/// `[[test]]`.
pub(in crate::config) const TEST: Spec = Spec {
    title: "[[test]]",
    doc: "A golden: what a request must get. Run by `check`, as if `[kill]` were empty.",
    keys: &[
        required("request", Form::Table(&REQUEST), "The request."),
        required("expect", Form::Table(&EXPECT), "What it must get; all that is given must hold."),
    ],
    later: &[],
};

const REQUEST: Spec = Spec {
    title: "[test.request]",
    doc: "A request. It comes from a trusted peer, unless `peer` says otherwise.",
    keys: &[
        default("method", Form::Text, "\"GET\"", "The method."),
        optional("host", Form::Text, "The host."),
        default("path", Form::Text, "\"/\"", "The path; a query may follow after `?`."),
        optional("header", Form::Map(&Form::Text), "Headers."),
        optional("cookie", Form::Map(&Form::Text), "Cookies."),
        optional("query", Form::Map(&Form::Text), "Query parameters, written as they are sent."),
        optional("client_ip", Form::Text, "The client's address, as a trusted peer reports it."),
        optional("jwt", Form::Map(&Form::OneOrMore(&Form::Text)), "Claims of its token, as if that held."),
        optional("country", Form::Text, "The client's country, whatever the database says."),
        optional("listener", Form::Text, "The listener that takes it; by default the first that does not redirect."),
        optional("peer", Form::Text, "The peer's address; it is trusted when `trusted_proxies` says so."),
    ],
    later: &[],
};

const EXPECT: Spec = Spec {
    title: "[test.expect]",
    doc: "What a request must get.",
    keys: &[
        optional("route", Form::Text, "The route's name."),
        optional("variant", Form::Text, "The variant's name."),
        optional("upstream", Form::Text, "The upstream's name."),
        optional("shadow", Form::Text, "The upstream that may get a copy; `none` when none ever does."),
        optional("reason", Form::Words(REASONS), "Why that variant; with `kill`, this test runs with `[kill]` on."),
        optional("status", Form::Integer(200, 599), "The status of an answer from here; 404 when no route takes it."),
    ],
    later: &[],
};

/// What is expected where there is no copy.
pub(in crate::config) const NO_SHADOW: &str = "none";

const REASONS: &[&str] = &["kill", "target", "weight", "stable"];

/// One golden.
#[derive(Clone, Debug)]
pub struct Golden {
    pub(in crate::config) at: Label,
    pub(in crate::config) method: Method,
    pub(in crate::config) host: String,
    pub(in crate::config) path: String,
    pub(in crate::config) query: Option<String>,
    pub(in crate::config) headers: HeaderMap,
    pub(in crate::config) client_ip: Option<IpAddr>,
    pub(in crate::config) peer: Option<IpAddr>,
    pub(in crate::config) claims: Option<Claims>,
    pub(in crate::config) country: Option<Country>,
    pub(in crate::config) listener: Option<String>,
    pub(in crate::config) expected: Vec<Expected>,
}

#[derive(Clone, Debug)]
pub(in crate::config) struct Expected {
    pub(in crate::config) at: Label,
    pub(in crate::config) what: What,
    pub(in crate::config) value: String,
    /// How it is shown.
    pub(in crate::config) shown: String,
    /// How routes and variants of this name are shown.
    pub(in crate::config) names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum What {
    Route,
    Variant,
    Upstream,
    Shadow,
    Reason,
    Status,
}

impl What {
    pub(in crate::config) const fn noun(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Variant => "variant",
            Self::Upstream => "upstream",
            Self::Shadow => "shadow",
            Self::Reason => "reason",
            Self::Status => "status",
        }
    }
}

/// Reads one `[[test]]`.
pub(in crate::config) fn golden(
    context: &mut Context<'_>,
    reader: &Reader<'_>,
    (routes, upstreams, listeners): (&mut Registry<'_>, &mut Registry<'_>, &Listeners),
) -> Option<Golden> {
    let request = reader.need(context, "request").and_then(|item| item.table(context, &REQUEST));
    let expect = reader.need(context, "expect").and_then(|item| item.table(context, &EXPECT));
    reader.finish(context);
    let expected = expect.map(|reader| expected(context, &reader, (routes, upstreams)));
    let request = request?;
    let method = request.get("method").and_then(|item| value::method(context, &item)).unwrap_or(Method::GET);
    let host = request.text(context, "host").map(|text| text.to_string()).unwrap_or_default();
    let path = request.text(context, "path").map_or_else(|| "/".to_owned(), |text| text.to_string());
    let (path, query) = path.split_once('?').map_or((&*path, None), |(path, query)| (path, Some(query.to_owned())));
    let headers = headers(context, &request);
    let parameters = pairs(context, &request, "query", "&");
    let query = match (query, parameters) {
        (Some(query), Some(more)) => Some(format!("{query}&{more}")),
        (query, more) => query.or(more),
    };
    let client_ip = address(context, &request, "client_ip");
    let peer = address(context, &request, "peer");
    let claims = request.get("jwt").map(|item| claims(context, &item));
    let listener = request.text(context, "listener").and_then(|name| listeners.find(context, &name));
    let country = request.get("country").and_then(|item| predicate::country(context, &item));
    request.finish(context);
    let at = context.label_of(reader.span());
    Some(Golden {
        at,
        method,
        host,
        path: path.to_owned(),
        query,
        headers,
        client_ip,
        peer,
        claims,
        country,
        listener,
        expected: expected?,
    })
}

fn headers(context: &mut Context<'_>, reader: &Reader<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for named in reader.get("header").map(|item| item.map(context)).unwrap_or_default() {
        let name: Option<HeaderName> = value::header_name(context, named.name, named.span);
        let text = named.item.text(context);
        let value: Option<HeaderValue> = text.and_then(|text| value::header_value(context, &text));
        if let (Some(name), Some(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    if let Some(Ok(value)) = pairs(context, reader, "cookie", "; ").map(HeaderValue::try_from) {
        headers.append(http::header::COOKIE, value);
    }
    headers
}

fn pairs(context: &mut Context<'_>, reader: &Reader<'_>, key: &'static str, between: &str) -> Option<String> {
    let all = reader.get(key)?.map(context);
    let texts: Vec<_> = all
        .iter()
        .filter_map(|named| named.item.text(context).map(|text| format!("{}={}", named.name, &*text)))
        .collect();
    Some(texts.join(between))
}

fn address(context: &mut Context<'_>, reader: &Reader<'_>, key: &'static str) -> Option<IpAddr> {
    let text = reader.text(context, key)?;
    let parsed = text.parse().ok();
    if parsed.is_none() {
        context.report(Finding::error("bad-address", text.span, format!("`{}` is not an IP address", &*text)));
    }
    parsed
}

fn expected(
    context: &mut Context<'_>,
    reader: &Reader<'_>,
    (routes, upstreams): (&mut Registry<'_>, &mut Registry<'_>),
) -> Vec<Expected> {
    let mut all = Vec::new();
    let mut add = |context: &mut Context<'_>, what, text: Text<'_>| {
        let (value, shown) = (text.to_string(), text.shown().to_owned());
        let names = context.veil.written(&value);
        all.push(Expected { at: context.label_of(text.span), what, value, shown, names });
    };
    if let Some(text) = reader.text(context, "route") {
        routes.find(context, &text);
        add(context, What::Route, text);
    }
    if let Some(text) = reader.text(context, "variant") {
        add(context, What::Variant, text);
    }
    if let Some(text) = reader.text(context, "upstream") {
        upstreams.find(context, &text);
        add(context, What::Upstream, text);
    }
    if let Some(text) = reader.text(context, "shadow") {
        if *text != *NO_SHADOW {
            upstreams.find(context, &text);
        }
        add(context, What::Shadow, text);
    }
    if reader.word(context, "reason").is_some()
        && let Some(text) = reader.text(context, "reason")
    {
        add(context, What::Reason, text);
    }
    if let (Some(status), Some(item)) = (reader.count(context, "status"), reader.get("status")) {
        add(context, What::Status, Text::plain(status.to_string().into(), item.span()));
    }
    reader.finish(context);
    if all.is_empty() {
        context.report(Finding::error("empty-test", reader.span(), "this test expects nothing"));
    }
    all
}

/// The claims of a token.
fn claims(context: &mut Context<'_>, item: &Item<'_>) -> Claims {
    let mut claims = Claims::default();
    for named in item.map(context) {
        if named.item.is_text() {
            if let Some(text) = named.item.text(context) {
                claims.add(named.name, &text);
            }
            continue;
        }
        for text in named.item.one_or_more().iter().filter_map(|item| item.text(context)) {
            claims.add_member(named.name, &text);
        }
    }
    claims
}
