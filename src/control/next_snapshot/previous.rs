//! Finds the entities of the last snapshot by name.

use std::cell::OnceCell;
use std::sync::Arc;

/// An entity of the last snapshot, with its specification.
pub(super) type Previous<'a, S, E> = Option<(&'a S, &'a Arc<E>)>;

/// The entities of the last snapshot. An entity is first looked for at the same index; a table of names is built at the
/// first miss.
pub(super) struct PreviousEntities<'a, S, E> {
    specs: &'a [S],
    entities: &'a [Arc<E>],
    name: fn(&S) -> &str,
    indexes: OnceCell<ahash::HashMap<&'a str, usize>>,
}

impl<'a, S, E> PreviousEntities<'a, S, E> {
    pub(super) fn new(specs: &'a [S], entities: &'a [Arc<E>], name: fn(&S) -> &str) -> Self {
        debug_assert_eq!(specs.len(), entities.len(), "one entity for each specification");
        Self { specs, entities, name, indexes: OnceCell::new() }
    }

    /// The entity with this name; `at` is its index in the new file.
    pub(super) fn find(&self, at: usize, name: &str) -> Previous<'a, S, E> {
        self.at(self.index(at, name)?)
    }

    /// The entity at this index of the last snapshot.
    pub(super) fn at(&self, at: usize) -> Previous<'a, S, E> {
        Some((self.specs.get(at)?, self.entities.get(at)?))
    }

    /// The index, in the last snapshot, of the entity with this name.
    pub(super) fn index(&self, at: usize, name: &str) -> Option<usize> {
        let same = self.specs.get(at).is_some_and(|spec| (self.name)(spec) == name);
        if same { Some(at) } else { self.indexes.get_or_init(|| self.indexes()).get(name).copied() }
    }

    fn indexes(&self) -> ahash::HashMap<&'a str, usize> {
        self.specs.iter().enumerate().map(|(at, spec)| ((self.name)(spec), at)).collect()
    }
}

/// Whether both are the same `Arc`, or both are `None`.
pub(super) fn same<T: ?Sized>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    a.map(Arc::as_ptr) == b.map(Arc::as_ptr)
}
