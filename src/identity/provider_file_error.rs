//! Errors of the files of identity providers: key sets and country databases.

/// An error in a file, or a reason for a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderFileError {
    /// The code of the diagnostic.
    pub code: &'static str,
    /// The problem, as the rest of a sentence that begins with the name of the file.
    pub problem: String,
}

impl ProviderFileError {
    pub(super) fn new(code: &'static str, problem: impl Into<String>) -> Self {
        Self { code, problem: problem.into() }
    }
}

impl std::fmt::Display for ProviderFileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ProviderFileError {}
