//! Edits of the demo's `routes.toml` by a key: the same line that an operator changes by hand.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

/// What a key changes in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// The canary's weight goes up.
    More,
    /// The canary's weight goes down.
    Less,
}

/// The table of the line.
const TABLE: &str = "route.canary";
/// Its key.
const KEY: &str = "weight";
/// By how many percent a key changes the weight.
const STEP: f64 = 10.0;
/// A weight has four decimals at most: a sum of two numbers in binary can have more.
const PARTS: f64 = 10_000.0;

impl Edit {
    /// Changes the file, and returns what was done.
    ///
    /// # Errors
    /// When the file does not have such a line, or cannot be read or written.
    pub(super) fn apply(self, file: &Path) -> anyhow::Result<String> {
        let shown = file.display();
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?;
        let Some((new, line)) = self.edited(&text) else {
            bail!("{shown} has no line `{KEY} = …` in [{TABLE}]: edit it by hand");
        };
        if new == text {
            return Ok(format!("not edited: {line} already, in {shown}"));
        }
        // The whole file at once: the proxy reads it as soon as it changes.
        let temporary = file.with_extension("toml.new");
        let written = fs::write(&temporary, new).and_then(|()| fs::rename(&temporary, file));
        written.with_context(|| format!("cannot write {shown}"))?;
        Ok(format!("edited: {line} in {shown}"))
    }

    /// The text with the line changed, and that line without its comment.
    fn edited(self, text: &str) -> Option<(String, String)> {
        let mut table = "";
        let mut begins = 0;
        for line in text.split_inclusive('\n') {
            let trimmed = line.trim();
            if let Some(rest) = trimmed.strip_prefix('[') {
                table = rest.split(']').next().unwrap_or("").trim_start_matches('[');
            }
            if table == TABLE
                && let Some((key, value)) = line.split_once('=')
                && key.trim() == KEY
            {
                let at = begins + key.len() + 1;
                let (old, new) = self.value(value)?;
                let value_at = at + value.find(old)?;
                let edited = format!("{}{new}{}", &text[..value_at], &text[value_at + old.len()..]);
                return Some((edited, format!("{KEY} = {new}")));
            }
            begins += line.len();
        }
        None
    }

    /// The value that begins this text, and the one to put there.
    fn value(self, text: &str) -> Option<(&str, String)> {
        let text = text.trim_start();
        let end = text.find(|letter: char| !(letter.is_ascii_digit() || letter == '.')).unwrap_or(text.len());
        let old = &text[..end];
        let weight: f64 = old.parse().ok()?;
        let step = if self == Self::More { STEP } else { -STEP };
        let new = (weight + step).clamp(0.0, 100.0);
        Some((old, ((new * PARTS).round() / PARTS).to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
[[route]]\nweight = 1\n[route.canary]\nupstream = \"shop-v2\"\nweight   = 10                   # percent\n\n\
[kill]\nvariants = []                   # veto\n";

    #[test]
    fn a_key_changes_one_line() {
        let (more, line) = Edit::More.edited(FILE).unwrap();
        assert_eq!((more, line.as_str()), (FILE.replace("= 10 ", "= 20 "), "weight = 20"));
        assert_eq!(Edit::Less.edited(FILE).unwrap().1, "weight = 0");
        assert_eq!(Edit::Less.edited(&FILE.replace("10 ", "2.5 ")).unwrap().1, "weight = 0");
        assert_eq!(Edit::More.edited(&FILE.replace("10 ", "100 ")).unwrap().1, "weight = 100");
    }

    #[test]
    fn a_weight_keeps_four_decimals_at_most() {
        for (edit, before, after) in [
            (Edit::Less, "12.3", "2.3"),
            (Edit::More, "0.1", "10.1"),
            (Edit::More, "12.3456", "22.3456"),
            (Edit::Less, "10.0001", "0.0001"),
        ] {
            let line = edit.edited(&FILE.replace("10 ", &format!("{before} "))).unwrap().1;
            assert_eq!(line, format!("weight = {after}"), "{edit:?} {before}");
        }
    }

    #[test]
    fn the_shipped_file_has_the_lines() {
        for edit in [Edit::More, Edit::Less] {
            assert!(edit.edited(include_str!("routes.toml")).is_some(), "{edit:?}");
        }
    }

    #[test]
    fn a_file_without_the_line_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("routes.toml");
        for text in ["", "[route.canary]\nupstream = 1\n", "[route.canary]\nweight = x\n", "[other]\nweight = 1\n"] {
            fs::write(&file, text).unwrap();
            let refused = Edit::More.apply(&file).unwrap_err().to_string();
            assert!(refused.contains("`weight = …` in [route.canary]: edit it by hand"), "{refused}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        fs::write(&file, FILE).unwrap();
        let done = Edit::More.apply(&file).unwrap();
        assert!(done.starts_with("edited: weight = 20 in "), "{done}");
        std::fs::write(&file, FILE.replace("= 10 ", "= 0 ")).unwrap();
        let done = Edit::Less.apply(&file).unwrap();
        assert!(done.starts_with("not edited: weight = 0 already"), "{done}");
        std::fs::write(&file, FILE.replace("= 10 ", "= 20 ")).unwrap();
        assert!(fs::read_to_string(&file).unwrap().contains("weight   = 20  "));
        assert!(Edit::More.apply(&dir.path().join("none")).is_err());
    }
}
