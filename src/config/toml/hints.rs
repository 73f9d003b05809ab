//! Help for values of the wrong type.

use super::document::{Node, Value};
use super::path_pattern;
use super::quote::{REPEATED_MAX, quoted, switch};

/// Keys whose strings can never be a number: for them, the help must not propose a number in quotes.
const NO_NUMBERS: &[&str] = &[
    "path",
    "prefix",
    "to",
    "host",
    "cidr",
    "country",
    "trusted_proxies",
    "private_networks",
    "from",
    "otlp",
    "grafana",
];

/// Help for a value of the wrong type, where the expected type is not a number.
pub(in crate::config) fn fix(key: &str, expected: &str, value: &Value<'_>) -> Option<String> {
    match value {
        Value::String(text) if expected.starts_with("true or false") => switch(text).map(without_quotes),
        Value::Integer(digits, _) if expected.starts_with("true or false") => {
            switch(digits).map(|word| format!("write `{word}`"))
        }
        Value::Integer(_, 10) | Value::Float(_) if NO_NUMBERS.contains(&key) => None,
        Value::Float(_) if key == "name" => None,
        Value::Integer(text, 10) | Value::Float(text) if expected.starts_with("a string") => Some(in_quotes(key, text)),
        Value::Tables(_) if key == "endpoints" => {
            Some("write `endpoints = [{ url = \"…\" }]` in the table of the upstream".to_owned())
        }
        Value::Array(all) if key == "address" && all.len() > 1 => {
            Some("a listener has one address: write a `[[listener]]` for each".to_owned())
        }
        Value::Array(all) if expected.starts_with("a string") => match &all[..] {
            [Node { value: Value::String(text), .. }] if text.len() <= REPEATED_MAX => {
                Some(format!("write `{}`, without brackets", quoted(text)))
            }
            _ => Some("write one value, without brackets".to_owned()),
        },
        Value::String(_)
        | Value::Integer(..)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime
        | Value::Array(_)
        | Value::Tables(_)
        | Value::Table(_) => None,
    }
}

/// Help for an unknown key, where the value shows the intention.
pub(in crate::config) fn by_value(title: &str, key: &str, value: &Value<'_>) -> Option<String> {
    let key = key.replace('-', "_").to_ascii_lowercase();
    match (title, key.as_str(), value) {
        ("[route.match]", "prefix" | "path_prefix" | "pathprefix", Value::String(text)) => {
            let path = format!("{}/*", text.trim_end_matches(['*', '/']));
            let fits = text.len() <= REPEATED_MAX && text.starts_with('/') && path_pattern::is_path(&path);
            Some(format!("write `path = {}`: the path and all below it", quoted(if fits { &path } else { "/x/*" })))
        }
        ("[[route]]", word, Value::Array(all)) if SEVERAL.split(' ').any(|known| known == word) => {
            let is_table = |node: &Node<'_>| matches!(node.value, Value::Table(_));
            all.iter().any(is_table).then(|| SPLIT.to_owned())
        }
        _ => None,
    }
}

/// Keys for several upstreams of a route in one list, and what to write instead.
const SEVERAL: &str = "backend backends services upstreams servers clusters"; // HAProxy, Traefik
const SPLIT: &str = "write `[upstream.NAME]` with `endpoints` for each, and in the route `stable = \"NAME\"` and \
                     `canary = { upstream = \"NAME\", weight = 5 }`";

/// Help for a number where a string is expected; the number may be a port.
fn in_quotes(key: &str, number: &str) -> String {
    let is_port = number.parse::<u16>().is_ok_and(|port| port > 0);
    match key {
        "address" if is_port => format!("write `\"127.0.0.1:{number}\"`: an address and a port, in quotes"),
        "address" => format!("write `\"127.0.0.1:8080\"`: an address and a port, in quotes; {}", super::address::PORTS),
        "endpoints" | "url" if is_port => format!("write `\"http://127.0.0.1:{number}\"`: a URL, in quotes"),
        "endpoints" | "url" => "write `\"http://host:port\"`: a URL, in quotes".to_owned(),
        _ => format!("write `\"{number}\"`, in quotes"),
    }
}

