//! `[route.shadow]`: copies of a route's requests for another upstream.

use std::time::Duration;

use http::Method;

use super::action::EDITS;
use super::compare::COMPARE;
use super::route_context::{DefinedUpstreams, NameRegistries};
use super::{action, compare, rewrite, target};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::reader::Reader;
use crate::config::toml::source::Span;
use crate::config::toml::spec::{DURATION, SIZE, Shape, TableSpec, default, optional, required};
use crate::config::toml::suggest::did_you_mean;
use crate::config::toml::value;
use crate::route::{EndpointHost, ListenerSpec, Route, Salt, SampleBy, Shadow, UpstreamId, VariantId, Weight};

/// The highest `max_in_flight`.
const IN_FLIGHT_MAX: i64 = 100_000;

/// The highest `max_body`, in bytes.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// The highest `timeout`.
const TIMEOUT_MAX: Duration = Duration::from_mins(10);

/// The default of `methods`.
const SAFE: [Method; 3] = [Method::GET, Method::HEAD, Method::OPTIONS];

/// Other known methods (RFC 9110, RFC 5789), for suggestions.
const UNSAFE: &[&str] = &["POST", "PUT", "PATCH", "DELETE"];

/// `[route.shadow]`.
pub(super) const SHADOW: TableSpec = TableSpec {
    title: "[route.shadow]",
    doc: "Copies of requests for another upstream. Clients never get or wait for its responses.",
    keys: &[
        required("upstream", Shape::Text, "Upstream that gets the copies."),
        required(
            "weight",
            Shape::Number(0, 100),
            "Share of requests that is copied, in percent, with at most four decimals.",
        ),
        default(
            "sample_by",
            Shape::Words(&["request", "key"]),
            "\"request\"",
            "`request` samples single requests, spread evenly; `key` samples whole callers, by their sticky key.",
        ),
        default(
            "methods",
            Shape::OneOrMore(&Shape::Pattern("^[A-Z]+$|\\$\\{")),
            "[\"GET\", \"HEAD\", \"OPTIONS\"]",
            "Methods that are copied; the side effects of other methods would happen twice.",
        ),
        default("from", Shape::OneOrMore(&Shape::Text), "[\"stable\"]", "Variants whose requests are copied."),
        default(
            "max_in_flight",
            Shape::Integer(1, IN_FLIGHT_MAX),
            "64",
            "Maximum number of copies in flight; further copies are dropped.",
        ),
        default(
            "max_body",
            Shape::Pattern(SIZE),
            "\"64KiB\"",
            "Maximum size of a body that is copied, at most 64MiB; copies with a larger body are dropped.",
        ),
        default("timeout", Shape::Pattern(DURATION), "\"5s\"", "Time limit for a copy and its response, at most 10m."),
        optional("host", Shape::Text, "`Host` of the copies; default: that of the original request."),
        optional(
            "headers",
            Shape::Table(&EDITS),
            "Edits to the headers of copies; `x-pointsman-shadow: 1` is always set.",
        ),
        optional(
            "compare",
            Shape::Table(&COMPARE),
            "Comparison of the responses; without this table they are discarded.",
        ),
    ],
    later: &[],
};

/// The parts of a route that its shadow depends on.
pub(in crate::config) struct ShadowContext<'a> {
    /// The variants in order: name, upstream and weight.
    pub(in crate::config) variants: Vec<(&'a str, Option<UpstreamId>, Weight)>,
    /// The salt of the route.
    pub(in crate::config) salt: &'a str,
    /// Whether requests can have a sticky key.
    pub(super) sticks: StickyKeys,
}

/// Whether requests can have a sticky key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum StickyKeys {
    /// The route does not use sticky keys.
    No,
    /// The route uses sticky keys, but no request has one.
    Never,
    /// Requests can have a sticky key.
    Yes,
}

