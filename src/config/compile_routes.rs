//! Compiles the routes of all files, and collects those that the next load need not read.

use std::sync::Arc;

use ahash::HashSet;

use super::kept::KeptRoutes;
use super::tables::route;
use super::tables::route_context::{NameRegistries, NamedRoute};
use super::tables::route_text::{PieceWarning, PlacedRoute, ReusableRoute, RouteText, UsedNames};
use super::toml::context::Context;
use super::toml::document::Document;
use super::toml::pieces::{RoutePiece, TextPieces};
use super::toml::reader::Reader;
use super::toml::registry::{NameKind, Registry};
use super::toml::source::Span;
use crate::route::{Route, SplitState};

/// A file of a load.
#[derive(Debug)]
pub(super) struct ReadFile<'d> {
    pub(super) document: Document<'d>,
    /// Its pieces, where it is split.
    pub(super) pieces: Option<TextPieces>,
    /// The routes of its pieces that are not read.
    pub(super) kept: Vec<Option<&'d Arc<ReusableRoute>>>,
}

impl<'d> ReadFile<'d> {
    /// Its routes, in order; `readers` are those that are read.
    pub(super) fn routes(&'d self, context: &mut Context<'_>, readers: Vec<Reader<'d>>) -> Vec<RouteText<'d>> {
        let read = self.kept.iter().filter(|kept| kept.is_none()).count();
        let file = self.document.file;
        let mut readers = readers.into_iter();
        let Some(pieces) = self.pieces.as_ref().filter(|_| read == readers.len()) else {
            if read < self.kept.len() {
                context.want_text();
            }
            return readers.map(|reader| RouteText::Written(named(context, reader), None)).collect();
        };
        let one = |(piece, kept): (&'d RoutePiece, Option<&'d Arc<ReusableRoute>>)| {
            if let Some(kept) = kept {
                return Some(RouteText::Kept(PlacedRoute { kept, file, piece }));
            }
            Some(RouteText::Written(named(context, readers.next()?), Some(piece)))
        };
        pieces.routes.iter().zip(self.kept.iter().copied()).filter_map(one).collect()
    }
}

fn named<'d>(context: &mut Context<'_>, reader: Reader<'d>) -> NamedRoute<'d> {
    let name = reader.require(context, "name").and_then(|item| item.text(context));
    NamedRoute { reader, name }
}

/// The names of all routes.
pub(super) fn define<'d>(context: &mut Context<'_>, all: &[RouteText<'d>]) -> Registry<'d> {
    let mut registry = Registry::new(NameKind::Route, all.len());
    for text in all {
        text.define(context, &mut registry);
    }
    registry
}

/// All routes, each with the state of its split.
#[derive(Default)]
pub(super) struct CompiledRoutes {
    /// `None`: it has errors.
    pub(super) routes: Vec<Option<Route>>,
    pub(super) states: Vec<SplitState>,
    /// Those that depend on nothing else, in order.
    pub(super) apart: Vec<RouteApart>,
}

/// A route that depends on nothing but its text and the tables beside the routes.
pub(super) struct RouteApart {
    file: u16,
    start: u32,
    end: u32,
    kept: Arc<ReusableRoute>,
}

impl RouteApart {
    fn new(file: u16, piece: &RoutePiece, kept: Arc<ReusableRoute>) -> Self {
        Self { file, start: piece.bytes.start, end: piece.bytes.end, kept }
    }
}

/// Compiles all routes.
pub(super) fn routes(
    context: &mut Context<'_>,
    all: &[RouteText<'_>],
    names: &mut NameRegistries<'_, '_>,
) -> CompiledRoutes {
    let mut compiled = CompiledRoutes {
        routes: Vec::with_capacity(all.len()),
        states: Vec::with_capacity(all.len()),
        apart: Vec::with_capacity(if context.keeps_routes { all.len() } else { 0 }),
    };
    used(names);
    for text in all {
        let (route, state, apart) = match text {
            RouteText::Kept(placed) => {
                let kept = placed.kept;
                names.upstreams.mark_used(&kept.uses.upstreams);
                names.segments.mark_used(&kept.uses.segments);
                context.count_regexes(kept.regexes);
                for warning in &kept.warnings {
                    context.repeat_warning(|| warning.at(placed.span()));
                }
                let route = kept.route.moved_to(context.location(placed.span()));
                let apart = RouteApart::new(placed.file, placed.piece, Arc::clone(kept));
                (Some(route), Some(kept.state.clone()), Some(apart))
            }
            RouteText::Written(route, piece) => written(context, route, *piece, names),
        };
        compiled.routes.push(route);
        compiled.states.push(state.unwrap_or_default());
        compiled.apart.extend(apart.filter(|_| context.keeps_routes));
    }
    debug_assert_eq!(compiled.routes.len(), compiled.states.len(), "every route has a state");
    compiled
}

/// Compiles a route that is read.
fn written(
    context: &mut Context<'_>,
    text: &NamedRoute<'_>,
    piece: Option<&RoutePiece>,
    names: &mut NameRegistries<'_, '_>,
) -> (Option<Route>, Option<SplitState>, Option<RouteApart>) {
    let (effects, regexes) = (context.effects(), context.regexes());
    if context.keeps_routes {
        context.collect_warnings();
    }
    let (route, state) = route::route(context, text, names).unzip();
    let found = context.take_warnings();
    let warnings = piece
        .and_then(|piece| found.iter().map(|found| PieceWarning::of(found, piece, text.reader.span().file)).collect());
    if warnings.is_none() {
        context.note_reported(&found);
    }
    let (uses, is_of_rollout) = used(names);
    let is_alone = effects == context.effects() && !is_of_rollout;
    let apart = match (piece, &route, &state, &text.name, warnings) {
        (Some(piece), Some(route), Some(state), Some(name), Some(warnings)) if is_alone && context.keeps_routes => {
            let file = name.span.file;
            let text = context.files.text(Span { file, start: piece.bytes.start, end: piece.bytes.end });
            let from = |at: u32| at.saturating_sub(piece.bytes.start);
            let kept = ReusableRoute {
                hash: piece.hash,
                route: route.clone(),
                state: state.clone(),
                uses,
                regexes: context.regexes().saturating_sub(regexes),
                name_at: (from(name.span.start), from(name.span.end)),
                warnings,
            };
            // A variable is shown by its name, also where its value is used.
            let has_variables = memchr::memmem::find(text.as_bytes(), b"${").is_some();
            (!has_variables).then(|| RouteApart::new(file, piece, Arc::new(kept)))
        }
        _ => None,
    };
    (route, state, apart)
}

/// The names that were found since the last call, and whether a rollout was.
fn used(names: &mut NameRegistries<'_, '_>) -> (UsedNames, bool) {
    let uses = UsedNames { upstreams: names.upstreams.take_found(), segments: names.segments.take_found() };
    (uses, names.rollouts.take_found())
}

/// What the next load need not read: the routes apart that no finding points to. `None`: a file is not split, or
/// nothing is to be kept.
pub(super) fn keep(
    context: &mut Context<'_>,
    files: &[ReadFile<'_>],
    found: KeptRoutes,
    apart: Vec<RouteApart>,
) -> Option<KeptRoutes> {
    context.keeps_routes.then_some(())?;
    let of_file = |file: &ReadFile<'_>| Some((context.files.name(file.document.file), file.pieces.as_ref()?.rest));
    let files = files.iter().map(of_file).collect::<Option<Vec<_>>>()?;
    debug_assert!(apart.is_sorted_by_key(|one| (one.file, one.start)), "routes are in the order of the files");
    let pointed: HashSet<usize> = context
        .take_reported()
        .into_iter()
        .filter_map(|(file, at)| {
            let index = apart.partition_point(|one| (one.file, one.end) <= (file, at));
            apart.get(index).filter(|one| one.file == file && one.start <= at).map(|_| index)
        })
        .collect();
    let kept = apart.into_iter().enumerate().filter(|(at, _)| !pointed.contains(at)).map(|(_, one)| one.kept);
    Some(KeptRoutes { files, kept: kept.collect(), ..found })
}
