//! The routes of a load: read from their text, or kept from the load before.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::route_context::NamedRoute;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::{Finding, Severity};
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
    /// The warnings that it has by itself.
    pub(in crate::config) warnings: Box<[PieceWarning]>,
}

/// A warning that points to nothing but the text of a route.
#[derive(Debug)]
pub(in crate::config) struct PieceWarning {
    /// Its places are counted from the start of that text.
    finding: Finding,
}

impl PieceWarning {
    /// `None`: it points elsewhere.
    pub(in crate::config) fn of(finding: &Finding, piece: &RoutePiece, file: u16) -> Option<Self> {
        let RoutePiece { bytes: Range { start, end }, .. } = piece;
        let is_inside =
            |(at, _): &(Span, String)| at.file == file && *start <= at.start && at.start <= at.end && at.end <= *end;
        debug_assert!(finding.severity == Severity::Warning, "a route with errors is read again");
        finding.labels.iter().all(is_inside).then(|| {
            let mut finding = finding.clone();
            for (at, _) in &mut finding.labels {
                *at = Span { start: at.start - start, end: at.end - start, ..*at };
            }
            Self { finding }
        })
    }

    /// The same in the text that begins there.
    pub(in crate::config) fn at(&self, piece: Span) -> Finding {
        let mut finding = self.finding.clone();
        for (at, _) in &mut finding.labels {
            let from = |at: u32| piece.start.saturating_add(at);
            *at = Span { file: piece.file, start: from(at.start), end: from(at.end) };
        }
        finding
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
