//! `[[test]]`: tests as the file writes them. `route_test_run.rs` runs them.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Method};

use super::known_rollouts::KnownRollouts;
use super::listener::Listeners;
use super::predicate;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::{Finding, Label};
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::registry::Registry;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{Shape, TableSpec, default, optional, required};
use crate::config::toml::value;
use crate::fields::Fields;
use crate::route::{ChosenStage, Claims, Country};

/// `[[test]]`.
pub(in crate::config) const TEST: TableSpec = TableSpec {
    title: "[[test]]",
    doc: "A test that `check` runs: a request, and the result that it must get. `[kill]` is off during tests.",
    keys: &[
        required("request", Shape::Table(&REQUEST), "The request."),
        required("expect", Shape::Table(&EXPECT), "The expected result; every key given here must match."),
    ],
    later: &[],
};

const REQUEST: TableSpec = TableSpec {
    title: "[test.request]",
    doc: "A request. It comes from a trusted peer unless `peer` is given.",
    keys: &[
        default("method", Shape::Text, "\"GET\"", "Method."),
        optional("host", Shape::Text, "Host; empty by default."),
        default("path", Shape::Text, "\"/\"", "Path; a query may follow after `?`."),
        optional("header", Shape::Map(&Shape::Text), "Headers; none by default."),
        optional("cookie", Shape::Map(&Shape::Text), "Cookies; none by default."),
        optional(
            "query",
            Shape::Map(&Shape::Text),
            "Query parameters, percent-encoded as they are sent; none by default.",
        ),
        optional(
            "client_ip",
            Shape::Text,
            "Client address, as a trusted peer reports it; default: the address of the peer.",
        ),
        optional("jwt", Shape::Map(&Shape::OneOrMore(&Shape::Text)), "Claims of a valid token; default: no token."),
        optional("country", Shape::Text, "Country code of the client; default: looked up in the database."),
        optional(
            "listener",
            Shape::Text,
            "Name of the listener that receives the request; default: the first one without `redirect`.",
        ),
        optional(
            "peer",
            Shape::Text,
            "Address of the peer, which is trusted if it is in `trusted_proxies`; default: a trusted peer at 127.0.0.1.",
        ),
        optional(
            "rollouts",
            Shape::Map(&Shape::Text),
            "Stages of rollouts, such as `{ checkout-v2 = \"beta\" }`; default: the first ones.",
        ),
    ],
    later: &[],
};

const EXPECT: TableSpec = TableSpec {
    title: "[test.expect]",
    doc: "The expected result of a request.",
    keys: &[
        optional("route", Shape::Text, "Name of the route."),
        optional("variant", Shape::Text, "Name of the variant."),
        optional("upstream", Shape::Text, "Name of the upstream."),
        optional("shadow", Shape::Text, "Upstream that may get a copy; `none` if the request is never copied."),
        optional(
            "reason",
            Shape::Words(REASONS),
            "Why the variant was chosen; a test that expects `kill` runs with `[kill]` on.",
        ),
        optional(
            "status",
            Shape::Integer(200, 599),
            "Status code of a `redirect` or `respond`, of the route or of a target; 404 if no route matches.",
        ),
    ],
    later: &[],
};

/// The value of `shadow` for a request without a copy.
pub(in crate::config) const NO_SHADOW: &str = "none";

const REASONS: &[&str] = &["kill", "target", "weight", "stable"];

/// One `[[test]]`.
#[derive(Clone, Debug)]
pub struct RouteTest {
    pub(in crate::config) at: Label,
    pub(in crate::config) method: Method,
    pub(in crate::config) host: String,
    pub(in crate::config) path: String,
    pub(in crate::config) query: Option<String>,
    pub(in crate::config) fields: Fields,
    pub(in crate::config) client_ip: Option<IpAddr>,
    pub(in crate::config) peer: Option<IpAddr>,
    pub(in crate::config) claims: Option<Claims>,
    pub(in crate::config) country: Option<Country>,
    pub(in crate::config) listener: Option<String>,
    /// The stages that rollouts are in, instead of the first ones.
    pub(in crate::config) stages: Vec<ChosenStage>,
    pub(in crate::config) expected: Vec<TestExpectation>,
}

