//! The thread that compares, and the way to it. A trial whose comparison fails costs itself alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::job::ComparisonJob;
use super::report::{ComparatorStats, RouteReport, ShadowSummary};
use super::store::EvidenceStore;
use crate::clock::Clock;
use crate::route::Rules;

/// Trials that may wait.
const QUEUED_MAX: usize = 256;
/// So often a failure is told in the log, at most.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Hands trials over. One for each worker.
#[derive(Clone, Debug)]
pub struct JobSender(SyncSender<Message>);

/// The thread that compares. It ends when this is dropped.
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
    /// Hands a trial over; never blocks. False when it finds no room.
    #[must_use]
    pub fn try_send(&self, job: Box<ComparisonJob>) -> bool {
        self.0.try_send(Message::Job(job)).is_ok()
    }
}

impl Comparator {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(clock: Clock) -> std::io::Result<Self> {
        let (jobs, received) = sync_channel(QUEUED_MAX);
        let store = Arc::new(EvidenceStore::default());
        let thread = std::thread::Builder::new().name("compare".to_owned()).spawn({
            let store = Arc::clone(&store);
            move || compare(&received, &store, clock)
        })?;
        Ok(Self { jobs, store, thread: Some(thread) })
    }

    /// A way to it.
    #[must_use]
    pub fn sender(&self) -> JobSender {
        JobSender(self.jobs.clone())
    }

    /// What is known of the routes under these rules, by name. Books about what is not so any more are closed.
    #[must_use]
    pub fn reports(&self, rules: &Rules) -> Vec<RouteReport> {
        self.store.read(rules, |name, evidence| evidence.report(name))
    }

    /// What it comes to, in figures.
    #[must_use]
    pub fn summaries(&self, rules: &Rules) -> Vec<ShadowSummary> {
        self.store.read(rules, |name, evidence| evidence.summary(name))
    }

    /// What is known of the thread itself.
    #[must_use]
    pub fn stats(&self) -> ComparatorStats {
        self.store.stats()
    }
}

impl Drop for Comparator {
    fn drop(&mut self) {
        // It may be full of trials; the thread takes them in turn.
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
    let mut told = None;
    each(
        jobs,
        |job| store.add(job),
        || {
            let failed = store.fails();
            if is_due(&mut told, clock.now()) {
                tracing::error!(
                    failed,
                    "answers could not be compared: please report this with the panic message above"
                );
            }
        },
    );
}

/// Hands each of them to `compare_job`, and lets go of it, whatever it comes to.
fn each<T>(jobs: impl Iterator<Item = T>, compare_job: impl Fn(&T), mut fails: impl FnMut()) {
    for job in jobs {
        // Nothing is changed while two answers are compared, so nothing is left half done there.
        if catch_unwind(AssertUnwindSafe(|| compare_job(&job))).is_err() {
            fails();
        }
    }
}

/// Whether it is time to tell of it again.
fn is_due(told: &mut Option<Instant>, now: Instant) -> bool {
    let due = told.is_none_or(|told| now.duration_since(told) >= TELL_EVERY);
    if due {
        *told = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::telemetry::{ShadowBytes, ShadowHeld};

    #[test]
    fn a_comparison_that_panics_costs_its_trial_alone() {
        let bytes = Arc::new(ShadowBytes::new(100));
        let (judged, failed) = (RefCell::new(Vec::new()), Cell::new(0));
        let jobs = (0..10).map(|number| {
            assert_eq!(bytes.used(), 0, "what was held for the one before was let go");
            let mut held = ShadowHeld::new(Arc::clone(&bytes));
            assert!(held.try_take(60));
            (number, held)
        });
        let compare_job = |(number, _): &(i32, ShadowHeld)| {
            assert!(number % 3 != 0, "as a decoder might");
            judged.borrow_mut().push(*number);
        };
        each(jobs, compare_job, || failed.set(failed.get() + 1));
        assert_eq!((judged.into_inner(), failed.get()), (vec![1, 2, 4, 5, 7, 8], 4));
        assert_eq!(bytes.used(), 0);
    }

    #[test]
    fn failures_are_told_once_a_minute() {
        let (began, mut told) = (Clock.now(), None);
        let due: Vec<_> =
            [0, 1, 59, 60, 61, 119, 125].map(|at| is_due(&mut told, began + Duration::from_secs(at))).into();
        assert_eq!(due, [true, false, false, true, false, false, true]);
    }
}
