//! What is wrong with a file of keys or a database, in words for the person who has to put it right.

/// What is wrong with a file, or odd about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderFileError {
    /// The diagnostic's code.
    pub code: &'static str,
    /// What is wrong, as the rest of a sentence that begins with the file's name.
    pub what: String,
}

impl ProviderFileError {
    pub(super) fn new(code: &'static str, what: impl Into<String>) -> Self {
        Self { code, what: what.into() }
    }
}

impl std::fmt::Display for ProviderFileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for ProviderFileError {}