/// Compiles `[route.shadow]`. All keys are read, so that all errors are found.
pub(in crate::config) fn shadow(
    context: &mut Context<'_>,
    reader: &Reader<'_>,
    around: &ShadowContext<'_>,
    names: &mut NameRegistries<'_, '_>,
) -> Option<Shadow> {
    let reader = reader.table(context, "shadow", &SHADOW)?;
    let text = reader.require(context, "upstream").and_then(|item| item.text(context));
    let upstream = text.as_ref().and_then(|text| names.upstreams.find(context, text)).map(UpstreamId);
    let weight = reader.require(context, "weight").and_then(|item| value::weight(context, &item));
    let sample_by = sample_by(context, &reader, around);
    let methods = methods(context, &reader);
    let from = from(context, &reader, around);
    let max_in_flight = reader.count(context, "max_in_flight").unwrap_or(64);
    let body = reader.get("max_body").and_then(|item| value::size(context, &item, 0..=BODY_BYTES_MAX));
    let timeout = timeout(context, &reader);
    let host = reader.text(context, "host").and_then(|text| rewrite::authority(context, &text));
    let headers = action::edits(context, &reader, "headers", "write `host = \"…\"` in `[route.shadow]`");
    let compare = reader.table(context, "compare", &COMPARE).map(|reader| compare::compare(context, &reader));
    reader.finish(context);
    let shadow = Shadow {
        upstream: upstream?,
        weight: weight?,
        sample_by,
        salt: Salt::shadow(around.salt),
        methods,
        from,
        max_in_flight,
        max_body_bytes: body.unwrap_or(64 << 10),
        timeout,
        host,
        headers,
        compare,
    };
    if shadow.weight > Weight::ZERO {
        let name = text.as_deref().unwrap_or("");
        warn_of_load(context, &reader, name, &shadow, around);
        warn_of_side_effects(context, &reader, name, &shadow);
    }
    Some(shadow)
}

fn sample_by(context: &mut Context<'_>, reader: &Reader<'_>, around: &ShadowContext<'_>) -> SampleBy {
    if reader.word(context, "sample_by") != Some(1) {
        return SampleBy::Request;
    }
    let at = reader.place("sample_by");
    let finding = match around.sticks {
        StickyKeys::Yes => return SampleBy::Key,
        StickyKeys::No => {
            let message = "`sample_by = \"key\"` needs a sticky key, but this route has none";
            Finding::error("no-sticky-key", at, message)
        }
        StickyKeys::Never => Finding::warning("no-sticky-key", at, "no request is copied: none has a sticky key"),
    };
    context.report(finding.help("add `sticky = [\"user\", \"client_ip\"]` or `sticky_cookie = \"…\"` to the route"));
    SampleBy::Key
}

fn methods(context: &mut Context<'_>, reader: &Reader<'_>) -> Vec<Method> {
    let Some(item) = reader.get("methods") else { return SAFE.to_vec() };
    let items = item.not_empty(context);
    value::parse_unique(context, &items, value::method)
}

fn from(context: &mut Context<'_>, reader: &Reader<'_>, around: &ShadowContext<'_>) -> Vec<VariantId> {
    let Some(item) = reader.get("from") else { return vec![VariantId::STABLE] };
    debug_assert!(around.variants.first().is_some_and(|(name, ..)| *name == "stable"), "stable is variant 0");
    let known: Vec<&str> = around.variants.iter().map(|(name, ..)| *name).collect();
    let items = item.not_empty(context);
    value::parse_unique(context, &items, |context, item| {
        let text = item.text(context)?;
        target::variant(context, &text, &known)
    })
}

fn timeout(context: &mut Context<'_>, reader: &Reader<'_>) -> Duration {
    let default_timeout = Duration::from_secs(5);
    let Some(item) = reader.get("timeout") else { return default_timeout };
    let Some(timeout) = value::duration(context, &item) else { return default_timeout };
    if timeout.is_zero() || timeout > TIMEOUT_MAX {
        let message = "the `timeout` of a shadow must be more than zero and at most 10m: copies must end";
        item.refuse(context, "out-of-range", message);
    }
    timeout
}

