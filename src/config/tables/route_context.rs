//! Types that the tables of a route share.

use super::known_rollouts::KnownRollouts;
use super::listener::Listeners;
use crate::config::toml::context::Context;
use crate::config::toml::reader::Reader;
use crate::config::toml::registry::Registry;
use crate::config::toml::source::Span;
use crate::config::toml::spanned_string::SpannedString;
use crate::route::{RouteLine, SourceLocation, Upstream, UpstreamId};

/// The names that routes can refer to.
pub(in crate::config) struct NameRegistries<'a, 'd> {
    pub(in crate::config) upstreams: &'a mut Registry<'d>,
    pub(in crate::config) segments: &'a mut Registry<'d>,
    pub(in crate::config) listeners: &'a Listeners,
    pub(in crate::config) rollouts: &'a mut KnownRollouts<'d>,
}

/// The compiled upstreams and their names, in the same order.
pub(in crate::config) struct DefinedUpstreams<'a> {
    pub(in crate::config) upstreams: &'a [Upstream],
    pub(in crate::config) names: &'a Registry<'a>,
}

impl<'a> DefinedUpstreams<'a> {
    /// An upstream and the place of its name.
    pub(in crate::config) fn get(&self, id: UpstreamId) -> Option<(&'a Upstream, Span)> {
        Some((self.upstreams.get(id.0 as usize)?, self.names.place(id.0)?))
    }
}

/// A route with its name.
pub(in crate::config) struct NamedRoute<'d> {
    pub(in crate::config) reader: Reader<'d>,
    pub(in crate::config) name: Option<SpannedString<'d>>,
}

/// The place of a table, for messages.
pub(in crate::config) fn place(context: &Context<'_>, reader: &Reader<'_>) -> SourceLocation {
    context.location(reader.span())
}

/// The line of a table of a route.
pub(in crate::config) fn line_in(context: &Context<'_>, route: &Reader<'_>, part: &Reader<'_>) -> RouteLine {
    let (header, line) = (context.files.line(route.span()), context.files.line(part.span()));
    debug_assert!(line >= header, "a part of a route is behind its header");
    RouteLine(line.saturating_sub(header))
}
