//! `[route.rewrite]`: edits to path and host before a request is forwarded.

use http::HeaderValue;
use regex::Regex;

use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::reader::Reader;
use crate::config::toml::spanned_string::SpannedString;
use crate::config::toml::spec::{Shape, TableSpec, optional};
use crate::config::toml::suggest::did_you_mean;
use crate::config::toml::{grammar, path_pattern, value};
use crate::route::{EncodedSlash, PathError, Rewrite, needless_escape, normal_path};

/// `[route.rewrite]`.
pub(in crate::config) const REWRITE: TableSpec = TableSpec {
    title: "[route.rewrite]",
    doc: "Edits to path and host before the request is forwarded.",
    keys: &[
        optional(
            "prefix",
            Shape::Pattern("^/|\\$\\{"),
            "Replaces the matched prefix, or the whole path if the route matches an exact path.",
        ),
        optional("regex", Shape::Text, "Regular expression for the parts of the path to replace; requires `to`."),
        optional("to", Shape::Text, "Replacement for the matches of `regex`; `$1` and `$${name}` insert its groups."),
        optional("host", Shape::Text, "Replaces the `Host` header."),
    ],
    later: &[],
};

/// Compiles `[route.rewrite]`.
pub(in crate::config) fn rewrite(context: &mut Context<'_>, reader: &Reader<'_>) -> Rewrite {
    let Some(reader) = reader.table(context, "rewrite", &REWRITE) else { return Rewrite::default() };
    let prefix = reader.text(context, "prefix");
    let (pattern, to) = (reader.text(context, "regex"), reader.text(context, "to"));
    let host = reader.text(context, "host");
    reader.finish(context);
    if let Some(text) = prefix.as_ref().filter(|text| !path_pattern::is_plain_path(text)) {
        let normal = normal_path(text, EncodedSlash::Keep).ok().filter(|normal| path_pattern::is_plain_path(normal));
        let (message, help) = match normal {
            Some(normal) => {
                let help = format!("paths are forwarded in normal form: write `{normal}`");
                (format!("`{}` is not a path", &**text), help)
            }
            None if text.starts_with('/') && !text.contains('*') => path_pattern::not_plain(text, text, ""),
            None => (format!("`{}` is not a path", &**text), "a prefix begins with `/` and has no `*`".to_owned()),
        };
        context.report(Finding::error("bad-path", text.span, message).help(help));
    }
    if let (Some(prefix), Some(pattern)) = (&prefix, &pattern) {
        let finding = Finding::error("ambiguous", pattern.span, "a rewrite cannot have both `prefix` and `regex`");
        context.report(finding.also(prefix.span, ""));
    }
    let regex = match (pattern, to) {
        (Some(pattern), Some(to)) => replacement(context, &pattern, &to),
        (None, None) => None,
        (pattern, to) => {
            let (has, lacks) = if pattern.is_some() { ("regex", "to") } else { ("to", "regex") };
            if reader.get(lacks).is_none() && !reader.misspells(context, lacks) {
                let message = format!("`{has}` without `{lacks}` in `[route.rewrite]`");
                let at = pattern.or(to).map_or(reader.span(), |text| text.span);
                context.report(Finding::error("missing-key", at, message));
            }
            None
        }
    };
    let host = host.and_then(|text| authority(context, &text));
    Rewrite { prefix: prefix.map(|text| text.to_string()), regex, host }
}

/// The value of a `Host` header, with or without a port.
pub(in crate::config) fn authority(context: &mut Context<'_>, text: &SpannedString<'_>) -> Option<HeaderValue> {
    let host = text.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(&**text, |(host, _)| host);
    if !grammar::is_host(host) {
        context.report(Finding::error("bad-host", text.span, format!("`{}` is not a host", &**text)));
        return None;
    }
    value::header_value(context, text)
}

/// The regex and its replacement, which may contain legal characters of a path and groups of the regex.
fn replacement(
    context: &mut Context<'_>,
    pattern: &SpannedString<'_>,
    to: &SpannedString<'_>,
) -> Option<(Regex, String)> {
    let regex = value::regex(context, pattern)?;
    let mut probe = String::new();
    let mut at = 0;
    while at < to.len() {
        debug_assert!(to.is_char_boundary(at), "each step ends after a character");
        let rest = &to[at..];
        let Some((len, group)) = group(rest) else {
            let plain = if rest.starts_with("$$") { 2 } else { rest.chars().next().map_or(1, char::len_utf8) };
            if let Some(why) = illegal(rest) {
                let finding = Finding::error("bad-rewrite", value::inside(context, to, at, plain), why.message);
                context.report(finding.help(why.help));
                return None;
            }
            probe.push_str(&rest[..plain]);
            at += plain;
            continue;
        };
        let known = match group.parse::<usize>() {
            Ok(number) => number < regex.captures_len(),
            Err(_) => regex.capture_names().flatten().any(|name| name == group),
        };
        if !known {
            let message = format!("the regex has no group `{group}`");
            let finding = Finding::error("bad-rewrite", value::inside(context, to, at, len), message);
            context.report(finding.also(pattern.span, "this one").help(group_help(&regex, group)));
            return None;
        }
        probe.push('x');
        at += len;
    }
    if let Some((message, help)) = doubtful(pattern, to, &probe) {
        context.report(Finding::error("bad-rewrite", to.span, message).help(help));
        return None;
    }
    Some((regex, to.to_string()))
}

