//! Diagnostics that come from a proxy as plain text, with the colours of `check`.

use super::paint::Paint;
use crate::compare::escape_controls;

/// The text with colours, and without control characters.
#[must_use]
pub fn coloured(text: &str, paint: Paint) -> String {
    let line = |line: &str| {
        let line = escape_controls(line);
        match line.split_once(']') {
            Some((code, rest)) if code.starts_with("error[") => {
                format!("{}{}", paint.red(&format!("{code}]")), paint.bold(rest))
            }
            Some((code, rest)) if code.starts_with("warning[") => {
                format!("{}{}", paint.yellow(&format!("{code}]")), paint.bold(rest))
            }
            _ if line.trim_start_matches([' ', '|']).starts_with('^') => paint.red(&line),
            _ => line.into_owned(),
        }
    };
    text.trim_end().lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagnostics_keep_their_text_and_get_colours() {
        let text = "error[unknown-key]: unknown key\n --> routes.toml:1:1\n  |\n1 | a[0] = 1\n  | ^\n\n1 error\n";
        assert_eq!(coloured(text, Paint::Plain), text.trim_end());
        let painted = coloured(text, Paint::Colour);
        assert!(painted.starts_with("\x1b[31merror[unknown-key]\x1b[0m\x1b[1m: unknown key\x1b[0m\n"), "{painted:?}");
        assert!(painted.contains("\x1b[31m  | ^\x1b[0m"), "{painted:?}");
        assert_eq!(coloured("a\u{1b}b\u{202e}\u{200b}c", Paint::Plain), "a\\u{1b}b\\u{202e}\\u{200b}c");
    }
}