/// The names that tests can refer to.
pub(in crate::config) struct TestNames<'a, 'd> {
    pub(in crate::config) routes: &'a mut Registry<'d>,
    pub(in crate::config) upstreams: &'a mut Registry<'d>,
    pub(in crate::config) listeners: &'a Listeners,
    pub(in crate::config) rollouts: &'a mut KnownRollouts<'d>,
}

#[derive(Clone, Debug)]
pub(in crate::config) struct TestExpectation {
    pub(in crate::config) at: Label,
    pub(in crate::config) what: What,
    pub(in crate::config) value: String,
    /// The value for display.
    pub(in crate::config) shown: String,
    /// The display names of the routes and variants with this name.
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

/// Compiles one `[[test]]`.
pub(in crate::config) fn route_test(
    context: &mut Context<'_>,
    reader: &Reader<'_>,
    names: &mut TestNames<'_, '_>,
) -> Option<RouteTest> {
    let request = reader.require(context, "request").and_then(|item| item.table(context, &REQUEST));
    let expect = reader.require(context, "expect").and_then(|item| item.table(context, &EXPECT));
    reader.finish(context);
    let expected = expect.map(|reader| expected(context, &reader, names.routes, names.upstreams));
    let request = request?;
    let method = request.get("method").and_then(|item| value::method(context, &item)).unwrap_or(Method::GET);
    let host = request.text(context, "host").map(|text| text.to_string()).unwrap_or_default();
    let path = request.text(context, "path").map_or_else(|| "/".to_owned(), |text| text.to_string());
    let (path, query) = path.split_once('?').map_or((&*path, None), |(path, query)| (path, Some(query.to_owned())));
    let fields = fields(context, &request);
    let parameters = pairs(context, &request, "query", "&");
    let query = match (query, parameters) {
        (Some(query), Some(more)) => Some(format!("{query}&{more}")),
        (query, more) => query.or(more),
    };
    let client_ip = address(context, &request, "client_ip");
    let peer = address(context, &request, "peer");
    let claims = request.get("jwt").map(|item| claims(context, &item));
    let listener = request.text(context, "listener").and_then(|name| names.listeners.find(context, &name));
    let stages = request.get("rollouts").map(|item| stages(context, &item, names.rollouts)).unwrap_or_default();
    let country = request.get("country").and_then(|item| predicate::country(context, &item));
    request.finish(context);
    let at = context.label_of(reader.span());
    Some(RouteTest {
        at,
        method,
        host,
        path: path.to_owned(),
        query,
        fields,
        client_ip,
        peer,
        claims,
        country,
        listener,
        stages,
        expected: expected?,
    })
}

/// The stages that `rollouts` names.
fn stages(context: &mut Context<'_>, item: &Item<'_>, rollouts: &mut KnownRollouts<'_>) -> Vec<ChosenStage> {
    let mut all = Vec::new();
    for named in item.map(context) {
        let name = SpannedString::plain(named.name.into(), named.span);
        let Some(rollout) = rollouts.find(context, &name) else { continue };
        let stage = named.item.text(context).and_then(|text| rollouts.find_stage(context, rollout, &text));
        all.extend(stage.map(|stage| ChosenStage { rollout, stage }));
    }
    all
}

fn fields(context: &mut Context<'_>, reader: &Reader<'_>) -> Fields {
    let mut fields = Fields::new();
    for named in reader.get("header").map(|item| item.map(context)).unwrap_or_default() {
        let name: Option<HeaderName> = value::header_name(context, named.name, named.span);
        let text = named.item.text(context);
        let value: Option<HeaderValue> = text.and_then(|text| value::header_value(context, &text));
        if let (Some(name), Some(value)) = (name, value) {
            fields.append(&name, &value);
        }
    }
    if let Some(Ok(value)) = pairs(context, reader, "cookie", "; ").map(HeaderValue::try_from) {
        fields.append(&http::header::COOKIE, &value);
    }
    fields
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
    routes: &mut Registry<'_>,
    upstreams: &mut Registry<'_>,
) -> Vec<TestExpectation> {
    let mut all = Vec::new();
    let mut add = |context: &mut Context<'_>, what, text: SpannedString<'_>| {
        let (value, shown) = (text.to_string(), text.shown().to_owned());
        let names = context.variables.written(&value);
        all.push(TestExpectation { at: context.label_of(text.span), what, value, shown, names });
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
        add(context, What::Status, SpannedString::plain(status.to_string().into(), item.span()));
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
