//! The thread that compares, and the way to it. A trial whose comparison fails costs itself alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::report::{Figures, Findings, RouteReport};
use super::shelf::Books;
use super::trial::Trial;
use crate::clock::Clock;
use crate::route::Rules;

/// Trials that may wait.
const QUEUED_MAX: usize = 256;
/// So often a failure is told in the log, at most.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Hands trials over. One for each worker.
#[derive(Clone, Debug)]
pub struct TrialSender(SyncSender<Message>);

/// The thread that compares. It ends when this is dropped.
#[derive(Debug)]
pub struct Judge {
    trials: SyncSender<Message>,
    books: Arc<Books>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Trial(Box<Trial>),
    Stop,
}

impl TrialSender {
    /// Hands a trial over; never blocks. False when it finds no room.
    #[must_use]
    pub fn try_send(&self, trial: Box<Trial>) -> bool {
        self.0.try_send(Message::Trial(trial)).is_ok()
    }
}

impl Judge {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn start(clock: Clock) -> std::io::Result<Self> {
        let (trials, received) = sync_channel(QUEUED_MAX);
        let books = Arc::new(Books::default());
        let thread = std::thread::Builder::new().name("compare".to_owned()).spawn({
            let books = Arc::clone(&books);
            move || compare(&received, &books, clock)
        })?;
        Ok(Self { trials, books, thread: Some(thread) })
    }

    /// A way to it.
    #[must_use]
    pub fn sender(&self) -> TrialSender {
        TrialSender(self.trials.clone())
    }

    /// What is known of the routes under these rules, by name. Books about what is not so any more are closed.
    #[must_use]
    pub fn reports(&self, rules: &Rules) -> Vec<RouteReport> {
        self.books.read(rules, |name, book| book.report(name))
    }

    /// What it comes to, in figures.
    #[must_use]
    pub fn findings(&self, rules: &Rules) -> Vec<Findings> {
        self.books.read(rules, |name, book| book.findings(name))
    }

    /// What is known of the thread itself.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.books.figures()
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        // It may be full of trials; the thread takes them in turn.
        let _ = self.trials.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn compare(received: &Receiver<Message>, books: &Books, clock: Clock) {
    let trials = std::iter::from_fn(|| match received.recv() {
        Ok(Message::Trial(trial)) => Some(trial),
        Ok(Message::Stop) | Err(_) => None,
    });
    let mut told = None;
    each(
        trials,
        |trial| books.add(trial),
        || {
            let failed = books.fails();
            if is_due(&mut told, clock.now()) {
                tracing::error!(
                    failed,
                    "answers could not be compared: please report this with the panic message above"
                );
            }
        },
    );
}

/// Hands each of them to `judge`, and lets go of it, whatever it comes to.
fn each<T>(trials: impl Iterator<Item = T>, judge: impl Fn(&T), mut fails: impl FnMut()) {
    for trial in trials {
        // Nothing is changed while two answers are compared, so nothing is left half done there.
        if catch_unwind(AssertUnwindSafe(|| judge(&trial))).is_err() {
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
        let trials = (0..10).map(|number| {
            assert_eq!(bytes.used(), 0, "what was held for the one before was let go");
            let mut held = ShadowHeld::new(Arc::clone(&bytes));
            assert!(held.try_take(60));
            (number, held)
        });
        let judge = |(number, _): &(i32, ShadowHeld)| {
            assert!(number % 3 != 0, "as a decoder might");
            judged.borrow_mut().push(*number);
        };
        each(trials, judge, || failed.set(failed.get() + 1));
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
