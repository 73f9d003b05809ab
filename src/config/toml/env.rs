//! `${NAME}` and `${NAME:-default}` in strings. As in a shell, an empty variable counts as unset for `:-`; `$${` is a
//! plain `${`, and `${1}` is left alone, since that is how a rewrite names a regex's group.

use std::borrow::Cow;

use super::context::Context;
use super::diagnostic::Finding;
use super::source::{Span, offset};
use super::variable_masks::{ExpandedString, Exposure, Variable};
use crate::route::Part;

/// The string with its variables filled in. What they produced is noted, so that nothing shows it.
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
            context.report(finding.help("write `$${` for a plain `${`"));
            return None;
        };
        match variable(context, &from[..=end], at) {
            Some(Value::Environment(value)) => {
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

/// What a variable stands for.
enum Value<'t> {
    Environment(String),
    /// The default, which stands in the file.
    Default(&'t str),
}

fn variable<'t>(context: &mut Context<'_>, written: &'t str, at: Span) -> Option<Value<'t>> {
    let inside = &written[2..written.len() - 1];
    let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, value)| (name, Some(value)));
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        let message = format!("`{written}` does not name an environment variable");
        let finding = Finding::error("bad-variable", part(context, at, written), message);
        context.report(finding.help("write `${NAME}`, `${NAME:-default}`, or `$${` for a plain `${`"));
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

/// What helps against a variable that is not set. Those of the environment are upper case by custom: another one was
/// probably meant to be a placeholder of ours, or a group of a rewrite's regex.
fn unset(name: &str) -> String {
    let help = format!("set it, or give a default: `${{{name}:-…}}`; write `$${{` for a plain `${{`");
    if Part::placeholders().filter_map(Part::name).any(|known| known == name) {
        return format!("{help}\nthe placeholder is `{{{name}}}`, without `$`");
    }
    if name.contains(|c: char| c.is_ascii_lowercase()) {
        return format!("{help}\na group of a rewrite's regex is `$1`, or `$${{{name}}}` by its name");
    }
    help
}

/// The place of a part of a string, when it is written without escapes; else the string.
fn part(context: &Context<'_>, at: Span, part: &str) -> Span {
    match context.files.text(at).find(part) {
        Some(found) => {
            let start = at.start + offset(found);
            Span { start, end: start + offset(part.len()), ..at }
        }
        None => at,
    }
}
