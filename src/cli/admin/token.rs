//! The token that a command sends: from a file or a variable, never from the command line, which others can read.

use std::fmt;
use std::path::Path;

use anyhow::{Context, bail};
use http::HeaderValue;

/// The variable that holds a token where no file does.
pub const TOKEN_VARIABLE: &str = "POINTSMAN_TOKEN";

/// A token. Its text is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerToken(HeaderValue);

impl BearerToken {
    /// The token in a file, else that of the variable, if there is one.
    ///
    /// # Errors
    /// The file cannot be read, or one of them is no token.
    pub fn find(file: Option<&Path>, variable: Option<&str>) -> anyhow::Result<Option<Self>> {
        if let Some(file) = file {
            let shown = file.display();
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read the token in {shown}"))?;
            return Self::read(&text, &shown.to_string()).map(Some);
        }
        match variable.filter(|text| !text.trim().is_empty()) {
            Some(text) => Self::read(text, TOKEN_VARIABLE).map(Some),
            None => Ok(None),
        }
    }

    fn read(text: &str, origin: &str) -> anyhow::Result<Self> {
        let text = text.trim();
        if text.is_empty() || text.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
            bail!("{origin} is no token: one line, as `pointsman token new` prints it");
        }
        let mut value = HeaderValue::try_from(format!("Bearer {text}"))
            .with_context(|| format!("{origin} is no token: it has a character that a header cannot have"))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// The value of `Authorization` (RFC 6750 §2.1).
    #[must_use]
    pub const fn header(&self) -> &HeaderValue {
        &self.0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_from_a_file_or_else_from_the_variable() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "pm_abc\n").unwrap();
        let found = |file: Option<&Path>, variable| BearerToken::find(file, variable).unwrap();
        assert_eq!(found(Some(&file), Some("pm_x")).unwrap().header(), "Bearer pm_abc");
        assert_eq!(found(None, Some(" pm_x\n")).unwrap().header(), "Bearer pm_x");
        assert_eq!((found(None, Some("")), found(None, None)), (None, None));
        assert!(!format!("{:?}", found(None, Some("pm_x"))).contains("pm_x"), "it is not shown");
    }

    #[test]
    fn what_is_no_token_is_refused_without_showing_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        for text in ["", "\n", "two words", "two\nlines", "a\u{1}b"] {
            std::fs::write(&file, text).unwrap();
            let refused = BearerToken::find(Some(&file), None).unwrap_err().to_string();
            assert!(refused.contains("is no token") && !refused.contains("words"), "{text:?}: {refused}");
        }
        let gone = BearerToken::find(Some(&dir.path().join("none")), None).unwrap_err().to_string();
        assert!(gone.contains("cannot read the token in"), "{gone}");
    }
}
