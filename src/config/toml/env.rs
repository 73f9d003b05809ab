//! Expands `${NAME}` and `${NAME:-default}` in strings. As in a shell, `:-` treats an empty variable as unset. `$${` is
//! a literal `${`, and `${1}` is not changed, since rewrites use it for the groups of a regex.

use std::borrow::Cow;

use super::context::Context;
use super::diagnostic::Finding;
use super::source::{Span, offset};
use super::variable_masks::{ExpandedString, Exposure, Variable};
use crate::route::Part;

/// Expands the variables of a string. Records their values, so that messages can mask them.
pub(in crate::config) fn expand<'t>(
    context: &mut Context<'_>,
    text: &'t str,
    at: Span,
    exposure: Exposure,
) -> Option<Cow<'t, str>> {
    if memchr::memchr(b'$', text.as_bytes()).is_none() || !text.contains("${") {
        return Some(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut values = Vec::new();
    let mut whole = true;
    while let Some(found) = rest.find("${") {
        if rest[..found].ends_with('$') {
            out.push_str(&rest[..found]);
            out.push('{');
            rest = &rest[found + 2..];
            continue;
        }
        out.push_str(&rest[..found]);
        let from = &rest[found..];
        if from[2..].starts_with(|c: char| c.is_ascii_digit()) {
            out.push_str("${");
            rest = &from[2..];
            continue;
        }
        let Some(end) = from.find('}') else {
            let finding = Finding::error("bad-variable", part(context, at, from), "`${` without `}`");
            context.report(finding.help("write `$${` for a literal `${`"));
            return None;
        };
        match variable(context, &from[..=end], at) {
            Some(Value::Environment(value)) => {
                debug_assert!(values.last().is_none_or(|last: &Variable| last.end() <= out.len()), "variables ascend");
                let (at, from_at) = (out.len(), text.len() - from.len());
                out.push_str(&value);
                values.push(Variable { written: from[..=end].to_owned(), value, at, from: from_at });
            }
            Some(Value::Default(value)) => out.push_str(value),
            None => whole = false,
        }
        rest = &from[end + 1..];
    }
    out.push_str(rest);
    if whole && !values.is_empty() {
        let (span, written, text) = (at, text.to_owned(), out.clone());
        context.variables.record(ExpandedString { span, written, text, exposure, values });
    }
    whole.then_some(Cow::Owned(out))
}

/// The value of a variable.
enum Value<'t> {
    Environment(String),
    /// The default in the file.
    Default(&'t str),
}

fn variable<'t>(context: &mut Context<'_>, written: &'t str, at: Span) -> Option<Value<'t>> {
    let inside = &written[2..written.len() - 1];
    let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, value)| (name, Some(value)));
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let message = format!("`{written}` is not a valid environment variable");
        let finding = Finding::error("bad-variable", part(context, at, written), message);
        context.report(finding.help("write `${NAME}`, `${NAME:-default}`, or `$${` for a literal `${`"));
        return None;
    }
    let value = context.variable(name);
    match (value.filter(|value| default.is_none() || !value.is_empty()), default) {
        (Some(value), _) => Some(Value::Environment(value)),
        (None, Some(default)) => Some(Value::Default(default)),
        (None, None) => {
            let message = format!("environment variable `{name}` is not set");
            let finding = Finding::error("unset-variable", part(context, at, written), message);
            context.report(finding.help(unset(name)));
            None
        }
    }
}

/// Help for a variable that is not set. Variables of the environment are usually in upper case: a name in lower case is
/// probably a placeholder, or a group in a rewrite.
fn unset(name: &str) -> String {
    let help = format!("set it, or add a default: `${{{name}:-…}}`; write `$${{` for a literal `${{`");
    if Part::placeholders().filter_map(Part::name).any(|known| known == name) {
        return format!("{help}\na placeholder has no `$`: `{{{name}}}`");
    }
    if name.contains(|c: char| c.is_ascii_lowercase()) {
        return format!("{help}\na group of a regex is `$1`, or `$${{{name}}}` by its name");
    }
    help
}

/// The place of a part of a string, if that is written without escapes; otherwise the place of the string.
fn part(context: &Context<'_>, at: Span, part: &str) -> Span {
    match context.files.text(at).find(part) {
        Some(found) => {
            let start = at.start + offset(found);
            Span { start, end: start + offset(part.len()), ..at }
        }
        None => at,
    }
}