/// Help for a value where a number is expected. `fits` decides which numbers are valid.
pub(in crate::config) fn number(value: &Value<'_>, expected: &str, fits: impl Fn(&str) -> bool) -> Option<String> {
    let found = |text: &str| {
        // `5%` is the number 5 where a percentage is expected.
        let text = if expected == PERCENT { text.trim_end().trim_end_matches('%') } else { text };
        decimal(text.trim()).filter(|number| fits(number))
    };
    match value {
        Value::String(text) if text.contains("${") => {
            Some("variables work in strings only: write the number itself".to_owned())
        }
        Value::String(text) => found(text).map(|number| without_quotes(&number)),
        Value::Array(all) => {
            let written = match &all[..] {
                [Node { value: Value::String(text), .. }] => {
                    found(text).map(|number| format!("write `{number}`, without brackets and quotes"))
                }
                [Node { value: Value::Integer(text, 10) | Value::Float(text), .. }] => {
                    found(text).map(|number| format!("write `{number}`, without brackets"))
                }
                _ => None,
            };
            written.or_else(|| Some("write one number, without brackets".to_owned()))
        }
        Value::Integer(..)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime
        | Value::Tables(_)
        | Value::Table(_) => None,
    }
}

/// The expected value of a weight.
pub(in crate::config) const PERCENT: &str = "a number from 0 to 100";

/// A decimal number in TOML syntax, without leading zeros; `None` for other notations, such as an exponent.
fn decimal(text: &str) -> Option<String> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if text.len() > REPEATED_MAX || !are_digits(whole) || !are_digits(decimals) {
        return None;
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    Some(if digits.contains('.') { format!("{sign}{whole}.{decimals}") } else { format!("{sign}{whole}") })
}

fn without_quotes(value: &str) -> String {
    format!("write `{value}`, without quotes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::toml::grammar::is_weight;

    #[test]
    fn values_get_help() {
        let text = |text: &'static str| Value::String(text.into());
        for (expected, value, help) in [
            ("true or false", text("yes"), Some("write `true`, without quotes")),
            ("true or false", Value::Integer("0".into(), 10), Some("write `false`")),
            ("true or false", text("perhaps"), None),
            ("a string", Value::Integer("8080".into(), 10), Some("write `\"8080\"`, in quotes")),
            ("a string", Value::Boolean(true), None),
            ("a string", Value::Array(vec![]), Some("write one value, without brackets")),
            ("a table", text("x"), None),
        ] {
            assert_eq!(fix("x", expected, &value).as_deref(), help, "{expected} {value:?}");
        }
    }

    #[test]
    fn numbers_get_help() {
        let text = |text: &'static str| Value::String(text.into());
        let bare = |number: &str| Some(format!("write `{number}`, without quotes"));
        let variable = || Some("variables work in strings only: write the number itself".to_owned());
        let list = || Some("write one number, without brackets".to_owned());
        for (expected, value, help) in [
            (PERCENT, text("5"), bare("5")),
            (PERCENT, text("5 %"), bare("5")),
            (PERCENT, text("05"), bare("5")),
            (PERCENT, text("00.50"), bare("0.50")),
            (PERCENT, text("0.5%"), bare("0.5")),
            (PERCENT, text("1e1"), None),
            (PERCENT, text("500"), None),
            (PERCENT, text("5."), None),
            (PERCENT, text("nan"), None),
            (PERCENT, text("five"), None),
            (PERCENT, text("${N}"), variable()),
            ("a number from 0 to 1", text("1%"), None),
            (PERCENT, Value::Array(vec![]), list()),
        ] {
            assert_eq!(number(&value, expected, is_weight), help, "{expected} {value:?}");
        }
    }
}
