//! Compiles all `[rollout.NAME]` tables.

use super::known_rollouts::KnownRollouts;
use super::rollout::{self, RolloutContext};
use super::rollout_requires;
use crate::config::toml::context::Context;
use crate::config::toml::diagnostic::Finding;
use crate::config::toml::item::NamedTables;
use crate::config::toml::registry::{NameKind, Registry};

/// The most rollouts.
const ROLLOUTS_MAX: usize = 1_000;

/// Compiles all rollouts.
pub(in crate::config) fn rollouts<'d>(
    context: &mut Context<'_>,
    mut tables: NamedTables<'d>,
    of: &mut RolloutContext<'_>,
) -> KnownRollouts<'d> {
    if let Some(first) = tables.valid.get(ROLLOUTS_MAX) {
        let message = format!("there are {} rollouts; at most {ROLLOUTS_MAX} are supported", tables.valid.len());
        context.report(Finding::error("too-many", first.span, message));
        tables.valid.truncate(ROLLOUTS_MAX);
    }
    // Stable: of two tables with one name the first stays first.
    tables.valid.sort_by_key(|named| named.name);
    let mut names = Registry::new(NameKind::Rollout, tables.valid.len() + tables.misplaced.len());
    for named in tables.valid.iter().chain(&tables.misplaced) {
        names.define(context, named.name.into(), named.span);
    }
    let all = tables.valid.iter().map(|named| rollout::rollout(context, named, of)).collect();
    let mut known = KnownRollouts::new(names, all);
    rollout_requires::resolve(context, &mut known);
    known
}
