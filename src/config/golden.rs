//! `[[test]]`: goldens, which run with the code that routes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::Loaded;
use super::context::Context;
use super::diagnostic::{Diagnostic, Diagnostics, Finding, Label, Severity};
use super::listener::Listeners;
use super::predicate;
use super::reader::{Item, Reader, Text};
use super::registry::Registry;
use super::spec::{Form, Spec, default, optional, required};
use super::value;
use crate::identity::Witnesses;
use crate::route::{
    Action, Claims, Country, Decision, EffectiveConfig, EncodedSlash, Facts, Head, Identity, Reason, Route, Routed,
    Rules, Sampled, Silent, Spread, Weight, decide, normal_host, normal_path,
};

/// `[[test]]`.
pub(super) const TEST: Spec = Spec {
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
const NO_SHADOW: &str = "none";

const REASONS: &[&str] = &["kill", "target", "weight", "stable"];

/// One golden.
#[derive(Clone, Debug)]
pub struct Golden {
    at: Label,
    method: Method,
    host: String,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    client_ip: Option<IpAddr>,
    peer: Option<IpAddr>,
    claims: Option<Claims>,
    country: Option<Country>,
    listener: Option<String>,
    expected: Vec<Expected>,
}

#[derive(Clone, Debug)]
struct Expected {
    at: Label,
    what: What,
    value: String,
    /// How it is shown.
    shown: String,
    /// How routes and variants of this name are shown.
    names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Route,
    Variant,
    Upstream,
    Shadow,
    Reason,
    Status,
}

impl What {
    const fn noun(self) -> &'static str {
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
pub(super) fn golden(
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

/// What a request got.
struct Got<'r> {
    route: Option<&'r Route>,
    decision: Option<Decision>,
    status: Option<u16>,
    /// The upstream that may get a copy.
    copied: Option<String>,
}

/// What came of the goldens. Each failed one has an error for each thing that it got otherwise.
#[derive(Debug, Default)]
pub struct GoldenRun {
    /// How many failed.
    pub failed: usize,
    /// What they got otherwise.
    pub diagnostics: Diagnostics,
}

impl fmt::Display for GoldenRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.diagnostics.fmt(f)
    }
}

/// Runs all goldens of what was loaded; nothing is said of those that hold. `[kill]` is off, so that a kill does not
/// break what is said of the routes, but for goldens that expect `reason = "kill"`.
#[must_use]
pub fn run_goldens(loaded: &Loaded) -> GoldenRun {
    let mut run = GoldenRun::default();
    let unkilled = loaded.overlay.unkilled();
    for golden in &loaded.goldens {
        let unkilled = unkilled.as_ref().filter(|_| !golden.expects_kill());
        let config = EffectiveConfig { rules: &loaded.rules, overlay: unkilled.unwrap_or(&loaded.overlay) };
        let got = golden.run(config, &loaded.witnesses);
        let before = run.diagnostics.errors();
        for expected in &golden.expected {
            let found = got.describe(expected.what, config.rules);
            if found.as_deref().is_some_and(|found| expected.is(found)) || !run.diagnostics.count(Severity::Error) {
                continue;
            }
            let mut failure = golden.failure(expected, found.as_deref(), &got);
            if unkilled.is_some() {
                let help = failure.help.get_or_insert_default();
                help.push_str("\ngoldens run with `[kill]` off, unless they expect `reason = \"kill\"`");
            }
            run.diagnostics.keep(failure);
        }
        run.failed += usize::from(run.diagnostics.errors() > before);
    }
    run
}

impl Expected {
    /// Whether this is what was found.
    fn is(&self, found: &str) -> bool {
        found == self.value || self.names.iter().any(|name| name == found)
    }
}

impl Golden {
    /// Whether it is about `[kill]`, which is off for all others.
    fn expects_kill(&self) -> bool {
        self.expected.iter().any(|expected| expected.what == What::Reason && expected.value == Reason::Kill.name())
    }

