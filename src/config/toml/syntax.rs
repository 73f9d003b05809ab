//! Help for text that is not TOML: blocks in braces, colons, values without quotes.

use toml_parser::{Expected, ParseError, Span as Bytes};

use super::bracket_titles::{explain_duplicate, is_second_guard};
use super::diagnostic::Finding;
use super::endpoint::is_endpoint;
use super::grammar::is_weight;
use super::quote::switch;
use super::source::{Span, offset};
use super::spec::TableSpec;

/// The longest value that a help line repeats, in bytes.
const REPEATED_MAX: usize = 60;

/// Keys whose values are `true` or `false`.
const SWITCHES: &[&str] = &["all", "present", "rescue"];

/// Typographic quotes, which text editors insert instead of `"` and `'`.
const CURLY: &[char] = &['“', '”', '„', '‟', '«', '»', '‘', '’'];

/// Help for a file in another format.
const TOML: &str = "a routes file is TOML and begins with `schema = 1`";

/// The parser's description of a key or a table that is defined twice.
pub(super) const DUPLICATE: &str = "duplicate key";

/// Turns a parser error into a finding; `root` has the file's top-level keys.
pub(super) fn finding(root: &TableSpec, file: u16, error: &ParseError, text: &str) -> Finding {
    let at = |span: Bytes| Span { file, start: offset(span.start()), end: offset(span.end()) };
    let end = Span { file, start: offset(text.len()), end: offset(text.len()) };
    let place = error.unexpected().or(error.context()).map_or(end, at);
    if error.description() == DUPLICATE {
        let found = error.unexpected().and_then(|span| explain_duplicate(root, text, span.start()..span.end()));
        if let Some((message, help)) = found {
            return Finding::error("wrong-type", place, message).help(help);
        }
        let found = if error.unexpected().is_some_and(|span| is_second_guard(text, span.start()..span.end())) {
            let message = "a route has either `guard = …` or `[[route.guard]]` tables, not both";
            Finding::error("ambiguous", place, message).help("remove `guard = …`: each table has an `act` of its own")
        } else {
            Finding::error("duplicate-key", place, "this is defined twice").label("and again here")
        };
        return match error.context() {
            Some(first) => found.also(at(first), "first defined here"),
            None => found,
        };
    }
    let help = help(text, place.start as usize, error.description());
    Finding::error("syntax", place, message(error)).maybe_help(help)
}

fn message(error: &ParseError) -> String {
    let mut message = format!("this is not TOML: {}", error.description());
    for (i, expected) in error.expected().unwrap_or_default().iter().enumerate() {
        message.push_str(if i == 0 { ", expected " } else { ", " });
        match expected {
            Expected::Literal("\n") => message.push_str("a new line"),
            Expected::Literal(text) => message.extend(["`", text, "`"]),
            Expected::Description(text) => message.push_str(text),
            _ => message.push_str("something else"),
        }
    }
    message
}

/// Help for a syntax error at this byte.
fn help(text: &str, at: usize, description: &str) -> Option<String> {
    let before = text.get(..at)?;
    let rest = text.get(at..)?;
    let line_begins = before.rfind('\n').map_or(0, |end| end + 1);
    let line = text[line_begins..].lines().next().unwrap_or_default();
    let line_start = before[line_begins..].trim_start();
    if before.trim().is_empty() && rest.starts_with(['{', '<']) || is_yaml(text, line) {
        return Some(TOML.to_owned());
    }
    if description.starts_with("missing escaped value") || description.starts_with("invalid escaped") {
        return Some(literal(line_start, rest));
    }
    if let Some((_, whole)) = line.split_once('=').filter(|(_, whole)| whole.trim_start().starts_with('{'))
        && let Some(help) = variable(until_end(whole.trim_start()))
    {
        return Some(help);
    }
    if let Some(help) = without_quotes(line_start, line, rest, description) {
        return Some(help);
    }
    if is_block(line) {
        return Some("a table has no braces: write `[TITLE]` on a line of its own, and its keys below".to_owned());
    }
    let key = line_start.trim_end();
    let is_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if rest.starts_with(':') && is_key && key.len() <= REPEATED_MAX {
        return Some(format!("write `{key} = …`, with `=`"));
    }
    if rest.starts_with([',', ';']) && line_start.contains('=') {
        let mark = &rest[..1];
        return Some(format!("remove the `{mark}`: a value ends at the end of the line"));
    }
    None
}

/// Whether a file is YAML; true only for its first line that is not blank, so that the help is shown once.
fn is_yaml(text: &str, line: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    let Some(first) = lines.next().filter(|first| *first == line) else { return false };
    let is_title =
        first.trim_end().ends_with(':') && lines.next().is_some_and(|next| next.starts_with([' ', '\t', '-']));
    first.trim_end() == "---" || first.starts_with("schema:") || is_title
}

