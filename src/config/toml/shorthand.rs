//! Help for a single value where a table is expected: `match = "/x"` means `match = { path = "/x" }`.

use super::collector::is_collector;
use super::destination::is_destination;
use super::document::{Node, Value};
use super::endpoint::is_endpoint;
use super::quote::{REPEATED_MAX, quoted, switch};
use super::{address, grammar, path_pattern};

/// Keys that accept a list as well as one value.
const LISTS: &[&str] = &["endpoints", "certificates", "path", "host"];

/// The content of the braces for the table with this title, from a string instead of the table.
pub(in crate::config) fn of_text(title: &str, text: &str) -> Option<String> {
    let fits = |test: fn(&str) -> bool| text.contains("${") || test(text);
    let key = |key: &str| Some(format!("{key} = {}", repeated(text)));
    match title {
        "[route.match]" => condition(text),
        "[access_log]" if !text.is_empty() => key("sink"),
        "[upstream.NAME]" if fits(is_endpoint) => key("endpoints"),
        "[upstream.NAME]" => {
            let url = format!("http://{text}");
            is_endpoint(&url).then(|| format!("endpoints = {}", repeated(&url)))
        }
        "[route.canary]" if fits(grammar::is_name) => key("upstream"),
        "[route.shadow]" if fits(grammar::is_name) => Some(format!("upstream = {}, weight = 5", repeated(text))),
        "[route.redirect]" if fits(is_destination) => key("to"),
        "[upstream.NAME.health]" if text.starts_with('/') => key("path"),
        "[upstream.NAME.health]" if matches!(text, "grpc" | "tcp") => Some(format!("{text} = true")),
        "[upstream.NAME.health]" if matches!(text, "http" | "https") => Some("path = \"/healthz\"".to_owned()),
        "[route.respond]" if is_status(text) => Some(format!("status = {text}")),
        "[route.respond]" => key("body"),
        "[route.rewrite]" if fits(path_pattern::is_plain_path) => key("prefix"),
        "[route.timeout]" if fits(|text| grammar::parse_duration(text).is_some()) => key("request"),
        "[route.limits]" if text.eq_ignore_ascii_case("websocket") => Some("upgrade = [\"websocket\"]".to_owned()),
        "[route.limits]" if fits(is_body) => key("body"),
        "[route.limits]" => {
            let size = grammar::with_binary_unit(text).filter(|size| is_body(size))?;
            Some(format!("body = \"{size}\""))
        }
        "[traces]" if fits(is_collector) => key("otlp"),
        "[listener.tls]" => match switch(text) {
            Some("true") => Some(CERTIFICATES.to_owned()),
            Some(_) => None,
            None if text.is_empty() => None,
            None => key("certificates"),
        },
        _ => None,
    }
}

/// The content of `tls = { … }` for a listener, from a value that only enables TLS.
pub(in crate::config) const CERTIFICATES: &str = "certificates = [\"certs/\"]";

