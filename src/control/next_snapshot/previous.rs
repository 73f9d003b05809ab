//! The entities of the last snapshot, by name.

use std::cell::OnceCell;
use std::sync::Arc;

/// An entity of the last snapshot, and what the file said of it.
pub(super) type Previous<'a, S, E> = Option<(&'a S, &'a Arc<E>)>;

/// The entities of the last snapshot. One is at the same place as before while nothing has moved; the table of names is
/// made at the first miss.
pub(super) struct PreviousEntities<'a, S, E> {
    specs: &'a [S],
    entities: &'a [Arc<E>],
    name: fn(&S) -> &str,
    places: OnceCell<ahash::HashMap<&'a str, usize>>,
}

impl<'a, S, E> PreviousEntities<'a, S, E> {
    pub(super) fn new(specs: &'a [S], entities: &'a [Arc<E>], name: fn(&S) -> &str) -> Self {
        debug_assert_eq!(specs.len(), entities.len(), "an entity for each");
        Self { specs, entities, name, places: OnceCell::new() }
    }

    /// The entity of this name, which is now wanted at this place.
    pub(super) fn find(&self, at: usize, name: &str) -> Previous<'a, S, E> {
        self.at(self.place(at, name)?)
    }

    /// The entity at a place of the last snapshot.
    pub(super) fn at(&self, at: usize) -> Previous<'a, S, E> {
        Some((self.specs.get(at)?, self.entities.get(at)?))
    }

    /// The place, in the last snapshot, of the entity of this name.
    pub(super) fn place(&self, at: usize, name: &str) -> Option<usize> {
        let same = self.specs.get(at).is_some_and(|spec| (self.name)(spec) == name);
        if same { Some(at) } else { self.places.get_or_init(|| self.places()).get(name).copied() }
    }

    fn places(&self) -> ahash::HashMap<&'a str, usize> {
        self.specs.iter().enumerate().map(|(at, spec)| ((self.name)(spec), at)).collect()
    }
}

/// Whether these are the very same, or both are none.
pub(super) fn same<T: ?Sized>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    a.map(Arc::as_ptr) == b.map(Arc::as_ptr)
}
