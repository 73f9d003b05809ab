//! What a worker does for the loads of an upstream's endpoints at its ticks: it reports to the other workers what has
//! changed since the last one, and ends the places of refused tries. Only endpoints on a list are looked at.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::balance::EndpointLoad;
use crate::failover::EndpointHealth;

/// An endpoint with a load.
pub(super) trait HasLoad {
    /// Its load.
    fn load(&self) -> &EndpointLoad;
    /// Its health, where all workers report.
    fn health(&self) -> &EndpointHealth;
    /// Whether it is on the list of those whose load has changed.
    fn is_listed(&self) -> &Cell<bool>;
}

/// The lists of one upstream. A pool that replaces another one takes them over.
pub(crate) struct LoadReport<E> {
    changed: RefCell<Vec<Rc<E>>>,
    with_places: RefCell<Vec<Rc<E>>>,
}

impl<E> Default for LoadReport<E> {
    fn default() -> Self {
        Self { changed: RefCell::default(), with_places: RefCell::default() }
    }
}

impl<E: HasLoad> LoadReport<E> {
    /// The load of an endpoint has changed.
    #[inline]
    pub(super) fn list(&self, endpoint: &Rc<E>) {
        if !endpoint.is_listed().replace(true) {
            self.changed.borrow_mut().push(Rc::clone(endpoint));
        }
    }

    /// A refused try keeps its place at an endpoint.
    #[cold]
    pub(super) fn keep_place(&self, endpoint: &Rc<E>, for_ms: u64, now_ms: u64) {
        if endpoint.load().kept_places() == 0 {
            self.with_places.borrow_mut().push(Rc::clone(endpoint));
        }
        endpoint.load().keep_place(for_ms, now_ms);
    }

    /// Whether a load has changed since the last tick.
    pub(super) fn has_changed(&self) -> bool {
        !self.changed.borrow().is_empty()
    }

    /// The work of a tick.
    pub(super) fn tick(&self, now_ms: u64) {
        for endpoint in self.changed.borrow_mut().drain(..) {
            endpoint.is_listed().set(false);
            let more = endpoint.load().take_report();
            if more != 0 {
                endpoint.health().report_load(more);
            }
        }
        self.with_places.borrow_mut().retain(|endpoint| endpoint.load().end_places(now_ms));
    }
}
