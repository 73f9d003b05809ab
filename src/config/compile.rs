//! Compiles the documents of a configuration: collects the tables of all files, reads each, and builds the rules.

use std::borrow::Cow;
use std::sync::Arc;

use super::compile_routes::{self, CompiledRoutes, ReadFile};
use super::kept::KeptRoutes;
use super::tables::admin::ADMIN;
use super::tables::client_tls::SystemRoots;
use super::tables::dns::DNS;
use super::tables::guard_warnings::{GuardedRoutes, KnownCallers};
use super::tables::identity::IDENTITY;
use super::tables::kill::{CompiledKill, KILL, Splits};
use super::tables::known_rollouts::KnownRollouts;
use super::tables::listener::{ACCESS_LOG, LISTENER, Listeners};
use super::tables::notify::NOTIFY;
use super::tables::prometheus::PROMETHEUS;
use super::tables::release::RELEASE;
use super::tables::rollout::{ROLLOUT, RolloutContext};
use super::tables::route::ROUTE;
use super::tables::route_context::{DefinedUpstreams, NameRegistries};
use super::tables::route_test::{RouteTest, TEST, TestNames};
use super::tables::route_text::RouteText;
use super::tables::segment::SEGMENT;
use super::tables::stage_gate::PrometheusTable;
use super::tables::state::STATE;
use super::tables::traces::TRACES;
use super::tables::upstream::UPSTREAM;
use super::tables::{
    admin, dns, grpc, guard_warnings, hidden_routes, hidden_targets, identity, kill, listener, notify, outlier,
    prometheus, release, rollout_warnings, rollouts, route_test, segment, shadow, state, traces, upstream,
};
use super::toml::context::Context;
use super::toml::diagnostic::Finding;
use super::toml::item::NamedTables;
use super::toml::reader::Reader;
use super::toml::registry::{NameKind, Registry};
use super::toml::source::Span;
use super::toml::spec::{Shape, TableSpec, default, optional, required};
use crate::identity::IdentityProviders;
use crate::route::{FileKills, Index, ListenerSpec, Notify, Overlay, Route, Rules, TokenList};
use crate::tls::Server;

/// The most routes.
const ROUTES_MAX: usize = 250_000;

/// The top level of a file.
pub(super) const FILE: TableSpec = TableSpec {
    title: "",
    doc: "The routes file of Pointsman, a release-control edge proxy.",
    keys: &[
        required("schema", Shape::Integer(1, 1), "Version of the file format; must be 1."),
        optional(
            "include",
            Shape::OneOrMore(&Shape::Text),
            "Further files with the same tables, relative to this file; `*` and `?` are wildcards.",
        ),
        required("listener", Shape::Tables(&LISTENER), "Listeners: the addresses that clients connect to."),
        optional("admin", Shape::Table(&ADMIN), "The admin listener, for operators."),
        optional("state", Shape::Table(&STATE), "What survives a restart: the journal, and kills by people."),
        optional(
            "identity",
            Shape::Table(&IDENTITY),
            "How the tenant, the user and the client address are read from requests.",
        ),
        optional("segment", Shape::Named(&Shape::Table(&SEGMENT)), "Named audiences, which targets refer to."),
        optional(
            "upstream",
            Shape::Named(&Shape::Table(&UPSTREAM)),
            "Named sets of endpoints that requests are forwarded to.",
        ),
        optional("route", Shape::Tables(&ROUTE), "Routes: which requests are sent where."),
        optional(
            "rollout",
            Shape::Named(&Shape::Table(&ROLLOUT)),
            "Plans of releases in stages, which variants refer to.",
        ),
        optional("release", Shape::Table(&RELEASE), "What applies to all rollouts: freeze windows."),
        optional("prometheus", Shape::Table(&PROMETHEUS), "Prometheus, which gates and guards of rollouts ask."),
        optional("notify", Shape::Table(&NOTIFY), "Who is notified of what happens to releases."),
        optional("kill", Shape::Table(&KILL), "Kills: takes variants out of use during an incident."),
        default("access_log", Shape::Table(&ACCESS_LOG), "{}", "The access log: one line per request."),
        optional("dns", Shape::Table(&DNS), "How host names of endpoints are resolved."),
        optional("traces", Shape::Table(&TRACES), "Export of spans to an OpenTelemetry collector."),
        optional("test", Shape::Tables(&TEST), "Tests of the routes, run by `pointsman check`."),
    ],
    later: &["experiment", "flag", "guard"],
};

/// The tables of all files.
#[derive(Default)]
struct Parts<'d> {
    listeners: Vec<Reader<'d>>,
    once: Vec<(&'static str, Reader<'d>)>,
    upstreams: NamedTables<'d>,
    segments: NamedTables<'d>,
    rollouts: NamedTables<'d>,
    routes: Vec<RouteText<'d>>,
    tests: Vec<Reader<'d>>,
}

