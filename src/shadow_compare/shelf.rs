//! The books of all routes. They are open while a trial is added or a report is read, and never while answers are
//! compared.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::about::About;
use super::book::{Book, Compared};
use super::report::Figures;
use super::trial::Trial;
use crate::compare::Criteria;
use crate::route::{Generation, Rules};

/// Books that there may be.
const BOOKS_MAX: usize = 256;

/// The books of all routes, by name.
#[derive(Default)]
pub(super) struct Books {
    shelf: Mutex<Shelf>,
    failed: AtomicU64,
    refused: AtomicU64,
}

#[derive(Default)]
struct Shelf {
    /// Of the newest rules that were heard of.
    newest: Generation,
    routes: BTreeMap<String, Book>,
}

impl std::fmt::Debug for Books {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Books").finish_non_exhaustive()
    }
}

impl Books {
    fn open(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares a trial, and adds what that shows to the book of its route.
    pub(super) fn add(&self, trial: &Trial) {
        let Some((name, about)) = About::of(&trial.rules, trial.route) else { return };
        let Some(criteria) = self.criteria(name, &about, trial) else { return };
        let compared = Compared::of(trial, &criteria);
        // It may have been closed meanwhile.
        if let Some(book) = self.open().routes.get_mut(name).filter(|book| book.about == about) {
            book.add(trial, compared);
        }
    }

    /// What a trial is compared by: what its route's book says, or a new one when what it is about has changed.
    fn criteria(&self, name: &str, about: &About, trial: &Trial) -> Option<Arc<Criteria>> {
        let mut open = self.open();
        if trial.generation > open.newest {
            open.newest = trial.generation;
            open.routes.retain(|name, book| book.about.holds(name, &trial.rules));
        }
        if let Some(book) = open.routes.get(name).filter(|book| book.about == *about) {
            return Some(book.criteria());
        }
        // It was on its way when the file was edited.
        if trial.generation < open.newest {
            return None;
        }
        if open.routes.len() >= BOOKS_MAX && !open.routes.contains_key(name) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let book = Book::new(about.clone(), trial.at);
        let criteria = book.criteria();
        open.routes.insert(name.to_owned(), book);
        Some(criteria)
    }

    /// What is in the books that hold under these rules. The others are closed.
    pub(super) fn read<R>(&self, rules: &Rules, of: impl Fn(&str, &Book) -> R) -> Vec<R> {
        let mut open = self.open();
        open.routes.retain(|name, book| book.about.holds(name, rules));
        open.routes.iter().map(|(name, book)| of(name, book)).collect()
    }

    /// Counts a comparison that failed; the number of them all.
    pub(super) fn fails(&self) -> u64 {
        self.failed.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn figures(&self) -> Figures {
        Figures {
            books: self.open().routes.len(),
            failed: self.failed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }
}