/// Warns if the upstream of the shadow serves the route as well, and gets copies in addition to its own requests.
fn warn_of_load(
    context: &mut Context<'_>,
    reader: &Reader<'_>,
    name: &str,
    shadow: &Shadow,
    around: &ShadowContext<'_>,
) {
    let mut answering = around.variants.iter().zip(0..).filter(|((_, upstream, weight), id)| {
        *upstream == Some(shadow.upstream) && (*weight > Weight::ZERO || shadow.from.contains(&VariantId(*id)))
    });
    let Some(((variant, _, weight), id)) = answering.next() else { return };
    let share = shadow.weight;
    let (message, help) = if shadow.from.contains(&VariantId(id)) {
        (
            format!("`{name}` is already the upstream of `{variant}`: it gets {share} % of these requests twice"),
            "name an upstream that runs another revision, or other variants in `from`",
        )
    } else {
        (
            format!("`{name}` gets {weight} % of this route as `{variant}`, and the copies in addition"),
            "make sure that it has enough capacity for both",
        )
    };
    context.report(Finding::warning("shadow-adds-load", reader.place("upstream"), message).help(help));
}

/// Warns of copies whose side effects happen twice.
fn warn_of_side_effects(context: &mut Context<'_>, reader: &Reader<'_>, name: &str, shadow: &Shadow) {
    let Some(item) = reader.get("methods") else { return };
    let risky = || shadow.methods.iter().filter(|method| !SAFE.contains(method));
    let listed: Vec<_> = risky().map(|method| format!("`{method}`")).collect();
    if listed.is_empty() {
        return;
    }
    let listed = listed.join(", ");
    let suggestion = risky().filter(|method| !UNSAFE.contains(&method.as_str())).find_map(|method| {
        did_you_mean(method.as_str(), SAFE.iter().map(Method::as_str).chain(UNSAFE.iter().copied()))
    });
    let message = format!("{listed} may have side effects, and `{name}` executes the copies as well");
    let finding = Finding::warning("shadow-side-effects", item.span(), message);
    let help = format!("make sure that `{name}` does not write to production data, send messages or charge customers");
    context.report(finding.help(help).maybe_help(suggestion));
    if shadow.compare.as_ref().is_some_and(|compare| compare.control > Weight::ZERO) {
        let at = compare_place(reader).unwrap_or(item.span());
        let message = format!(
            "control copies repeat {listed} at the route's own upstream, which has already executed the request"
        );
        let finding = Finding::warning("shadow-side-effects", at, message);
        context.report(finding.help("write `control = 0`, or remove these methods"));
    }
}

fn compare_place(reader: &Reader<'_>) -> Option<Span> {
    reader.get("compare").map(|_| reader.place("compare"))
}

/// Warns of shadows whose upstream is a listener of the same configuration: every copy comes back as a request.
pub(in crate::config) fn warn_of_loops(
    context: &mut Context<'_>,
    routes: &[Route],
    defined: &DefinedUpstreams<'_>,
    listeners: &[ListenerSpec],
) {
    let shadows = routes.iter().filter_map(|route| Some((route, route.split()?.shadow.as_ref()?)));
    for (route, shadow) in shadows.filter(|(_, shadow)| shadow.weight > Weight::ZERO) {
        let Some((upstream, at)) = defined.get(shadow.upstream) else { continue };
        let own = upstream.endpoints.iter().find_map(|endpoint| {
            let listener = listeners.iter().find(|listener| is_own(listener, &endpoint.host, endpoint.port))?;
            Some((endpoint, listener))
        });
        let Some((endpoint, listener)) = own else { continue };
        let message = format!(
            "route `{}` copies to `{}`, whose endpoint at port {} is the listener `{}` of this file",
            route.name, upstream.name, endpoint.port, listener.name
        );
        let help = "copies come back as requests, and are copied again until the proxy finds its own `Via` header; copies are \
                    recognized, and not copied again, only if `identity.trusted_proxies` contains the proxy";
        context.report(Finding::warning("shadow-loop", at, message).help(help));
    }
}

/// Whether an endpoint is an address of the listener, as far as the file shows.
fn is_own(listener: &ListenerSpec, host: &EndpointHost, port: u16) -> bool {
    let bound = listener.address.ip();
    let same = match host {
        EndpointHost::Ip(ip) => *ip == bound || (bound.is_unspecified() && ip.is_loopback()),
        EndpointHost::Name(name) => {
            name.trim_end_matches('.') == "localhost" && (bound.is_unspecified() || bound.is_loopback())
        }
    };
    listener.address.port() == port && same
}
