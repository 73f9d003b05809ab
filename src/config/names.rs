//! What the tables of a route need of what stands around them.

use super::context::Context;
use super::listener::Listeners;
use super::reader::Reader;
use super::registry::Registry;
use super::text::Text;
use crate::route::Place;

/// The names that routes may refer to.
pub(super) struct Names<'a, 'd> {
    pub(super) upstreams: &'a mut Registry<'d>,
    pub(super) segments: &'a mut Registry<'d>,
    pub(super) listeners: &'a Listeners,
}

/// A route's reader and its name.
pub(super) struct Headed<'d> {
    pub(super) reader: Reader<'d>,
    pub(super) name: Option<Text<'d>>,
}

/// Where a table stands, for people.
pub(super) fn place(context: &Context<'_>, reader: &Reader<'_>) -> Place {
    let at = reader.span();
    Place { file: context.files.name(at.file), line: context.files.line(at) }
}