impl<'d> Parts<'d> {
    fn one(&self, key: &str) -> Option<&Reader<'d>> {
        self.once.iter().find(|(known, _)| *known == key).map(|(_, reader)| reader)
    }
}

/// A compiled configuration.
pub(super) struct Compiled {
    pub(super) rules: Rules,
    /// The weights and kills of the files.
    pub(super) overlay: Overlay,
    /// What the files kill, with its places.
    pub(super) kills: FileKills,
    /// The TLS configuration of the admin listener.
    pub(super) admin_tls: Option<Arc<Server>>,
    /// The TLS configurations of the listeners, in their order.
    pub(super) tls: Vec<Option<Arc<Server>>>,
    /// Keys for tokens, and a database of countries.
    pub(super) identity_providers: IdentityProviders,
    pub(super) tests: Vec<RouteTest>,
    /// What the next load need not read.
    pub(super) kept: Option<KeptRoutes>,
}

/// What the load before has left.
type Last<'a> = Option<&'a KeptRoutes>;

/// Compiles all files; the first one is the root. Returns `None` if there are errors. Routes that are the same as in the load
/// before are taken from `last`.
pub(super) fn compile<'d>(context: &mut Context<'_>, files: &'d [ReadFile<'d>], last: Last<'_>) -> Option<Compiled> {
    let mut parts = gather(context, files);
    let (listeners, tls, addresses) = listener::listeners(context, &parts.listeners);
    note_client_certs(context, &listeners);
    let state = state::state(context, parts.one("state"), whole(files));
    let (admin, admin_tls) = admin::admin(context, parts.one("admin"), &addresses, &state);
    let (identity, identity_providers) = identity::identity(context, parts.one("identity"));
    let access_log = listener::access_log(context, parts.one("access_log"));
    let dns = dns::dns(context, parts.one("dns"));
    let mut system = SystemRoots::default();
    let traces = traces::traces(context, parts.one("traces"), &mut system);
    let freeze = release::release(context, parts.one("release"));
    let prometheus = prometheus::prometheus(context, parts.one("prometheus"), &mut system);
    let Plans { mut rollouts, notify } = plans(context, &mut parts, &mut system);

    let mut upstream_names = define(context, NameKind::Upstream, &parts.upstreams);
    let mut segment_names = define(context, NameKind::Segment, &parts.segments);
    let each = |named| upstream::upstream(context, named, &mut system, &addresses);
    let upstreams: Vec<_> = parts.upstreams.valid.iter().filter_map(each).collect();
    let segments: Vec<_> = parts.segments.valid.iter().filter_map(|named| segment::segment(context, named)).collect();

    let data_hash = context.data_hash();
    last.is_none_or(|last| last.is_of(files.len(), data_hash)).then_some(())?;
    let mut route_names = compile_routes::define(context, &parts.routes);
    let known = Listeners::new(&listeners, parts.listeners.len());
    let (upstreams_of, segments_of, rollouts_of) = (&mut upstream_names, &mut segment_names, &mut rollouts);
    let mut names =
        NameRegistries { upstreams: upstreams_of, segments: segments_of, listeners: &known, rollouts: rollouts_of };
    let CompiledRoutes { routes, mut states, apart } = compile_routes::routes(context, &parts.routes, &mut names);
    rollouts.set_members(&routes);
    let splits = Splits { routes: &routes, states: &mut states, rollouts: &mut rollouts };
    let kill = kill::kill(context, parts.one("kill"), &mut route_names, splits);
    let (routes_of, upstreams_of, rollouts_of) = (&mut route_names, &mut upstream_names, &mut rollouts);
    let names = TestNames { routes: routes_of, upstreams: upstreams_of, listeners: &known, rollouts: rollouts_of };
    let tests = route_tests(context, &parts.tests, names);
    (context.errors() == 0).then_some(())?;
    warn_of_unused(context, &parts, [&upstream_names, &segment_names]);
    // Collects in place, without a copy of all routes. Without errors, no route is `None`.
    let routes = routes.into_iter().collect::<Option<Vec<Route>>>()?;
    debug_assert!(routes.len() == parts.routes.len() && routes.len() == states.len(), "every route has a state");
    let defined = DefinedUpstreams { upstreams: &upstreams, names: &upstream_names };
    let callers = KnownCallers { segments: &segments, identity: &identity, listeners: &listeners };
    let guarded = GuardedRoutes { routes: &routes, states: &states, written: &parts.routes };
    let names = WholeNames { routes: &route_names, rollouts: &rollouts };
    let known = last.filter(|last| last.has_same_matches(&routes));
    let some_are_hidden =
        WholeFile { guarded, callers, defined, names, notify: &notify, tokens: admin.tokens.as_ref(), known }
            .check(context);
    (context.errors() == 0).then_some(())?;
    let index = known.map_or_else(|| Index::new(&routes), |known| known.index.clone());
    let whole = KeptRoutes { data_hash, index: index.clone(), some_are_hidden, ..KeptRoutes::default() };
    let kept = compile_routes::keep(context, files, KeptRoutes { routes: routes.clone(), ..whole }, apart);
    let rules = Rules {
        listeners,
        admin,
        state: state.spec,
        identity,
        segments,
        upstreams,
        routes,
        index,
        access_log,
        dns,
        traces,
        rollouts: rollouts.into_compiled()?,
        freeze,
        prometheus,
        notify,
        masks: context.variables.masks(),
    };
    let CompiledKill { kill, places: kills } = kill;
    let overlay = Overlay::new(kill, states);
    Some(Compiled { rules, overlay, kills, admin_tls, tls, identity_providers, tests, kept })
}

