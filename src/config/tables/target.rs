//! `[[route.target]]`: audiences that get a variant regardless of its weight.

use super::action::RESPOND;
use super::predicate::{LISTED, NAMED};
use super::route_context::{NameRegistries, line_in};
use super::{action, predicate};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::reader::Reader;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{Shape, TableSpec, optional};
use crate::config::toml::suggest::did_you_mean;
use crate::config::toml::value;
use crate::route::{AccessRule, AccessVerdict, Predicate, Respond, Salt, SegmentId, Target, VariantId};

/// `[[route.target]]`.
pub(super) const TARGET: TableSpec = TableSpec {
    title: "[[route.target]]",
    doc: "An audience, and the variant or the answer that it gets. Targets are checked in order; the first whose conditions \
          all match decides.",
    keys: &[
        optional("segment", Shape::Text, "The caller is in this segment."),
        predicate::key("header", NAMED, "These headers have these values."),
        predicate::key("cookie", NAMED, "These cookies have these values."),
        predicate::key("query", NAMED, "These query parameters have these values."),
        predicate::key("tenant", LISTED, "The tenant is one of these."),
        predicate::key("user", LISTED, "The user is one of these."),
        predicate::key(
            "cidr",
            Shape::OneOrMore(&Shape::Text),
            "The client address is in one of these networks, in CIDR notation.",
        ),
        predicate::key("jwt", NAMED, "These claims of the verified token have these values."),
        predicate::key(
            "country",
            Shape::OneOrMore(&Shape::Text),
            "The client address is in one of these countries, as ISO 3166-1 codes.",
        ),
        predicate::key(
            "client_cert",
            Shape::Table(&predicate::CLIENT_CERT),
            "The verified client certificate has these values.",
        ),
        optional(
            "not",
            Shape::Table(&NOT),
            "Not all of the conditions in this table match, such as `not = { cidr = [\"10.0.0.0/8\"] }`.",
        ),
        optional("serve", Shape::Text, "Name of the variant that the audience gets."),
        optional(
            "respond",
            Shape::Table(&RESPOND),
            "The proxy answers the audience itself, such as `respond = { status = 403 }`; instead of `serve`. No kill opens \
             what this closes.",
        ),
        optional(
            "weight",
            Shape::Number(0, 100),
            "Share of the audience that gets the variant, in percent; the others get stable; default: the whole audience.",
        ),
    ],
    later: &["after_rollback"],
};

/// `not` of a target.
const NOT: TableSpec = TableSpec {
    title: "not",
    doc: "Conditions of which one must not match. The values of a list are alternatives.",
    keys: &[
        optional("segment", Shape::Text, "The caller is in this segment."),
        predicate::key("header", NAMED, "These headers have these values."),
        predicate::key("cookie", NAMED, "These cookies have these values."),
        predicate::key("query", NAMED, "These query parameters have these values."),
        predicate::key("tenant", LISTED, "The tenant is one of these."),
        predicate::key("user", LISTED, "The user is one of these."),
        predicate::key(
            "cidr",
            Shape::OneOrMore(&Shape::Text),
            "The client address is in one of these networks, in CIDR notation.",
        ),
        predicate::key("jwt", NAMED, "These claims of the verified token have these values."),
        predicate::key(
            "country",
            Shape::OneOrMore(&Shape::Text),
            "The client address is in one of these countries, as ISO 3166-1 codes.",
        ),
        predicate::key(
            "client_cert",
            Shape::Table(&predicate::CLIENT_CERT),
            "The verified client certificate has these values.",
        ),
    ],
    later: &[],
};

/// The targets of a route.
#[derive(Default)]
pub(in crate::config) struct RouteTargets {
    /// Those that serve a variant.
    pub(in crate::config) serving: Vec<Target>,
    /// All up to the last one that responds.
    pub(in crate::config) access: Vec<AccessRule>,
}

/// The conditions of a target.
struct Audience {
    predicates: Vec<Predicate>,
    segment: Option<SegmentId>,
    /// The name of the segment; empty for none.
    named: String,
}

/// What an audience gets.
enum Outcome {
    Serve(VariantId),
    Respond(Respond),
}

