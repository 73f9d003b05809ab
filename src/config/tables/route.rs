//! `[[route]]`: what a route matches, and what happens then.

use super::action::{HEADERS, REDIRECT, RESPOND};
use super::grpc::GRPC;
use super::listener::Listeners;
use super::predicate::NAMED;
use super::rewrite::REWRITE;
use super::route_context::{Headed, Names, place};
use super::shadow::SHADOW;
use super::target::TARGET;
use super::variant::{CANARY, VARIANT};
use super::{action, grpc, match_path, predicate, variant};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::spec::{DURATION, Form, NAME, SIZE, Spec, default, optional, required};
use crate::config::toml::{grammar, value};
use crate::route::{Action, Match, Predicate, Route, RouteLimits, SplitState, Timeouts};

/// `[[route]]`.
pub(in crate::config) const ROUTE: Spec = Spec {
    title: "[[route]]",
    doc: "What is matched, and what happens then: exactly one of `stable`, `redirect` and `respond`.",
    keys: &[
        required("name", Form::Pattern(NAME), "Its unique name."),
        optional("match", Form::Table(&MATCH), "What it takes: all that is given must hold; nothing given takes all."),
        default("priority", Form::Integer(-1_000_000, 1_000_000), "0", "Overrides all other precedence; higher wins."),
        optional("stable", Form::Text, "The upstream that answers whoever gets no other variant."),
        optional("redirect", Form::Table(&REDIRECT), "Answers with a redirect."),
        optional("respond", Form::Table(&RESPOND), "Answers from here."),
        optional(
            "sticky",
            Form::OneOrMore(&Form::Words(&["tenant", "user", "client_ip"])),
            "Whose identity sticks to a variant; the first that is present. Empty: each request anew.",
        ),
        optional("sticky_cookie", Form::Text, "A cookie that gives an identity to callers that have none."),
        optional("salt", Form::Text, "The salt of the buckets; the route's name when not given."),
        optional("canary", Form::Table(&CANARY), "A variant called `canary`."),
        optional("variant", Form::Tables(&VARIANT), "Variants by name."),
        optional("target", Form::Tables(&TARGET), "Who gets which variant, before weights are looked at; in order."),
        optional("shadow", Form::Table(&SHADOW), "Copies of its requests, for another upstream."),
        optional("headers", Form::Table(&HEADERS), "Edits to headers."),
        optional("rewrite", Form::Table(&REWRITE), "Edits to path and host."),
        optional("timeout", Form::Table(&TIMEOUT), "Bounds in time; `0s` is none."),
        optional("limits", Form::Table(&LIMITS), "Bounds in size."),
    ],
    later: &["retry", "rate_limit", "rollout"],
};

/// `[route.match]`.
const MATCH: Spec = Spec {
    title: "[route.match]",
    doc: "What a route takes: all that is given must hold; a list is OR.",
    keys: &[
        optional("host", Form::OneOrMore(&Form::Text), "`shop.example.com`, or `*.example.com` for all below it."),
        optional(
            "path",
            Form::OneOrMore(&Form::Either(&[Form::Pattern("^/|\\$\\{"), Form::Table(&match_path::PATH)])),
            "`/x` is exact, `/x/*` is /x and all below it by path element, or a regex for the whole path.",
        ),
        optional("methods", Form::OneOrMore(&Form::Pattern("^[A-Z]+$|\\$\\{")), "Methods, in upper case."),
        optional("listener", Form::OneOrMore(&Form::Text), "Requests that came by this listener."),
        optional("grpc", Form::Table(&GRPC), "gRPC calls to this service, or to these methods of it."),
        predicate::key("header", NAMED, "These headers have these values."),
        predicate::key("query", NAMED, "These query parameters have these values."),
        predicate::key("cookie", NAMED, "These cookies have these values."),
    ],
    later: &[],
};

const TIMEOUT: Spec = Spec {
    title: "[route.timeout]",
    doc: "Bounds in time; `0s` is none.",
    keys: &[
        default(
            "request",
            Form::Pattern(DURATION),
            "\"30s\"",
            "From the end of the request's body to the response's head.",
        ),
        default("idle", Form::Pattern(DURATION), "\"60s\"", "Without a byte in either direction."),
    ],
    later: &["per_try"],
};

const LIMITS: Spec = Spec {
    title: "[route.limits]",
    doc: "Bounds in size, and what a connection may become.",
    keys: &[
        optional("body", Form::Pattern(SIZE), "The largest body of a request; beyond: 413."),
        default(
            "upgrade",
            Form::OneOrMore(&Form::Words(UPGRADES)),
            "[]",
            "What a connection may be switched to; `Upgrade` to anything else is ignored.",
        ),
    ],
    later: &[],
};

/// What `upgrade` may name.
const UPGRADES: &[&str] = &["websocket"];

