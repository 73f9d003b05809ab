//! Values of the wrong kind, and how they are written rightly.

use super::context::Context;
use super::document::{Node, Value};
use super::foreign;
use super::reader::Item;
use super::spec::Spec;

/// How long a value may be that is repeated in a help line.
const REPEATED_MAX: usize = 60;

/// Help for a value that is not of the kind that is expected.
pub(super) fn cure((key, expected): (&str, &str), value: &Value<'_>) -> Option<String> {
    let is_number = expected.starts_with("a number") || expected.starts_with("a whole number");
    match value {
        Value::String(text) if is_number && text.contains("${") => {
            Some("a variable stands in a string only: write the number itself".to_owned())
        }
        Value::String(text) if is_number => {
            let digits = text.trim().trim_end_matches('%').trim_end();
            digits.parse::<f64>().ok().filter(|number| number.is_finite()).map(|_| without_quotes(digits))
        }
        Value::String(text) if expected.starts_with("true or false") => switch(text).map(without_quotes),
        Value::Integer(digits, _) if expected.starts_with("true or false") => {
            switch(digits).map(|word| format!("write `{word}`"))
        }
        Value::Integer(port, 10) if key == "address" => {
            Some(format!("write `\"127.0.0.1:{port}\"`: an address and a port, in quotes"))
        }
        Value::Integer(text, 10) | Value::Float(text) if expected.starts_with("a string") => {
            Some(format!("write `\"{text}\"`, in quotes"))
        }
        Value::Array(all) if expected.starts_with("a string") || is_number => match &all[..] {
            [Node { value: Value::String(text), .. }] if text.len() <= REPEATED_MAX => {
                Some(format!("write `\"{text}\"`, without brackets"))
            }
            _ => Some("one value stands here, without brackets".to_owned()),
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

fn without_quotes(value: &str) -> String {
    format!("write `{value}`, without quotes")
}

/// What a word of a switch means.
fn switch(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "enabled" => Some("true"),
        "false" | "no" | "off" | "0" | "disabled" => Some("false"),
        _ => None,
    }
}

/// Help for a value where a table of this kind is expected.
pub(super) fn as_table(context: &Context<'_>, item: &Item<'_>, spec: &Spec) -> Option<String> {
    let key = item.key;
    let inner = match &item.node.value {
        Value::Tables(_) => {
            let title = spec.title.replace("NAME", key);
            return title.starts_with('[').then(|| format!("write `{title}`, in single brackets, once"));
        }
        // Such as `:9900`, which the admin listener refuses.
        Value::String(_) if spec.title == "[admin]" => {
            return Some("write `[admin]`, and below it `address = \"127.0.0.1:9900\"`".to_owned());
        }
        Value::String(text) => foreign::short(spec.title, text),
        Value::Array(all) => match all.first().map(|node| &node.value) {
            Some(Value::String(text)) => foreign::short(spec.title, text),
            _ => None,
        },
        Value::Integer(..) if spec.title == "[route.respond]" => Some("status"),
        Value::Integer(..) | Value::Float(_) if matches!(spec.title, "[route.canary]" | "[route.shadow]") => {
            return Some(format!(
                "write `{key} = {{ upstream = \"…\", weight = {} }}`",
                context.files.text(item.span())
            ));
        }
        Value::Boolean(_) if spec.title == "[kill]" => Some("all"),
        Value::Boolean(true) if spec.title == "[listener.tls]" => {
            return Some("write `tls = { certificates = [\"certs/\"] }`".to_owned());
        }
        Value::Integer(..) | Value::Float(_) | Value::Boolean(_) | Value::Datetime | Value::Table(_) => None,
    }?;
    let written = context.files.text(item.span());
    let written = if written.len() > REPEATED_MAX || written.contains('\n') { "…" } else { written };
    Some(format!("write `{key} = {{ {inner} = {written} }}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_right() {
        let text = |text: &'static str| Value::String(text.into());
        for (expected, value, help) in [
            ("a number from 0 to 100", text("5"), Some("write `5`, without quotes")),
            ("a number from 0 to 100", text("5 %"), Some("write `5`, without quotes")),
            ("a whole number", text("${N}"), Some("a variable stands in a string only: write the number itself")),
            ("a whole number", text("nan"), None),
            ("a whole number", text("five"), None),
            ("true or false", text("yes"), Some("write `true`, without quotes")),
            ("true or false", Value::Integer("0".into(), 10), Some("write `false`")),
            ("true or false", text("perhaps"), None),
            ("a string", Value::Integer("8080".into(), 10), Some("write `\"8080\"`, in quotes")),
            ("a string", Value::Boolean(true), None),
            ("a string", Value::Array(vec![]), Some("one value stands here, without brackets")),
            ("a table", text("x"), None),
        ] {
            assert_eq!(cure(("x", expected), &value).as_deref(), help, "{expected} {value:?}");
        }
    }
}
