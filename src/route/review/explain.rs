//! `explain`: explains a request with the functions that route live traffic.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderValue, Method};

use super::access_explain::{Admission, AdmittedRequest};
use super::failure_explain::FailingRequest;
use super::near_misses::near_misses;
use super::recorder::{ExplainStep, StepRecorder};
use crate::fields::Fields;
use crate::route::matching::dropped;
use crate::route::{
    Action, Caller, EffectiveConfig, EncodedSlash, ExplainedOutcome, Explanation, Extractor, Facts, HeaderEdit,
    HeaderEdits, Masks, MatchedRoute, RequestHead, Rewrite, Route, Routed, Rules, SamplingInput, ServedVariant, Split,
    Spread, Template, Values, VerifiedCert, cookie, decide, normal_host, normal_path,
};

/// The request to explain, as a client would send it.
#[derive(Clone, Copy, Debug)]
pub struct ExplainRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The `Host`, with or without a port.
    pub host: &'a str,
    /// The path, with or without a query.
    pub path_and_query: &'a str,
    /// The fields.
    pub fields: &'a Fields,
    /// The address of the peer.
    pub peer: IpAddr,
    /// The client's certificate, treated as verified.
    pub client_cert: Option<&'a VerifiedCert>,
    /// The name of the listener.
    pub listener: &'a str,
    /// The scheme: `http` or `https`.
    pub scheme: &'static str,
    /// The `encoded_slash` policy of the listener.
    pub encoded_slash: EncodedSlash,
    /// Facts about the caller.
    pub facts: Facts<'a>,
}

/// A request in normal form: owns what [`RequestHead`] borrows.
#[derive(Clone, Debug)]
pub(super) struct Normal<'a> {
    host: Cow<'a, str>,
    path: Cow<'a, str>,
    query: Option<&'a str>,
    request: ExplainRequest<'a>,
}

impl<'a> ExplainRequest<'a> {
    /// The normal form, or why there is none.
    pub(super) fn normal(&self) -> Result<Normal<'a>, String> {
        let (path, query) = match self.path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.path_and_query, None),
        };
        let host = if self.host.is_empty() {
            Cow::Borrowed("")
        } else {
            normal_host(self.host).ok_or_else(|| format!("{:?} is not a valid host", self.host))?
        };
        let path = normal_path(path, self.encoded_slash).map_err(|error| error.to_string())?;
        Ok(Normal { host, path, query, request: *self })
    }
}

impl Normal<'_> {
    pub(super) fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: self.request.method,
            host: &self.host,
            path: &self.path,
            query: self.query,
            fields: self.request.fields,
            client_cert: self.request.client_cert,
            listener: self.request.listener,
        }
    }
}

/// Explains a request: [`explain_briefly`], and the routes that nearly matched, which visits every route.
#[must_use]
pub fn explain(config: EffectiveConfig<'_>, request: &ExplainRequest<'_>) -> Explanation {
    let rules = config.rules;
    let mut explanation = explain_briefly(config, request);
    if let Ok(normal) = request.normal() {
        let taken = explanation.route.as_ref().map(|route| route.name.as_str());
        let head = normal.head();
        let caller = rules.identity.caller(request.peer, &head, request.facts);
        explanation.nearly = near_misses(rules, &head, &caller, taken);
        explanation.dropped = dropped(&rules.identity, &caller, head.fields);
    }
    explanation.covered(&rules.masks)
}

/// Explains a request of live traffic, at about the cost of routing it. A route with `sticky = []` is explained as if
/// this were its first request.
#[must_use]
pub fn explain_briefly(config: EffectiveConfig<'_>, request: &ExplainRequest<'_>) -> Explanation {
    let rules = config.rules;
    let normal = match request.normal() {
        Ok(normal) => normal,
        Err(why) => {
            return Explanation {
                method: request.method.to_string(),
                host: request.host.to_owned(),
                path: request.path_and_query.to_owned(),
                outcome: ExplainedOutcome::Refused(why),
                ..Explanation::default()
            };
        }
    };
    let head = normal.head();
    let caller = rules.identity.caller(request.peer, &head, request.facts);
    let mut explanation = Explanation {
        method: request.method.to_string(),
        host: head.host.to_owned(),
        path: with_query(head.path, head.query),
        client_ip: Some(caller.client_ip),
        tenant: identity(caller.tenant.as_deref(), &rules.identity.tenant, "tenant", &head, &caller),
        user: identity(caller.user.as_deref(), &rules.identity.user, "user", &head, &caller),
        ..Explanation::default()
    };
    let forwarded = if caller.trusted { rules.identity.forwarded_scheme(head.fields) } else { None };
    explanation.apply_route(config, &head, &caller, forwarded.unwrap_or(request.scheme));
    let rejected = [("tenant", &rules.identity.tenant), ("user", &rules.identity.user)]
        .into_iter()
        .flat_map(|(what, places)| rejected(places, what, &head, &caller));
    explanation.steps.splice(0..0, rejected.map(|text| ExplainStep { text, ..ExplainStep::default() }));
    explanation.covered(&rules.masks)
}

