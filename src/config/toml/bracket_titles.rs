//! Help for table headers in the wrong kind of brackets, from the text of the file.

use std::ops::Range;

use super::grammar;
use super::spec::{Shape, TableSpec};

/// Help such as "write `[upstream.NAME]`".
pub(in crate::config) fn named_header(key: &str, name: Option<&str>) -> String {
    // An invalid name gets an error of its own.
    match name.filter(|name| grammar::is_name(name)) {
        Some(name) => format!("write `[{key}.{name}]`, without `name`"),
        None => format!("write `[{key}.NAME]`"),
    }
}

/// The message and the help for a second definition of a top-level table; `None` if the brackets are not the cause.
pub(in crate::config) fn explain_duplicate(
    root: &TableSpec,
    text: &str,
    title: Range<usize>,
) -> Option<(String, String)> {
    let before = text.get(..title.start)?.trim_end_matches([' ', '\t']);
    let after = text.get(title.end..)?.trim_start_matches([' ', '\t']);
    let key = text.get(title)?;
    let double = before.ends_with("[[") && after.starts_with("]]");
    let single = before.ends_with('[') && after.starts_with(']');
    if !(double || single) {
        return None;
    }
    let form = &root.keys.iter().find(|known| known.name == key)?.form;
    match (form, double) {
        (Shape::Tables(_), _) => {
            let message = format!("`[{key}]` is a list: each table needs double brackets");
            Some((message, format!("write `[[{key}]]` for each")))
        }
        (Shape::Named(_), true) => {
            let message = format!("`[[{key}]]` is not a list: each table has its name in the brackets");
            Some((message, named_header(key, name_below(after))))
        }
        (Shape::Named(_), false) => {
            Some((format!("`[{key}]` has no name in the brackets"), named_header(key, name_below(after))))
        }
        (Shape::Table(_), true) => {
            let message = format!("`[[{key}]]` is not a list: there is only one `[{key}]`");
            Some((message, format!("write all keys below one `[{key}]`")))
        }
        _ => None,
    }
}

/// Whether a key that is defined twice is that of `[[route.guard]]`, in a route with `guard = "…"`.
pub(in crate::config) fn is_second_guard(text: &str, key: Range<usize>) -> bool {
    let before = text.get(..key.start).map(|before| before.trim_end_matches([' ', '\t']));
    text.get(key) == Some("guard") && before.is_some_and(|before| before.ends_with("[[route."))
}

/// The `name` of the table whose header ends here.
fn name_below(text: &str) -> Option<&str> {
    let mut lines = text.lines().skip(1).map(str::trim).take_while(|line| !line.starts_with('['));
    let value = lines.find_map(|line| line.strip_prefix("name")?.trim_start().strip_prefix('='))?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    value[1..].split(quote).next()
}
