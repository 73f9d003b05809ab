//! Errors of certificates, keys and chains.

/// An error in a file, or a reason for a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateError {
    /// The code of the diagnostic.
    pub code: &'static str,
    /// The problem, as the rest of a sentence that begins with the name of the file.
    pub problem: String,
    /// What the user can do; may be empty.
    pub help: String,
}

impl CertificateError {
    pub(super) fn new(code: &'static str, problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, problem: problem.into(), help: help.into() }
    }
}

impl std::fmt::Display for CertificateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for CertificateError {}
