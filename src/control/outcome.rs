//! The outcome of a reload.

use serde_json::{Value, json};

use super::files::Rejection;
use crate::route::Generation;
use crate::telemetry::control::ReloadLabel;

/// The outcome of a reload.
#[derive(Clone, Debug, PartialEq)]
pub enum ReloadOutcome {
    /// The files have not changed.
    Unchanged {
        /// The generation that stays in effect.
        generation: Generation,
        /// The certificates that are kept although their files are invalid, with the reason.
        kept: Vec<String>,
    },
    /// The new rules are in effect.
    Applied {
        /// The new generation.
        generation: Generation,
        /// The changes, for people.
        summary: Vec<String>,
    },
    /// Nothing changed, because the files are invalid.
    Rejected(Rejection),
}

/// What caused a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadCause {
    /// The process started.
    Start,
    /// A file changed.
    Watch,
    /// `SIGHUP`.
    Signal,
    /// `POST /reload`, or the library's own call.
    Call,
}

impl ReloadCause {
    /// The name in log and status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Watch => "watch",
            Self::Signal => "signal",
            Self::Call => "asked",
        }
    }
}

impl ReloadOutcome {
    /// The value of the `outcome` label.
    #[must_use]
    pub const fn label(&self) -> ReloadLabel {
        match self {
            Self::Unchanged { .. } => ReloadLabel::Unchanged,
            Self::Applied { .. } => ReloadLabel::Applied,
            Self::Rejected(_) => ReloadLabel::Rejected,
        }
    }

    /// The name in log, status and JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.label().name()
    }

    /// As JSON, for `POST /reload`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Unchanged { generation, kept } => {
                let summary: Vec<String> = kept_summary(kept).into_iter().collect();
                json!({ "outcome": self.name(), "generation": generation.0, "summary": summary })
            }
            Self::Applied { generation, summary } => {
                json!({ "outcome": self.name(), "generation": generation.0, "summary": summary })
            }
            Self::Rejected(rejection) => {
                json!({ "outcome": self.name(), "diagnostics": rejection.json, "text": rejection.text })
            }
        }
    }

    /// As text for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Unchanged { generation, kept } => {
                let kept = kept_summary(kept).map(|kept| format!("; {kept}")).unwrap_or_default();
                format!("unchanged: generation {generation} stays in effect{kept}\n")
            }
            Self::Applied { generation, summary } => {
                let mut text = format!("applied: generation {generation}\n");
                for line in summary {
                    text.push_str("  ");
                    text.push_str(line);
                    text.push('\n');
                }
                text
            }
            Self::Rejected(rejection) => rejection.text.clone(),
        }
    }
}

/// Describes the certificates that are kept; `None` when there are none.
pub(super) fn kept_summary(kept: &[String]) -> Option<String> {
    match kept {
        [] => None,
        [one] => Some(format!("1 certificate is kept: {one}")),
        all => Some(format!("{} certificates are kept: {}", all.len(), all.join(", "))),
    }
}