impl Explanation {
    /// Finds the route, and records what it does with the request.
    fn apply_route(&mut self, config: EffectiveConfig<'_>, head: &RequestHead<'_>, caller: &Caller<'_>, scheme: &str) {
        let rules = config.rules;
        let Some(lookup) = rules.index.find(&rules.routes, head) else { return };
        let route = rules.route(lookup.route);
        self.route =
            Some(MatchedRoute { name: route.name.clone(), place: route.place.clone(), why: why(route, head, rules) });
        let mut values = Values {
            route: &route.name,
            client_ip: Some(caller.client_ip),
            tenant: caller.tenant.as_deref(),
            request_id: "<request id>",
            host: head.host,
            path: head.path,
            query: head.query,
            scheme,
            ..Values::default()
        };
        let Admission { steps, answered } = AdmittedRequest { rules, route, head, caller }.explain();
        self.steps = steps;
        if let Some((rule, respond)) = answered {
            self.answered_by = Some(route.place_of(rule.line));
            self.outcome = ExplainedOutcome::Respond(respond.status);
            self.response_headers = edits(&route.response_headers, &values, &rules.masks);
            return;
        }
        let variant;
        self.outcome = match &route.action {
            Action::Redirect(redirect) => {
                let to = redirect.to.covered(&rules.masks);
                ExplainedOutcome::Redirect(redirect.status, text(&to.location(&values)))
            }
            Action::Respond(respond) => ExplainedOutcome::Respond(respond.status),
            Action::Split(split) => {
                let cookie_identity = split.sticky_cookie.as_deref().and_then(|name| cookie(head.fields, name));
                let request = Routed { route: lookup.route, split, head, caller, cookie_identity };
                let (served, steps) = serve(config, &request, lookup.matched);
                self.steps.extend(steps);
                variant = served.variant.clone();
                values.variant = &variant;
                ExplainedOutcome::Serve(served)
            }
        };
        self.denied.extend(upgrade_denied(route, head));
        self.request_headers = edits(&route.request_headers, &values, &rules.masks);
        self.response_headers = edits(&route.response_headers, &values, &rules.masks);
    }
}