    fn run<'r>(&self, config: EffectiveConfig<'r>, witnesses: &Witnesses) -> Got<'r> {
        let EffectiveConfig { rules, overlay } = config;
        let refused = Got { route: None, decision: None, status: Some(400), copied: None };
        let Ok(path) = normal_path(&self.path, EncodedSlash::Keep) else { return refused };
        let host = if self.host.is_empty() { Some("".into()) } else { normal_host(&self.host) };
        let Some(host) = host else { return refused };
        let (method, query) = (&self.method, self.query.as_deref());
        let usual = || rules.usual_listener().map(|listener| listener.name.as_str());
        let listener = self.listener.as_deref().or_else(usual).unwrap_or_default();
        let headers = &self.headers;
        let head = Head { method, host: &host, path: &path, query, headers, client_cert: None, listener };
        let Some(lookup) = rules.index.find(&rules.routes, &head) else {
            return Got { route: None, decision: None, status: Some(404), copied: None };
        };
        let route = rules.route(lookup.route);
        let answered = |route, status: http::StatusCode| {
            let status = Some(status.as_u16());
            Got { route: Some(route), decision: None, status, copied: None }
        };
        let split = match &route.action {
            Action::Split(split) => split,
            Action::Redirect(redirect) => {
                return answered(route, redirect.status);
            }
            Action::Respond(respond) => {
                return answered(route, respond.status);
            }
        };
        let peer = self.peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let mut identity: Identity = rules.identity.clone();
        if self.peer.is_none() {
            identity.trusted_proxies.push(peer.into());
        }
        let country = self.country.or_else(|| witnesses.country(self.client_ip.unwrap_or(peer)));
        let facts = Facts { claims: self.claims.as_ref(), country, fault: None };
        let mut caller = identity.caller(peer, &head, facts);
        if let Some(client_ip) = self.client_ip.filter(|_| caller.trusted) {
            caller.client_ip = client_ip;
        }
        let request = Routed { route: lookup.route, split, head: &head, caller: &caller, cookie_identity: None };
        let decision = decide(rules, overlay, &request, &mut Spread::default(), &mut Silent);
        let share = split.shadow.as_ref().map(|shadow| shadow.weight).unwrap_or_default();
        let (method, caller) = (head.method, &caller);
        let request = Sampled { method, variant: decision.variant, caller, cookie_identity: None, share };
        let copied = split.copied(config, &request, &[]).filter(|copied| copied.chance > Weight::ZERO);
        let copied = copied.map(|copied| copied.upstream);
        Got { route: Some(route), decision: Some(decision), status: None, copied }
    }

    fn failure(&self, expected: &Expected, found: Option<&str>, got: &Got<'_>) -> Diagnostic {
        let noun = expected.what.noun();
        let message = match found {
            Some(found) => format!("expected {noun} `{}`, got `{found}`", expected.shown),
            None => format!("expected {noun} `{}`, got none", expected.shown),
        };
        let help = match (got.route, got.decision.as_ref().map(|decision| decision.reason)) {
            (Some(route), Some(reason)) => {
                let place = &route.place;
                format!("route `{}` ({}:{}) decided by {}", route.name, place.file, place.line, reason.name())
            }
            (Some(route), None) => format!("route `{}` answers by itself", route.name),
            (None, _) => "no route takes this request".to_owned(),
        };
        Diagnostic {
            severity: Severity::Error,
            code: "golden-failed",
            message,
            labels: vec![expected.at.clone(), self.at.clone()],
            help: Some(help),
            order: (0, 0),
        }
    }
}

impl Got<'_> {
    fn describe(&self, what: What, rules: &Rules) -> Option<String> {
        let split = self.route.and_then(Route::split);
        let variant = || split.zip(self.decision.as_ref()).map(|(s, d)| &s.variants[usize::from(d.variant.0)]);
        match what {
            What::Route => self.route.map(|route| route.name.clone()),
            What::Variant => variant().map(|variant| variant.name.clone()),
            What::Upstream => variant().map(|variant| rules.upstreams[variant.upstream.0 as usize].name.clone()),
            What::Shadow => Some(self.copied.clone().unwrap_or_else(|| NO_SHADOW.to_owned())),
            What::Reason => self.decision.as_ref().map(|decision| Reason::name(decision.reason).to_owned()),
            What::Status => self.status.map(|status| status.to_string()),
        }
    }
}