/// Notes whether requests can have a client certificate.
fn note_client_certs(context: &mut Context<'_>, listeners: &[ListenerSpec]) {
    let requests_cert = |spec: &ListenerSpec| spec.tls.as_ref().is_some_and(|tls| tls.client_auth.is_some());
    context.identified.extend(listeners.iter().any(requests_cert).then_some("client_cert"));
}

/// The plans of releases, and who is notified of them.
struct Plans<'d> {
    rollouts: KnownRollouts<'d>,
    notify: Notify,
}

/// Compiles the plans of releases.
fn plans<'d>(context: &mut Context<'_>, parts: &mut Parts<'d>, system: &mut SystemRoots) -> Plans<'d> {
    let mut receivers = notify::receivers(context, parts.one("notify"));
    let is_given = parts.one("prometheus").is_some();
    let prometheus = if is_given { PrometheusTable::Given } else { PrometheusTable::Missing };
    let mut of = RolloutContext { prometheus, system, receivers: &mut receivers };
    let rollouts = rollouts::rollouts(context, std::mem::take(&mut parts.rollouts), &mut of);
    Plans { rollouts, notify: receivers.compile(context, parts.one("notify"), system) }
}

/// Compiles all tests.
fn route_tests(context: &mut Context<'_>, all: &[Reader<'_>], mut names: TestNames<'_, '_>) -> Vec<RouteTest> {
    all.iter().filter_map(|reader| route_test::route_test(context, reader, &mut names)).collect()
}

/// A configuration whose tables are valid, for checks that need all of them.
struct WholeFile<'a, 'd> {
    guarded: GuardedRoutes<'a, 'd>,
    callers: KnownCallers<'a>,
    defined: DefinedUpstreams<'a>,
    names: WholeNames<'a, 'd>,
    notify: &'a Notify,
    tokens: Option<&'a TokenList>,
    /// The routes of the last load, where they match the same requests.
    known: Option<&'a KeptRoutes>,
}

/// The names of a file.
struct WholeNames<'a, 'd> {
    routes: &'a Registry<'d>,
    rollouts: &'a KnownRollouts<'d>,
}

impl WholeFile<'_, '_> {
    /// Returns whether some route hides another.
    fn check(&self, context: &mut Context<'_>) -> bool {
        let Self { guarded, callers, defined, names, notify, tokens, known } = self;
        let (route_names, rollouts) = (names.routes, names.rollouts);
        let routes = guarded.routes;
        if known.is_none() {
            conflicts(context, routes, route_names);
        }
        let before = context.effects();
        if known.is_none_or(|known| known.some_are_hidden) {
            hidden_routes::warn(context, routes, route_names);
        }
        let some_are_hidden = context.effects() > before;
        hidden_targets::warn(context, routes, guarded.written, callers.segments);
        grpc::warn_of_http1(context, routes, defined, route_names);
        outlier::warn_of_no_budget(context, routes, defined, route_names);
        shadow::warn_of_loops(context, routes, defined, callers.listeners);
        guard_warnings::check(context, guarded, callers, defined);
        rollout_warnings::check(context, rollouts, guarded, defined, *tokens);
        notify::warn_of_unheard(context, notify, rollouts);
        some_are_hidden
    }
}

