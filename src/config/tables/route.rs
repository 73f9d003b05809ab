//! `[[route]]`: the conditions of a route and its action.

use std::time::Duration;

use super::action::{HEADERS, REDIRECT, RESPOND};
use super::grpc::GRPC;
use super::listener::Listeners;
use super::predicate::NAMED;
use super::rate_limit::RATE_LIMIT;
use super::retry::RETRY;
use super::rewrite::REWRITE;
use super::route_context::{NameRegistries, NamedRoute, place};
use super::shadow::SHADOW;
use super::target::TARGET;
use super::variant::{CANARY, RouteSplit, VARIANT};
use super::{action, grpc, guard, match_path, predicate, rate_limit, retry, variant};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::spec::{DURATION, NAME, SIZE, Shape, TableSpec, default, optional, required};
use crate::config::toml::{grammar, value};
use crate::route::{
    AccessRule, Action, LoadPriority, Match, Predicate, Route, RouteLimits, RouteSpec, SplitState, Timeouts,
};

/// `[[route]]`.
pub(in crate::config) const ROUTE: TableSpec = TableSpec {
    title: "[[route]]",
    doc: "A route: the requests that it matches, and exactly one of `stable`, `redirect` and `respond`.",
    keys: &[
        required("name", Shape::Pattern(NAME), "Unique name of the route."),
        optional(
            "match",
            Shape::Table(&MATCH),
            "Conditions of the route, which must all match; default: every request matches.",
        ),
        default(
            "priority",
            Shape::Either(&[ORDER, Shape::Words(LOADS), Shape::Table(&PRIORITY)]),
            "0",
            "A number overrides all other precedence between routes; the highest wins. `\"low\"`: its requests are refused \
             first under load. `{ order = 10, load = \"low\" }` for both.",
        ),
        optional("stable", Shape::Text, "Upstream for callers that get no other variant."),
        optional("redirect", Shape::Table(&REDIRECT), "Answers with a redirect."),
        optional("respond", Shape::Table(&RESPOND), "Answers without an upstream."),
        optional(
            "sticky",
            Shape::OneOrMore(&Shape::Words(&["tenant", "user", "client_ip"])),
            "Identity that keeps a caller on one variant, the first one that is present; default: each request is decided on its own.",
        ),
        optional(
            "sticky_cookie",
            Shape::Text,
            "Name of a cookie that gives an identity to callers without one; none by default.",
        ),
        optional("salt", Shape::Text, "Salt of the bucket hash; default: the name of the route."),
        optional("canary", Shape::Table(&CANARY), "A variant with the name `canary`."),
        optional("variant", Shape::Tables(&VARIANT), "Further variants, by name."),
        optional(
            "target",
            Shape::Tables(&TARGET),
            "Audiences that get a variant regardless of its weight; the first match decides.",
        ),
        default(
            "guard",
            guard::GUARD_KEY,
            "\"warn\"",
            "What follows when a variant is worse than stable: `warn`, `rollback` to stop it, `off` for no guards; or \
             guards of your own.",
        ),
        optional("shadow", Shape::Table(&SHADOW), "Copies of the requests for another upstream (mirroring)."),
        optional("headers", Shape::Table(&HEADERS), "Edits to headers."),
        optional("rewrite", Shape::Table(&REWRITE), "Edits to path and host."),
        optional("timeout", Shape::Table(&TIMEOUT), "Time limits; `0s` means no limit."),
        optional("retry", Shape::Table(&RETRY), "When a request is tried again at another endpoint."),
        optional("limits", Shape::Table(&LIMITS), "Size limit of bodies, and allowed protocol upgrades."),
        optional("rate_limit", Shape::Tables(&RATE_LIMIT), "How many requests are let through; beyond: 429."),
    ],
    later: &[],
};

/// The precedence of a route.
const ORDER: Shape = Shape::Integer(-1_000_000, 1_000_000);

/// The values of `load`.
const LOADS: &[&str] = &["normal", "low"];

/// `priority = { … }`.
const PRIORITY: TableSpec = TableSpec {
    title: "priority",
    doc: "The precedence of a route, and whether its requests are refused first under load.",
    keys: &[
        default("order", ORDER, "0", "Overrides all other precedence between routes; the highest value wins."),
        default(
            "load",
            Shape::Words(LOADS),
            "\"normal\"",
            "`low`: its requests are refused from 80 % of the memory for requests or of `listener.limits.requests` on.",
        ),
    ],
    later: &[],
};

