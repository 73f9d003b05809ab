//! Covers what may be a secret in a file of tokens: diagnostics quote lines, and they reach logs and admin pages.

/// Runs of letters and digits of at least this length are covered: a token of 256 bits has more.
const SECRET_CHARS_MIN: usize = 32;

/// The text for excerpts, of the same length: without long runs, and of lines with other keys than these without values.
pub(in crate::config) fn covered(text: &str, shown_keys: &[&str]) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let key = line.split('=').next().unwrap_or_default().trim();
        let is_shown = line.trim_start().starts_with('[') || shown_keys.contains(&key);
        // A key without quotes: a quoted one may be the secret itself.
        let is_bare = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let shown = match (is_shown, line.find('=').filter(|_| is_bare)) {
            (true, _) => line.len(),
            (false, Some(at)) => at + 1,
            (false, None) => 0,
        };
        let (shown, hidden) = line.split_at(shown);
        cover_runs(&mut out, shown);
        let is_kept = |c: char| c.is_whitespace() || matches!(c, '"' | '\'');
        hidden.chars().for_each(|c| if is_kept(c) { out.push(c) } else { cover(&mut out, c.len_utf8()) });
    }
    debug_assert_eq!(out.len(), text.len(), "every place stays where it is");
    out
}

/// A message without long runs.
pub(in crate::config) fn without_secrets(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    cover_runs(&mut out, message);
    out
}

/// Covers long runs of characters of which tokens and hashes consist.
fn cover_runs(out: &mut String, text: &str) {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '/' | '=' | '.');
    let mut rest = text;
    while !rest.is_empty() {
        let run = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        if run >= SECRET_CHARS_MIN {
            cover(out, run);
        } else {
            out.push_str(&rest[..run]);
        }
        rest = &rest[run..];
        let other = rest.find(is_part).unwrap_or(rest.len());
        out.push_str(&rest[..other]);
        rest = &rest[other..];
    }
}

fn cover(out: &mut String, bytes: usize) {
    out.extend(std::iter::repeat_n('*', bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_covered_in_place() {
        let hash = "0123456789abcdef".repeat(4);
        for (text, expected) in [
            ("[[token]]\nname = \"ana\"\n", "[[token]]\nname = \"ana\"\n".to_owned()),
            (&*format!("sha256 = \"{hash}\"\r\n"), format!("sha256 = \"{}\"\r\n", "*".repeat(64))),
            ("token = 'pm_ é'", "token = '*** **'".to_owned()),
            ("secret", "******".to_owned()),
            (&*format!("# was {hash}"), format!("* *** {}", "*".repeat(64))),
            ("\"a b\" = 1", "\"* *\" * *".to_owned()),
            (&*format!("name = \"{hash}\" # {hash}"), format!("name = \"{0}\" # {0}", "*".repeat(64))),
            ("token = [{ name = \"a\" }]", "token = ** **** * \"*\" **".to_owned()),
        ] {
            assert_eq!(covered(text, &["name"]), expected, "{text}");
        }
        let message = format!("unknown key `{hash}` in `[[token]]`");
        assert_eq!(without_secrets(&message), format!("unknown key `{}` in `[[token]]`", "*".repeat(64)));
    }
}