/// Compiles all targets of a route. `known` are the names of its variants in order, `salt` is that of the route.
pub(in crate::config) fn targets(
    context: &mut Context<'_>,
    route: &Reader<'_>,
    known: &[&str],
    salt: &str,
    names: &mut NameRegistries<'_, '_>,
) -> RouteTargets {
    let mut all = RouteTargets::default();
    let mut rules = Vec::new();
    for reader in route.tables(context, "target", &TARGET) {
        let errors = context.errors();
        let Audience { predicates, segment, named } = audience(context, &reader, names);
        let weight = reader.get("weight").and_then(|item| value::weight(context, &item));
        let outcome = outcome(context, route, &reader, known);
        reader.finish(context);
        if predicates.is_empty() && errors == context.errors() {
            let finding = Finding::error("empty-target", reader.span(), "this target has no condition");
            context.report(finding.help(
                "add `segment`, `header`, `cookie`, `query`, `tenant`, `user`, `cidr`, `jwt`, `country` or `not`",
            ));
        }
        let line = line_in(context, route, &reader);
        let rule = |predicates, verdict| AccessRule { line, predicates, segment, verdict };
        match outcome {
            Some(Outcome::Serve(serve)) => {
                rules.push(rule(predicates.clone(), AccessVerdict::Pass));
                let weight = weight.map(|weight| (weight, Salt::target(salt, &named)));
                all.serving.push(Target { line, predicates, segment, serve, weight });
            }
            Some(Outcome::Respond(respond)) => {
                rules.push(rule(predicates, AccessVerdict::Answer(Box::new(respond))));
                all.access.append(&mut rules);
            }
            None => {}
        }
    }
    all
}

/// The conditions of a target or of its `not`.
fn audience(context: &mut Context<'_>, reader: &Reader<'_>, names: &mut NameRegistries<'_, '_>) -> Audience {
    let segment = reader.text(context, "segment");
    let found = segment.as_ref().and_then(|text| names.segments.find(context, text)).map(SegmentId);
    let mut predicates: Vec<Predicate> = found.map(Predicate::Segment).into_iter().collect();
    predicates.extend(predicate::of_head(context, reader));
    predicates.extend(predicate::of_caller(context, reader));
    if reader.title() != NOT.title
        && let Some(item) = reader.get("not")
        && let Some(inner) = item.table(context, &NOT)
    {
        let errors = context.errors();
        let Audience { predicates: inside, .. } = audience(context, &inner, names);
        inner.finish(context);
        if inside.is_empty() && errors == context.errors() {
            item.refuse(context, "empty-list", "`not` is empty, so nothing could match");
        }
        predicates.push(Predicate::Not(Box::new(Predicate::All(inside))));
    }
    Audience { predicates, segment: found, named: segment.map(|text| text.to_string()).unwrap_or_default() }
}

/// What a target does: exactly one of `serve` and `respond`.
fn outcome(context: &mut Context<'_>, route: &Reader<'_>, reader: &Reader<'_>, known: &[&str]) -> Option<Outcome> {
    let (serve, respond) = (reader.get("serve"), reader.get("respond"));
    let answer = respond.and_then(|item| {
        let answer = action::respond(context, &item)?;
        // 200 is the default of a route, which would be a surprise here.
        if !item.has_key("status") {
            let finding = Finding::error("missing-key", item.span(), "`status` is missing in `respond` of a target");
            context.report(finding.help("write `respond = { status = 403 }`"));
        }
        Some(Outcome::Respond(answer))
    });
    match (serve, respond) {
        (Some(_), Some(_)) => {
            let message = "a target cannot have both `serve` and `respond`";
            let finding = Finding::error("ambiguous", reader.place("respond"), message);
            context.report(finding.also(reader.place("serve"), ""));
            None
        }
        (Some(item), None) => {
            let answered = ["redirect", "respond"].into_iter().find(|key| route.get(key).is_some());
            if let Some(key) = answered.filter(|_| route.get("stable").is_none()) {
                let message = format!("a route with `{key}` does not forward requests, so `serve` has no effect");
                let finding = Finding::error("useless-key", reader.place("serve"), message);
                context.report(finding.help("targets of this route can only `respond`"));
                return None;
            }
            item.text(context).and_then(|text| variant(context, &text, known)).map(Outcome::Serve)
        }
        (None, Some(_)) => {
            if reader.get("weight").is_some() {
                let message = "`weight` has no effect in a target with `respond`: all of its audience gets the answer";
                context.report(Finding::error("useless-key", reader.place("weight"), message));
            }
            answer
        }
        (None, None) => {
            if !["serve", "respond"].iter().any(|key| reader.misspells(context, key)) {
                let message = format!("{} does not say what the audience gets", reader.title());
                let finding = Finding::error("missing-key", reader.span(), message);
                context.report(finding.help("add `serve = \"VARIANT\"`, or `respond = { status = 403 }`"));
            }
            None
        }
    }
}

/// The variant with a name. `known` are the names of the variants in order.
pub(in crate::config) fn variant(
    context: &mut Context<'_>,
    text: &SpannedString<'_>,
    known: &[&str],
) -> Option<VariantId> {
    debug_assert_eq!(known.first(), Some(&"stable"), "stable is variant 0");
    let found = known.iter().position(|name| !name.is_empty() && *name == &**text);
    if found.is_none() {
        let names: Vec<_> = known.iter().filter(|name| !name.is_empty()).map(|name| format!("`{name}`")).collect();
        let help = did_you_mean(text, known.iter().copied());
        let finding = Finding::error("unknown-variant", text.span, format!("this route has no variant `{}`", &**text));
        context.report(finding.help(format!("it has {}", names.join(", "))).maybe_help(help));
    }
    found.and_then(|at| u16::try_from(at).ok()).map(VariantId)
}
