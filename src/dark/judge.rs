//! The thread that compares, and the way to it.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::book::{About, Book};
use super::report::{Findings, RouteReport};
use super::trial::Trial;
use crate::clock::Clock;
use crate::route::{RouteId, Rules};

/// Trials that may wait.
const QUEUED_MAX: usize = 256;

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

/// The books of all routes.
struct Books {
    routes: Mutex<BTreeMap<String, Book>>,
    clock: Clock,
}

impl std::fmt::Debug for Books {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Books").finish_non_exhaustive()
    }
}

impl Books {
    fn open(&self) -> MutexGuard<'_, BTreeMap<String, Book>> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a trial to the book of its route; to a new one when what it is about has changed since.
    fn add(&self, trial: &Trial) {
        let Some((name, about)) = about(&trial.rules, trial.route) else { return };
        let mut books = self.open();
        match books.get_mut(name) {
            Some(book) if book.about == about => book.add(trial),
            // It was on its way when the file was edited.
            Some(book) if book.generation > trial.generation => {}
            Some(_) | None => {
                let mut book = Book::new(about, trial.generation, self.clock.wall());
                book.add(trial);
                books.insert(name.to_owned(), book);
            }
        }
    }
}

fn about(rules: &Rules, route: RouteId) -> Option<(&str, About)> {
    let route = rules.routes.get(route.0 as usize)?;
    let split = route.split()?;
    let shadow = split.shadow.as_ref()?;
    let upstream = rules.upstreams.get(shadow.upstream.0 as usize)?;
    let stable = split.variants.first().and_then(|stable| rules.upstreams.get(stable.upstream.0 as usize));
    let about = About {
        upstream: upstream.name.clone(),
        revision: upstream.revision.clone(),
        stable: stable.and_then(|stable| stable.revision.clone()),
        compare: shadow.compare.clone()?,
    };
    Some((&route.name, about))
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
        let books = Arc::new(Books { routes: Mutex::default(), clock });
        let thread = std::thread::Builder::new().name("compare".to_owned()).spawn({
            let books = Arc::clone(&books);
            move || compare(&received, &books)
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
        self.read(rules, |name, book| book.report(name))
    }

    /// What it comes to, in figures.
    #[must_use]
    pub fn findings(&self, rules: &Rules) -> Vec<Findings> {
        self.read(rules, |name, book| book.findings(name))
    }

    fn read<R>(&self, rules: &Rules, of: impl Fn(&str, &Book) -> R) -> Vec<R> {
        let current = |name: &str, book: &Book| {
            let at = rules.routes.iter().position(|route| route.name == name)?;
            let (_, about) = about(rules, RouteId(u32::try_from(at).ok()?))?;
            (about == book.about).then_some(())
        };
        let mut books = self.books.open();
        books.retain(|name, book| current(name, book).is_some());
        books.iter().map(|(name, book)| of(name, book)).collect()
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

fn compare(received: &Receiver<Message>, books: &Books) {
    while let Ok(Message::Trial(trial)) = received.recv() {
        books.add(&trial);
    }
}
