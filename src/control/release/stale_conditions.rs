//! Conditions that people heard of and that end without a record: a rollback of a static weight holds for one revision, and a
//! rollout may leave the file while the proxy does not run.

use super::check::find_release;
use crate::control::controller::Controller;

impl Controller {
    /// Ends the conditions of rollouts that the rules do not have, and of releases that they do not have, or have under another
    /// revision.
    pub(in crate::control) fn end_stale_conditions(&mut self) {
        let snapshot = self.store.load();
        let rules = &snapshot.rules;
        let stale = self.stale_subjects(|subject, revision| match subject.split_once(':') {
            Some(("release", release)) => !find_release(release, rules)
                .is_ok_and(|key| revision.is_none_or(|revision| *revision == *key.revision)),
            Some(("rollout", name)) => rules.find_rollout(name).is_none(),
            Some(_) | None => false,
        });
        for subject in stale {
            self.end_condition(&subject);
        }
    }
}
