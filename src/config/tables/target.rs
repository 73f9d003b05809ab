//! `[[route.target]]`: who gets which variant, before weights are looked at.

use super::predicate;
use super::predicate::{LISTED, NAMED};
use super::route_context::{Names, place};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::reader::Reader;
use crate::config::toml::spec::{Form, Spec, optional, required};
use crate::config::toml::suggest::did_you_mean;
use crate::config::toml::text::Text;
use crate::config::toml::value;
use crate::route::{Predicate, Salt, SegmentId, Target, VariantId};

/// `[[route.target]]`.
pub(super) const TARGET: Spec = Spec {
    title: "[[route.target]]",
    doc: "Who gets which variant. In order; the first whose predicates all hold decides.",
    keys: &[
        optional("segment", Form::Text, "The caller is in this segment."),
        predicate::key("header", NAMED, "These headers have these values."),
        predicate::key("cookie", NAMED, "These cookies have these values."),
        predicate::key("query", NAMED, "These query parameters have these values."),
        predicate::key("tenant", LISTED, "The tenant is one of these."),
        predicate::key("user", LISTED, "The user is one of these."),
        predicate::key("cidr", Form::OneOrMore(&Form::Text), "The client's address is in one of these networks."),
        predicate::key("jwt", NAMED, "These claims of the verified token have these values."),
        predicate::key("country", Form::OneOrMore(&Form::Text), "The client's address is in one of these countries."),
        predicate::key(
            "client_cert",
            Form::Table(&predicate::CLIENT_CERT),
            "Its verified certificate has these values.",
        ),
        required("serve", Form::Text, "The variant that they get."),
        optional(
            "weight",
            Form::Number(0, 100),
            "The share of this audience that gets it, by its own bucket; the rest stays on stable.",
        ),
    ],
    later: &["after_rollback"],
};

/// Compiles all targets of a route. `known` are its variants in order, with the salt of the route.
pub(in crate::config) fn targets(
    context: &mut Context<'_>,
    reader: &Reader<'_>,
    (known, salt): (&[&str], &str),
    names: &mut Names<'_, '_>,
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
        let serve = reader.need(context, "serve").and_then(|item| item.text(context));
        let serve = serve.and_then(|text| variant(context, &text, known));
        reader.finish(context);
        if predicates.is_empty() && errors == context.errors() {
            let finding = Finding::error("empty-target", reader.span(), "this target asks nothing of the caller");
            context.report(
                finding
                    .help("name a `segment`, or ask for a header, cookie, query, tenant, user, cidr, jwt or country"),
            );
        }
        let weight = weight.map(|weight| (weight, Salt::target(salt, segment.as_deref().unwrap_or(""))));
        let Some(serve) = serve else { continue };
        targets.push(Target { place: place(context, &reader), predicates, segment: found, serve, weight });
    }
    targets
}

/// The variant of a name; `known` are those of the route, in order.
pub(in crate::config) fn variant(context: &mut Context<'_>, text: &Text<'_>, known: &[&str]) -> Option<VariantId> {
    let found = known.iter().position(|name| !name.is_empty() && *name == &**text);
    if found.is_none() {
        let names: Vec<_> = known.iter().filter(|name| !name.is_empty()).map(|name| format!("`{name}`")).collect();
        let help = did_you_mean(text, known.iter().copied());
        let finding = Finding::error("unknown-variant", text.span, format!("this route has no variant `{}`", &**text));
        context.report(finding.help(format!("it has {}", names.join(", "))).maybe_help(help));
    }
    found.and_then(|at| u16::try_from(at).ok()).map(VariantId)
}
