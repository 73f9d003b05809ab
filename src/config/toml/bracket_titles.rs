//! Titles of tables in the wrong brackets, as far as the text alone shows them.

use std::ops::Range;

use super::grammar;
use super::spec::{Shape, TableSpec};

/// `write [upstream.NAME]`.
pub(in crate::config) fn titled(key: &str, name: Option<&str>) -> String {
    // What is no name is reported as such.
    match name.filter(|name| grammar::is_name(name)) {
        Some(name) => format!("write `[{key}.{name}]`, without `name`"),
        None => format!("write `[{key}.NAME]`"),
    }
}

/// The message and help for a second definition of the top-level table `key`; `None` when the brackets are not the
/// cause.
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
            let message = format!("`[{key}]` is a list: each stands in double brackets");
            Some((message, format!("write `[[{key}]]`, each time")))
        }
        (Shape::Named(_), true) => {
            let message = format!("`[[{key}]]` is no list: each has its name in its title");
            Some((message, titled(key, name_below(after))))
        }
        (Shape::Named(_), false) => {
            Some((format!("`[{key}]` has no name in its title"), titled(key, name_below(after))))
        }
        (Shape::Table(_), true) => {
            let message = format!("`[[{key}]]` is no list: there is one `[{key}]`");
            Some((message, format!("write all its keys below one `[{key}]`")))
        }
        _ => None,
    }
}

/// The `name` of the table whose title ends here.
fn name_below(text: &str) -> Option<&str> {
    let mut lines = text.lines().skip(1).map(str::trim).take_while(|line| !line.starts_with('['));
    let value = lines.find_map(|line| line.strip_prefix("name")?.trim_start().strip_prefix('='))?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    value[1..].split(quote).next()
}