/// `[route.match]`.
const MATCH: TableSpec = TableSpec {
    title: "[route.match]",
    doc: "Conditions of a route. All keys must match; the values of a list are alternatives.",
    keys: &[
        optional(
            "host",
            Shape::OneOrMore(&Shape::Text),
            "Host, such as `shop.example.com`, or `*.example.com` for all names below it.",
        ),
        optional(
            "path",
            Shape::OneOrMore(&Shape::Either(&[Shape::Pattern("^/|\\$\\{"), Shape::Table(&match_path::PATH)])),
            "Path: `/x` matches exactly, `/x/*` matches `/x` and all paths below it, `{ regex = \"…\" }` must match the whole path.",
        ),
        optional("methods", Shape::OneOrMore(&Shape::Pattern("^[A-Z]+$|\\$\\{")), "Methods, in upper case."),
        optional("listener", Shape::OneOrMore(&Shape::Text), "Names of listeners that receive the request."),
        optional("grpc", Shape::Table(&GRPC), "gRPC calls to this service, or to these methods of it."),
        predicate::key("header", NAMED, "These headers have these values."),
        predicate::key("query", NAMED, "These query parameters have these values."),
        predicate::key("cookie", NAMED, "These cookies have these values."),
    ],
    later: &[],
};

const TIMEOUT: TableSpec = TableSpec {
    title: "[route.timeout]",
    doc: "Time limits; `0s` means no limit.",
    keys: &[
        default(
            "request",
            Shape::Pattern(DURATION),
            "\"30s\"",
            "Time limit from the end of the request's body to the head of the response.",
        ),
        default("idle", Shape::Pattern(DURATION), "\"60s\"", "Longest time without a byte in either direction."),
        optional(
            "per_try",
            Shape::Pattern(DURATION),
            "Time limit of each try, from sending it to the head of its response; default: only `request` limits it.",
        ),
    ],
    later: &[],
};

const LIMITS: TableSpec = TableSpec {
    title: "[route.limits]",
    doc: "Size limit of bodies, and allowed protocol upgrades.",
    keys: &[
        optional(
            "body",
            Shape::Pattern(SIZE),
            "Maximum size of a request body; larger requests get 413; default: no limit.",
        ),
        default(
            "upgrade",
            Shape::OneOrMore(&Shape::Words(UPGRADES)),
            "[]",
            "Protocols that a connection may be upgraded to; `Upgrade` to other protocols is ignored.",
        ),
    ],
    later: &[],
};

/// The values of `upgrade`.
const UPGRADES: &[&str] = &["websocket"];

/// Compiles one route, and the state of its split; `None` if it has errors.
pub(in crate::config) fn route(
    context: &mut Context<'_>,
    headed: &NamedRoute<'_>,
    names: &mut NameRegistries<'_, '_>,
) -> Option<(Route, SplitState)> {
    let NamedRoute { reader, name } = headed;
    let (priority, load) = priority(context, reader);
    let matches =
        reader.table(context, "match", &MATCH).map(|reader| matches(context, &reader, priority, names.listeners));
    let RouteAction { action, access } = action(context, headed, names);
    let rate_limits = rate_limit::rate_limits(context, reader, names);
    let (request_headers, response_headers) = action::headers(context, reader);
    let timeouts = timeouts(context, reader);
    let retry = retry::retry(context, reader);
    let limits = limits(context, reader);
    reader.finish(context);
    let place = place(context, reader);
    let name = name.as_ref()?;
    context.variables.record_name(name, name.shown());
    let name = name.shown().to_owned();
    let matches = matches.unwrap_or_else(|| Match { priority, ..Match::default() });
    let (action, state) = action?;
    let spec = RouteSpec {
        name,
        matches,
        action,
        request_headers,
        response_headers,
        timeouts,
        retry,
        limits,
        access: access.into(),
        rate_limits,
        load,
    };
    Some((Route::new(place, spec), state))
}

