//! Masks: values that came out of the environment are shown as the file has them, such as `${TOKEN}`.

use std::borrow::Cow;

/// From how many bytes on a value is masked inside other text: fewer are no secret, and are found everywhere.
pub const MASKED_MIN: usize = 4;

/// Values, and what is shown in their place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masks(Vec<(String, String)>);

impl Masks {
    /// Masks of values, each with how it is written.
    pub fn new(values: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut all: Vec<(String, String)> = Vec::new();
        for (value, written) in values.into_iter().filter(|(value, _)| value.len() >= MASKED_MIN) {
            // Hosts are kept in lower case; quoted text has its quotes and backslashes escaped.
            let forms = [value.to_lowercase(), value.escape_debug().to_string(), value];
            all.extend(forms.map(|form| (form, written.clone())));
        }
        // The longest first: one value may be a piece of another.
        all.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        all.dedup_by(|(a, _), (b, _)| a == b);
        Self(all)
    }

    /// Whether nothing is masked.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text with every value replaced by how it is written.
    #[must_use]
    pub fn cover<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !self.0.iter().any(|(value, _)| text.contains(value.as_str())) {
            return Cow::Borrowed(text);
        }
        // One pass, so that what replaces a value is not searched for others.
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some((value, written)) = self.0.iter().find(|(value, _)| rest.starts_with(value.as_str())) {
                out.push_str(written);
                rest = &rest[value.len()..];
            } else {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        Cow::Owned(out)
    }

    /// The text with every value replaced by how it is written.
    #[must_use]
    pub fn covered(&self, text: String) -> String {
        let covered = match self.cover(&text) {
            Cow::Owned(covered) => Some(covered),
            Cow::Borrowed(_) => None,
        };
        covered.unwrap_or(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_they_are_written() {
        let pairs = [("Secret", "${A}"), ("Secret-2", "${B}"), ("abc", "${C}"), ("a\"b\\c", "${D}"), ("${A}", "${E}")];
        let masks = Masks::new(pairs.map(|(value, written)| (value.to_owned(), written.to_owned())));
        for (text, expected) in [
            ("Bearer Secret", "Bearer ${A}"),
            ("x Secret-2, Secret", "x ${B}, ${A}"),
            ("host secret", "host ${A}"),
            ("abc", "abc"),
            (r#"= "a\"b\\c""#, "= \"${D}\""),
            ("nothing", "nothing"),
            ("", ""),
        ] {
            assert_eq!(masks.cover(text), expected, "{text}");
            assert_eq!(masks.covered(text.to_owned()), expected, "{text}");
        }
        assert!(matches!(Masks::default().cover("Secret"), Cow::Borrowed("Secret")));
    }
}