/// Help for a value without quotes. `line_start` is the line before the error, `rest` the text after it.
fn without_quotes(line_start: &str, line: &str, rest: &str, description: &str) -> Option<String> {
    let is_text = description.starts_with("string values must be quoted");
    let is_number = ["invalid float", "invalid integer", "invalid boolean"].iter().any(|d| description.starts_with(d));
    if !is_text && !is_number {
        return None;
    }
    // The parser may stop in the middle of a number or a word: go back to its beginning.
    let begins = line_start.rfind([' ', '\t', '=', '[', ',', '{']).map_or(0, |before| before + 1);
    let back = if is_number { line_start.len() - begins } else { 0 };
    let indent = line.len() - line.trim_start().len();
    let from = indent + line_start.len() - back;
    let value = until_end(if is_number { line.get(from..)? } else { rest.lines().next().unwrap_or_default() });
    let key = line_start[..line_start.len() - back].rsplit_once('=').map_or("", |(key, _)| key.trim_end());
    let key = key.rsplit([' ', '.', '{', ',', '\t']).next().unwrap_or_default();
    let is_digits =
        value.bytes().all(|b| b.is_ascii_digit() || b"_+-.eE".contains(&b)) && value.matches('.').count() < 2;
    let is_radix = ["0x", "0o", "0b"].iter().any(|prefix| value.starts_with(prefix));
    if is_number && (is_digits || is_radix) {
        return None;
    }
    if let Some(number) = value.strip_suffix('%').map(str::trim_end)
        && is_weight(number)
    {
        return Some(format!("write `{number}`, without `%`"));
    }
    match switch(value).filter(|_| !value.starts_with(['0', '1'])) {
        Some(word) if SWITCHES.contains(&key) || value.eq_ignore_ascii_case(word) => {
            return Some(format!("write `{word}`"));
        }
        _ if key == "rescue" && matches!(value, "null" | "none" | "None" | "nil") => {
            return Some("write `false`".to_owned());
        }
        _ if matches!(value, "null" | "nil") => {
            return Some("TOML has no null: remove the line".to_owned());
        }
        _ => {}
    }
    let url = format!("http://{value}");
    if matches!(key, "endpoints" | "url") && value.contains(':') && is_endpoint(&url) {
        return Some(quoted(&url));
    }
    Some(quoted(value))
}

/// A value without quotes, up to its end: the comma or the closing bracket of the value around it.
fn until_end(line: &str) -> &str {
    let line = line.split(" #").next().unwrap_or(line);
    let mut open = 0_usize;
    for (at, c) in line.char_indices() {
        match c {
            '{' | '[' | '(' => open += 1,
            '}' | ']' | ')' if open > 0 => open -= 1,
            '}' | ']' | ',' if open == 0 => return line[..at].trim_end(),
            _ => {}
        }
    }
    line.trim_end()
}

/// Help for a string in double quotes with a `\` that is not an escape.
fn literal(line_start: &str, rest: &str) -> String {
    let why = "a `\\` in double quotes begins an escape";
    let inside = line_start.rfind('"').map(|quote| &line_start[quote + 1..]);
    let inside = inside.and_then(|line_start| Some((line_start, rest.lines().next()?.split_once('"')?.0)));
    match inside {
        Some((line_start, ends))
            if line_start.len() + ends.len() <= REPEATED_MAX && !format!("{line_start}{ends}").contains('\'') =>
        {
            format!("write `'{line_start}{ends}'`, in single quotes: {why}")
        }
        _ => format!("write the text in single quotes: {why}"),
    }
}

/// Whether a line opens a block in braces, as in other formats.
fn is_block(line: &str) -> bool {
    let line = line.trim_end();
    line.ends_with('{') && !line.contains('=') && !line.trim_start().starts_with('#')
}

fn quoted(value: &str) -> String {
    if let Some(help) = variable(value) {
        return help;
    }
    let plain = value.trim_matches(CURLY);
    if plain.len() < value.len() && is_plain(plain) {
        return format!("write `\"{plain}\"`, in straight quotes");
    }
    if is_plain(value) { format!("write `\"{value}\"`, in quotes") } else { "text needs quotes: `\"…\"`".to_owned() }
}

/// Whether a text can be repeated in quotes without escapes.
fn is_plain(value: &str) -> bool {
    !value.is_empty() && value.len() <= REPEATED_MAX && !value.contains(['"', '\'', '`', '\\'])
}

