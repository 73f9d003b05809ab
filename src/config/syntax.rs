//! What is no TOML, and how it is written rightly: blocks in braces, colons, text without quotes.

/// How many letters are repeated in a help line.
const REPEATED_MAX: usize = 60;

/// Help for a text that is no TOML at this byte.
pub(super) fn help(text: &str, at: usize, description: &str) -> Option<String> {
    let before = text.get(..at)?;
    let rest = text.get(at..)?;
    let line_begins = before.rfind('\n').map_or(0, |end| end + 1);
    let line = text[line_begins..].lines().next().unwrap_or_default();
    let begun = before[line_begins..].trim_start();
    if before.trim().is_empty() && rest.starts_with(['{', '<']) {
        return Some("a routes file is TOML, and begins with `schema = 1`".to_owned());
    }
    if description.starts_with("string values must be quoted") {
        let value = rest.lines().next().unwrap_or_default().trim_end();
        let value = value.split(" #").next().unwrap_or(value).trim_end();
        let value = value.split([',', ']', '}']).next().unwrap_or(value).trim_end();
        return Some(quoted(value));
    }
    if is_block(line) {
        return Some("a block stands below its title, without braces: write `[TITLE]` on a line of its own".to_owned());
    }
    let key = begun.trim_end();
    let is_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if rest.starts_with(':') && is_key && key.len() <= REPEATED_MAX {
        return Some(format!("write `{key} = …`, with `=`"));
    }
    if rest.starts_with([',', ';']) && begun.contains('=') {
        let mark = &rest[..1];
        return Some(format!("leave out the `{mark}`: the end of the line ends a value"));
    }
    None
}

/// Whether a line opens a block as other formats do.
fn is_block(line: &str) -> bool {
    let line = line.trim_end();
    line.ends_with('{') && !line.contains('=') && !line.trim_start().starts_with('#')
}

fn quoted(value: &str) -> String {
    let variable = value
        .strip_prefix('$')
        .filter(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    match variable {
        Some(name) if name.len() <= REPEATED_MAX => format!("write `\"${{{name}}}\"`, in quotes and with braces"),
        _ if value.is_empty() || value.len() > REPEATED_MAX || value.contains(['"', '\'', '`', '\\']) => {
            "text stands in quotes: `\"…\"`".to_owned()
        }
        _ => format!("write `\"{value}\"`, in quotes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_toml_is_put_right() {
        const QUOTED: &str = "string values must be quoted";
        for (text, mark, description, expected) in [
            ("a = $PORT", "$", QUOTED, Some("`\"${PORT}\"`, in quotes and with braces")),
            ("a = :8080 # all", ":8080", QUOTED, Some("write `\":8080\"`, in quotes")),
            ("a = [app, b]", "app", QUOTED, Some("write `\"app\"`, in quotes")),
            ("a = it's", "it", QUOTED, Some("text stands in quotes")),
            ("{\"a\": 1}", "{", "", Some("begins with `schema = 1`")),
            ("localhost:80 {", ":", "", Some("a block stands below its title")),
            ("a = 1\nserver {\n", "{", "", Some("a block stands below its title")),
            ("stable: \"app\"", ":", "", Some("write `stable = …`, with `=`")),
            ("a = 1,\n", ",", "", Some("leave out the `,`")),
            ("a = 1;\n", ";", "", Some("leave out the `;`")),
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
