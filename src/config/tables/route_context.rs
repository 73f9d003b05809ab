//! What a route's tables share: the names they may refer to, and the route's own reader.

use super::listener::Listeners;
use crate::config::toml::context::Context;
use crate::config::toml::reader::Reader;
use crate::config::toml::registry::Registry;
use crate::config::toml::text::Text;
use crate::route::SourceLocation;

/// The names that routes may refer to.
pub(in crate::config) struct Names<'a, 'd> {
    pub(in crate::config) upstreams: &'a mut Registry<'d>,
    pub(in crate::config) segments: &'a mut Registry<'d>,
    pub(in crate::config) listeners: &'a Listeners,
}

/// A route's reader and its name.
pub(in crate::config) struct Headed<'d> {
    pub(in crate::config) reader: Reader<'d>,
    pub(in crate::config) name: Option<Text<'d>>,
}

/// Where a table stands, for people.
pub(in crate::config) fn place(context: &Context<'_>, reader: &Reader<'_>) -> SourceLocation {
    let at = reader.span();
    SourceLocation { file: context.files.name(at.file), line: context.files.line(at) }
}
