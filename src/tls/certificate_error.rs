//! What is wrong with a certificate, a key or a chain, in words for the person who has to put it right.

/// What is wrong with a file, or odd about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateError {
    /// The diagnostic's code.
    pub code: &'static str,
    /// What is wrong, as the rest of a sentence that begins with the file's name.
    pub what: String,
    /// What to do.
    pub help: String,
}

impl CertificateError {
    /// A flaw.
    pub(super) fn new(code: &'static str, what: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, what: what.into(), help: help.into() }
    }
}

impl std::fmt::Display for CertificateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for CertificateError {}