/// Help for a variable in the syntax of another tool, which may be at the end of a text.
fn variable(value: &str) -> Option<String> {
    let at = value.find(['$', '{', '%'])?;
    let (front, written) = value.split_at(at);
    let inside = |open: &str, close: &str| written.strip_prefix(open)?.strip_suffix(close);
    let name = inside("{{", "}}")
        .or_else(|| inside("${", "}"))
        .or_else(|| inside("$(", ")"))
        .or_else(|| inside("{$", "}"))
        .or_else(|| inside("{", "}"))
        .or_else(|| inside("%", "%"))
        .or_else(|| written.strip_prefix('$'))?
        .trim();
    let name = name.strip_prefix("env.").unwrap_or(name);
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let how = if written.starts_with("${") { "in quotes" } else { "in quotes and with braces" };
    (is_name && value.len() <= REPEATED_MAX && (front.is_empty() || is_plain(front)))
        .then(|| format!("write `\"{front}${{{name}}}\"`, {how}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_toml_gets_help() {
        const QUOTED: &str = "string values must be quoted";
        for (text, mark, description, expected) in [
            ("a = $PORT", "$", QUOTED, Some("`\"${PORT}\"`, in quotes and with braces")),
            ("a = :8080 # all", ":8080", QUOTED, Some("write `\":8080\"`, in quotes")),
            ("a = [app, b]", "app", QUOTED, Some("write `\"app\"`, in quotes")),
            ("a = :$PORT", ":", QUOTED, Some("`\":${PORT}\"`, in quotes and with braces")),
            ("a = ${PORT} # x", "$", QUOTED, Some("write `\"${PORT}\"`, in quotes")),
            ("a = [:${PORT}, b]", ":", QUOTED, Some("write `\":${PORT}\"`, in quotes")),
            ("a = $(PORT)", "$", QUOTED, Some("write `\"${PORT}\"`")),
            ("a = {env.PORT}", "}", "invalid literal string", Some("write `\"${PORT}\"`")),
            ("a = {{ PORT }}", "PORT", "missing key", Some("write `\"${PORT}\"`")),
            ("a = %PORT%", "%", QUOTED, Some("write `\"${PORT}\"`")),
            ("a = 127.0.0.1:80", ".1:", "invalid float", Some("write `\"127.0.0.1:80\"`, in quotes")),
            ("a = [10.0.0.0/8]", "0.0/", "invalid float", Some("write `\"10.0.0.0/8\"`, in quotes")),
            ("  endpoints = [127.0.0.1:80]", ".1:", "invalid float", Some("write `\"http://127.0.0.1:80\"`")),
            ("a = 5s", "5", "invalid integer", Some("write `\"5s\"`, in quotes")),
            ("a = 1__0", "1", "invalid integer", None),
            ("a = 0xZZ", "0", "invalid integer", None),
            ("a = 1.", "1", "invalid float", None),
            ("a = “v1”", "“", QUOTED, Some("write `\"v1\"`, in straight quotes")),
            ("a = [“v1”, “v2”]", "“", QUOTED, Some("write `\"v1\"`, in straight quotes")),
            ("weight = 5%", "5", QUOTED, Some("write `5`, without `%`")),
            ("c = { weight = 0.5% }", "0", QUOTED, Some("write `0.5`, without `%`")),
            ("all = yes", "yes", QUOTED, Some("write `true`")),
            ("all = off", "off", QUOTED, Some("write `false`")),
            ("a = True", "True", "invalid boolean", Some("write `true`")),
            ("sink = off", "off", QUOTED, Some("write `\"off\"`, in quotes")),
            ("c = { rescue = no }", "no", QUOTED, Some("write `false`")),
            ("rescue = null", "null", "invalid float", Some("write `false`")),
            ("a = null", "null", "invalid float", Some("remove the line")),
            ("a = \"^/\\d+\"", "d", "missing escaped value", Some("write `'^/\\d+'`, in single quotes")),
            ("a = \"it's \\d\"", "d", "missing escaped value", Some("write the text in single quotes")),
            ("schema: 1\nroute:\n", ":", "", Some("a routes file is TOML")),
            ("# x\nroute:\n  - name: a\n", ":", "", Some("a routes file is TOML")),
            ("---\na: 1\n", "\n", "", Some("a routes file is TOML")),
            ("a = it's", "it", QUOTED, Some("text needs quotes")),
            ("{\"a\": 1}", "{", "", Some("begins with `schema = 1`")),
            ("localhost:80 {", ":", "", Some("a table has no braces")),
            ("a = 1\nserver {\n", "{", "", Some("a table has no braces")),
            ("stable: \"app\"", ":", "", Some("write `stable = …`, with `=`")),
            ("a = 1,\n", ",", "", Some("remove the `,`")),
            ("a = 1;\n", ";", "", Some("remove the `;`")),
            ("a = {\n", "{", "", None),
            ("a = 'b", "'", "", None),
            ("", "", "", None),
        ] {
            let found = help(text, text.find(mark).unwrap(), description);
            match expected {
                Some(part) => assert!(found.as_deref().is_some_and(|found| found.contains(part)), "{text}: {found:?}"),
                None => assert_eq!(found, None, "{text}"),
            }
        }
    }
}