/// Compiles one route, and what is in force of it as the file says; nothing when it cannot be.
pub(in crate::config) fn route(
    context: &mut Context<'_>,
    headed: &Headed<'_>,
    names: &mut Names<'_, '_>,
) -> Option<(Route, SplitState)> {
    let Headed { reader, name } = headed;
    let priority = reader.integer(context, "priority").and_then(|value| i32::try_from(value).ok()).unwrap_or(0);
    let matches =
        reader.table(context, "match", &MATCH).map(|reader| matches(context, &reader, priority, names.listeners));
    let action = action(context, headed, names);
    let (request_headers, response_headers) = action::headers(context, reader);
    let timeouts = timeouts(context, reader);
    let limits = limits(context, reader);
    reader.finish(context);
    let place = place(context, reader);
    let name = name.as_ref()?;
    context.veil.name(name, name.shown());
    let name = name.shown().to_owned();
    let matches = matches.unwrap_or_else(|| Match { priority, ..Match::default() });
    let (action, state) = action?;
    Some((Route { name, place, matches, action, request_headers, response_headers, timeouts, limits }, state))
}

fn matches(context: &mut Context<'_>, reader: &Reader<'_>, priority: i32, listeners: &Listeners) -> Match {
    let mut matches = Match { priority, ..Match::default() };
    if let Some(item) = reader.get("host") {
        let items = item.not_empty(context);
        matches.hosts = each(context, &items, value::host);
    }
    if let Some(item) = reader.get("path") {
        let items = item.not_empty(context);
        matches.paths = each(context, &items, match_path::path);
    }
    if let Some(item) = reader.get("methods") {
        let items = item.not_empty(context);
        matches.methods = each(context, &items, value::method);
    }
    matches.predicates = predicate::of_head(context, reader);
    grpc::grpc(context, reader, &mut matches);
    if let Some(item) = reader.get("listener") {
        let items = item.not_empty(context);
        let mut names = each(context, &items, |context, item| {
            let name = item.text(context)?;
            listeners.find(context, &name)
        });
        names.sort_unstable();
        names.dedup();
        matches.predicates.push(Predicate::Listener(names));
    }
    reader.finish(context);
    matches
}

fn each<T>(
    context: &mut Context<'_>,
    items: &[Item<'_>],
    parse: impl Fn(&mut Context<'_>, &Item<'_>) -> Option<T>,
) -> Vec<T> {
    items.iter().filter_map(|item| parse(context, item)).collect()
}

/// Exactly one of `stable`, `redirect` and `respond`.
fn action(context: &mut Context<'_>, headed: &Headed<'_>, names: &mut Names<'_, '_>) -> Option<(Action, SplitState)> {
    let reader = &headed.reader;
    let (stable, redirect, respond) = (reader.get("stable"), reader.get("redirect"), reader.get("respond"));
    let given: Vec<Item<'_>> = [stable, redirect, respond].into_iter().flatten().collect();
    let split = variant::split(context, headed, names);
    let redirect = redirect.and_then(|item| action::redirect(context, &item));
    let respond = respond.and_then(|item| action::respond(context, &item));
    match given[..] {
        [] if ["stable", "redirect", "respond"].iter().any(|key| reader.misspells(context, key)) => return None,
        [] => {
            let finding = Finding::error("missing-action", reader.span(), "this route does nothing");
            context
                .report(finding.help("give it `stable = \"UPSTREAM\"`, `redirect = { to = … }` or `respond = { … }`"));
            return None;
        }
        [_] => {}
        [first, second, ..] => {
            let message = format!("a route cannot have both `{}` and `{}`", first.key, second.key);
            let finding = Finding::error("ambiguous", reader.place(second.key), message);
            context.report(finding.also(reader.place(first.key), ""));
            return None;
        }
    }
    if stable.is_none() {
        refuse_split_keys(context, reader, given[0].key);
    }
    let split = split.map(|(split, state)| (Action::Split(split), state));
    let other = redirect.map(Action::Redirect).or(respond.map(Action::Respond));
    split.or(other.map(|action| (action, SplitState::default())))
}

/// Keys that say nothing in a route that does not forward.
fn refuse_split_keys(context: &mut Context<'_>, reader: &Reader<'_>, action: &str) {
    for key in ["sticky", "sticky_cookie", "salt", "canary", "variant", "target", "shadow", "rewrite"] {
        if reader.get(key).is_some() {
            let message = format!("a route with `{action}` forwards to nobody: `{key}` has no meaning here");
            context.report(Finding::error("useless-key", reader.place(key), message));
        }
    }
}

fn timeouts(context: &mut Context<'_>, reader: &Reader<'_>) -> Timeouts {
    let usual = Timeouts::default();
    let Some(reader) = reader.table(context, "timeout", &TIMEOUT) else { return usual };
    let request = value::timeout(context, &reader, "request", usual.request);
    let idle = value::timeout(context, &reader, "idle", usual.idle);
    reader.finish(context);
    Timeouts { request, idle }
}

fn limits(context: &mut Context<'_>, reader: &Reader<'_>) -> RouteLimits {
    let Some(reader) = reader.table(context, "limits", &LIMITS) else { return RouteLimits::default() };
    let body = reader.get("body").and_then(|item| value::size(context, &item, (0, grammar::BODY_MAX)));
    let mut websocket = false;
    for item in reader.get("upgrade").map(|item| item.one_or_more()).unwrap_or_default() {
        if item.word(context, UPGRADES).is_some() && std::mem::replace(&mut websocket, true) {
            item.refuse(context, "duplicate-key", "this is named twice");
        }
    }
    reader.finish(context);
    RouteLimits { body_bytes: body, websocket }
}