/// `priority`: the precedence, the load, or both.
fn priority(context: &mut Context<'_>, reader: &Reader<'_>) -> (i32, LoadPriority) {
    const HELP: &str =
        "write a whole number for the precedence, `\"low\"` for the load, or `{ order = 10, load = \"low\" }`";
    let load = |word| if word == Some(1) { LoadPriority::Low } else { LoadPriority::Normal };
    let Some(item) = reader.get("priority") else { return (0, LoadPriority::Normal) };
    if item.is_text() {
        let is_number = item.text(context).is_some_and(|text| text.trim().parse::<i64>().is_ok());
        if is_number {
            item.mismatch_number(context, "a whole number", |digits| digits.parse::<i64>().is_ok());
            return (0, LoadPriority::Normal);
        }
        return (0, load(item.word(context, LOADS)));
    }
    if item.is_table() {
        let Some(reader) = item.table(context, &PRIORITY) else { return (0, LoadPriority::Normal) };
        let order = reader.integer(context, "order").and_then(|value| i32::try_from(value).ok()).unwrap_or(0);
        let load = load(reader.word(context, "load"));
        reader.finish(context);
        return (order, load);
    }
    let Shape::Integer(least, most) = ORDER else { return (0, LoadPriority::Normal) };
    if item.digits().is_none() {
        item.mismatch_with_help(context, "a whole number, a string or a table", HELP);
        return (0, LoadPriority::Normal);
    }
    let order = item.integer(context, least..=most).and_then(|value| i32::try_from(value).ok());
    (order.unwrap_or(0), LoadPriority::Normal)
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

/// The action of a route, if it is valid, and the callers that the proxy answers before.
struct RouteAction {
    action: Option<(Action, SplitState)>,
    access: Vec<AccessRule>,
}

/// Compiles the action: exactly one of `stable`, `redirect` and `respond`.
fn action(context: &mut Context<'_>, headed: &NamedRoute<'_>, names: &mut NameRegistries<'_, '_>) -> RouteAction {
    let reader = &headed.reader;
    let (stable, redirect, respond) = (reader.get("stable"), reader.get("redirect"), reader.get("respond"));
    let given: Vec<Item<'_>> = [stable, redirect, respond].into_iter().flatten().collect();
    let RouteSplit { split, access } = variant::split(context, headed, names);
    let redirect = redirect.and_then(|item| action::redirect(context, &item));
    let respond = respond.and_then(|item| action::respond(context, &item));
    match given[..] {
        [] if ["stable", "redirect", "respond"].iter().any(|key| reader.misspells(context, key)) => {
            return RouteAction { action: None, access };
        }
        [] => {
            let finding = Finding::error("missing-action", reader.span(), "this route has no action");
            context.report(finding.help("add `stable = \"UPSTREAM\"`, `redirect = { to = … }` or `respond = { … }`"));
            return RouteAction { action: None, access };
        }
        [_] => {}
        [first, second, ..] => {
            let message = format!("a route cannot have both `{}` and `{}`", first.key, second.key);
            let finding = Finding::error("ambiguous", reader.place(second.key), message);
            context.report(finding.also(reader.place(first.key), ""));
            return RouteAction { action: None, access };
        }
    }
    if stable.is_none() {
        refuse_split_keys(context, reader, given[0].key);
    }
    let split = split.map(|(split, state)| (Action::Split(split), state));
    let other = redirect.map(Action::Redirect).or(respond.map(Action::Respond));
    let action = split.or(other.map(|action| (action, SplitState::default())));
    RouteAction { action, access }
}

/// Refuses keys that have no effect in a route that does not forward.
fn refuse_split_keys(context: &mut Context<'_>, reader: &Reader<'_>, action: &str) {
    for key in ["sticky", "sticky_cookie", "salt", "canary", "variant", "guard", "shadow", "rewrite", "retry"] {
        if reader.get(key).is_some() {
            let message = format!("a route with `{action}` does not forward requests, so `{key}` has no effect");
            context.report(Finding::error("useless-key", reader.place(key), message));
        }
    }
}

fn timeouts(context: &mut Context<'_>, reader: &Reader<'_>) -> Timeouts {
    let defaults = Timeouts::default();
    let Some(reader) = reader.table(context, "timeout", &TIMEOUT) else { return defaults };
    let request = value::timeout(context, &reader, "request", defaults.request);
    let idle = value::timeout(context, &reader, "idle", defaults.idle);
    let per_try = per_try(context, &reader, request);
    reader.finish(context);
    Timeouts { request, idle, per_try }
}

fn per_try(context: &mut Context<'_>, reader: &Reader<'_>, request: Option<Duration>) -> Option<Duration> {
    let item = reader.get("per_try")?;
    let per_try = value::duration(context, &item)?;
    if per_try.is_zero() {
        let finding = Finding::error("out-of-range", item.span(), "`per_try` must be more than zero");
        context.report(finding.help("remove it: then only `request` limits a try"));
        return None;
    }
    if request.is_some_and(|request| per_try >= request) {
        let message = "`per_try` is not below `request`: when a try ends, no time is left for another one";
        let finding = Finding::warning("late-try", item.span(), message);
        context.report(finding.help("write a shorter `per_try`, such as a third of `request`"));
    }
    Some(per_try)
}

fn limits(context: &mut Context<'_>, reader: &Reader<'_>) -> RouteLimits {
    let Some(reader) = reader.table(context, "limits", &LIMITS) else { return RouteLimits::default() };
    let body = reader.get("body").and_then(|item| value::size(context, &item, 0..=grammar::BODY_MAX));
    let mut websocket = false;
    for item in reader.get("upgrade").map(|item| item.one_or_more()).unwrap_or_default() {
        if item.word(context, UPGRADES).is_some() && std::mem::replace(&mut websocket, true) {
            item.refuse(context, "duplicate-key", "this is listed twice");
        }
    }
    reader.finish(context);
    RouteLimits { body_bytes: body, websocket }
}
