//! Masks: output shows the value of an environment variable as the file has it, such as `${TOKEN}`.
//!
//! The form of a value decides where it is masked. A plain value consists of letters of one case, or of digits, joined
//! by `-`, `_` and `.`, such as `prod`, `stable` or `8080`; such values also occur in names and messages.
//!
//! * Fewer than [`MASKED_MIN`] bytes: nowhere.
//! * Plain, fewer than 8 bytes: where it is the whole text or in quotes.
//! * Plain, fewer than 16 bytes, and other values of fewer than 8 bytes: where it is a whole word (letters, digits,
//!   `-`, `_`).
//! * All other values: everywhere.
//!
//! A string of the file that contains variables is masked as a whole, and so is the word around a variable.

use std::borrow::Cow;
use std::ops::Range;

/// Values of at least this many bytes are masked. A shorter value is not a secret, and it occurs in many texts.
pub const MASKED_MIN: usize = 4;

/// Values of at least this many bytes are not treated as common words.
const RARE_MIN: usize = 8;

/// Plain values of at least this many bytes are masked inside words too.
const LONG_MIN: usize = 16;

/// The number of spellings that are shown for one value.
const WRITTEN_MAX: usize = 3;

/// Where a text is masked; each variant includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    /// As a whole text or in quotes.
    Alone,
    /// As a whole word.
    Word,
    Anywhere,
}

/// A text and its replacements.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mask {
    text: String,
    written: Vec<String>,
    extent: Extent,
}

/// Values and their replacements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masks {
    all: Vec<Mask>,
    /// The forms of the values; each mask contains one of them.
    values: Vec<String>,
}

impl Masks {
    /// Masks for values, and for strings and words around them, each with its spelling in the file. Each of `around`
    /// contains a value of at least [`MASKED_MIN`] bytes.
    pub fn new(
        values: impl IntoIterator<Item = (String, String)>,
        around: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut masks = Self::default();
        for (value, written) in values.into_iter().filter(|(value, _)| value.len() >= MASKED_MIN) {
            let extent = extent(&value);
            for text in forms(value) {
                masks.values.push(text.clone());
                masks.all.push(Mask { text, written: vec![written.clone()], extent });
            }
        }
        masks.values.sort_unstable();
        masks.values.dedup();
        for (text, written) in around {
            let extent = extent(&text).min(Extent::Word);
            for text in forms(text) {
                masks.all.push(Mask { text, written: vec![written.clone()], extent });
            }
        }
        // Longest first, because a value may be part of another. The sort is stable, so the first spelling comes first.
        masks.all.sort_by(|a, b| b.text.len().cmp(&a.text.len()).then_with(|| a.text.cmp(&b.text)));
        masks.all.dedup_by(|next, kept| {
            let same = next.text == kept.text;
            if same {
                kept.extent = kept.extent.max(next.extent);
            }
            if same && kept.written.len() < WRITTEN_MAX {
                let known =
                    kept.written.iter().any(|known| without_default(known) == without_default(&next.written[0]));
                kept.written.extend(next.written.drain(..).filter(|_| !known));
            }
            same
        });
        masks
    }

    /// Whether nothing is masked.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether the text contains a value at any position.
    fn has_value(&self, text: &str) -> bool {
        self.values.iter().any(|value| text.contains(value.as_str()))
    }

    /// Replaces the values in a message by their spelling in the file.
    #[must_use]
    pub fn cover<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.replace(text, Extent::Alone)
    }

    /// Replaces the values in a text of the file. Such a text has no message words, so every value is masked at least
    /// where it is a word.
    #[must_use]
    pub fn cover_configured<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.replace(text, Extent::Word)
    }

    fn replace<'t>(&self, text: &'t str, least: Extent) -> Cow<'t, str> {
        if !self.has_value(text) {
            return Cow::Borrowed(text);
        }
        let masks: Vec<&Mask> = self.all.iter().filter(|mask| text.contains(mask.text.as_str())).collect();
        // One pass, so that replacements are not searched for other values.
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        while let Some(first) = text[at..].chars().next() {
            let fits = |mask: &&&Mask| {
                text[at..].starts_with(mask.text.as_str())
                    && has_extent(text, at..at + mask.text.len(), mask.extent.max(least))
            };
            if let Some(mask) = masks.iter().find(fits) {
                out.push_str(&mask.written.join(" or "));
                at += mask.text.len();
            } else {
                out.push(first);
                at += first.len_utf8();
            }
        }
        Cow::Owned(out)
    }

    /// As [`Masks::cover`], for an owned text.
    #[must_use]
    pub fn covered(&self, text: String) -> String {
        let covered = match self.cover(&text) {
            Cow::Owned(covered) => Some(covered),
            Cow::Borrowed(_) => None,
        };
        covered.unwrap_or(text)
    }
}

/// The forms in which a text is shown: unchanged, in lower case (as hosts), as `{:?}` writes it between its quotes, and
/// without the doubled braces of a template.
fn forms(text: String) -> Vec<String> {
    let single = text.replace("{{", "{").replace("}}", "}");
    let mut forms = Vec::new();
    for form in [text.to_lowercase(), single, text] {
        let quoted = format!("{form:?}");
        forms.push(quoted[1..quoted.len() - 1].to_owned());
        forms.push(form);
    }
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// `${NAME:-default}` without the default.
fn without_default(written: &str) -> String {
    let mut out = String::new();
    let mut rest = written;
    while let Some((before, after)) = rest.split_once(":-") {
        out.push_str(before);
        rest = after.find('}').map_or("", |end| &after[end..]);
    }
    out + rest
}

/// Where a text is masked, by its form.
fn extent(text: &str) -> Extent {
    let joins = |b: &u8| matches!(b, b'-' | b'_' | b'.');
    let all = |is: fn(&u8) -> bool| text.as_bytes().iter().filter(|b| !joins(b)).all(is);
    let plain = all(u8::is_ascii_lowercase) || all(u8::is_ascii_uppercase) || all(u8::is_ascii_digit);
    match (plain, text.len()) {
        (true, ..RARE_MIN) => Extent::Alone,
        (true, ..LONG_MIN) | (false, ..RARE_MIN) => Extent::Word,
        (true, LONG_MIN..) | (false, RARE_MIN..) => Extent::Anywhere,
    }
}

/// Whether a byte is part of a word.
#[must_use]
pub const fn is_word_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')
}

