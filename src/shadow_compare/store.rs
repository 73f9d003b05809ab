//! The evidence of all routes. It is locked while a result is added or a report is read, and never while responses are
//! compared.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::job::ComparisonJob;
use super::report::ComparatorStats;
use super::route_evidence::{ComparisonEvidence, JobResult};
use super::scope::EvidenceScope;
use crate::compare::Criteria;
use crate::route::{Generation, Rules};

/// The maximum number of routes with evidence.
const ROUTES_MAX: usize = 256;

/// The evidence of all routes, by name.
#[derive(Default)]
pub(super) struct EvidenceStore {
    evidence: Mutex<StoredEvidence>,
    failed: AtomicU64,
    refused: AtomicU64,
}

#[derive(Default)]
struct StoredEvidence {
    /// The newest generation of a job so far.
    newest: Generation,
    routes: BTreeMap<String, ComparisonEvidence>,
}

impl std::fmt::Debug for EvidenceStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EvidenceStore").finish_non_exhaustive()
    }
}

impl EvidenceStore {
    fn open(&self) -> MutexGuard<'_, StoredEvidence> {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares a job, and adds the result to the evidence of its route.
    pub(super) fn add(&self, job: &ComparisonJob) {
        let Some((name, scope)) = EvidenceScope::of(&job.rules, job.route) else { return };
        let Some(criteria) = self.criteria(name, &scope, job) else { return };
        let compared = JobResult::of(job, &criteria);
        // Another job may have replaced the evidence in the meantime.
        if let Some(evidence) = self.open().routes.get_mut(name).filter(|evidence| evidence.scope == scope) {
            evidence.add(job, compared);
        }
    }

    /// The criteria for a job. Starts new evidence if the scope of the route has changed.
    fn criteria(&self, name: &str, scope: &EvidenceScope, job: &ComparisonJob) -> Option<Arc<Criteria>> {
        let mut open = self.open();
        if job.generation > open.newest {
            open.newest = job.generation;
            open.routes.retain(|name, evidence| evidence.scope.is_current(name, &job.rules));
        }
        if let Some(evidence) = open.routes.get(name).filter(|evidence| evidence.scope == *scope) {
            return Some(evidence.criteria());
        }
        // The job was queued before a reload changed the scope.
        if job.generation < open.newest {
            return None;
        }
        if open.routes.len() >= ROUTES_MAX && !open.routes.contains_key(name) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let evidence = ComparisonEvidence::new(scope.clone(), job.at);
        let criteria = evidence.criteria();
        open.routes.insert(name.to_owned(), evidence);
        debug_assert!(open.routes.len() <= ROUTES_MAX, "the store is bounded");
        Some(criteria)
    }

    /// Reads the evidence of each route that is current under these rules. Drops the other evidence.
    pub(super) fn read<R>(&self, rules: &Rules, of: impl Fn(&str, &ComparisonEvidence) -> R) -> Vec<R> {
        let mut open = self.open();
        open.routes.retain(|name, evidence| evidence.scope.is_current(name, rules));
        open.routes.iter().map(|(name, evidence)| of(name, evidence)).collect()
    }

    /// Counts a failed comparison, and returns the number of all.
    pub(super) fn count_failure(&self) -> u64 {
        self.failed.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn stats(&self) -> ComparatorStats {
        ComparatorStats {
            routes: self.open().routes.len(),
            failed: self.failed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}
