//! `[[route.target]]`: audiences that get a variant regardless of its weight.

use super::predicate;
use super::predicate::{LISTED, NAMED};
use super::route_context::{NameRegistries, place};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::reader::Reader;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{Shape, TableSpec, optional, required};
use crate::config::toml::suggest::did_you_mean;
use crate::config::toml::value;
use crate::route::{Predicate, Salt, SegmentId, Target, VariantId};

/// `[[route.target]]`.
pub(super) const TARGET: TableSpec = TableSpec {
    title: "[[route.target]]",
    doc: "An audience and the variant that it gets. Targets are checked in order; the first whose conditions all match decides.",
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
        required("serve", Shape::Text, "Name of the variant that the audience gets."),
        optional(
            "weight",
            Shape::Number(0, 100),
            "Share of the audience that gets the variant, in percent; the others get stable; default: the whole audience.",
        ),
    ],
    later: &["after_rollback"],
};

/// Compiles all targets of a route. `known` are the names of its variants in order, `salt` is that of the route.
pub(in crate::config) fn targets(
    context: &mut Context<'_>,
    reader: &Reader<'_>,
    known: &[&str],
    salt: &str,
    names: &mut NameRegistries<'_, '_>,
) -> Vec<Target> {
    let mut targets = Vec::new();
    for reader in reader.tables(context, "target", &TARGET) {
        let errors = context.errors();
        let segment = reader.text(context, "segment");
        let found = segment.as_ref().and_then(|text| names.segments.find(context, text)).map(SegmentId);
        let mut predicates: Vec<Predicate> = found.map(Predicate::Segment).into_iter().collect();
        predicates.extend(predicate::of_head(context, &reader));
        predicates.extend(predicate::of_caller(context, &reader));
        let weight = reader.get("weight").and_then(|item| value::weight(context, &item));
        let serve = reader.require(context, "serve").and_then(|item| item.text(context));
        let serve = serve.and_then(|text| variant(context, &text, known));
        reader.finish(context);
        if predicates.is_empty() && errors == context.errors() {
            let finding = Finding::error("empty-target", reader.span(), "this target has no condition");
            context.report(
                finding
                    .help("add `segment`, `header`, `cookie`, `query`, `tenant`, `user`, `cidr`, `jwt` or `country`"),
            );
        }
        let weight = weight.map(|weight| (weight, Salt::target(salt, segment.as_deref().unwrap_or(""))));
        let Some(serve) = serve else { continue };
        targets.push(Target { place: place(context, &reader), predicates, segment: found, serve, weight });
    }
    targets
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
