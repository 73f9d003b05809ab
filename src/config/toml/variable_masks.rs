//! Masks the values of environment variables: messages show `${NAME}`, never the value. A diagnostic at a string with a
//! variable shows no part of the value, and has no suggestion that is similar to it. All other diagnostics are masked
//! in the same way as explanations.

use std::borrow::Cow;

use ahash::{HashMap, HashSet};

use super::diagnostic::Finding;
use super::source::Span;
use crate::route::{MASKED_MIN, Masks, is_word_byte};

/// Two texts are similar if they have this many letters in a row in common.
const COMMON: usize = 4;

/// Whether explanations show the variables of a string: those of addresses and paths are shown, all others are masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Exposure {
    Shown,
    Masked,
}

/// A variable of a string.
#[derive(Debug)]
pub(in crate::config) struct Variable {
    pub(in crate::config) written: String,
    pub(in crate::config) value: String,
    /// The offset of the value in the expanded string.
    pub(in crate::config) at: usize,
    /// The offset of the variable in the string of the file.
    pub(in crate::config) from: usize,
}

/// A string with its variables expanded.
#[derive(Debug)]
pub(in crate::config) struct ExpandedString {
    pub(in crate::config) span: Span,
    /// The string as the file has it.
    pub(in crate::config) written: String,
    /// The string with the values of its variables.
    pub(in crate::config) text: String,
    pub(in crate::config) exposure: Exposure,
    pub(in crate::config) values: Vec<Variable>,
}

/// The variables of one load.
#[derive(Debug, Default)]
pub(in crate::config) struct VariableMasks {
    strings: Vec<ExpandedString>,
    /// Each variable as it is written, its value, and whether it is masked, in the order of the files.
    values: Vec<(String, String, Exposure)>,
    known: HashMap<(String, String), usize>,
    /// The names of objects that contain variables: by their values, how they are written.
    names: HashMap<String, Vec<String>>,
}

impl VariableMasks {
    /// Records a string that has variables.
    pub(in crate::config) fn record(&mut self, string: ExpandedString) {
        debug_assert!(
            string.values.iter().all(|one| string.text.get(one.at..one.end()) == Some(&one.value)),
            "every value is where the expanded string has it"
        );
        for Variable { written, value, .. } in &string.values {
            let pair = (written.clone(), value.clone());
            let at = *self.known.entry(pair.clone()).or_insert(self.values.len());
            match self.values.get_mut(at) {
                Some(known) if string.exposure == Exposure::Masked => known.2 = Exposure::Masked,
                Some(_) => {}
                None => self.values.push((pair.0, pair.1, string.exposure)),
            }
        }
        self.strings.push(string);
    }

    /// Records the name of an object, if it contains variables.
    pub(in crate::config) fn record_name(&mut self, value: &str, written: &str) {
        if value != written {
            self.names.entry(value.to_owned()).or_default().push(written.to_owned());
        }
    }

    /// Whether the name that is shown as `written` has this value.
    pub(in crate::config) fn is_name(&self, value: &str, written: &str) -> bool {
        value == written || self.written(value).iter().any(|known| known == written)
    }

    /// The names with this value as they are written, if they contain variables.
    pub(in crate::config) fn written(&self, value: &str) -> Vec<String> {
        self.names.get(value).cloned().unwrap_or_default()
    }

    /// The masks for explanations.
    pub(in crate::config) fn masks(&self) -> Masks {
        let hidden = self.values.iter().filter(|(.., exposure)| *exposure == Exposure::Masked);
        let strings = self.strings.iter().filter(|one| one.exposure == Exposure::Masked);
        Masks::new(
            hidden.map(|(written, value, _)| (value.clone(), written.clone())),
            strings.flat_map(ExpandedString::words_with_values),
        )
    }

    /// The masks for a finding at the strings `touched`. Their own variables take precedence over others with the same
    /// value.
    fn masks_of(&self, finding: &Finding, touched: &[&ExpandedString]) -> Masks {
        let own: Vec<&Variable> = touched.iter().flat_map(|one| &one.values).collect();
        let others = self.values.iter().filter(|(_, value, _)| own.iter().all(|variable| variable.value != *value));
        let values = own.iter().map(|variable| (&variable.value, &variable.written));
        let values = values.chain(others.map(|(written, value, _)| (value, written)));
        let texts = finding.labels.iter().map(|(_, text)| text.as_str());
        let texts = texts.chain(finding.help.as_deref()).chain([finding.message.as_str()]);
        let message = texts.map(str::to_lowercase).collect::<Vec<_>>().join("\n");
        let is_mentioned = |variable: &Variable| message.contains(&variable.value.to_lowercase());
        let rest = self.strings.iter().filter(|one| touched.is_empty() && one.values.iter().any(is_mentioned));
        Masks::new(
            values.map(|(value, written)| (value.clone(), written.clone())),
            touched.iter().copied().chain(rest).flat_map(ExpandedString::words_with_values),
        )
    }

