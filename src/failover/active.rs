//! What an active check changes: the verdict about its endpoint, and the end of an ejection whose time is over.

use super::cause::FailureCause;
use super::checked::{CheckCounts, CheckOutcome, CheckThresholds, CheckedHealth};
use super::endpoint::EndpointHealth;
use super::transition::Transition;
use super::upstream::UpstreamHealth;

/// What a check has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckChanges {
    /// The end of an ejection.
    pub admitted: Option<Transition>,
    /// Another verdict.
    pub verdict: Option<Transition>,
}

impl CheckChanges {
    /// What has changed, in order.
    pub fn iter(self) -> impl Iterator<Item = Transition> {
        self.admitted.into_iter().chain(self.verdict)
    }

    /// Whether anything has changed.
    #[must_use]
    pub const fn is_any(self) -> bool {
        self.admitted.is_some() || self.verdict.is_some()
    }
}

impl UpstreamHealth {
    /// Records an active check of an endpoint.
    ///
    /// The first check of an endpoint decides at once; after that as many in a row as `thresholds` say. A good check
    /// admits an ejected endpoint whose time is over, and lifts no ejection before; a bad one ejects nothing. An unhealthy
    /// endpoint that is admitted still waits for its verdict.
    pub fn record_check(
        &self,
        endpoint: &EndpointHealth,
        outcome: &CheckOutcome,
        thresholds: CheckThresholds,
        now_ms: u64,
    ) -> CheckChanges {
        let before = endpoint.checked();
        if before == CheckedHealth::Unchecked {
            // A reload has switched its checks off meanwhile.
            return CheckChanges::default();
        }
        self.checks.add(outcome);
        let checks = endpoint.note_check(outcome, now_ms);
        debug_assert!(checks.last_ms == Some(now_ms), "the last check is this one");
        let verdict = before.after(&checks, thresholds);
        CheckChanges {
            admitted: if *outcome == CheckOutcome::Good { self.admit_when_due(endpoint, now_ms) } else { None },
            verdict: if verdict == before { None } else { self.record_checked(endpoint, verdict, now_ms) },
        }
    }

    /// Notes by how many milliseconds a check of the upstream begins later than its interval says.
    pub fn note_late_check(&self, late_ms: u64) {
        self.checks.note_late(late_ms);
    }

    /// The checks of the upstream so far.
    #[must_use]
    pub fn check_counts(&self) -> CheckCounts {
        self.checks.counts()
    }

    /// The active checks have a verdict about an endpoint. `None`: it had this verdict before.
    pub fn record_checked(&self, endpoint: &EndpointHealth, checked: CheckedHealth, now_ms: u64) -> Option<Transition> {
        let members = self.lock();
        let before = endpoint.checked();
        if before == checked || before == CheckedHealth::Unchecked {
            return None;
        }
        let is_alone = self.changes_no_other(endpoint, checked);
        endpoint.set_checked(checked);
        if !is_alone {
            self.refresh(&members, now_ms);
        }
        match checked {
            CheckedHealth::Unhealthy => Some(Transition::Unhealthy),
            CheckedHealth::Healthy => Some(Transition::Healthy),
            CheckedHealth::Unchecked | CheckedHealth::Unknown => None,
        }
    }

    /// Admits an ejected endpoint whose time is over: a check of the control plane has shown that it is well.
    fn admit_when_due(&self, endpoint: &EndpointHealth, now_ms: u64) -> Option<Transition> {
        endpoint.ejected()?;
        let members = self.lock();
        let by = endpoint.ejected()?;
        let is_due = by != FailureCause::ByHand && endpoint.overdue(now_ms).is_some();
        is_due.then(|| self.admit(endpoint, now_ms, &members))
    }
}
