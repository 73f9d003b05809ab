//! What variables of the environment produced is shown as it is written: `${NAME}`, never the value. A diagnostic at a
//! string with a variable shows no piece of the value and suggests nothing that resembles it; every other diagnostic
//! shows no whole value of at least [`MASKED_MIN`](crate::route::MASKED_MIN) bytes.

use ahash::{HashMap, HashSet};

use super::diagnostic::Finding;
use super::source::Span;
use crate::route::Masks;

/// From how many common letters on two texts resemble each other.
const COMMON: usize = 4;

/// Whether a string names a place, such as an address or a file, which is shown where it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Place,
    Other,
}

/// A string with variables.
#[derive(Debug)]
struct Expanded {
    span: Span,
    written: String,
    text: String,
    /// Names and values of its variables.
    values: Vec<(String, String)>,
}

/// The variables of one load.
#[derive(Debug, Default)]
pub(super) struct Veil {
    strings: Vec<Expanded>,
    /// Each value and how it is written, in the order of the files; and whether anything but a place has it.
    values: Vec<(String, String, Kind)>,
    known: HashMap<(String, String), usize>,
    /// Names by their values that came out of variables, and how they are written.
    names: HashMap<String, Vec<String>>,
}

impl Veil {
    /// Notes a string that had variables. `values` are those of the environment, with how each is written.
    pub(super) fn note(
        &mut self,
        (span, written, kind): (Span, &str, Kind),
        text: &str,
        values: Vec<(String, String)>,
    ) {
        for pair in &values {
            let at = *self.known.entry(pair.clone()).or_insert(self.values.len());
            match self.values.get_mut(at) {
                Some(known) if kind == Kind::Other => known.2 = kind,
                Some(_) => {}
                None => self.values.push((pair.0.clone(), pair.1.clone(), kind)),
            }
        }
        self.strings.push(Expanded { span, written: written.to_owned(), text: text.to_owned(), values });
    }

    /// Notes a name that came out of variables.
    pub(super) fn name(&mut self, value: &str, written: &str) {
        if value != written {
            self.names.entry(value.to_owned()).or_default().push(written.to_owned());
        }
    }

    /// Whether a name is shown as `written` and has this value.
    pub(super) fn is_name(&self, value: &str, written: &str) -> bool {
        value == written || self.written(value).iter().any(|known| known == written)
    }

    /// How names with this value are written, where they have variables.
    pub(super) fn written(&self, value: &str) -> Vec<String> {
        self.names.get(value).cloned().unwrap_or_default()
    }

    /// What is hidden while the rules are in use: all but places.
    pub(super) fn masks(&self) -> Masks {
        let hidden = self.values.iter().filter(|(.., kind)| *kind == Kind::Other);
        Masks::new(hidden.map(|(written, value, _)| (value.clone(), written.clone())))
    }

    /// The finding without what variables produced.
    pub(super) fn cover(&self, mut finding: Finding) -> Finding {
        if self.strings.is_empty() {
            return finding;
        }
        let overlaps = |span: Span, other: Span| {
            span.file == other.file
                && !other.is_whole()
                && span.start < other.end.max(other.start + 1)
                && other.start < span.end
        };
        let touched: Vec<&Expanded> =
            self.strings.iter().filter(|one| finding.labels.iter().any(|(at, _)| overlaps(one.span, *at))).collect();
        let masks = Masks::new(self.values.iter().map(|(written, value, _)| (value.clone(), written.clone())));
        // Whole values first: what is left of one may be quoted alone.
        let cover = |text: &str| touched.iter().fold(masks.cover(text).into_owned(), |text, one| one.cover(&text));
        finding.message = cover(&finding.message);
        for (_, text) in &mut finding.labels {
            *text = cover(text);
        }
        let lines = finding.help.iter().flat_map(|help| help.lines());
        let mut help: Vec<String> = lines
            .filter(|line| touched.is_empty() || (!line.starts_with("did you mean") && cover(line) == *line))
            .map(cover)
            .collect();
        let mut names: Vec<&str> =
            touched.iter().flat_map(|one| &one.values).map(|(written, _)| name(written)).collect();
        names.sort_unstable();
        names.dedup();
        help.extend(names.iter().map(|name| {
            format!("`{name}` comes from the environment, so its value is not shown here; see `printenv {name}`")
        }));
        finding.help = (!help.is_empty()).then(|| help.join("\n"));
        finding
    }
}

/// The name in `${NAME}` or `${NAME:-default}`.
fn name(written: &str) -> &str {
    let inside = written.trim_start_matches("${").trim_end_matches('}');
    inside.split_once(":-").map_or(inside, |(name, _)| name)
}

impl Expanded {
    /// The text as it would be if the variables were read as they are written.
    fn cover(&self, text: &str) -> String {
        let text = text.replace(&format!("`{}`", self.text), &format!("`{}`", self.written));
        // A value with a backtick makes it unclear what is quoted.
        let unclear = self.values.iter().any(|(_, value)| value.contains('`'));
        let mut out = String::with_capacity(text.len());
        for (at, piece) in text.split('`').enumerate() {
            if at > 0 {
                out.push('`');
            }
            out.push_str(if (unclear || at % 2 == 1) && self.shows(piece) { &self.written } else { piece });
        }
        out
    }

    /// Whether what is quoted shows anything of a value.
    fn shows(&self, quoted: &str) -> bool {
        if quoted.is_empty() || quoted == self.written {
            return false;
        }
        let quoted = quoted.to_lowercase();
        self.values.iter().map(|(_, value)| value.to_lowercase()).filter(|value| !value.is_empty()).any(|value| {
            let is_piece = value.contains(&quoted) && !self.written.to_lowercase().contains(&quoted);
            is_piece || quoted.contains(&value) || resemble(&quoted, &value)
        })
    }
}

/// Whether two texts have a run of letters in common.
fn resemble(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(1_000).collect(), b.chars().take(10_000).collect());
    let runs: HashSet<&[char]> = b.windows(COMMON).collect();
    a.windows(COMMON).any(|run| runs.contains(run))
}