/// The content of the braces, from a list instead of the table: from its only string, or from all if the key accepts a
/// list.
pub(in crate::config) fn of_list(title: &str, all: &[Node<'_>]) -> Option<String> {
    let each = all.iter().map(|node| match &node.value {
        Value::String(text) => of_text(title, text),
        Value::Integer(..)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime
        | Value::Array(_)
        | Value::Tables(_)
        | Value::Table(_) => None,
    });
    let each = each.collect::<Option<Vec<String>>>()?;
    let (key, _) = each.first()?.split_once(" = ")?;
    if each.len() == 1 {
        return each.into_iter().next();
    }
    let values = each.iter().map(|inner| inner.strip_prefix(key)?.strip_prefix(" = "));
    let values = values.collect::<Option<Vec<&str>>>()?.join(", ");
    let is_list = LISTS.contains(&key) && !values.contains(" = ");
    is_list.then(|| format!("{key} = [{}]", if values.len() > REPEATED_MAX { "…" } else { &values }))
}

/// Help for a single value where an element of a list of tables is expected.
pub(in crate::config) fn of_element(title: &str, value: &Value<'_>) -> String {
    let table = format!("write `{title}`");
    if title == "[[route.rate_limit]]" {
        return format!("{table}, and below it `per = \"client_ip\"` and `rate = {}`", rate(value));
    }
    let Value::String(text) = value else { return table };
    let text = &**text;
    match title {
        "[[listener]]" if text.contains("${") || address::is_address(text) => {
            format!("{table}, and below it `address = {}`", repeated(text))
        }
        "[[route.variant]]" if grammar::is_name(text) && !matches!(text, "stable" | "canary") => {
            let name = quoted(text);
            format!("{table}, and below it `name = {name}` and `upstream = {name}`")
        }
        "[[route.target]]" if grammar::is_name(text) => {
            let who = "a condition, such as `header = { x-beta = \"1\" }`";
            format!("{table}, and below it `serve = {}` and {who}", quoted(text))
        }
        _ => table,
    }
}

/// The rate of a limit that is written as a single value.
fn rate(value: &Value<'_>) -> String {
    match value {
        Value::Integer(digits, 10) if digits.len() <= 7 && !digits.starts_with(['-', '0']) => digits.to_string(),
        Value::String(text) if text.contains('/') => repeated(text),
        Value::String(_)
        | Value::Integer(..)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime
        | Value::Array(_)
        | Value::Tables(_)
        | Value::Table(_) => "100".to_owned(),
    }
}

/// The condition of a route in a text: a path, a host, or both.
fn condition(text: &str) -> Option<String> {
    if text == "*" || text.starts_with('/') && (text.contains("${") || path_pattern::is_path(text)) {
        return Some(format!("path = {}", repeated(if text == "*" { "/*" } else { text })));
    }
    if text.contains("${") || grammar::is_host_pattern(text) {
        return Some(format!("host = {}", repeated(text)));
    }
    if text.contains('(') {
        return rule(text);
    }
    let (host, path) = text.split_at(text.find('/')?);
    let both = grammar::is_host_pattern(host) && path_pattern::is_path(path) && text.len() <= REPEATED_MAX;
    both.then(|| format!("host = {}, path = {}", quoted(host), quoted(path)))
}

/// The conditions of a Traefik rule, if they are joined by `&&` and each is a host or a path.
fn rule(text: &str) -> Option<String> {
    let mut all: Vec<String> = Vec::new();
    for part in text.split("&&") {
        let (word, rest) = part.trim().split_once('(')?;
        let value = rest.strip_suffix(')')?.trim().trim_matches(['`', '"', '\'']);
        let (key, value) = match word {
            "Host" => ("host", Some(value.to_owned()).filter(|host| grammar::is_host_pattern(host))),
            "Path" => ("path", Some(value.to_owned())),
            "PathPrefix" => ("path", Some(format!("{}/*", value.trim_end_matches('/')))),
            _ => return None,
        };
        let value = value.filter(|value| key == "host" || path_pattern::is_path(value))?;
        let is_new = !all.iter().any(|known| known.starts_with(key));
        all.push(Some(format!("{key} = {}", quoted(&value))).filter(|_| is_new && text.len() <= REPEATED_MAX)?);
    }
    Some(all.join(", "))
}

/// A TOML string; `…` instead of a long text.
fn repeated(text: &str) -> String {
    quoted(if text.len() > REPEATED_MAX { "…" } else { text })
}

/// Whether a text is a valid limit for a body.
fn is_body(text: &str) -> bool {
    grammar::parse_size(text).is_some_and(|bytes| bytes <= grammar::BODY_MAX)
}

/// Whether `respond` accepts this status code.
pub(in crate::config) fn is_status(digits: &str) -> bool {
    digits.len() == 3 && digits.parse::<u16>().is_ok_and(|status| (200..=599).contains(&status))
}
