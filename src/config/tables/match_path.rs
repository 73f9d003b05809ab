//! `path` of a match: an exact path, a prefix or a regex.

use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::Item;
use crate::config::toml::path_pattern::{is_plain_path, not_plain, plain};
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{Shape, TableSpec, required};
use crate::config::toml::value::{inside, regex};
use crate::route::{EncodedSlash, PathPattern, needless_escape, normal_path};

/// `{ regex = … }` as a path.
pub(in crate::config) const PATH: TableSpec = TableSpec {
    title: "a path",
    doc: "A path as a regular expression.",
    keys: &[required("regex", Shape::Text, "Regular expression that must match the whole path.")],
    later: &[],
};

/// A path pattern: `/x`, `/x/*` or `{ regex = "…" }`.
pub(in crate::config) fn path(context: &mut Context<'_>, item: &Item<'_>) -> Option<PathPattern> {
    if item.is_table() {
        let reader = item.table(context, &PATH)?;
        let regex_text = reader.require(context, "regex").and_then(|item| item.text(context));
        reader.finish(context);
        return path_regex(context, &regex_text?).map(PathPattern::Regex);
    }
    let text = item.text(context)?;
    let (probe, prefix) = plain(&text);
    if !is_plain_path(probe) {
        let (message, help) = not_plain(&text, probe, if prefix { "/*" } else { "" });
        context.report(Finding::error("bad-path", text.span, message).help(help));
        return None;
    }
    let path = text.strip_suffix("/*").unwrap_or(&text).to_owned();
    Some(if prefix { PathPattern::Prefix(path) } else { PathPattern::Exact(path) })
}

/// A regex for paths. Warns of an escape that no normalized path has, so that it never matches.
fn path_regex(context: &mut Context<'_>, text: &SpannedString<'_>) -> Option<regex::Regex> {
    if let Some(at) = needless_escape(text) {
        let escape = &text[at..at + 3];
        let message = format!("no normalized path contains `{escape}`");
        let normal = normal_path(&format!("/{escape}"), EncodedSlash::Keep).map(|path| path[1..].to_owned());
        let help = normal.map(|normal| format!("paths are matched in normal form: write `{normal}`")).ok();
        context.report(Finding::warning("bad-path", inside(context, text, at, 3), message).maybe_help(help));
    }
    regex(context, text)
}
