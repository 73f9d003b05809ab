//! Evidence that outlives the process: logarithms only. Marks do not, so tests that were live stand still.

use serde::{Deserialize, Serialize};

use super::guard_evidence::{GuardEvidence, TestForm};
use super::live_tests::LiveTests;
use crate::route::GuardAct;
use crate::stats::WindowNumber;

/// The evidence of a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SavedRelease {
    pub variant: String,
    pub revision: String,
    pub guards: Vec<SavedGuard>,
}

/// The evidence of a guard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SavedGuard {
    pub name: String,
    pub test: String,
    /// The route that it judges, where it judges one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    pub alpha: f64,
    /// How many windows have begun.
    pub windows: u32,
    /// The number of the window of each test, and the natural logarithm of its evidence.
    pub tests: Vec<(u32, f64)>,
    /// The act of its trip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tripped: Option<String>,
}

impl SavedGuard {
    /// Goes on with it.
    pub fn restore(&self, guard: &mut GuardEvidence, began: WindowNumber) {
        let tests: Vec<_> =
            self.tests.iter().copied().filter(|(at, ln)| *at <= self.windows && ln.is_finite()).collect();
        match &mut guard.form {
            TestForm::Relative { tests: live, .. } => *live = LiveTests::restored(self.windows, &tests, began),
            TestForm::Absolute { tests: live, .. } => *live = LiveTests::restored(self.windows, &tests, began),
            TestForm::SampleRatio { frozen_ln, .. } => {
                *frozen_ln = Some(tests.first().map_or(0.0, |(_, ln)| *ln));
            }
            TestForm::Impossible => {}
        }
        let acts = [GuardAct::Warn, GuardAct::Hold, GuardAct::Rollback];
        let act = acts.into_iter().find(|act| Some(act.name()) == self.tripped.as_deref());
        // A rollback that was done is a latch in the journal; one that was not is found anew.
        guard.tripped = act.filter(|act| *act < GuardAct::Rollback);
    }
}
