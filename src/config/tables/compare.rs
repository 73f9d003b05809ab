//! `[route.shadow.compare]`: how the responses to copies are compared with those of the clients.

use crate::compare::Pattern;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::reader::Reader;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{Shape, TableSpec, default, optional};
use crate::config::toml::value;
use crate::config::toml::value::parse_unique;
use crate::route::{Compare, Weight};

/// The most samples for each confirmed field.
const KEEP_MAX: i64 = 1_000;

/// The most paths of a list.
const PATHS_MAX: usize = 1_000;

/// Paths into a response.
const PATHS: Shape = Shape::OneOrMore(&Shape::Pattern(r"^\$|^(header|trailer):|^(status|transport|body)$|\$\{"));

/// `[route.shadow.compare]`.
pub(super) const COMPARE: TableSpec = TableSpec {
    title: "[route.shadow.compare]",
    doc: "How responses are compared. Paths: `$.a.b` in a JSON body, `$..b` at any depth, `$.a[*].b`, `$.a.{id}`, \
          `header:date`, `trailer:name`, `status`, `transport`, `body`.",
    keys: &[
        default(
            "control",
            Shape::Number(0, 100),
            "20",
            "Share of the copies, in percent, that is also sent to the route's own upstream, to learn which differences are noise.",
        ),
        optional("ignore", PATHS, "Fields that are not compared; none by default."),
        optional("unordered", PATHS, "Arrays whose order is ignored; none by default."),
        optional(
            "tolerance",
            Shape::Map(&Shape::Number(0, i64::MAX)),
            "Largest difference between the numbers at a path that is ignored; 0 by default.",
        ),
        optional(
            "redact",
            PATHS,
            "Fields that are redacted, with everything below them, before samples are stored; none by default.",
        ),
        default(
            "keep",
            Shape::Integer(0, KEEP_MAX),
            "50",
            "Number of redacted samples that are stored for each confirmed field.",
        ),
    ],
    later: &[],
};

/// The parts of a response that a path can select.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Bodies, headers and all other parts.
    Anywhere,
    /// JSON bodies.
    Body,
}

/// Compiles `[route.shadow.compare]`.
pub(in crate::config) fn compare(context: &mut Context<'_>, reader: &Reader<'_>) -> Compare {
    let defaults = Compare::default();
    let control = reader.get("control").and_then(|item| value::weight(context, &item));
    let ignore = paths(context, reader, "ignore", Reach::Anywhere);
    let unordered = paths(context, reader, "unordered", Reach::Body);
    let tolerance = tolerance(context, reader);
    let redact = paths(context, reader, "redact", Reach::Anywhere);
    let keep = reader.count(context, "keep").unwrap_or(defaults.keep);
    reader.finish(context);
    if keep > 0 && reader.get("redact").is_none() && !reader.misspells(context, "redact") {
        let message = "no field is redacted: samples of different values are stored unchanged";
        let finding = Finding::warning("nothing-redacted", reader.span(), message);
        let help = "write `redact = [\"header:set-cookie\", \"$..email\"]`, `redact = []` if no value is private, or \
                    `keep = 0` to store no samples";
        context.report(finding.help(help));
    }
    let control: Weight = control.unwrap_or(defaults.control);
    Compare { control, ignore, unordered, tolerance, redact, keep }
}

fn paths(context: &mut Context<'_>, reader: &Reader<'_>, key: &'static str, reach: Reach) -> Vec<String> {
    let Some(item) = reader.get(key) else { return Vec::new() };
    let items = item.one_or_more();
    if items.len() > PATHS_MAX {
        item.refuse(context, "too-many", format!("`{key}` has more than {PATHS_MAX} paths"));
        return Vec::new();
    }
    parse_unique(context, &items, |context, item| {
        let text = item.text(context)?;
        path(context, &text, reach)
    })
}

fn tolerance(context: &mut Context<'_>, reader: &Reader<'_>) -> Vec<(String, f64)> {
    let Some(item) = reader.get("tolerance") else { return Vec::new() };
    let all = item.map(context);
    if all.len() > PATHS_MAX {
        item.refuse(context, "too-many", format!("`tolerance` has more than {PATHS_MAX} paths"));
        return Vec::new();
    }
    let mut found = Vec::new();
    for named in all {
        let text = SpannedString::plain(named.name.into(), named.span);
        let (path, by) = (path(context, &text, Reach::Body), amount(context, &named.item));
        found.extend(path.zip(by));
    }
    found
}

fn amount(context: &mut Context<'_>, item: &Item<'_>) -> Option<f64> {
    let Some(digits) = item.digits() else {
        item.mismatch_number(context, "a number", |digits| not_negative(digits).is_some());
        return None;
    };
    let found = not_negative(digits);
    if found.is_none() {
        item.refuse(context, "out-of-range", "a tolerance must be a finite number and must not be negative");
    }
    found
}

fn not_negative(digits: &str) -> Option<f64> {
    digits.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0)
}

/// A valid path, as it is written.
fn path(context: &mut Context<'_>, text: &SpannedString<'_>, reach: Reach) -> Option<String> {
    let (message, help) = match Pattern::parse(text) {
        Ok(pattern) if reach == Reach::Body && !pattern.is_json() => {
            (format!("`{}` is not a path into a JSON body", &**text), "write `$.a.b`")
        }
        Ok(_) => return Some(text.to_string()),
        Err(error) => (format!("in `{}`: {}", &**text, error.message), error.help),
    };
    context.report(Finding::error("bad-field", text.span, message).help(help));
    None
}
