//! The books of all routes. They are open while a trial is added or a report is read, and never while answers are
//! compared.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::job::ComparisonJob;
use super::report::ComparatorStats;
use super::route_evidence::{JobResult, RouteEvidence};
use super::scope::EvidenceScope;
use crate::compare::Criteria;
use crate::route::{Generation, Rules};

/// Books that there may be.
const BOOKS_MAX: usize = 256;

/// The books of all routes, by name.
#[derive(Default)]
pub(super) struct EvidenceStore {
    evidence: Mutex<StoredEvidence>,
    failed: AtomicU64,
    refused: AtomicU64,
}

#[derive(Default)]
struct StoredEvidence {
    /// Of the newest rules that were heard of.
    newest: Generation,
    routes: BTreeMap<String, RouteEvidence>,
}

impl std::fmt::Debug for EvidenceStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Books").finish_non_exhaustive()
    }
}

impl EvidenceStore {
    fn open(&self) -> MutexGuard<'_, StoredEvidence> {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares a trial, and adds what that shows to the book of its route.
    pub(super) fn add(&self, job: &ComparisonJob) {
        let Some((name, scope)) = EvidenceScope::of(&job.rules, job.route) else { return };
        let Some(criteria) = self.criteria(name, &scope, job) else { return };
        let compared = JobResult::of(job, &criteria);
        // It may have been closed meanwhile.
        if let Some(evidence) = self.open().routes.get_mut(name).filter(|evidence| evidence.scope == scope) {
            evidence.add(job, compared);
        }
    }

    /// What a trial is compared by: what its route's book says, or a new one when what it is about has changed.
    fn criteria(&self, name: &str, scope: &EvidenceScope, job: &ComparisonJob) -> Option<Arc<Criteria>> {
        let mut open = self.open();
        if job.generation > open.newest {
            open.newest = job.generation;
            open.routes.retain(|name, evidence| evidence.scope.is_current(name, &job.rules));
        }
        if let Some(evidence) = open.routes.get(name).filter(|evidence| evidence.scope == *scope) {
            return Some(evidence.criteria());
        }
        // It was on its way when the file was edited.
        if job.generation < open.newest {
            return None;
        }
        if open.routes.len() >= BOOKS_MAX && !open.routes.contains_key(name) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let evidence = RouteEvidence::new(scope.clone(), job.at);
        let criteria = evidence.criteria();
        open.routes.insert(name.to_owned(), evidence);
        Some(criteria)
    }

    /// What is in the books that hold under these rules. The others are closed.
    pub(super) fn read<R>(&self, rules: &Rules, of: impl Fn(&str, &RouteEvidence) -> R) -> Vec<R> {
        let mut open = self.open();
        open.routes.retain(|name, evidence| evidence.scope.is_current(name, rules));
        open.routes.iter().map(|(name, evidence)| of(name, evidence)).collect()
    }

    /// Counts a comparison that failed; the number of them all.
    pub(super) fn fails(&self) -> u64 {
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