fn warn_of_unused(context: &mut Context<'_>, parts: &Parts<'_>, all: [&Registry<'_>; 2]) {
    warn_of_no_routes(context, parts);
    for names in all {
        names.warn_unused(context);
    }
}

fn warn_of_no_routes(context: &mut Context<'_>, parts: &Parts<'_>) {
    if let (true, Some(first)) = (parts.routes.is_empty(), parts.listeners.first()) {
        let finding = Finding::warning("no-routes", first.span(), "there is no `[[route]]`: every request gets a 404");
        context.report(finding.help("add `[[route]]` with a `name`, and `stable`, `redirect` or `respond`"));
    }
}

/// The root file as a whole.
fn whole(files: &[ReadFile<'_>]) -> Span {
    files.first().map_or(Span::whole(0), |file| Span::whole(file.document.file))
}

fn gather<'d>(context: &mut Context<'_>, files: &'d [ReadFile<'d>]) -> Parts<'d> {
    let mut misspelt = false;
    let mut parts = Parts::default();
    for (at, file) in files.iter().enumerate() {
        let document = &file.document;
        let reader = Reader::root(document, &FILE);
        schema(context, &reader, if at == 0 { Some(Span::whole(document.file)) } else { None });
        if let (true, Some(_)) = (at > 0, reader.get("include")) {
            let message = "an included file cannot include others";
            context.report(Finding::error("nested-include", reader.place("include"), message));
        }
        reader.get("include");
        parts.listeners.extend(reader.tables(context, "listener", &LISTENER));
        for (key, spec) in [
            ("admin", &ADMIN),
            ("state", &STATE),
            ("identity", &IDENTITY),
            ("release", &RELEASE),
            ("prometheus", &PROMETHEUS),
            ("notify", &NOTIFY),
            ("kill", &KILL),
            ("access_log", &ACCESS_LOG),
            ("dns", &DNS),
            ("traces", &TRACES),
        ] {
            let Some(table) = reader.table(context, key, spec) else { continue };
            if let Some(first) = parts.one(key) {
                let finding = Finding::error("duplicate-key", table.span(), format!("`[{key}]` is defined twice"));
                context.report(finding.label("and again here").also(first.span(), "first defined here"));
                continue;
            }
            parts.once.push((key, table));
        }
        parts.upstreams.append(reader.named(context, "upstream", &UPSTREAM));
        parts.segments.append(reader.named(context, "segment", &SEGMENT));
        parts.rollouts.append(reader.named(context, "rollout", &ROLLOUT));
        let routes = reader.tables(context, "route", &ROUTE);
        let count = parts.routes.len() + routes.len().max(file.kept.len());
        if count > ROUTES_MAX {
            let first = routes.first().map_or(Span::whole(document.file), Reader::span);
            let message = format!("there are {count} routes; at most {ROUTES_MAX} are supported");
            context.report(Finding::error("too-many", first, message));
            continue;
        }
        parts.routes.extend(file.routes(context, routes));
        parts.tests.extend(reader.tables(context, "test", &TEST));
        misspelt |= reader.get("listener").is_some() || reader.misspells(context, "listener");
        reader.finish(context);
    }
    if parts.listeners.is_empty() && !misspelt {
        let finding = Finding::error("missing-listener", whole(files), "there is no `[[listener]]`");
        context.report(finding.help("add `[[listener]]` with `address = \"0.0.0.0:8080\"`"));
    }
    parts
}

/// Checks `schema = 1`, which the root file must have.
fn schema(context: &mut Context<'_>, reader: &Reader<'_>, needed: Option<Span>) {
    match (reader.get("schema"), needed) {
        (Some(item), _) => {
            if item.integer(context, i64::MIN..=i64::MAX).is_some_and(|version| version != 1) {
                let message = "this version of Pointsman supports `schema = 1` only";
                item.refuse(context, "unknown-schema", message);
            }
        }
        (None, Some(_)) if reader.misspells(context, "schema") => {}
        (None, Some(root)) => {
            let finding = Finding::error("missing-key", root, "`schema` is missing");
            context.report(finding.help("add `schema = 1` at the top"));
        }
        (None, None) => {}
    }
}

fn define<'d>(context: &mut Context<'_>, kind: NameKind, tables: &NamedTables<'d>) -> Registry<'d> {
    let NamedTables { valid, misplaced } = tables;
    let mut registry = Registry::new(kind, valid.len() + misplaced.len());
    for named in valid.iter().chain(misplaced) {
        registry.define(context, Cow::Borrowed(named.name), named.span);
    }
    registry
}

fn conflicts(context: &mut Context<'_>, routes: &[Route], names: &Registry<'_>) {
    for (first, second) in Index::conflicts(routes) {
        let (Some(at), Some(first_at)) = (names.place(second.0), names.place(first.0)) else { continue };
        let (first, second) = (&routes[first.0 as usize].name, &routes[second.0 as usize].name);
        let message = format!("route `{second}` is never used: `{first}` matches the same requests");
        let finding = Finding::error("route-conflict", at, message).label("this route");
        let help = "distinguish them by host, path, methods, listener, header, query or cookie, or give one a higher `priority`";
        context.report(finding.also(first_at, "conflicts with this one").help(help));
    }
}
