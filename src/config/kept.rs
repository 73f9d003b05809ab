//! What a load leaves for the next one: routes whose text has not changed are not read again.
//!
//! A route is kept, with the warnings that it has by itself, if it depends on nothing but its text and the tables beside the
//! routes: it reads no file and no variable, belongs to no rollout, and no check of the whole file points to it. It is used
//! again if these tables, the variables and the data files are the same. Whatever else differs, all is read.

use std::sync::{Arc, OnceLock};

use ahash::HashMap;

use super::tables::route_text::ReusableRoute;
use super::toml::pieces::RoutePiece;
use crate::route::{Index, Route};

/// What a load leaves for the next one.
#[derive(Debug, Default)]
pub(super) struct KeptRoutes {
    /// Each file, with a hash of what is beside its routes.
    pub(super) files: Vec<(Arc<str>, u128)>,
    /// The variables and data files that the tables beside the routes depend on.
    pub(super) data_hash: u128,
    /// The routes that need not be read again, in order.
    pub(super) kept: Vec<Arc<ReusableRoute>>,
    /// All routes, in order, with their index.
    pub(super) routes: Vec<Route>,
    pub(super) index: Index,
    /// Whether some route hides another.
    pub(super) some_are_hidden: bool,
    pub(super) by_hash: OnceLock<HashMap<u128, u32>>,
}

impl KeptRoutes {
    /// Whether the load had so many files, and the tables beside the routes depended on the same data.
    pub(super) fn is_of(&self, files: usize, data_hash: u128) -> bool {
        self.files.len() == files && self.data_hash == data_hash
    }

    /// The kept routes of these pieces; `None` for one that has to be read.
    pub(super) fn find_all(&self, pieces: &[RoutePiece]) -> Vec<Option<&Arc<ReusableRoute>>> {
        let is_at = |at: usize, piece: Option<&RoutePiece>| {
            piece.is_some_and(|piece| self.kept.get(at).is_some_and(|kept| kept.hash == piece.hash))
        };
        let mut next = 0;
        let mut all = Vec::with_capacity(pieces.len());
        for (at, piece) in pieces.iter().enumerate() {
            let (this, behind) = (Some(piece), pieces.get(at + 1));
            let found = if is_at(next, this) {
                Some(next)
            } else if is_at(next + 1, this) {
                // One was removed.
                Some(next + 1)
            } else if is_at(next, behind) || is_at(next + 1, behind) {
                // It was added or has changed.
                None
            } else {
                self.by_hash().get(&piece.hash).map(|at| *at as usize)
            };
            next = found.map_or(next, |found| found + 1);
            all.push(found.and_then(|found| self.kept.get(found)));
        }
        all
    }

    fn by_hash(&self) -> &HashMap<u128, u32> {
        self.by_hash.get_or_init(|| self.kept.iter().zip(0..).map(|(kept, at)| (kept.hash, at)).collect())
    }

    /// Whether these routes have the same names and match the same requests as the last ones, at the same places: then the index
    /// is the same, and no two of them conflict.
    pub(super) fn has_same_matches(&self, routes: &[Route]) -> bool {
        let is_same =
            |(a, b): (&Route, &Route)| a.is_shared_with(b) || (a.name == b.name && a.matches.is_same(&b.matches));
        self.routes.len() == routes.len() && self.routes.iter().zip(routes).all(is_same)
    }
}