/// A path, and the query behind it.
fn with_query(path: &str, query: Option<&str>) -> String {
    query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

/// The path and query to forward. The result of a rewrite is masked; the path of the request is not.
fn forwarded_path(split: &Split, head: &RequestHead<'_>, matched: usize, masks: &Masks) -> Result<String, String> {
    let Rewrite { prefix, regex, host: _ } = &split.rewrite;
    let path = match (prefix, regex) {
        (None, None) => head.path.to_owned(),
        (Some(prefix), None) => {
            let prefix = Some(masks.cover_configured(prefix).into_owned());
            let shown = Rewrite { prefix, ..Rewrite::default() };
            shown.path(head.path, matched).map_err(|error| error.to_string())?.into_owned()
        }
        (_, Some(_)) => {
            let path = split.rewrite.path(head.path, matched).map_err(|error| error.to_string())?;
            masks.cover_configured(&path).into_owned()
        }
    };
    Ok(with_query(&path, head.query))
}

/// Decides, and records the steps.
fn serve(config: EffectiveConfig<'_>, routed: &Routed<'_>, matched: usize) -> (ServedVariant, Vec<ExplainStep>) {
    let EffectiveConfig { rules, overlay } = config;
    let Routed { split, head, caller, cookie_identity, .. } = *routed;
    let mut recorder = StepRecorder::new(config, routed);
    let mut decision = decide(rules, overlay, routed, &mut Spread::default(), &mut recorder);
    let StepRecorder { mut steps, per_request, .. } = recorder;
    if split.spreads() {
        decision.bucket = None;
    }
    if let (true, Some(name)) = (decision.unkeyed, &split.sticky_cookie) {
        let text = format!("a live request gets a random identity in cookie {name}, which is its sticky key");
        steps.push(ExplainStep { text, ..ExplainStep::default() });
    }
    let variant = &split.variants[usize::from(decision.variant.0)];
    let failing = FailingRequest { rules, route: rules.route(routed.route), split, head };
    let on_failure = Box::new(failing.explain(decision.variant, &per_request));
    let upstream = rules.upstreams.get(variant.upstream.0 as usize).map_or("?", |upstream| upstream.name.as_str());
    let host = split.rewrite.host.as_ref();
    let share = split.shadow.as_ref().map(|shadow| shadow.weight).unwrap_or_default();
    let (method, chosen) = (head.method, decision.variant);
    let request = SamplingInput { route: routed.route, method, variant: chosen, caller, cookie_identity, share };
    let copied = split.copied(config, &request, &per_request).map(Box::new);
    let served = ServedVariant {
        decision,
        variant: variant.name.clone(),
        upstream: upstream.to_owned(),
        variants: split.variants.len(),
        per_request,
        forwarded_path: forwarded_path(split, head, matched, &rules.masks),
        forwarded_host: host.map(|host| rules.masks.cover_configured(&text(host)).into_owned()),
        on_failure,
        copied,
    };
    (served, steps)
}

/// An identity and its source.
fn identity(
    value: Option<&str>,
    places: &[Extractor],
    what: &str,
    head: &RequestHead<'_>,
    caller: &Caller<'_>,
) -> Option<(String, String)> {
    let place = places.iter().find(|place| place.read(head, caller.trust(), caller.facts).is_some())?;
    Some((value?.to_owned(), place.describe(what)))
}

/// Values that are skipped in the search for an identity.
fn rejected(
    places: &[Extractor],
    what: &str,
    head: &RequestHead<'_>,
    caller: &Caller<'_>,
) -> impl Iterator<Item = String> {
    let read = |place: &&Extractor| place.read(head, caller.trust(), caller.facts).is_some();
    let before = places.iter().take_while(move |place| !read(place));
    before.filter_map(move |place| {
        let value = place.rejected(head, caller.trust(), caller.facts)?;
        let place = place.describe(what);
        Some(format!("{place} {value:?} is not a valid {what}: it has control characters or surrounding spaces"))
    })
}

/// Why a route matches a request.
fn why(route: &Route, head: &RequestHead<'_>, rules: &Rules) -> String {
    let matches = &route.matches;
    let mut why = matches.matching_patterns(head.host, head.path).unwrap_or_default();
    if !matches.methods.is_empty() {
        why = format!("{why}, method {}", head.method);
    }
    for predicate in &matches.predicates {
        why = format!("{why}, {}", predicate.describe(&rules.segments));
    }
    if matches.priority != 0 {
        why = format!("{why}, priority {}", matches.priority);
    }
    why
}

/// Edits with their values filled in. Only text of the file is masked.
fn edits(edits: &HeaderEdits, values: &Values<'_>, masks: &Masks) -> Vec<HeaderEdit> {
    let shown = |template: &Template| text(&template.covered(masks).expand(values));
    let removed =
        edits.remove.iter().map(|name| HeaderEdit::Remove(masks.cover_configured(name.as_str()).into_owned()));
    let set = edits.set.iter().map(|(name, value)| HeaderEdit::Set(name.clone(), shown(value)));
    let added = edits.add.iter().map(|(name, value)| HeaderEdit::Add(name.clone(), shown(value)));
    removed.chain(set).chain(added).collect()
}

/// A template filled in, as text.
fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// The note that a WebSocket upgrade is removed, if the route does not allow it.
fn upgrade_denied(route: &Route, head: &RequestHead<'_>) -> Option<String> {
    let asks = head.fields.get_all("upgrade").any(|value| value.eq_ignore_ascii_case(b"websocket"));
    (asks && route.split().is_some() && !route.limits.websocket).then(|| {
        "`Upgrade: websocket` is not passed on: the route needs `limits = { upgrade = [\"websocket\"] }`".to_owned()
    })
}
