//! The comparator: a thread that compares responses, and its queue. A comparison that panics affects only its own job.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::job::ComparisonJob;
use super::report::{ComparatorStats, RouteReport, ShadowSummary, ShadowTally};
use super::store::EvidenceStore;
use crate::clock::Clock;
use crate::route::Rules;

/// The capacity of the queue.
const QUEUED_MAX: usize = 256;
/// The minimum time between two log lines about failures.
const LOG_EVERY: Duration = Duration::from_mins(1);

/// The sending end of the queue; one for each worker.
#[derive(Clone, Debug)]
pub struct JobSender(SyncSender<Message>);

/// The comparator thread. Stopped and joined on drop.
#[derive(Debug)]
pub struct Comparator {
    jobs: SyncSender<Message>,
    store: Arc<EvidenceStore>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Job(Box<ComparisonJob>),
    Stop,
}

impl JobSender {
    /// Queues a job; never blocks. False if the queue is full.
    #[must_use]
    pub fn try_send(&self, job: Box<ComparisonJob>) -> bool {
        self.0.try_send(Message::Job(job)).is_ok()
    }
}

impl Comparator {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system cannot create a thread.
    pub fn start(clock: Clock) -> std::io::Result<Self> {
        let (jobs, received) = sync_channel(QUEUED_MAX);
        let store = Arc::new(EvidenceStore::default());
        let thread = std::thread::Builder::new().name("compare".to_owned()).spawn({
            let store = Arc::clone(&store);
            move || compare(&received, &store, clock)
        })?;
        Ok(Self { jobs, store, thread: Some(thread) })
    }

    /// A sending end of the queue.
    #[must_use]
    pub fn sender(&self) -> JobSender {
        JobSender(self.jobs.clone())
    }

    /// The reports of all routes with evidence under these rules, by name. Drops outdated evidence.
    #[must_use]
    pub fn reports(&self, rules: &Rules) -> Vec<RouteReport> {
        self.store.read(rules, |name, evidence| evidence.report(name))
    }

    /// The summaries for metrics, by route name.
    #[must_use]
    pub fn summaries(&self, rules: &Rules) -> Vec<ShadowSummary> {
        self.store.read(rules, |name, evidence| evidence.summary(name))
    }

    /// What was compared, by route name. Cheaper than a report.
    #[must_use]
    pub fn tallies(&self, rules: &Rules) -> Vec<ShadowTally> {
        self.store.read(rules, |name, evidence| evidence.tally(name))
    }

    /// Counters of the comparator.
    #[must_use]
    pub fn stats(&self) -> ComparatorStats {
        self.store.stats()
    }
}

impl Drop for Comparator {
    fn drop(&mut self) {
        // Blocks while the queue is full; the thread empties it.
        let _ = self.jobs.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn compare(received: &Receiver<Message>, store: &EvidenceStore, clock: Clock) {
    let jobs = std::iter::from_fn(|| match received.recv() {
        Ok(Message::Job(job)) => Some(job),
        Ok(Message::Stop) | Err(_) => None,
    });
    let mut last_log = None;
    run_jobs(
        jobs,
        |job| store.add(job),
        || {
            let failed = store.count_failure();
            if is_log_due(&mut last_log, clock.now()) {
                tracing::error!(
                    failed,
                    "comparison of responses failed: please report this with the panic message above"
                );
            }
        },
    );
}

/// Calls `compare_job` for each job and then drops the job, also after a panic.
fn run_jobs<T>(jobs: impl Iterator<Item = T>, compare_job: impl Fn(&T), mut on_failure: impl FnMut()) {
    for job in jobs {
        // Unwind safe: a comparison changes no shared state before it has finished.
        if catch_unwind(AssertUnwindSafe(|| compare_job(&job))).is_err() {
            on_failure();
        }
    }
}

/// Whether enough time has passed since the last log line; then sets it to `now`.
fn is_log_due(last_log: &mut Option<Instant>, now: Instant) -> bool {
    let due = last_log.is_none_or(|last| now.duration_since(last) >= LOG_EVERY);
    if due {
        *last_log = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::telemetry::{ShadowBytes, ShadowHeld};

    #[test]
    fn a_comparison_that_panics_affects_only_its_job() {
        let bytes = Arc::new(ShadowBytes::new(100));
        let (compared, failed) = (RefCell::new(Vec::new()), Cell::new(0));
        let jobs = (0..10).map(|number| {
            assert_eq!(bytes.used(), 0, "the memory of the job before is released");
            let mut held = ShadowHeld::new(Arc::clone(&bytes));
            assert!(held.try_take(60));
            (number, held)
        });
        let compare_job = |(number, _): &(i32, ShadowHeld)| {
            assert!(number % 3 != 0, "as a decoder might");
            compared.borrow_mut().push(*number);
        };
        run_jobs(jobs, compare_job, || failed.set(failed.get() + 1));
        assert_eq!((compared.into_inner(), failed.get()), (vec![1, 2, 4, 5, 7, 8], 4));
        assert_eq!(bytes.used(), 0);
    }

    #[test]
    fn failures_are_logged_once_a_minute() {
        let (began, mut last_log) = (Clock.now(), None);
        let due: Vec<_> =
            [0, 1, 59, 60, 61, 119, 125].map(|at| is_log_due(&mut last_log, began + Duration::from_secs(at))).into();
        assert_eq!(due, [true, false, false, true, false, false, true]);
    }
}