/// Whether the bytes of this range are a whole text, a word or anything, as the extent requires.
fn has_extent(text: &str, range: Range<usize>, extent: Extent) -> bool {
    let (bytes, Range { start: from, end: to }) = (text.as_bytes(), range);
    debug_assert!(from < to && to <= bytes.len(), "a mask covers at least one byte of the text");
    let (before, after) = (from.checked_sub(1).map(|at| bytes[at]), bytes.get(to).copied());
    match extent {
        Extent::Anywhere => true,
        Extent::Word => {
            let joins = |inside: u8, outside: Option<u8>| is_word_byte(inside) && outside.is_some_and(is_word_byte);
            !(joins(bytes[to - 1], after) || (joins(bytes[from], before) && !ends_an_escape(&bytes[..from])))
        }
        Extent::Alone => {
            let quote = |b: u8| matches!(b, b'"' | b'\'' | b'`');
            match (before, after) {
                (None, None) => true,
                (Some(before), Some(after)) => before == after && quote(before),
                (None, Some(_)) | (Some(_), None) => false,
            }
        }
    }
}

/// Whether the last byte belongs to an escape of `{:?}`, such as `\n`.
fn ends_an_escape(before: &[u8]) -> bool {
    let [rest @ .., b'n' | b'r' | b't' | b'0'] = before else { return false };
    rest.iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks(values: &[(&str, &str)], around: &[(&str, &str)]) -> Masks {
        let owned = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(value, written)| ((*value).to_owned(), (*written).to_owned())).collect::<Vec<_>>()
        };
        Masks::new(owned(values), owned(around))
    }

    #[test]
    fn values_are_replaced_by_their_spelling() {
        let masks = masks(
            &[
                ("Secret", "${A}"),
                ("Secret-2", "${B}"),
                ("abc", "${C}"),
                ("a\"b\\c", "${D}"),
                ("${A}", "${E}"),
                ("pa'ss\"word77", "${F}"),
                ("it's\\secret\n99", "${G}"),
                ("q{{9}}x", "${H}"),
            ],
            &[],
        );
        for (text, expected) in [
            ("Bearer Secret", "Bearer ${A}"),
            ("x Secret-2, Secret", "x ${B}, ${A}"),
            ("host secret", "host ${A}"),
            ("abc", "abc"),
            (r#"= "a\"b\\c""#, "= \"${D}\""),
            ("x: pa'ss\"word77", "x: ${F}"),
            ("it's\\secret\n99x", "${G}x"),
            ("q{9}x", "${H}"),
            ("nothing", "nothing"),
            ("", ""),
        ] {
            assert_eq!(masks.cover(text), expected, "{text}");
            assert_eq!(masks.covered(text.to_owned()), expected, "{text}");
        }
        for (value, written) in [("pa'ss\"word77", "${F}"), ("it's\\secret\n99", "${G}"), ("\nSecret", "\\n${A}")] {
            assert_eq!(
                masks.cover(&format!("salt {value:?} → {value:?}")),
                format!("salt \"{written}\" → \"{written}\"")
            );
        }
        assert!(matches!(Masks::default().cover("Secret"), Cow::Borrowed("Secret")));
    }

    #[test]
    fn words_that_contain_a_value_are_not_masked() {
        let values = [
            ("prod", "${ENV}"),
            ("stable", "${S}"),
            ("8080", "${PORT}"),
            ("localhost", "${HOST}"),
            ("tok-9", "${T}"),
            ("k3yk3yk3y", "${K}"),
        ];
        let masks = masks(&values, &[("/prod/*", "/${ENV}/*"), ("prod-eu.test", "${ENV}-eu.test")]);
        for (text, expected) in [
            ("route products: path /products/*", "route products: path /products/*"),
            ("header x-env = \"prod\"", "header x-env = \"${ENV}\""),
            ("the `prod` of it", "the `${ENV}` of it"),
            ("prod", "${ENV}"),
            ("the prod system", "the prod system"),
            ("path /prod/*", "path /${ENV}/*"),
            ("host prod-eu.test, any", "host ${ENV}-eu.test, any"),
            ("prod-eu.tests", "prod-eu.tests"),
            ("checkout stable 5 → 8080", "checkout stable 5 → 8080"),
            ("http://localhost:80", "http://${HOST}:80"),
            ("localhosts", "localhosts"),
            ("tok-9/tok-91", "${T}/tok-91"),
            ("xk3yk3yk3yx", "x${K}x"),
        ] {
            assert_eq!(masks.cover(text), expected, "{text}");
        }
        assert_eq!(masks.cover_configured("the prod of products"), "the ${ENV} of products");
    }

    #[test]
    fn one_value_of_two_variables_is_shown_with_both() {
        let masks = masks(&[("sEcret-1", "${A}"), ("sEcret-1", "${B}"), ("sEcret-1", "${A:-x}")], &[]);
        assert_eq!(masks.cover("x sEcret-1"), "x ${A} or ${B}");
    }
}
