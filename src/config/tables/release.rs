//! `[release]`: what applies to all rollouts.

use jiff::tz::TimeZone;

use super::freeze::{self, FREEZE};
use crate::config::toml::context::Context;
use crate::config::toml::reader::Reader;
use crate::config::toml::spec::TableSpec;
use crate::route::Freeze;

/// `[release]`.
pub(in crate::config) const RELEASE: TableSpec =
    TableSpec { title: "[release]", doc: "What applies to all rollouts.", keys: &[FREEZE], later: &[] };

/// Compiles `[release]`: the freeze windows of all rollouts. Times without a zone are in UTC.
pub(in crate::config) fn release(context: &mut Context<'_>, reader: Option<&Reader<'_>>) -> Vec<Freeze> {
    let Some(reader) = reader else { return Vec::new() };
    let found = freeze::freezes(context, reader, &TimeZone::UTC);
    reader.finish(context);
    found
}