/// The group at the beginning of a text, in the syntax of the regex crate: its length, and its number or name.
fn group(text: &str) -> Option<(usize, &str)> {
    let rest = text.strip_prefix('$')?;
    if let Some(inside) = rest.strip_prefix('{') {
        let end = inside.find('}')?;
        return Some((end + 3, &inside[..end]));
    }
    let len = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    (len > 0).then(|| (len + 1, &rest[..len]))
}

/// Help for an unknown group.
fn group_help(regex: &Regex, wanted: &str) -> String {
    let digits = wanted.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = wanted.split_at(digits);
    if !rest.is_empty() && number.parse::<usize>().is_ok_and(|number| number < regex.captures_len()) {
        return format!(
            "the name of a group includes all letters, digits and `_` that follow: write `${{{number}}}{rest}`"
        );
    }
    if let Some(help) = did_you_mean(wanted, regex.capture_names().flatten()) {
        return help;
    }
    match regex.captures_len() - 1 {
        0 => "the regex has no groups: write `( )` around the part to keep, or `$$` for a literal `$`".to_owned(),
        1 => "the regex has the group `$1`".to_owned(),
        last => format!("the regex has the groups `$1` to `${last}`"),
    }
}

/// A message and a help for an illegal character.
struct Illegal {
    message: String,
    help: &'static str,
}

/// Checks the first character of a text; `None` if it is legal in a path.
fn illegal(text: &str) -> Option<Illegal> {
    let first = text.chars().next()?;
    let escape = text.len() > 2 && text.as_bytes()[1..3].iter().all(u8::is_ascii_hexdigit);
    let (shown, help) = match first {
        '?' => ("`?`".to_owned(), "a rewrite changes the path only: the query is kept"),
        '#' => ("`#`".to_owned(), "write `%23` for a literal `#`"),
        '%' if !escape => ("`%` without two hex digits".to_owned(), "write `%25` for a literal `%`"),
        ' ' => ("a space".to_owned(), "write `%20` for a space"),
        c if c.is_control() => ("a control character".to_owned(), "remove it"),
        c if !c.is_ascii() || "\"<>\\^`{|}".contains(c) => {
            (format!("`{c}`"), "write its UTF-8 bytes in the form `%C3`")
        }
        _ => return None,
    };
    Some(Illegal { message: format!("{shown} is not allowed in a path"), help })
}

/// Checks whether a replacement would make every path invalid; returns a message and a help. `probe` is the replacement
/// with a letter for each group.
fn doubtful(pattern: &str, to: &str, probe: &str) -> Option<(String, &'static str)> {
    // Only an anchored regex always matches at the beginning of the path. A group at the beginning can contain the
    // slash.
    if pattern.starts_with('^') && !to.is_empty() && !to.starts_with(['/', '$']) {
        return Some((
            format!("`{to}` replaces the beginning of the path, but does not begin with `/`"),
            "a path begins with `/`",
        ));
    }
    if !probe.starts_with('/') {
        return None;
    }
    match normal_path(probe, EncodedSlash::Keep) {
        Ok(normal) if *normal == *probe => None,
        // The result of a rewrite is normalized like every path, which decodes such escapes.
        Ok(_) if needless_escape(probe).is_some() => Some((
            format!("`{to}` has an escape that forwarded paths never have"),
            "write letters, digits, `-`, `.`, `_` and `~` without escapes, and other escapes in upper case",
        )),
        Ok(_) | Err(PathError::AboveRoot) => {
            Some((format!("`{to}` has dot segments"), "write the path without `.` and `..`"))
        }
        Err(error) => Some((error.to_string(), "write `%` only before two hex digits, and no `%00`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_as_the_regex_crate_reads_them() {
        for (text, expected) in [
            ("$1/x", Some((2, "1"))),
            ("$1x/", Some((3, "1x"))),
            ("${1}x", Some((4, "1"))),
            ("${a}", Some((4, "a"))),
            ("$$1", None),
            ("$/", None),
            ("${a", None),
            ("a", None),
        ] {
            assert_eq!(group(text), expected, "{text}");
        }
    }

    #[test]
    fn valid_replacements_are_accepted() {
        for (pattern, to) in
            [("^/a", ""), ("^/a", "/b"), ("^(/.*)/x$", "$1"), ("b", "c"), ("^/a/(.*)", "/.well-known/x"), ("-", ".")]
        {
            let probe = to.replace("$1", "x");
            assert!(doubtful(pattern, to, &probe).is_none(), "{pattern} {to}");
        }
        assert!(doubtful("^/a", "/%7Eb", "/%7Eb").is_some_and(|(message, _)| message.contains("escape")));
        for to in ["/%20", "/a$$b", "/a:b@c!d&e=f+g,h;i*j~k(l)'m'"] {
            assert!((0..to.len()).all(|at| illegal(&to[at..]).is_none()), "{to}");
        }
    }
}
