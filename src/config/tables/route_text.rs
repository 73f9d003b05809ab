//! The routes of a load: read from their text, or kept from the load before.

use std::borrow::Cow;
use std::sync::Arc;

use super::route_context::NamedRoute;
use crate::config::toml::context::Context;
use crate::config::toml::pieces::RoutePiece;
use crate::config::toml::registry::Registry;
use crate::config::toml::source::Span;
use crate::route::{Route, SplitState};

/// The names that a route uses, by their numbers.
#[derive(Clone, Debug, Default)]
pub(in crate::config) struct UsedNames {
    pub(in crate::config) upstreams: Box<[u32]>,
    pub(in crate::config) segments: Box<[u32]>,
}

/// A route that need not be read again.
#[derive(Debug)]
pub(in crate::config) struct ReusableRoute {
    /// Of its text.
    pub(in crate::config) hash: u128,
    pub(in crate::config) route: Route,
    /// As the route has it, without kills.
    pub(in crate::config) state: SplitState,
    pub(in crate::config) uses: UsedNames,
    /// How many regexes it has.
    pub(in crate::config) regexes: usize,
    /// Where its name begins and ends, from the start of its text.
    pub(in crate::config) name_at: (u32, u32),
}

impl ReusableRoute {
    /// The same with the route at a new place, so that the next load shares what it says there.
    pub(in crate::config) fn with(self: &Arc<Self>, route: &Route) -> Arc<Self> {
        if route.is_shared_with(&self.route) {
            return Arc::clone(self);
        }
        let Self { hash, route: _, state, uses, regexes, name_at } = &**self;
        let (state, uses) = (state.clone(), uses.clone());
        Arc::new(Self { hash: *hash, route: route.clone(), state, uses, regexes: *regexes, name_at: *name_at })
    }
}

/// A kept route in a new text.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct PlacedRoute<'d> {
    pub(in crate::config) kept: &'d Arc<ReusableRoute>,
    pub(in crate::config) file: u16,
    pub(in crate::config) piece: &'d RoutePiece,
}

impl PlacedRoute<'_> {
    /// The place of its name.
    pub(in crate::config) fn name_at(&self) -> Span {
        let from = |at: u32| self.piece.bytes.start.saturating_add(at);
        Span { file: self.file, start: from(self.kept.name_at.0), end: from(self.kept.name_at.1) }
    }

    /// The place of its header.
    pub(in crate::config) fn span(&self) -> Span {
        let start = self.piece.bytes.start;
        Span { file: self.file, start, end: start }
    }
}

/// A route of a load.
pub(in crate::config) enum RouteText<'d> {
    /// It is read; with its piece, where the text is split.
    Written(NamedRoute<'d>, Option<&'d RoutePiece>),
    /// It need not be read.
    Kept(PlacedRoute<'d>),
}

impl<'d> RouteText<'d> {
    /// The text of the route. A kept one has none: who needs it cannot use the load.
    pub(in crate::config) const fn named(&self, context: &mut Context<'_>) -> Option<&NamedRoute<'d>> {
        match self {
            Self::Written(named, _) => Some(named),
            Self::Kept(_) => {
                context.want_text();
                None
            }
        }
    }

    /// Defines its name.
    pub(in crate::config) fn define(&self, context: &mut Context<'_>, names: &mut Registry<'d>) {
        match self {
            Self::Written(NamedRoute { name: Some(text), .. }, _) => {
                names.define(context, text.value.clone(), text.span);
            }
            Self::Written(NamedRoute { name: None, reader }, _) => names.define_nameless(reader.span()),
            Self::Kept(placed) => names.define(context, Cow::Borrowed(&placed.kept.route.name), placed.name_at()),
        }
    }
}