    /// Masks the values of variables in a finding.
    pub(in crate::config) fn mask(&self, mut finding: Finding) -> Finding {
        if self.strings.is_empty() {
            return finding;
        }
        let overlaps = |span: Span, other: Span| {
            span.file == other.file
                && !other.is_whole()
                && span.start < other.end.max(other.start + 1)
                && other.start < span.end
        };
        let touched: Vec<&ExpandedString> =
            self.strings.iter().filter(|one| finding.labels.iter().any(|(at, _)| overlaps(one.span, *at))).collect();
        let masks = self.masks_of(&finding, &touched);
        // Whole values first: a part of a value may be quoted alone.
        let mask = |text: &str| touched.iter().fold(masks.cover(text).into_owned(), |text, one| one.mask(&text));
        finding.message = mask(&finding.message);
        for (_, text) in &mut finding.labels {
            *text = mask(text);
        }
        // A constant help contains nothing of a value, even if they have letters in common.
        let constant = match finding.help.take() {
            Some(Cow::Borrowed(help)) => Some(help),
            made => {
                finding.help = made;
                None
            }
        };
        if let Some(Cow::Owned(help)) = &mut finding.help
            && self.values.iter().any(|(_, value, _)| value.contains('\n'))
        {
            // A value of several lines is not found in a single line.
            *help = masks.cover(help).into_owned();
        }
        let lines = finding.help.iter().flat_map(|help| help.lines());
        let lines =
            lines.filter(|line| touched.is_empty() || (!line.starts_with("did you mean") && mask(line) == *line));
        let mut help: Vec<String> = constant.into_iter().map(str::to_owned).chain(lines.map(mask)).collect();
        let mut names: Vec<&str> =
            touched.iter().flat_map(|one| &one.values).map(|variable| variable_name(&variable.written)).collect();
        names.sort_unstable();
        names.dedup();
        help.extend(names.iter().map(|name| {
            format!("the value of `{name}` comes from the environment and is not shown; see `printenv {name}`")
        }));
        finding.help = (!help.is_empty()).then(|| Cow::Owned(help.join("\n")));
        finding
    }
}

/// The name in `${NAME}` or `${NAME:-default}`.
fn variable_name(written: &str) -> &str {
    let inside = written.trim_start_matches("${").trim_end_matches('}');
    inside.split_once(":-").map_or(inside, |(name, _)| name)
}

impl ExpandedString {
    /// The string, and its words that contain a value long enough to be masked, each with the text to show instead.
    fn words_with_values(&self) -> Vec<(String, String)> {
        if self.values.iter().all(|variable| variable.value.len() < MASKED_MIN) {
            return Vec::new();
        }
        let long = |at: &usize| self.values[*at].value.len() >= MASKED_MIN;
        let words = (0..self.values.len()).filter(long).map(|at| self.word(at));
        let mut all: Vec<_> = words.chain([(self.text.clone(), self.written.clone())]).collect();
        all.dedup();
        all
    }

    /// The word around a variable: all letters next to its value without a break, including other variables.
    fn word(&self, at: usize) -> (String, String) {
        let (mut first, mut last) = (at, at);
        let is_word_byte = |b: &&u8| is_word_byte(**b);
        let before = loop {
            let start = first.checked_sub(1).map_or(0, |before| self.values[before].end());
            let gap = &self.text.as_bytes()[start..self.values[first].at];
            let run = gap.iter().rev().take_while(is_word_byte).count();
            match first.checked_sub(1) {
                Some(before)
                    if run == gap.len()
                        && self.values[before].value.as_bytes().last().is_some_and(|b| is_word_byte(&b)) =>
                {
                    first = before;
                }
                Some(_) | None => break run,
            }
        };
        let after = loop {
            let end = self.values.get(last + 1).map_or(self.text.len(), |after| after.at);
            let gap = &self.text.as_bytes()[self.values[last].end()..end];
            let run = gap.iter().take_while(is_word_byte).count();
            match self.values.get(last + 1) {
                Some(after) if run == gap.len() && after.value.as_bytes().first().is_some_and(|b| is_word_byte(&b)) => {
                    last += 1;
                }
                Some(_) | None => break run,
            }
        };
        let (first, last) = (&self.values[first], &self.values[last]);
        let text = &self.text[first.at - before..last.end() + after];
        let written = &self.written[first.from - before..last.from + last.written.len() + after];
        (text.to_owned(), written.to_owned())
    }

    /// Replaces the string, and quoted parts of its values, by the string as it is written.
    fn mask(&self, text: &str) -> String {
        let text = text.replace(&format!("`{}`", self.text), &format!("`{}`", self.written));
        // If a value contains a backtick, it is unclear which parts are quoted: treat all parts as quoted.
        let unclear = self.values.iter().any(|variable| variable.value.contains('`'));
        let mut out = String::with_capacity(text.len());
        for (at, piece) in text.split('`').enumerate() {
            if at > 0 {
                out.push('`');
            }
            out.push_str(if (unclear || at % 2 == 1) && self.reveals(piece) { &self.written } else { piece });
        }
        out
    }

    /// Whether a quoted text is a plain word, such as a key, that is not a part of the string.
    fn is_unrelated_word(&self, quoted: &str) -> bool {
        quoted.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'-' | b'_'))
            && !self.text.to_lowercase().contains(quoted)
    }

    /// Whether a quoted text reveals a part of a value.
    fn reveals(&self, quoted: &str) -> bool {
        if quoted.is_empty() || quoted == self.written {
            return false;
        }
        let quoted = quoted.to_lowercase();
        let values = self.values.iter().map(|variable| variable.value.to_lowercase());
        if self.is_unrelated_word(&quoted) {
            return values.into_iter().any(|value| quoted.split(['-', '_']).any(|word| word == value));
        }
        values.filter(|value| !value.is_empty()).any(|value| {
            let is_piece = value.contains(&quoted) && !self.written.to_lowercase().contains(&quoted);
            is_piece || quoted.contains(&value) || are_similar(&quoted, &value)
        })
    }
}

impl Variable {
    /// The end of the value in the expanded string.
    pub(in crate::config) const fn end(&self) -> usize {
        self.at + self.value.len()
    }
}

/// Whether two texts have [`COMMON`] letters in a row in common.
fn are_similar(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(1_000).collect(), b.chars().take(10_000).collect());
    let runs: HashSet<&[char]> = b.windows(COMMON).collect();
    a.windows(COMMON).any(|run| runs.contains(run))
}
