//! `[segment.NAME]`: a named audience.

use super::predicate;
use super::predicate::{LISTED, NAMED};
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::{Item, Named};
use crate::config::toml::reader::Reader;
use crate::config::toml::spec::{Shape, TableSpec};
use crate::route::{Predicate, Segment};

/// The deepest nesting of `not = { not = … }`.
const NOT_DEPTH_MAX: u32 = 8;

/// `[segment.NAME]`.
pub(in crate::config) const SEGMENT: TableSpec = TableSpec {
    title: "[segment.NAME]",
    doc: "A named audience. All keys must match; the values of a list are alternatives.",
    keys: &[
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
        predicate::key("header", NAMED, "These headers have these values."),
        predicate::key("cookie", NAMED, "These cookies have these values."),
        predicate::key("query", NAMED, "These query parameters have these values."),
        predicate::key("not", Shape::Itself, "Negates the conditions in this table, which has the same keys."),
    ],
    later: &[],
};

/// Compiles one segment.
pub(in crate::config) fn segment(context: &mut Context<'_>, named: &Named<'_>) -> Option<Segment> {
    let reader = named.item.table(context, &SEGMENT)?.with_name(named.name);
    let predicates = predicates(context, &reader, &named.item, NOT_DEPTH_MAX);
    Some(Segment { name: named.name.to_owned(), predicates })
}

fn predicates(context: &mut Context<'_>, reader: &Reader<'_>, item: &Item<'_>, depth: u32) -> Vec<Predicate> {
    debug_assert!(depth <= NOT_DEPTH_MAX, "each level decrements the depth");
    let errors = context.errors();
    let mut all = predicate::of_caller(context, reader);
    all.extend(predicate::of_head(context, reader));
    if let Some(not) = reader.get("not") {
        if depth == 0 {
            not.refuse(context, "too-deep", "`not` is nested too deeply");
        } else if let Some(inside) = not.table(context, &SEGMENT) {
            let inside = predicates(context, &inside, &not, depth - 1);
            all.push(Predicate::Not(Box::new(Predicate::All(inside))));
        }
    }
    reader.finish(context);
    if all.is_empty() && errors == context.errors() {
        let message = format!("`{}` is empty: it would match every caller", item.key);
        context.report(Finding::error("empty-segment", reader.span(), message));
    }
    all
}
